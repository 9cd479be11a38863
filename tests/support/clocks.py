"""Clocks that are set by hand."""

from __future__ import annotations


class Clock:
    """Seconds, moved on by whoever holds it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
