"""What rules mean, in plain Python over the features of one shopper: the reference that the kernel is held against.

Features are a dict by name as `coterie show` tells them; a name that is missing, None and nan are NULL. NULL makes a
comparison unknown (None), and a rule counts only where it is true, as in SQL.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

from operators.rules.read import Rules
from operators.rules.tree import (
    And,
    Arithmetic,
    Attribute,
    Between,
    Compare,
    Condition,
    Constant,
    Fixed,
    In,
    IsNull,
    Negative,
    Not,
    NullIf,
    Number,
    Numeric,
    Or,
    Text,
    TextIn,
)

Features = Mapping[str, Any]

_OPERATORS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def truth(condition: Condition, features: Features) -> bool | None:
    """Is a condition true, false or unknown (None) of a shopper? Scores are features here: see `with_scores`."""
    match condition:
        case Fixed(value):
            return value
        case Not(of):
            inner = truth(of, features)
            return None if inner is None else not inner
        case And(parts) | Or(parts):
            found = {truth(part, features) for part in parts}
            decides = isinstance(condition, Or)  # one that is true decides an OR, one that is false an AND
            return decides if decides in found else None if None in found else not decides
        case Compare(sign, left, right):
            return _compare(sign, number(left, features), number(right, features))
        case Between(of, low, high):
            return truth(And((Compare(">=", of, low), Compare("<=", of, high))), features)
        case In(of, values):
            found_number = number(of, features)
            return None if found_number is None else found_number in values
        case TextIn(of, texts):
            text = _text(features, of.name)
            return None if text is None else text in texts
        case IsNull(Text(name)):
            return _text(features, name) is None
        case IsNull(Attribute(name)):
            return _text(features, name) is None and number_of(features.get(name)) is None
        case IsNull(of) if not isinstance(of, Text | Attribute):
            return number(of, features) is None
    return None


def number(node: Numeric, features: Features) -> float | None:
    """The value of a number; None: NULL."""
    match node:
        case Constant(value):
            return value
        case Number(name, absent):
            return number_of(features.get(name), absent)
        case Negative(of):
            inner = number(of, features)
            return None if inner is None else -inner
        case NullIf(of, value):
            inner = number(of, features)
            return None if inner == value else inner
        case Arithmetic(sign, left, right):
            one, other = number(left, features), number(right, features)
            return None if one is None or other is None else number_of(_OPERATORS[sign](one, other))


def number_of(value: Any, absent: float | None = None) -> float | None:
    """A feature's value as a number, true and false as 1 and 0; None: NULL, which text is too.

    `absent` is given for a feature that is missing.
    """
    if value is None:
        return absent
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else None


def _text(features: Features, name: str) -> str | None:
    value = features.get(name)
    return value if isinstance(value, str) else None


def _compare(sign: str, one: float | None, other: float | None) -> bool | None:
    return None if one is None or other is None else bool(_OPERATORS[sign](one, other))


def with_scores(rules: Rules, features: Features) -> dict[str, Any]:
    """A shopper's features and the points of every score, `score_NAME`."""
    known = dict(features)
    for rule in rules.scored:
        points = [part.points for part in rule.score if truth(part.condition, known)]
        known[rule.score_name] = sum(points, 0.0)
    return known


def evaluate_reference(rules: Rules, features: Features) -> tuple[dict[str, bool], dict[str, float]]:
    """The plain reference of `operators.kernels.rules.evaluate` for one shopper: who is in what, and the points."""
    known = with_scores(rules, features)
    held = {name: truth(rule.condition, known) is True for name, rule in rules.by_name.items()}
    return held, {rule.score_name: known[rule.score_name] for rule in rules.scored}
