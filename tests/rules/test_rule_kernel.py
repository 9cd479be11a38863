"""The kernel, the plain reference and SQLite mean the same by every rule, for every shopper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_expressions import conditions, shoppers, sqlite_rows

from operators.kernels.rules import BLOCK, STACK_MAX, evaluate_one
from operators.rules.plain import evaluate_reference, truth
from operators.rules.ruleset import Ruleset

rows = st.lists(shoppers, min_size=1, max_size=6)


def _kernel(ruleset: Ruleset, of: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """(out, points) as the kernel fills them, for many and for one alike; what stood there before is not to matter."""
    numbers, texts = ruleset.rows(of)
    out = np.full((len(of), len(ruleset.names)), 9, np.uint8)
    points = np.full((len(of), len(ruleset.scores)), 9.0)
    ruleset.evaluate(numbers, texts, out, points)
    places = np.arange(len(ruleset.names))[::-1] * 3
    values, truths = np.full(STACK_MAX, 9.0), np.full(STACK_MAX, 9)
    for row, words, members, told in zip(numbers, texts, out, points, strict=True):
        own = np.full(len(ruleset.scores), 9.0)
        bits = evaluate_one(*ruleset.programs, row, words, places, own, values, truths)
        assert bits == sum(1 << int(place) for place in places[members == 1])
        assert own.tolist() == told.tolist()
    return out, points


@settings(max_examples=100, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=4), rows)
def test_kernel_reference_and_sqlite_agree_on_every_condition(texts: list[str], of: list[dict[str, Any]]) -> None:
    """Whoever SQLite finds the condition true for, and nobody else; the reference also tells false from unknown."""
    ruleset = Ruleset.of({f"r{n}": {"where": text} for n, text in enumerate(texts)})
    expected = sqlite_rows(texts, of)
    out, _ = _kernel(ruleset, of)
    assert out.tolist() == [[int(bool(value)) for value in row] for row in expected]
    for features, row in zip(of, expected, strict=True):
        plain = [truth(rule.condition, features) for rule in ruleset.rules.by_name.values()]
        assert plain == [None if value is None else bool(value) for value in row]


@settings(max_examples=60, deadline=None)
@given(conditions, conditions, conditions, st.sampled_from([2, -1.5, 0.25]), rows)
def test_kernel_reference_and_sqlite_agree_on_scores(
    one: str, other: str, third: str, points: float, of: list[dict[str, Any]]
) -> None:
    """Points are given where a condition is true; another score and another rule may use them, whatever the order."""
    ruleset = Ruleset.of(
        {
            "user": {"where": f"score_second > 1.5 OR {third}"},
            "second": {"score": {"a": ["score_first >= 3", 2], "b": [other, points]}, "at_least": 2},
            "first": {"score": {"a": [one, 3], "b": [other, points]}, "at_least": 3},
        }
    )
    first = f"CASE WHEN {one} THEN 3.0 ELSE 0.0 END + CASE WHEN {other} THEN {points} ELSE 0.0 END"
    second = f"CASE WHEN {first} >= 3 THEN 2.0 ELSE 0.0 END + CASE WHEN {other} THEN {points} ELSE 0.0 END"
    asked = [f"({second}) > 1.5 OR {third}", f"({second}) >= 2", f"({first}) >= 3", first, second]
    expected = sqlite_rows(asked, of)
    out, found = _kernel(ruleset, of)
    assert ruleset.scores == ("score_first", "score_second")
    assert out.tolist() == [[int(bool(value)) for value in row[:3]] for row in expected]
    assert found.tolist() == [list(row[3:]) for row in expected]
    for features, row, scores in zip(of, out.tolist(), found.tolist(), strict=True):
        held, told = evaluate_reference(ruleset.rules, features)
        assert (list(map(int, held.values())), list(told.values())) == (row, scores)


@pytest.mark.parametrize("n", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_a_shopper_is_judged_alike_wherever_in_a_batch(n: int) -> None:
    """Blocks meet without a seam, and a batch of none is none."""
    of = [{"purchases_7d": i % 5, "favourite_brand": "ab"[i % 2], "views_7d": i % 3} for i in range(n)]
    ruleset = Ruleset.of(
        {
            "a": {"where": "purchases_7d / NULLIF(views_7d, 0) >= 2 OR favourite_brand = 'a'"},
            "b": {"score": {"x": ["purchases_7d > 1", 2], "y": ["views_7d = 0", -1]}, "at_least": 2},
        }
    )
    out, points = _kernel(ruleset, of)
    told = [evaluate_reference(ruleset.rules, features) for features in of]
    assert out.tolist() == [[int(held[name]) for name in ruleset.names] for held, _ in told]
    assert points.tolist() == [[scores["score_b"]] for _, scores in told]


def test_no_rules_ask_for_nothing() -> None:
    """A shop may have none."""
    out, points = _kernel(Ruleset.of({}), [{}, {}])
    assert (out.shape, points.shape) == ((2, 0), (2, 0))


def test_the_deepest_condition_that_is_let_through_fits_the_stacks() -> None:
    """Parentheses to the right pile up truths, arithmetic to the right numbers."""
    truths = "purchases_7d > 0" + " AND (views_7d > 0 OR (purchases_7d > 1" * 22 + "))" * 22
    sums = "purchases_7d + (1 + " * 1 + "(views_7d - " * 40 + "1" + ")" * 41 + " > 0"
    ruleset = Ruleset.of({"a": {"where": truths}, "b": {"where": sums}})
    of = [{"purchases_7d": 2, "views_7d": 3}, {"purchases_7d": 0, "views_7d": 0}]
    out, _ = _kernel(ruleset, of)
    held = [evaluate_reference(ruleset.rules, features)[0] for features in of]
    assert out.tolist() == [[int(one["a"]), int(one["b"])] for one in held]


@pytest.mark.parametrize("wrong", ["numbers", "texts", "out", "points"])
def test_arrays_of_another_shape_are_refused_before_the_kernel_sees_them(wrong: str) -> None:
    """It checks nothing, and would write past their ends."""
    ruleset = Ruleset.of(
        {
            "a": {"where": "purchases_7d > 1 AND favourite_brand = 'x'"},
            "b": {"score": {"x": ["views_7d > 1", 1]}, "at_least": 1},
        }
    )
    numbers, texts = ruleset.rows([{}, {}])
    arrays = {"numbers": numbers, "texts": texts, "out": np.zeros((2, 2), np.uint8), "points": np.zeros((2, 1))}
    ruleset.evaluate(**arrays)
    for bad in (arrays[wrong][:, :0], arrays[wrong].astype(np.float32), np.asfortranarray(np.ones((2, 3)))):
        with pytest.raises(ValueError, match=wrong):
            ruleset.evaluate(**{**arrays, wrong: bad})
