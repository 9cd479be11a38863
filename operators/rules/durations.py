"""Spans of time as shops write them: a whole number and a unit, such as "90m"."""

from __future__ import annotations

import re

from operators.rules.errors import RuleError, said

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DURATION_MS_MAX = 366 * UNITS_MS["d"]


def duration_ms(text: object, place: str) -> int:
    """Milliseconds of "90m", "1h" or "7d": more than 0, at most DURATION_MS_MAX. Raises RuleError."""
    found = re.fullmatch(r"(\d{1,9})([a-z])", text.strip(), re.ASCII) if isinstance(text, str) else None
    if found is None or found[2] not in UNITS_MS:
        told = f'"{text}"' if isinstance(text, str) else said(text)
        raise RuleError(place, f'{told} is not a duration; write a whole number and s, m, h, d or w, such as "90m"')
    span = int(found[1]) * UNITS_MS[found[2]]
    if not 0 < span <= DURATION_MS_MAX:
        raise RuleError(place, f'"{text}" is out of range (1s to {DURATION_MS_MAX // UNITS_MS["d"]}d)')
    return span


def span_text(span_ms: int) -> str:
    """A span as one says it: "7 days", "1 hour", "90 minutes"."""
    for unit, name in (("d", "day"), ("h", "hour"), ("m", "minute"), ("s", "second")):
        if span_ms % UNITS_MS[unit] == 0:
            count = span_ms // UNITS_MS[unit]
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return f"{span_ms} milliseconds"
