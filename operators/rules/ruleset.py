"""All rules of a shop, ready to be asked of many shoppers at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.kernels.rules import evaluate
from operators.rules.errors import RuleError
from operators.rules.plain import number_of
from operators.rules.programs import Programs, compile_rules
from operators.rules.read import Rules, read_rules
from operators.rules.tree import (
    Attribute,
    Between,
    Clause,
    Compare,
    Condition,
    Constant,
    In,
    IsNull,
    Number,
    Numeric,
    Text,
    clauses,
    inside,
    leaves,
    numerics,
)
from operators.rules.vocabulary import SCORE
from state.hashing import hash_text

_GROWING = ("recency_days", "cart_minutes")
"""How the names end of figures that grow while nothing happens."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The rules of a shop, compiled once. Immutable; made by `Ruleset.of`.

    names: the segments in the order of the table, the columns of `out`. scores: names of the scores (`score_engaged`),
    the columns of `points`. numbers, texts: the features that the rules ask for, the columns of `numbers` and `texts`;
    an attribute whose type is not known from its comparisons stands in both. absents float64[len(numbers)]: what stands
    for a number that a shopper does not have: nan (NULL), and 0 for the share of a value that is not kept.
    hold_ms int64[len(names)]: how long a member stays after the condition was true last, 0 where not at all.

    thresholds: for each of `numbers` the constants it is compared with, sorted and without repetition. As long as a
    value stays below, at or above each of them as it was (and NULL stays NULL), no rule changes by it. None: any change
    may matter, because the number is calculated with.
    """

    rules: Rules
    names: tuple[str, ...]
    scores: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    absents: np.ndarray
    hold_ms: np.ndarray
    thresholds: dict[str, tuple[float, ...] | None]
    programs: Programs

    @classmethod
    def of(cls, table: object, custom_names: Iterable[str] = (), context_names: Iterable[str] = ()) -> Ruleset:
        """The ruleset of a table of segments as TOML gives it. Raises RuleError; see `read_rules`."""
        rules = read_rules(table, custom_names, context_names)
        _check_calculations(rules)
        numbers, texts = _columns(rules.conditions())
        return cls(
            rules,
            names=tuple(rules.by_name),
            scores=tuple(rule.score_name for rule in rules.scored),
            numbers=tuple(numbers),
            texts=texts,
            absents=np.array([np.nan if absent is None else absent for absent in numbers.values()], np.float64),
            hold_ms=np.array([rule.hold_ms for rule in rules.by_name.values()], np.int64),
            thresholds=_thresholds(numbers, rules.conditions()),
            programs=compile_rules(rules, tuple(numbers), texts),
        )

    def rows(self, shoppers: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """(numbers float64[n, k], texts uint64[n, t]) of shoppers' features by name, as `evaluate` takes them."""
        numbers = np.empty((len(shoppers), len(self.numbers)), np.float64)
        texts = np.zeros((len(shoppers), len(self.texts)), np.uint64)
        for n, features in enumerate(shoppers):
            for c, (name, absent) in enumerate(zip(self.numbers, self.absents.tolist(), strict=True)):
                value = number_of(features.get(name), absent)
                numbers[n, c] = np.nan if value is None else value
            for c, name in enumerate(self.texts):
                text = features.get(name)
                texts[n, c] = hash_text(text) if isinstance(text, str) else 0
        return numbers, texts

    def evaluate(self, numbers: np.ndarray, texts: np.ndarray, out: np.ndarray, points: np.ndarray) -> None:
        """Fill out uint8[n, names] (1: the condition is true) and points float64[n, scores].

        numbers float64[n, numbers], nan for NULL; texts uint64[n, texts], hashes, 0 for NULL. Raises ValueError for
        arrays of another shape or type, which the kernel would read and write past their ends.
        """
        for what, array, kind, width in (
            ("numbers", numbers, np.float64, len(self.numbers)),
            ("texts", texts, np.uint64, len(self.texts)),
            ("out", out, np.uint8, len(self.names)),
            ("points", points, np.float64, len(self.scores)),
        ):
            if array.shape != (len(out), width) or array.dtype != kind or not array.flags.c_contiguous:
                told = f"{array.dtype}{list(array.shape)}, not {np.dtype(kind)}[{len(out)}, {width}] in C order"
                raise ValueError(f"{what}: is {told}")
        evaluate(*self.programs, numbers, texts, out, points)


def _check_calculations(rules: Rules) -> None:
    """Raise RuleError where a figure that grows by itself is calculated with: it would have to be asked for all the
    time."""
    for rule in rules.by_name.values():
        for condition in (rule.condition, *(part.condition for part in rule.score)):
            for clause, _ in clauses(condition):
                if _bounds(clause)[0]:
                    continue
                for one in (one for n in numerics(clause) for one in inside(n)):
                    if isinstance(one, Number) and one.name.endswith(_GROWING):
                        told = f'"{one.name}" grows with the time; compare it with a number, without calculating'
                        raise RuleError(f"segments.{rule.name}", told)


def _columns(conditions: Iterable[Condition]) -> tuple[dict[str, float | None], tuple[str, ...]]:
    """Numbers with what stands for an absent one, and texts, both in the order in which they are first mentioned."""
    numbers: dict[str, float | None] = {}
    texts: dict[str, None] = {}
    for condition in conditions:
        for leaf in leaves(condition):
            if isinstance(leaf, Text | Attribute):
                texts.setdefault(leaf.name)
            if isinstance(leaf, Number | Attribute) and not leaf.name.startswith(SCORE):
                numbers.setdefault(leaf.name, leaf.absent if isinstance(leaf, Number) else None)
    return numbers, tuple(texts)


def _thresholds(numbers: Iterable[str], conditions: Iterable[Condition]) -> dict[str, tuple[float, ...] | None]:
    found: dict[str, set[float] | None] = {name: set() for name in numbers}
    for condition in conditions:
        for clause, _ in clauses(condition):
            name, bounds = _bounds(clause)
            of_name = found.get(name)
            if of_name is not None:
                of_name.update(bounds)
            if not name:
                found.update((one.name, None) for n in numerics(clause) for one in inside(n) if isinstance(one, Number))
    return {name: None if found[name] is None else tuple(sorted(found[name] or ())) for name in numbers}


def _bounds(clause: Clause) -> tuple[str, tuple[float, ...]]:
    """A number and the constants that a clause compares it with; ("", ()) where it does more than that."""
    of: Numeric | Text | Attribute
    match clause:
        case Compare(_, Number() as of, Constant(value)) | Compare(_, Constant(value), Number() as of):
            return of.name, (value,)
        case Between(Number() as of, Constant(low), Constant(high)):
            return of.name, (low, high)
        case In(Number() as of, values):
            return of.name, values
        case IsNull(Number() | Text() | Attribute() as of):
            return of.name, ()
    return "", ()
