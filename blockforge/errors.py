"""Every error that a user can cause, and the closest names for a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BlockforgeError(Exception):
    """The root of all errors of blockforge: one line `where: what, with the numbers; what to change`."""

    exit_code = 2


class OpError(BlockforgeError):
    """A primitive operation refuses its inputs or its arguments."""

    located = False
    """Whether the message begins with the op's path already."""


class InputTooSmall(OpError):
    """An operation whose window doesn't fit into its input: a larger input to the network would help."""


class NameTaken(OpError):
    """Two ops of a network claim one name."""


class UnknownName(BlockforgeError):
    """A name that nothing is registered under."""


class PluginError(BlockforgeError):
    """A plugin that can't be loaded, or two that claim one name."""


class InvalidNetwork(BlockforgeError):
    """A network or a space that doesn't hold together; `mistakes` has all of them, one line each."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class NothingToCompare(BlockforgeError):
    """A comparison for which there is no reference at all."""

    exit_code = 1


class SearchError(BlockforgeError):
    """A search that can't go on although its input was sound."""

    exit_code = 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: `; did you mean 'resnet18'?`, or nothing.

    A name close to a word of a known one counts too (`squeze` and `squeeze_excitation`), as do its words' first
    letters (`se`) and a name that is part of a known one (`resnet` and `resnet18`).
    """
    known = sorted(set(known))
    close = [other for other in known if name and name == "".join(word[:1] for word in other.split("_"))]
    close = close or difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    close = close or [other for other in known if name and name.lower() in other.lower()][:3]
    if not close:
        words = {word: other for other in reversed(known) for word in other.split("_")}
        close = [words[word] for word in difflib.get_close_matches(name, words, n=1, cutoff=0.75)]
    if not close:
        return ""
    *others, last = [repr(other) for other in close]
    return f"; did you mean {', '.join(others) + ' or ' + last if others else last}?"


def unknown(kind: str, name: str, known: Iterable[str], how_to_list: str) -> UnknownName:
    """The error for an unknown `kind` of thing, with the closest names and how to list all of them."""
    hint = did_you_mean(name, known)
    return UnknownName(f"{name}: no {kind} of this name{hint or '; '}{' ' if hint else ''}{how_to_list}")
