"""What people are told of a rule: its clauses with their values, and the smallest change that flips it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_expressions import conditions, shoppers

from operators.rules.changes import Change, smallest_change
from operators.rules.explain import explain
from operators.rules.parse import parse_condition
from operators.rules.plain import evaluate_reference, truth, with_scores
from operators.rules.read import Rules, read_rules

ENGAGED = {
    "score": {
        "recency": ["recency_days BETWEEN 0 AND 7", 3],
        "frequency": ["purchases_30d >= 3", 2],
        "sessions": ["sessions_total > 10", 1],
    },
    "at_least": 5,
}


def _rules(condition: str, **others: dict[str, Any]) -> Rules:
    return read_rules({"a": {"where": condition}, **others}, ("review",))


def test_a_rule_is_explained_by_its_clauses_and_their_values() -> None:
    """In the order of writing; a clause under a NOT as its opposite; several features by name."""
    rules = _rules(
        "purchases_7d >= 3 AND NOT (hour_6_9_share > 0.5 OR favourite_brand IN ('x', 'y'))"
        " AND spend_30d / NULLIF(purchases_30d, 0) > 10 AND attribute_age IS NOT NULL"
    )
    features = {
        "purchases_7d": 4,
        "hour_6_9_share": 0.25,
        "favourite_brand": "x",
        "spend_30d": 30.0,
        "purchases_30d": 0,
    }
    assert explain(rules, "a", features) == [
        {"clause": "purchases_7d >= 3", "value": 4, "holds": True},
        {"clause": "hour_6_9_share <= 0.5", "value": 0.25, "holds": True},
        {"clause": "favourite_brand NOT IN ('x', 'y')", "value": "x", "holds": False},
        {
            "clause": "spend_30d / NULLIF(purchases_30d, 0) > 10",
            "value": {"spend_30d": 30.0, "purchases_30d": 0},
            "holds": None,
        },
        {"clause": "attribute_age IS NOT NULL", "value": None, "holds": False},
    ]


def test_a_score_is_explained_by_its_conditions_and_their_points() -> None:
    """And last by the bound; another rule sees the points as a value."""
    rules = _rules("score_engaged >= 3", engaged=ENGAGED)
    features = {"recency_days": 2.5, "purchases_30d": 1, "sessions_total": 12}
    assert explain(rules, "engaged", features) == [
        {"clause": "recency_days BETWEEN 0 AND 7", "value": 2.5, "holds": True, "points": 3.0},
        {"clause": "purchases_30d >= 3", "value": 1, "holds": False, "points": 2.0},
        {"clause": "sessions_total > 10", "value": 12, "holds": True, "points": 1.0},
        {"clause": "score_engaged >= 5", "value": 4.0, "holds": False},
    ]
    assert explain(rules, "a", features) == [{"clause": "score_engaged >= 3", "value": 4.0, "holds": True}]


@settings(max_examples=100, deadline=None)
@given(conditions, conditions, shoppers)
def test_a_clause_that_is_told_is_one_that_could_be_written(one: str, other: str, features: dict[str, Any]) -> None:
    """Read again it means the same, for this shopper; so do the conditions of a score."""
    rules = _rules(one, b={"score": {"x": [other, 1]}, "at_least": 1})
    for told in (*explain(rules, "a", features), *explain(rules, "b", features)):
        again = parse_condition(told["clause"], "again", rules.vocabulary)
        assert truth(again, with_scores(rules, features)) is told["holds"]


def _flipped(rules: Rules, name: str, features: dict[str, Any], change: Change) -> bool:
    before, _ = evaluate_reference(rules, features)
    after, _ = evaluate_reference(rules, {**features, **change.changed})
    return before[name] != after[name]


@pytest.mark.parametrize(
    ("condition", "features", "sentence"),
    [
        ("purchases_7d >= 3", {"purchases_7d": 2}, "one more purchase within 7 days"),
        ("purchases_7d >= 3", {"purchases_7d": 0}, "3 more purchases within 7 days"),
        ("purchases_7d >= 3", {"purchases_7d": 3}, None),  # no act takes one away
        ("items_bought_7d >= 3", {"items_bought_7d": 5}, "3 pieces bought fewer within 7 days"),
        ("views_1h > 2.5", {"views_1h": 0}, "3 more views within 1 hour"),
        ("views_24h <> 4", {"views_24h": 4}, "one more view within 24 hours"),
        ("spend_30d >= 50", {"spend_30d": 37.5}, "spend_30d up by 12.50"),
        ("spend_30d >= 50", {"spend_30d": 50.0}, "spend_30d down by 0.01"),
        ("category_focus > 0.5", {"category_focus": 0.42}, "category_focus up by 0.09"),
        ("custom_review_7d >= 1", {"custom_review_7d": 0}, "one more review event within 7 days"),
        ("purchases_total >= 2", {"purchases_total": 1}, "one more purchase"),
        ("purchases_total >= 2", {"purchases_total": 2}, None),
        ("sessions_total > 10", {"sessions_total": 8}, "3 more sessions"),
        ("active_days_30d >= 31", {"active_days_30d": 29}, None),
        ("session_minutes > 5", {"session_minutes": 0.0, "session_events": 0}, None),
        ("average_order_value > 5", {"average_order_value": 0.0, "purchases_total": 0}, None),
        ("active_days_30d >= 4", {"active_days_30d": 3}, "one more active day within 30 days"),
        ("carts_24h >= 1", {"carts_24h": 0}, "one more addition to the cart within 24 hours"),
        ("recency_days < 7", {"recency_days": 9.0}, "a purchase now"),
        ("searches_recency_days BETWEEN 0 AND 1", {"searches_recency_days": -1.0}, "a search now"),
        ("removals_recency_days = 0", {"removals_recency_days": 3.0}, "a removal from the cart now"),
        ("recency_days > 30", {"recency_days": 8.5}, "no purchases for another 21.6 days"),
        ("recency_days > 30", {"recency_days": -1.0}, None),
        ("days_known >= 30", {"days_known": 28.5}, "days_known up by 1.5"),
        ("cart_minutes >= 60", {"cart_minutes": 45.0}, "cart_minutes up by 15"),
        ("cart_minutes > 20000", {"cart_minutes": 0.0, "cart_items": 0}, None),
        ("cart_minutes > 20000", {"cart_minutes": 0.0, "cart_items": 1}, "cart_minutes up by 20001"),
        ("items_bought_7d < 0", {"items_bought_7d": 5}, None),
        ("spend_30d < 0", {"spend_30d": 0.0}, None),
        ("session_minutes < 5", {"session_minutes": 9.0}, None),
        ("views_24h > views_7d - 3", {"views_24h": 1, "views_7d": 7}, None),
        ("views_24h * 2 > views_7d", {"views_24h": 1, "views_7d": 7}, "6 more views within 24 hours"),
        ("views_7d >= 9 AND views_24h < 3", {"views_24h": 1, "views_7d": 7}, None),
        ("views_7d >= 9 AND views_24h <= 3", {"views_24h": 1, "views_7d": 7}, "2 more views within 7 days"),
        ("purchases_7d >= 2 AND purchases_total < 9", {"purchases_7d": 1, "purchases_total": 8}, None),
        ("recency_days < 7 AND purchases_7d = 0", {"recency_days": 9.0, "purchases_7d": 0}, None),
        ("cart_items > 0", {"cart_items": 2}, "2 pieces in the cart fewer"),
        (
            "spend_30d / NULLIF(purchases_30d, 0) > 45",
            {"spend_30d": 80.0, "purchases_30d": 2},
            "spend_30d up by 55.01",
        ),
        ("favourite_brand = 'x'", {"favourite_brand": "y"}, "favourite_brand becomes 'x'"),
        ("favourite_brand = 'x'", {"favourite_brand": "x"}, "favourite_brand becomes other than 'x'"),
        ("favourite_brand IS NOT NULL", {"favourite_brand": None}, "favourite_brand becomes known"),
        ("attribute_vip = TRUE", {"attribute_vip": False}, "attribute_vip becomes true"),
        ("attribute_age >= 18", {}, "attribute_age becomes 18"),
        ("device_phone_share > 0.3", {}, "device_phone_share up by 0.31"),
        (
            "purchases_30d / NULLIF(views_30d, 0) > 0.1",
            {"purchases_30d": 2, "views_30d": 30},
            "2 more purchases within 30 days",
        ),
        (
            "purchases_30d / NULLIF(views_30d, 0) > 0.1",
            {"purchases_30d": 20, "views_30d": 202},
            "one more purchase within 30 days",
        ),
        ("views_7d * views_7d >= 10", {"views_7d": 1}, "3 more views within 7 days"),
        (
            "spend_30d >= 1000 OR purchases_7d >= 3",
            {"spend_30d": 0.0, "purchases_7d": 1},
            "2 more purchases within 7 days",
        ),
        ("views_7d >= 3 AND purchases_7d = 0", {"views_7d": 2, "purchases_7d": 1}, None),
        ("views_7d < 0", {"views_7d": 2}, None),
        ("TRUE", {}, None),
    ],
)
def test_the_smallest_change_is_told_as_one_would_say_it(
    condition: str, features: dict[str, Any], sentence: str | None
) -> None:
    """Counts by whole steps, money by cents, an act now for a time since the last; None where no single one does."""
    rules = _rules(condition)
    change = smallest_change(rules, "a", features)
    assert (change.sentence if change else None) == sentence
    assert change is None or _flipped(rules, "a", features, change)


def test_points_of_a_score_move_with_what_they_come_from() -> None:
    """A change reaches a rule through the scores it uses, also where it calculates with them."""
    rules = _rules("score_engaged * 2 > views_7d + 3", engaged=ENGAGED, c={"where": "score_engaged >= 2"})
    features = {"recency_days": 9.0, "purchases_30d": 3, "sessions_total": 2, "views_7d": 9}
    sentences = {name: getattr(smallest_change(rules, name, features), "sentence", None) for name in rules.by_name}
    assert sentences == {
        "a": None,
        "engaged": "a purchase now",
        "c": None,
    }
    near = smallest_change(rules, "a", {**features, "views_7d": 6})
    assert near is not None and near.sentence == "a purchase now"


@settings(max_examples=100, deadline=None)
@given(conditions, conditions, shoppers)
def test_a_change_that_is_told_does_what_it_says(one: str, other: str, features: dict[str, Any]) -> None:
    """Whatever the rule and the shopper: with it the rule flips, and it is a change of one feature."""
    rules = _rules(f"score_b > 1 OR {one}", b={"score": {"x": [other, 2]}, "at_least": 1})
    for name in rules.by_name:
        change = smallest_change(rules, name, features)
        if change is not None:
            assert _flipped(rules, name, features, change)
            before = features[change.feature]
            assert change.before == (None if before != before else before)
            assert change.after != change.before or isinstance(change.after, bool)
            assert change.changed[change.feature] == change.after


_counts = st.sampled_from(["purchases_7d", "views_24h", "views_7d", "views_30d", "carts_7d"])
_small = st.integers(0, 8)
_simple = st.one_of(
    st.builds("{} {} {}".format, _counts, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), _small),
    st.builds(lambda name, low, more: f"{name} BETWEEN {low} AND {low + more}", _counts, _small, _small),
    st.builds("{} + {} >= {}".format, _counts, _counts, _small),
    st.builds("{} * {} > {} - {}".format, _counts, _counts, _small, _counts),
)
_joined = st.recursive(
    _simple,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner), inner.map("NOT {}".format)
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(_joined, _joined, _small, _small, _small, st.integers(1, 4))
def test_no_smaller_change_of_a_count_exists(
    one: str, other: str, purchases: int, views: int, carts: int, bound: int
) -> None:
    """Every number of acts of every kind is tried, one kind at a time: a view is one in every window."""
    rules = _rules(
        one,
        b={"score": {"x": [other, 2], "y": ["score_c > 0", 1], "z": ["carts_7d > 4", 1]}, "at_least": bound},
        c={"score": {"x": [one, 1]}, "at_least": 1},
    )
    features = {"views_24h": views // 2, "views_7d": views, "views_30d": views + 1}
    features |= {"purchases_7d": purchases, "carts_7d": carts}
    held, _ = evaluate_reference(rules, features)
    for name in rules.by_name:
        flips = [
            acts
            for measure in ("purchases", "views", "carts")
            for acts in range(1, 40)
            if evaluate_reference(rules, _acted(features, measure, acts))[0][name] != held[name]
        ]
        change = smallest_change(rules, name, features)
        assert (None if change is None else change.cost) == min(flips, default=None)


def _acted(features: dict[str, int], measure: str, acts: int) -> dict[str, int]:
    return {name: count + acts * name.startswith(measure) for name, count in features.items()}
