"""What a rule that cannot be used is refused with."""

from __future__ import annotations


class RuleError(ValueError):
    """A rule cannot be used. The text is one line: where ("segments.loyal.where"), what was found, what to do.

    `place` and `text` are the two parts of it, for whoever puts the name of a file before them.
    """

    def __init__(self, place: str, text: str) -> None:
        self.place, self.text = (" ".join(part.split()) for part in (place, text))  # a name may have line ends in it
        super().__init__(f"{self.place}: {self.text}")


def said(value: object) -> str:
    """A value that is no text as TOML spells it."""
    return str(value).lower() if isinstance(value, bool) else repr(value)
