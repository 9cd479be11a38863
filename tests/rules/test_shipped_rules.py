"""The rules a shop has that writes none of its own: each has shoppers in it, and shoppers outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from operators.rules.ruleset import Ruleset
from operators.rules.shipped import SHIPPED

MORNING = {"purchases_30d": 3, "hour_6_12_share": 0.75}
EVENING = {"active_days_30d": 2, "purchases_30d": 0, "hour_18_24_share": 0.8}
LOOKER = {"views_7d": 3, "category_focus": 0.7, "purchases_30d": 0}
BEST = {"recency_days": 2.0, "purchases_30d": 5, "spend_30d": 420.0}
SHOPPERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "frequent_morning_buyers": (MORNING, {**MORNING, "hour_6_12_share": 0.4}),
    "infrequent_evening_browsers": (EVENING, {**EVENING, "active_days_30d": 12}),
    "high_value": ({"purchases_30d": 3}, {"purchases_30d": 2}),
    "cart_abandoners": ({"cart_items": 2.0, "cart_minutes": 75.0}, {"cart_items": 0.0, "cart_minutes": 0.0}),
    "repeat_buyers": ({"purchases_total": 2}, {"purchases_total": 1}),
    "browsers_without_purchase": ({"views_30d": 12, "purchases_total": 0}, {"views_30d": 12, "purchases_total": 1}),
    "category_lookers": (LOOKER, {**LOOKER, "purchases_30d": 1}),
    "rfm_gold": (BEST, {**BEST, "recency_days": 20.0, "spend_30d": 120.0}),
    "rfm_silver": ({**BEST, "recency_days": 20.0, "purchases_30d": 2, "spend_30d": 120.0}, BEST),
    "rfm_bronze": ({**BEST, "recency_days": 20.0, "purchases_30d": 1, "spend_30d": 40.0}, {"recency_days": -1.0}),
}
NOBODY = {"recency_days": -1.0, "purchases_30d": 0, "spend_30d": 0.0}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_rule_has_a_shopper_in_it_and_one_outside(name: str) -> None:
    """Both are real possibilities, a step or two apart."""
    ruleset = Ruleset.of(SHIPPED)
    numbers, texts = ruleset.rows([{**NOBODY, **shopper} for shopper in SHOPPERS[name]])
    out, points = np.zeros((2, len(ruleset.names)), np.uint8), np.zeros((2, len(ruleset.scores)))
    ruleset.evaluate(numbers, texts, out, points)
    assert out[:, ruleset.names.index(name)].tolist() == [1, 0]


def test_a_shopper_is_in_one_tier_at_most() -> None:
    """Gold, silver and bronze cut the points into three, and no points are no tier."""
    ruleset = Ruleset.of(SHIPPED)
    shoppers = [
        {"recency_days": recency, "purchases_30d": orders, "spend_30d": spend}
        for recency in (-1.0, 3.0, 20.0, 60.0)
        for orders in (0, 2, 4)
        for spend in (0.0, 150.0, 500.0)
    ]
    out, points = np.zeros((len(shoppers), len(ruleset.names)), np.uint8), np.zeros((len(shoppers), 1))
    ruleset.evaluate(*ruleset.rows(shoppers), out, points)
    tiers = out[:, [n for n, name in enumerate(ruleset.names) if name.startswith("rfm_")]].sum(1)
    assert tiers.tolist() == (points[:, 0] > 0).astype(int).tolist()


def test_shipped_rules_cost_no_ask_for_every_change() -> None:
    """All of them compare features with constants, so that thresholds say when to look again."""
    assert None not in Ruleset.of(SHIPPED).thresholds.values()
