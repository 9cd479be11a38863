"""The rules of a shop that writes none of its own, as the table of segments that coterie.toml would hold.

Only features that every shop has are used, so that they are valid whatever a shop declares.
"""

from __future__ import annotations

from typing import Any

SHIPPED: dict[str, dict[str, Any]] = {
    "frequent_morning_buyers": {"where": "purchases_30d >= 3 AND hour_6_12_share > 0.5", "hold": "1h"},
    "infrequent_evening_browsers": {
        "where": "active_days_30d BETWEEN 1 AND 4 AND purchases_30d = 0 AND hour_18_24_share > 0.5",
        "hold": "1h",
    },
    "high_value": {"where": "purchases_30d >= 3"},
    "cart_abandoners": {"where": "cart_items > 0 AND cart_minutes >= 60"},
    "repeat_buyers": {"where": "purchases_total >= 2"},
    "browsers_without_purchase": {"where": "views_30d >= 10 AND purchases_total = 0"},
    # Views are not counted by category: three views this week, of a shopper most of whose interest is in one category.
    "category_lookers": {"where": "views_7d >= 3 AND category_focus > 0.5 AND purchases_30d = 0"},
    # recency_days is -1 before the first purchase, so its lower bound has to be said.
    "rfm_gold": {
        "score": {
            "recent": ["recency_days BETWEEN 0 AND 30", 1],
            "very_recent": ["recency_days BETWEEN 0 AND 7", 1],
            "frequent": ["purchases_30d >= 2", 1],
            "very_frequent": ["purchases_30d >= 4", 1],
            "spending": ["spend_30d >= 100", 1],
            "spending_much": ["spend_30d >= 300", 1],
        },
        "at_least": 5,
    },
    "rfm_silver": {"where": "score_rfm_gold BETWEEN 3 AND 4"},
    "rfm_bronze": {"where": "score_rfm_gold BETWEEN 1 AND 2"},
}
"""Table of segments by name, as `read_rules` takes it."""
