"""What a ruleset asks for: columns, thresholds, how long members are held."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rule_expressions import NUMBERS, conditions, shoppers

from operators.rules.plain import evaluate_reference
from operators.rules.ruleset import Ruleset
from state.hashing import hash_text


def test_columns_are_the_features_the_rules_ask_for_and_no_others() -> None:
    """In the order in which they are first mentioned; an attribute of which no type is known stands in both."""
    ruleset = Ruleset.of(
        {
            "engaged": {
                "score": {"recency": ["recency_days < 7", 3], "sessions": ["sessions_total > 10", 1]},
                "at_least": 3,
            },
            "brand": {"where": "favourite_brand = 'x' AND attribute_age > 3 AND attribute_note IS NULL", "hold": "90m"},
            "fans": {"where": "score_engaged > 1 AND views_7d > 1 AND device_phone_share > 0.5"},
        }
    )
    assert ruleset.names == ("engaged", "brand", "fans")
    assert ruleset.scores == ("score_engaged",)
    assert set(ruleset.numbers) == {
        "recency_days",
        "sessions_total",
        "attribute_age",
        "attribute_note",
        "views_7d",
        "device_phone_share",
    }
    assert ruleset.texts == ("favourite_brand", "attribute_note")
    assert ruleset.hold_ms.tolist() == [0, 5_400_000, 0]
    absents = dict(zip(ruleset.numbers, ruleset.absents.tolist(), strict=True))
    assert absents.pop("device_phone_share") == 0.0
    assert all(map(math.isnan, absents.values()))


def test_rows_hold_numbers_and_hashes_and_say_what_is_missing() -> None:
    """nan and 0 are NULL; true is 1; a text where a number is wanted is NULL, and the other way round."""
    ruleset = Ruleset.of(
        {"a": {"where": "attribute_a > 1 AND attribute_b = 'x' AND attribute_a = 'y' AND device_tv_share > 0.1"}}
    )
    numbers, texts = ruleset.rows(
        [{"attribute_a": True, "attribute_b": "x"}, {"attribute_a": "y", "attribute_b": 3}, {}]
    )
    assert (ruleset.numbers, ruleset.texts) == (("attribute_a", "device_tv_share"), ("attribute_b", "attribute_a"))
    np.testing.assert_array_equal(numbers, [[1.0, 0.0], [math.nan, 0.0], [math.nan, 0.0]])
    assert texts.tolist() == [[hash_text("x"), 0], [0, hash_text("y")], [0, 0]]


def test_thresholds_are_what_a_feature_is_compared_with() -> None:
    """Sorted, once each, from every rule and score; None for what is calculated with."""
    ruleset = Ruleset.of(
        {
            "a": {"where": "purchases_7d >= 3 OR 5 < purchases_7d OR purchases_7d BETWEEN 1 AND 3 OR views_7d IS NULL"},
            "b": {"score": {"x": ["purchases_7d IN (4, 2)", 1], "y": ["NOT spend_30d < -2.5", 1]}, "at_least": 1},
            "c": {"where": "spend_7d / NULLIF(carts_7d, 0) > 3 OR carts_7d > 3 OR -clicks_7d < score_b + events_total"},
            "d": {"where": "searches_7d > searches_30d"},
        }
    )
    assert ruleset.thresholds == {
        "purchases_7d": (1, 2, 3, 4, 5),
        "views_7d": (),
        "spend_30d": (-2.5,),
        **dict.fromkeys(("spend_7d", "carts_7d", "clicks_7d", "events_total", "searches_7d", "searches_30d")),
    }


@settings(max_examples=100, deadline=None)
@given(conditions, conditions, shoppers, st.sampled_from(NUMBERS), st.data())
def test_no_rule_changes_while_a_value_stays_between_its_thresholds(
    one: str, other: str, features: dict[str, Any], moved: str, data: st.DataObject
) -> None:
    """So whoever keeps the rules' answers has to ask again only when a threshold is crossed."""
    table = {"a": {"where": one}, "b": {"score": {"x": [other, 2]}, "at_least": 1}, "c": {"where": "score_b > 1"}}
    ruleset = Ruleset.of(table)
    thresholds = ruleset.thresholds.get(moved, ())
    assume(thresholds is not None)
    before = features[moved] if isinstance(features[moved], int | float) else None
    assume(before is not None and not math.isnan(before))

    def position(value: float) -> list[int]:
        return [int(value > bound) - int(value < bound) for bound in thresholds or ()]

    after = data.draw(st.floats(-2000, 2000, allow_nan=False).filter(lambda v: position(v) == position(before)))
    assert evaluate_reference(ruleset.rules, features) == evaluate_reference(ruleset.rules, {**features, moved: after})
