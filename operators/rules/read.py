"""Reads the table of segments: every rule checked, or refused in one line with its place."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from operators.rules.durations import duration_ms
from operators.rules.errors import RuleError, said
from operators.rules.parse import parse_condition
from operators.rules.sequences import SEQUENCES_MAX, Sequence, read_sequence
from operators.rules.tree import (
    Compare,
    Condition,
    Constant,
    Fixed,
    In,
    Number,
    TextIn,
    clauses,
    condition_text,
    figure,
    inside,
    leaves,
    numerics,
)
from operators.rules.vocabulary import SCORE, Vocabulary
from state.features import Feature
from state.profile_table import RULE_STATES_MAX, RULES_MAX

SCORE_PARTS_MAX = 32
"""The most conditions of a score."""

WEIGHT_MAX = 1e6
"""The greatest weight of a condition of a score, above or below 0."""

HOLDS_MAX = RULE_STATES_MAX
"""The most segments with a hold."""

SIZE_MAX = 8_192
"""The most clauses, numbers and values in all rules together; a step or two of the kernel each."""

_KEYS = ("where", "score", "sequence", "at_least", "within", "stuck_at", "hold")
_KINDS = ("where", "score", "sequence")
_TAKEN = re.compile(r"s\d+|emerging|all")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class ScorePart:
    """One condition of a score: `points` are given where it is true."""

    name: str
    condition: Condition
    points: float


@dataclass(frozen=True, slots=True)
class Rule:
    """Who is in a segment: whoever `condition` is true for, and for `hold_ms` after it was so last.

    A rule by score has its conditions in `score`, and as `condition` that the points reach `at_least`; one by
    `sequence` has a condition that is never true: who is in it does not follow from features.
    """

    name: str
    condition: Condition
    hold_ms: int = 0
    score: tuple[ScorePart, ...] = ()
    sequence: Sequence | None = None

    @property
    def score_name(self) -> str:
        """What other rules call the points of this one."""
        return SCORE + self.name


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a shop by name, in the order of the table.

    `scored` are those with a score, in an order in which no score comes before one that it uses.
    """

    by_name: dict[str, Rule]
    scored: tuple[Rule, ...]
    vocabulary: Vocabulary

    def score_features(self) -> list[Feature]:
        """The points of each score as the feature that other rules know them by, in the order of the table."""
        return [
            replace(self.vocabulary.feature(rule.score_name), meaning=_points_told(rule))
            for rule in self.by_name.values()
            if rule.score
        ]

    def conditions(self) -> list[Condition]:
        """Every condition, those of scores among them."""
        return [
            *(rule.condition for rule in self.by_name.values()),
            *(p.condition for r in self.scored for p in r.score),
        ]


def read_rules(table: object, custom_names: Iterable[str] = (), context_names: Iterable[str] = ()) -> Rules:
    """The rules of a table {name: {"where": ..., "hold": ...}} as TOML gives it, at most RULES_MAX of them.

    `custom_names` and `context_names` are those a shop declares. Raises RuleError, one line that begins with the place
    ("segments.loyal.where") and says what to do.
    """
    if not isinstance(table, Mapping):
        raise RuleError("segments", f"{table!r} is not a table of rules; write [segments.NAME] and a line with where")
    if len(table) > RULES_MAX:
        raise RuleError("segments", f"there are {len(table)} segments; at most {RULES_MAX} can be, leave some out")
    for name, rule in table.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            told = "a name is a letter a to z, then up to 63 of a to z, 0 to 9 and _"
            raise RuleError(f"segments.{name}", f"is no name of a segment; {told}")
        if _TAKEN.fullmatch(name):
            raise RuleError(f"segments.{name}", "is what a segment that was found may be called; give it another name")
        _check_keys(rule, f"segments.{name}")
    scores = [name for name, rule in table.items() if "score" in rule]
    custom_names = tuple(custom_names)
    vocabulary = Vocabulary(custom_names, context_names, scores)
    rules = {name: _read(name, rule, vocabulary, custom_names) for name, rule in table.items()}
    holding = sum(rule.hold_ms > 0 for rule in rules.values())
    if holding > HOLDS_MAX:
        raise RuleError(
            "segments", f"there are {holding} segments with hold; at most {HOLDS_MAX} can be, leave some out"
        )
    sequences = sum(rule.sequence is not None for rule in rules.values())
    if sequences > SEQUENCES_MAX:
        raise RuleError("segments", f"there are {sequences} sequences; at most {SEQUENCES_MAX} can be, leave some out")
    made = Rules(rules, _in_order(rules), vocabulary)
    size = sum(map(_size, made.conditions()))
    if size > SIZE_MAX:
        told = f"the rules hold {size:,} clauses, numbers and values together, at most {SIZE_MAX:,}"
        raise RuleError("segments", f"{told}; shorten some, or leave them out")
    return made


def _points_told(rule: Rule) -> str:
    """What the points of a rule by score are given for, and from how many on a shopper is in its segment."""
    most, least = _bounds(rule.score)
    given = ", ".join(part.name for part in rule.score)
    at_least = f"in segments.{rule.name} is {condition_text(rule.condition)}"
    return f"points, {figure(least)} to {figure(most)}, for: {given}; {at_least}"


