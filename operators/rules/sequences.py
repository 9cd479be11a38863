"""Rules by sequence: who did this, then that, within a span of time, whatever lay between.

A step names a type of event (or a declared custom event) and may ask something of it: "view category = 'shoes'". A
shopper is in the segment as long as a whole run of the steps lies within the span; with `stuck_at`, as long as a run of
so many of them does, that went no further.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from operators.rules.durations import duration_ms
from operators.rules.errors import RuleError, said
from operators.rules.parse import parse_condition
from operators.rules.tree import And, Between, Compare, Condition, Constant, In, Not, Number, Text, TextIn
from operators.rules.vocabulary import Kind, Vocabulary, did_you_mean
from state.batches import KINDS
from state.features import Feature

STEPS_MAX = 8
"""The most steps of a sequence."""

SEQUENCES_MAX = 16
"""The most sequences of a shop."""

TYPES = ("view", "click", "search", "add_to_cart", "remove_from_cart", "wishlist", "purchase")
TEXTS = ("item_id", "category", "device", "channel", "country")
NUMBERS = ("price", "quantity", "value")
_EXAMPLE = "\"view category = 'shoes'\""


@dataclass(frozen=True, slots=True)
class Test:
    """What a step asks of one field of an event: a number, or a text that is one of several (`is_in`) or none of
    them."""

    field: str
    operator: str = ""
    number: float = 0.0
    texts: tuple[str, ...] = ()
    is_in: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """A type of event, the name of a custom one ("" for the others), and what is asked of it."""

    kind: int
    custom: str
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Steps in order, all within `within_ms` of the first; `stuck_at` how many were done and no more (0: all)."""

    steps: tuple[Step, ...]
    within_ms: int
    stuck_at: int
    text: str

    @property
    def digest(self) -> int:
        """32 bits that are others for another sequence: what was done of it does not count for this one."""
        return zlib.crc32(f"{self.text} {self.within_ms}".encode())


class _EventVocabulary(Vocabulary):
    """The fields of an event that a step can ask for."""

    def kind(self, name: str, place: str) -> Kind:
        if name in TEXTS:
            return "text"
        if name in NUMBERS:
            return "number"
        names = (*TEXTS, *NUMBERS)
        hint = did_you_mean(name, names)
        raise RuleError(place, f'unknown field "{name}" of an event{hint} (there are {", ".join(names)})')

    def feature(self, name: str) -> Feature:
        return Feature(name, "text" if name in TEXTS else "value", "", name, "events")


def read_sequence(rule: Mapping[str, Any], place: str, custom_names: Iterable[str]) -> Sequence:
    """The sequence of a segment's table. Raises RuleError."""
    told = rule["sequence"]
    shape = f'write a list of steps, such as [{_EXAMPLE}, "purchase"]'
    if not isinstance(told, list | tuple) or not told:
        raise RuleError(f"{place}.sequence", f"{told!r} is no sequence; {shape}")
    if not 2 <= len(told) <= STEPS_MAX:
        raise RuleError(f"{place}.sequence", f"has {len(told)} steps; 2 to {STEPS_MAX} can be")
    customs = tuple(custom_names)
    steps = tuple(_step(step, f"{place}.sequence[{k}]", customs) for k, step in enumerate(told))
    if "within" not in rule:
        raise RuleError(
            place, 'has a sequence but no within; add the time from its first to its last step, such as "7d"'
        )
    stuck_at = rule.get("stuck_at", 0)
    if "stuck_at" in rule and (isinstance(stuck_at, bool) or not isinstance(stuck_at, int)):
        raise RuleError(f"{place}.stuck_at", f"{said(stuck_at)} is no number of steps; write 1 to {len(steps) - 1}")
    if "stuck_at" in rule and not 1 <= stuck_at < len(steps):
        raise RuleError(f"{place}.stuck_at", f"is {stuck_at}; of {len(steps)} steps 1 to {len(steps) - 1} can be it")
    return Sequence(steps, duration_ms(rule["within"], f"{place}.within"), stuck_at, " then ".join(told))


def _step(told: object, place: str, customs: tuple[str, ...]) -> Step:
    if not isinstance(told, str) or not told.strip():
        raise RuleError(
            place, f"{told!r} is no step; write a type of event and what is asked of it, such as {_EXAMPLE}"
        )
    name, _, asked = told.strip().partition(" ")
    if name not in TYPES and name not in customs:
        known = (*TYPES, *customs)
        told = f"there are {', '.join(known)}; events.custom_names declares more"
        raise RuleError(place, f'unknown type of event "{name}"{did_you_mean(name, known)} ({told})')
    kind, custom = (KINDS.index(name), "") if name in TYPES else (KINDS.index("custom"), name)
    if not asked.strip():
        return Step(kind, custom, ())
    condition = parse_condition(asked.strip(), place, _EventVocabulary())
    return Step(kind, custom, tuple(_tests(condition, place)))


def _tests(condition: Condition, place: str) -> list[Test]:
    match condition:
        case And(parts):
            return [test for part in parts for test in _tests(part, place)]
        case TextIn(Text(name), values):
            return [Test(name, texts=values)]
        case Not(TextIn(Text(name), values)):
            return [Test(name, texts=values, is_in=False)]
        case Compare(sign, Number(name), Constant(value)):
            return [Test(name, sign, value)]
        case Compare(sign, Constant(value), Number(name)):
            return [Test(name, {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign), value)]
        case Between(Number(name), Constant(low), Constant(high)):
            return [Test(name, ">=", low), Test(name, "<=", high)]
        case In(Number(name), (value,)):
            return [Test(name, "=", value)]
    raise RuleError(place, "asks more than a step can; write comparisons of one field with a literal, joined by AND")
