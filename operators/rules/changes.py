"""The smallest change of one feature, and of what goes with it, that would take a shopper into a segment or out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from operators.rules.acts import Move, move_of
from operators.rules.crossings import crossings
from operators.rules.plain import Features, number_of, truth, with_scores
from operators.rules.read import Rule, Rules
from operators.rules.tree import Clause, Compare, Constant, Number, TextIn, clauses, inside, leaves, numerics
from operators.rules.vocabulary import ATTRIBUTE, SCORE
from operators.rules.wording import (
    becomes,
    bounds_of,
    can_move,
    is_recency,
    is_whole,
    moved,
    only_grows,
    size_of,
    step_of,
)
from state.features import Feature

TOLD_COST = 100.0
"""A text or an attribute that becomes another one is told only where no act would do, or a hundred would."""

OTHER = "(other)"
"""Stands for whatever text no rule names."""

_PIECES_MAX = 256
_STEPS_MAX = 1e15  # farther away a float64 knows no single steps


@dataclass(frozen=True, slots=True)
class Change:
    """One feature of a shopper from `before` (None: there is none) to `after`, told in `sentence`.

    With `changed`, which is `after` in place of `before` and what goes with it (`operators.rules.acts`), the rule is
    true where it was not, or no longer true where it was. `cost` is the way in steps of about one act; see
    `wording.size_of`.
    """

    feature: str
    before: Any
    after: Any
    sentence: str
    cost: float
    changed: dict[str, Any] = field(default_factory=dict)


def smallest_change(rules: Rules, name: str, features: Features) -> Change | None:
    """The smallest change of one feature that flips the rule of segment `name` for a shopper; None where there is none.

    It is a change that acts could make now, with all that they bring with them; every other feature stays as it is.
    Counts of acts rise by whole steps, money moves by cents, shares by hundredths; times since the last act only to 0
    (an act now) or up. Of two equally small ones it is the feature that stands first. `hold` has no part in it. Every
    change is tried before it is told.
    """
    rule = rules.by_name[name]
    within = _clauses(rules, rule)
    held = truth(rule.condition, with_scores(rules, features)) is True

    def flips(changed: Mapping[str, Any]) -> bool:
        return (truth(rule.condition, with_scores(rules, {**features, **changed})) is True) != held

    found: Change | None = None
    for leaf in dict.fromkeys(
        one.name for clause in within for one in leaves(clause) if not one.name.startswith(SCORE)
    ):
        feature = rules.vocabulary.feature(leaf)
        for change in _candidates(rules, within, feature, features):
            if (found is None or change.cost < found.cost) and flips(change.changed):
                found = change
    return found


def _clauses(rules: Rules, rule: Rule) -> list[Clause]:
    """The clauses that a rule depends on, each once, in the order of writing; then those of the scores it uses."""
    scored = {one.score_name: one for one in rules.scored}
    seen: dict[Clause, None] = {}
    waiting, done = [rule.condition], set[str]()
    while waiting:
        condition = waiting.pop(0)
        seen.update((clause, None) for clause, _ in clauses(condition))
        used = {leaf.name for leaf in leaves(condition)} & scored.keys() - done
        for score in (name for name in scored if name in used):
            done.add(score)
            waiting += [part.condition for part in scored[score].score]
    return list(seen)


def _candidates(rules: Rules, within: list[Clause], feature: Feature, features: Features) -> Iterator[Change]:
    """Changes of one feature that may flip a rule, not yet tried."""
    name, before = feature.name, features.get(feature.name)
    before = None if isinstance(before, float) and math.isnan(before) else before
    texts = [
        value for clause in within if isinstance(clause, TextIn) and clause.of.name == name for value in clause.values
    ]
    attribute = name.startswith(ATTRIBUTE)
    if texts or attribute or name.startswith("favourite_"):
        for value in dict.fromkeys([*texts, OTHER]):
            if value != before:
                yield Change(name, before, value, _text_told(feature, value, texts), TOLD_COST, {name: value})
    absent = next((n.absent for c in within for n in _numbers(c, name)), None)
    current = number_of(before, absent)
    if not any(True for clause in within for _ in _numbers(clause, name)):
        return
    if attribute:
        for after in _attribute_values(rules, within, name, features):
            if after != before or isinstance(after, bool) != isinstance(before, bool):
                yield Change(name, before, after, becomes(feature, after), TOLD_COST, {name: after})
    elif current is not None and can_move(feature, features):
        for rising in (True,) if only_grows(feature) and not is_recency(feature) else (True, False):
            move = move_of(feature, features, rising)
            for near in _near(feature, current, rising, _points(rules, within, name, features, move)):
                cost = 1.0 if is_recency(feature) and not rising else abs(near - current) / size_of(feature)
                whole = is_whole(feature) and isinstance(before, int) and near.is_integer()
                after = int(near) if whole else near
                changed = move.to(features, name, after)
                yield Change(name, before, after, moved(feature, current, after), cost, changed)


def _text_told(feature: Feature, value: str, texts: list[str]) -> str:
    if value != OTHER:
        return becomes(feature, value)
    if not texts:
        return f"{feature.name} becomes known"
    return f"{feature.name} becomes other than {' and '.join(map(repr, texts))}"


def _numbers(clause: Clause, name: str) -> Iterator[Number]:
    for number in numerics(clause):
        yield from (one for one in inside(number) if isinstance(one, Number) and one.name == name)


def _attribute_values(rules: Rules, within: list[Clause], name: str, features: Features) -> list[Any]:
    for clause in within:
        boolean = isinstance(clause, Compare) and isinstance(clause.right, Constant) and clause.right.boolean
        if boolean and any(True for _ in _numbers(clause, name)):
            return [True, False]
    points = sorted(_points(rules, within, name, features, Move((), {}))) or [0.0]
    return [value + 0.0 for point in points for value in (point, point - 1, point + 1)]  # never -0.0


def _points(rules: Rules, within: list[Clause], name: str, features: Features, move: Move) -> set[float]:
    """Values of a feature, with what goes with it, at which the truth of a clause changes, where scores that depend on
    it change too.

    Between two of these the scores are constant; so scores are taken as they are in each piece.
    """
    own = number_of(features.get(name)) or 0.0
    moving = {name: 0.0, **{other: features[other] - own for other in move.alike}}
    about = [c for c in within if any(leaf.name in moving or leaf.name.startswith(SCORE) for leaf in leaves(c))]
    found: set[float] = set()
    while True:
        ends = sorted(found)[:_PIECES_MAX]
        middles = [(a + b) / 2 for a, b in pairwise(ends)]
        tried = [features.get(name), *ends, *middles, *([ends[0] - 1, ends[-1] + 1] if ends else [])]
        more: set[float] = set()
        for value in tried:
            known = with_scores(rules, {**features, **_so_far(move, features, name, value)})
            for clause in about:
                more |= crossings(clause, moving, known)
        if more <= found or len(found) > _PIECES_MAX or not rules.scored:
            return found | more
        found |= more


def _so_far(move: Move, features: Features, name: str, value: Any) -> dict[str, Any]:
    return {name: value, **move.once} if number_of(value) is None else move.to(features, name, value)


def _near(feature: Feature, current: float, rising: bool, points: set[float]) -> Iterator[float]:
    """Values worth trying, above the current one or below it: the steps around each point, counted from the current
    value, and the point itself; and one act, for what only comes with it."""
    step, (least, most) = step_of(feature), bounds_of(feature, rising)
    if is_recency(feature) and not rising:
        if current != 0:
            yield 0.0
        return
    if is_recency(feature) and current < 0:  # who never did it has nothing to wait for
        return
    for point in [*([current] if feature.unit in ("events", "orders") else []), *sorted(points)]:
        way = (point - current) / step
        steps = range(math.floor(way) - 1, math.floor(way) + 3) if abs(way) < _STEPS_MAX else ()
        values = [round(current + n * step, 9) for n in steps]
        if not is_whole(feature):
            values.append(point + 0.0)
        for value in values:
            if value != current and least <= value <= most and (value > current) == rising:
                yield value