def _bounds(parts: tuple[ScorePart, ...]) -> tuple[float, float]:
    """The most and the fewest points that a score can give."""
    most, least = (math.fsum(part.points for part in parts if part.points * sign > 0) for sign in (1, -1))
    return most, least


def _size(condition: Condition) -> int:
    size = 0
    for clause, _ in clauses(condition):
        numbers = sum(1 for number in numerics(clause) for _ in inside(number))
        size += 1 + numbers * (len(clause.values) if isinstance(clause, In) else 1)
        size += len(clause.values) if isinstance(clause, TextIn) else 0
    return size


def _check_keys(rule: Any, place: str) -> None:
    if not isinstance(rule, Mapping):
        raise RuleError(place, f'{rule!r} is not a table; write {{where = "..."}}')
    for key in rule:
        if key not in _KEYS:
            close = difflib.get_close_matches(str(key), _KEYS, n=1, cutoff=0.5)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            told = "a segment has where, or score and at_least, or sequence and within; and hold"
            raise RuleError(f"{place}.{key}", f"unknown setting{hint} ({told})")
    kinds = [kind for kind in _KINDS if kind in rule]
    if len(kinds) > 1:
        raise RuleError(place, f"has {' and '.join(kinds)}; a segment has one of them, divide it into two")
    if not kinds:
        raise RuleError(place, "has neither where nor score nor sequence; add one of them")
    for key in ("within", "stuck_at"):
        if key in rule and kinds != ["sequence"]:
            raise RuleError(
                f"{place}.{key}", "belongs to a sequence; leave it out, or write sequence in place of where"
            )
    if "at_least" in rule and kinds != ["score"]:
        raise RuleError(f"{place}.at_least", "belongs to a score; leave it out, or write score in place of where")


def _read(name: str, rule: Mapping[str, Any], vocabulary: Vocabulary, custom_names: tuple[str, ...]) -> Rule:
    place = f"segments.{name}"
    hold_ms = duration_ms(rule["hold"], f"{place}.hold") if "hold" in rule else 0
    if "where" in rule:
        return Rule(name, parse_condition(rule["where"], f"{place}.where", vocabulary), hold_ms)
    if "sequence" in rule:
        return Rule(name, Fixed(False), hold_ms, sequence=read_sequence(rule, place, custom_names))
    parts = _score(rule["score"], f"{place}.score", vocabulary)
    if "at_least" not in rule:
        raise RuleError(place, "has a score but no at_least; add the points from which on a shopper is in it")
    at_least = _points(rule["at_least"], f"{place}.at_least")
    most, least = _bounds(parts)
    if at_least > most:
        told = f"{figure(at_least)} can never be reached, the conditions give at most {figure(most)}"
        raise RuleError(f"{place}.at_least", f"{told}; lower it")
    if at_least <= least:
        told = f"{figure(at_least)} is reached by everyone, also where no condition holds"
        raise RuleError(f"{place}.at_least", f"{told}; raise it above {figure(least)}")
    return Rule(name, Compare(">=", Number(SCORE + name), Constant(at_least)), hold_ms, parts)


def _score(score: Any, place: str, vocabulary: Vocabulary) -> tuple[ScorePart, ...]:
    shape = '{recency = ["recency_days < 7", 3]}: a condition and its points for each name'
    if not isinstance(score, Mapping) or not score:
        raise RuleError(place, f"{score!r} is no score; write {shape}")
    if len(score) > SCORE_PARTS_MAX:
        raise RuleError(place, f"has {len(score)} conditions; at most {SCORE_PARTS_MAX} can be, leave some out")
    parts = []
    for name, pair in score.items():
        at = f"{place}.{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RuleError(at, "is no name of a condition; a name is a letter a to z, then a to z, 0 to 9 and _")
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RuleError(at, f"{pair!r} is not a condition and its points; write {shape}")
        condition = parse_condition(pair[0], f"{at}[0]", vocabulary)
        points = _points(pair[1], f"{at}[1]")
        if points == 0:
            raise RuleError(f"{at}[1]", "is 0, so that the condition has no say; give it points, or leave it out")
        parts.append(ScorePart(name, condition, points))
    return tuple(parts)


def _points(value: Any, place: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -WEIGHT_MAX <= value <= WEIGHT_MAX:
        raise RuleError(
            place, f"{said(value)} is no number of points; give a number from -{WEIGHT_MAX:g} to {WEIGHT_MAX:g}"
        )
    return float(value)


def _in_order(rules: dict[str, Rule]) -> tuple[Rule, ...]:
    """Rules with a score, each behind those it uses. Raises RuleError for scores that use each other in a circle."""
    done: dict[str, Rule] = {}

    def visit(rule: Rule, path: tuple[str, ...]) -> None:
        for part in rule.score:
            for leaf in leaves(part.condition):
                used = rules[leaf.name.removeprefix(SCORE)] if leaf.name.startswith(SCORE) else None
                if used is not None and used.score_name in path:
                    circle = " -> ".join((*path[path.index(used.score_name) :], used.score_name))
                    place = f"segments.{rule.name}.score.{part.name}[0]"
                    raise RuleError(place, f"{used.score_name} uses itself ({circle}); take it out of one of them")
                if used is not None and used.name not in done:
                    visit(used, (*path, used.score_name))
        done[rule.name] = rule

    for rule in rules.values():
        if rule.score and rule.name not in done:
            visit(rule, (rule.score_name,))
    return tuple(done.values())
