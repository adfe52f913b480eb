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
