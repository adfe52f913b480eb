"""A document with all that it extends merged in, where each part of it was said, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from blockforge.paths import Keys, Plain, show


@dataclass
class Flat:
    """A document with all that it extends merged in, and where each part of it was said."""

    value: Plain = field(default_factory=dict)
    marks: dict[Keys, str] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    muted: set[Keys] = field(default_factory=set)
    """Places whose mistake is known already: nothing more is noted there."""
    origins: dict[str, str] = field(default_factory=dict)
    """Where the file has its third parties' blocks from, by name: `acme-blocks 1.2.3`, or `file ghost.py`."""

    spread: list[tuple[str, list[Keys]]] = field(default_factory=list)
    """The paths that set a value at several places, with these."""

    def where(self, keys: Keys) -> str:
        """Where a value was said, or the nearest thing around it."""
        for end in range(len(keys), -1, -1):
            if keys[:end] in self.marks:
                return self.marks[keys[:end]]
        return ""

    def mistake(self, keys: Keys, message: str) -> None:
        """Note a mistake at a place of the flat document."""
        if any(keys[: len(place)] == place for place in self.muted):
            return
        self.mistakes.append(": ".join(part for part in (self.where(keys), show(keys), message) if part))

    def told(self) -> list[str]:
        """The mistakes as they are told: one that a path makes at each of its places is told once, by the path."""
        lines = list(dict.fromkeys(self.mistakes))
        for path, places in self.spread:
            starts = [": ".join(part for part in (self.where(keys), show(keys)) if part) for keys in places]
            ends = [{line.removeprefix(start) for line in lines if line.startswith(start)} for start in starts]
            for end in sorted(set.intersection(*ends)):
                if end.startswith((":", ".")):
                    one = ": ".join(part for part in (self.where(places[0]), f"{path}{end}") if part)
                    lines[lines.index(starts[0] + end)] = f"{one} ({len(places)} stages)"
                    lines = [line for line in lines if line not in {start + end for start in starts}]
        return lines
