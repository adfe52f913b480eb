"""YAML text to plain data with positions, by way of a parser's events; `blockforge.files` is its face.

Events and not nodes: a third faster, and nesting is refused before anything recurses. ruamel.yaml reads YAML 1.2 and
says what is wrong, but takes 150 ms for all canonical networks. So a text without a character that YAML 1.1 and 1.2
take differently goes to libyaml first (by PyYAML), at a sixth of the time, and to ruamel.yaml only if there is anything
to refuse. This module is imported on first use, since both take their time to import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from blockforge.errors import InvalidNetwork
from blockforge.yaml_scalars import has_surrogate, kind, resolve, shorten

KeyPath = tuple[str | int, ...]
Position = tuple[int, int]  # line and column, counted from 1

MAX_DEPTH = 32
MAX_MISTAKES = 100  # nobody reads more at once, and a hostile file could hold 300,000

# What ruamel.yaml says of a syntax error (a regular expression), and what a message says instead. `{there}`
# is where the thing began that it was reading, `{0}` the expression's first group.
_PHRASES = (
    (r"found character '\\t'", "a tab; indent with spaces"),
    (r"found character '(.)'", "text can't start with {0}; put it in quotes"),
    (r"scanning an (?:alias|anchor)", "text can't start with * or &; put it in quotes"),
    (r"expected ',' or '\]'", "the list that opens {there} isn't closed; add a ',' or a ']'"),
    (r"expected ',' or '}'", "the mapping that opens {there} isn't closed; add a ',' or a '}}'"),
    (r"mapping values are not allowed", "a ':' can't stand here; put the text in quotes, or mend the indentation"),
    (r"could not find expected ':'", "the key that starts {there} lacks its ':'; write `key: value`"),
    (r"found unexpected end of stream", "the quote that opens {there} isn't closed; close it"),
    (r"found unexpected document separator", "the quote that opens {there} isn't closed; close it"),
    (r"expected <block end>", "this doesn't continue what starts {there}; mend the indentation or the quotes"),
    (r"sequence entries are not allowed", "a '- ' can't stand here; begin a new line with it, below its key"),
    (r"unknown escape character .(.*).$", "\\{0} is no escape; write \\\\ for a backslash, or single quotes"),
    (r"node content, but found '<stream", "a value is missing at the end; write it, and close what is open"),
    (r"expected the node content, but found '(.*)'", "a value is missing before '{0}'; write one, or null"),
    (r"expected '<document start>'", "the value ended before this; take it out, or mend the indentation"),
    (r"incompatible YAML document", "only YAML 1.2 is read; take the %YAML line out"),
    (r"expected escape sequence", "an escape is cut short; write \\x41, \\u0041 or \\U00000041"),
    (r"mapping keys are not allowed", "a '?' can't stand here; put the text in quotes"),
    (r"scanning a block scalar: expected", "text can't start with | or >; put it in quotes"),
    (r"ing an? tag|undefined tag", "text can't start with !; put it in quotes"),
    (r"scanning a directive", "a line can't start with %; put the text in quotes"),
)
_NO_CHARACTER = re.compile(r"\\U(?!000[0-9a-fA-F]|0010)[0-9a-fA-F]{8}")


class _GiveUp(Exception):
    """Nothing after this place can be judged."""


# Printable ASCII without what begins a directive, a document, a block of text, a complex key, or an escape. What begins
# a tag or an anchor is refused by either.
_TAME = re.compile(r"[\n -~]*")
_SPECIAL = re.compile(r"[\\?|>]|^%|^---|^\.\.\.", re.MULTILINE)


def read(text: str, name: str) -> tuple[Any, dict[KeyPath, Position]]:
    """The data of a text and where each value stands; raises `InvalidNetwork` with all mistakes."""
    quick = getattr(yaml, "CSafeLoader", None)  # not there where PyYAML was built without libyaml
    if quick and _TAME.fullmatch(text) and not _SPECIAL.search(text):
        reader = Reader(text, name, yaml.parse(text, Loader=quick), yaml.events)
        try:
            value = reader.document()
        except (yaml.YAMLError, _GiveUp):
            pass
        else:
            if not reader.mistakes:
                return value, reader.positions
    return _read_slowly(text, name)


def _read_slowly(text: str, name: str) -> tuple[Any, dict[KeyPath, Position]]:
    """The same by ruamel.yaml; a syntax error comes alone: nothing around it is certain."""
    from ruamel.yaml import YAML, events
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    value = None
    reader = Reader(text, name, YAML(typ="safe", pure=True, plug_ins=[]).parse(text), events)
    try:
        value = reader.document()
    except _GiveUp:
        pass
    except MarkedYAMLError as error:
        reader.syntax_error(_position(error.problem_mark or error.context_mark), _rephrase(error))
    except ReaderError as error:
        what = f"the character {chr(error.character)!r} is not allowed; take it out"
        reader.syntax_error(line_and_column(text[: error.position]), what)
    except (OverflowError, ValueError):  # ruamel.yaml has no error of its own for "\U99999999"
        found = _NO_CHARACTER.search(text)
        if found is None:
            raise
        here = line_and_column(text[: found.start()])
        reader.syntax_error(here, f"{found.group()} is no character; write one up to \\U0010ffff")
    if reader.mistakes:
        raise InvalidNetwork(reader.mistakes)
    return value, reader.positions


class Reader:
    """Makes plain data of a parser's events, and notes everything that is refused on the way.

    `kinds` are the events' classes: those of PyYAML and those of ruamel.yaml have the same names and attributes.
    """

    def __init__(self, text: str, name: str, events: Iterator[Any], kinds: Any) -> None:
        self.text = text
        self.name = name
        self.events = events
        self.kinds = kinds
        self.positions: dict[KeyPath, Position] = {}
        self.mistakes: list[str] = []

    def document(self) -> Any:
        """The data of the only document."""
        next(self.events)  # the start of the stream
        start = next(self.events)
        event = None if isinstance(start, self.kinds.StreamEndEvent) else next(self.events)
        if event is None or (isinstance(event, self.kinds.ScalarEvent) and event.value == "" and event.implicit[0]):
            self._give_up((1, 1), (), "nothing in it; write `key: value` lines")
        if start.version not in (None, (1, 2)):
            version = ".".join(map(str, start.version))
            here = line_and_column(self.text[: self.text.find("%YAML")])
            self._refuse(here, (), f"YAML {version}; only YAML 1.2 is read: take the %YAML line out")
        self.positions[()] = _position(event.start_mark)
        value = self._node(event, (), 1)
        next(self.events)  # the end of the document
        more = next(self.events)
        if isinstance(more, self.kinds.DocumentStartEvent):
            what = "a second document starts here; keep one document in a file"
            self._give_up(_position(more.start_mark), (), what)
        return value

    def _node(self, event: Any, path: KeyPath, depth: int) -> Any:
        if isinstance(event, self.kinds.AliasEvent):
            return self._alias(event, path)
        self._refuse_properties(event, path)
        if isinstance(event, self.kinds.ScalarEvent):
            return self._scalar(event, path)
        if depth > MAX_DEPTH:
            what = f"nested more than {MAX_DEPTH} levels deep; write it flatter"
            self._give_up(_position(event.start_mark), path, what)
        return (self._sequence if isinstance(event, self.kinds.SequenceStartEvent) else self._mapping)(path, depth)

    def _sequence(self, path: KeyPath, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), self.kinds.SequenceEndEvent):
            below = (*path, len(items))
            self.positions[below] = _position(event.start_mark)
            items.append(self._node(event, below, depth + 1))
        return items

    def _mapping(self, path: KeyPath, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while not isinstance(event := next(self.events), self.kinds.MappingEndEvent):
            here = _position(event.start_mark)
            key = self._key(event, here, path, depth)
            below = (*path, key)
            if key in entries:
                line, _ = self.positions[below]
                self._refuse(here, below, f"given twice, first in line {line}; remove or rename one")
                self._node(next(self.events), below, depth + 1)
                continue
            self.positions[below] = here
            entries[key] = self._node(next(self.events), below, depth + 1)
        return entries

    def _key(self, event: Any, here: Position, path: KeyPath, depth: int) -> str:
        """A key's text; for a refused key something unique, so that its value is looked through as well."""
        if isinstance(event, self.kinds.ScalarEvent):
            self._refuse_properties(event, path)
            text: str = event.value
            if event.implicit[0] and text == "<<":
                self._refuse(here, path, "<< is a merge key; write the keys out, or use `extends`")
            elif event.implicit[0] and (what := kind(text)) != "text":
                shown = f"the key {shorten(text)}" if text else "a key without text"
                hint = f'write it in quotes: "{shorten(text)}"' if text else "write the key"
                self._refuse(here, path, f"{shown} is {what}, not text; {hint}")
            else:
                self._refuse_surrogate(text, here, path)
                return text
        elif isinstance(event, self.kinds.AliasEvent):
            self._alias(event, path)
        else:
            what = "a list" if isinstance(event, self.kinds.SequenceStartEvent) else "a mapping"
            self._refuse(here, path, f"{what} as a key; only text can be a key")
            self._node(event, path, depth + 1)
        return f"?{here[0]}:{here[1]}"

    def _scalar(self, event: Any, path: KeyPath) -> Any:
        text: str = event.value
        here = _position(event.start_mark)
        self._refuse_surrogate(text, here, path)
        if not event.implicit[0]:  # in quotes, or a block of text
            return text
        try:
            return resolve(text)
        except ValueError as error:
            self._refuse(here, path, str(error))
            return None

    def _alias(self, event: Any, path: KeyPath) -> None:
        # `*.depth: 3` is an alias `.depth:` and then nonsense: a path that begins with a glob ends up here.
        name = event.anchor.rstrip(":")
        what = f'*{shorten(name)} is an alias; write the value out, or put text in quotes: "*{shorten(name)}"'
        (self._refuse if name == event.anchor else self._give_up)(_position(event.start_mark), path, what)

    def _refuse_properties(self, event: Any, path: KeyPath) -> None:
        here = _position(event.start_mark)
        if event.anchor is not None:
            hint = "take it out, and write the value where needed"
            self._refuse(here, path, f"&{shorten(event.anchor)} is an anchor; {hint}")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(here, path, f"{shorten(tag)} is a tag; take it out")

    def _refuse_surrogate(self, text: str, here: Position, path: KeyPath) -> None:
        if has_surrogate(text):
            hint = "write the character itself, or in full as \\U0001f600"
            self._refuse(here, path, f"{shorten(ascii(text))} holds half a surrogate pair; {hint}")

    def syntax_error(self, here: Position, what: str) -> None:
        """Note what stops the parser, which alone is certain then."""
        self.mistakes = []
        self._refuse(here, (), what)

    def _refuse(self, here: Position, path: KeyPath, what: str) -> None:
        if len(self.mistakes) == MAX_MISTAKES:
            self.mistakes.append(f"{self.name}: more than {MAX_MISTAKES} mistakes; mend these first")
            raise _GiveUp
        at = f"{dotted(path)}: " if path else ""
        self.mistakes.append(f"{self.name}:{here[0]}:{here[1]}: {at}{what}")

    def _give_up(self, here: Position, path: KeyPath, what: str) -> NoReturn:
        self._refuse(here, path, what)
        raise _GiveUp


def dotted(path: KeyPath) -> str:
    """A path as messages print it: `stages.layer1.width`, `input.0`."""
    return ".".join(shorten(str(part)) or '""' for part in path)


def line_and_column(before: str) -> Position:
    """The position of what comes after this text."""
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", before)  # what ruamel.yaml takes for the end of a line
    return len(lines), len(lines[-1]) + 1


def _position(mark: Any) -> Position:
    return mark.line + 1, mark.column + 1


def _rephrase(error: Any) -> str:
    there = ""
    if error.context_mark is not None:
        line, column = _position(error.context_mark)
        there = f"in line {line}, column {column}"
    said = f"{error.context or ''}: {error.problem or ''}"
    for pattern, phrase in _PHRASES:
        if found := re.search(pattern, said):
            return phrase.format(*found.groups(), there=there)
    return f"not valid YAML: {' '.join(said.strip(': ').split())}; mend it here"
