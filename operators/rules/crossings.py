"""Where the truth of a clause can change as one feature moves and all others stay: roots of what is compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.polynomial import polynomial

from operators.rules.plain import Features, number_of
from operators.rules.tree import (
    Arithmetic,
    Between,
    Clause,
    Compare,
    Constant,
    In,
    Negative,
    NullIf,
    Number,
    Numeric,
    inside,
    numerics,
)

Moving = Mapping[str, float]
"""The features that move: by how much each is more than the one of which there is talk, whose own is 0."""

Ratio = tuple[np.ndarray, np.ndarray]
"""A ratio of two polynomials in the feature that moves: coefficients float64, lowest power first."""


def crossings(clause: Clause, moving: Moving, features: Features) -> set[float]:
    """Values of the feature that moves at which a clause may change, where some move by as much; all other features,
    scores among them, stay as they are.

    What a clause computes is a ratio of polynomials in one feature, so these are the roots of a polynomial. A value
    over 1e300 is taken to have none.
    """
    pairs: list[tuple[Numeric, Numeric]] = []
    if isinstance(clause, In):
        pairs = [(clause.of, Constant(value)) for value in clause.values]
    elif isinstance(clause, Between):
        pairs = [(clause.of, clause.low), (clause.of, clause.high)]
    elif isinstance(clause, Compare):
        pairs = [(clause.left, clause.right)]
    every = [one for number in numerics(clause) for one in inside(number)]
    pairs += [(one.of, Constant(one.value)) for one in every if isinstance(one, NullIf)]
    pairs = [pair for pair in pairs if any(_mentions(side, moving) for side in pair)]
    return {root for pair in pairs for root in _meetings(*pair, moving, features)}


def _mentions(number: Numeric, moving: Moving) -> bool:
    return any(isinstance(one, Number) and one.name in moving for one in inside(number))


def _meetings(left: Numeric, right: Numeric, moving: Moving, features: Features) -> list[float]:
    """Where two numbers are equal."""
    one, other = _ratio(left, moving, features), _ratio(right, moving, features)
    if one is None or other is None:
        return []
    difference: np.ndarray
    with np.errstate(all="ignore"):
        difference = polynomial.polysub(polynomial.polymul(one[0], other[1]), polynomial.polymul(other[0], one[1]))
        difference = polynomial.polytrim(difference)
        if len(difference) < 2 or not np.isfinite(difference).all() or np.abs(difference).max() > 1e300:
            return []
        if len(difference) == 2:  # the usual case, to the last digit
            return [float(-difference[0] / difference[1])]
        roots = polynomial.polyroots(difference)
    real = roots.real[np.abs(roots.imag) <= 1e-9 * (1 + np.abs(roots.real))]
    return [float(root) for root in real]


def _ratio(number: Numeric, moving: Moving, features: Features) -> Ratio | None:
    """A number as a ratio in the feature that moves; None where another feature makes it NULL."""
    one = np.ones(1)
    match number:
        case Constant(value):
            return np.array([value]), one
        case Number(own, absent):
            if own in moving:
                return np.array([moving[own], 1.0]), one
            found = number_of(features.get(own), absent)
            return None if found is None else (np.array([found]), one)
        case Negative(of):
            inner = _ratio(of, moving, features)
            return None if inner is None else (-inner[0], inner[1])
        case NullIf(of):
            return _ratio(of, moving, features)
        case Arithmetic(sign, left, right):
            a, b = _ratio(left, moving, features), _ratio(right, moving, features)
            return None if a is None or b is None else _combined(sign, a, b)


def _combined(sign: str, a: Ratio, b: Ratio) -> Ratio:
    times, (p, q), (r, s) = polynomial.polymul, a, b
    with np.errstate(all="ignore"):
        if sign == "*":
            return times(p, r), times(q, s)
        if sign == "/":
            return times(p, s), times(q, r)
        add = polynomial.polyadd if sign == "+" else polynomial.polysub
        return add(times(p, s), times(r, q)), times(q, s)
