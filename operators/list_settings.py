"""What the parts of a list count, and the rules of a shop for it, as settings and as the records the kernels read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from operators.kernels.candidates import RECENT_FETCHED, WEIGHTS
from operators.kernels.goods import category_key
from operators.kernels.list_rules import LIST_RULES
from state.batches import RECENT_ITEMS
from state.hashing import hash_text

LEAVE_OUT_RECENT = RECENT_ITEMS
"""`leave_out`: none of the last items is shown."""


@dataclass(frozen=True, slots=True)
class LadderSettings:
    """How the places of a list are filled up that nothing speaks for in particular.

    `rungs`, some of LADDER, in the order in which they are asked; where it is `measured`, to begin with: then the one
    goes first that is hit most often (`operators.kernels.rung_rates`), and each of the others has one in TRIED of the
    places, so that it goes on being measured. An act counts half in its segment and its context after
    `group_half_life_days` of event time.
    """

    rungs: tuple[str, ...] = ("category", "popular")
    measured: bool = True
    group_half_life_days: float = 3.0


@dataclass(frozen=True, slots=True)
class ListSettings:
    """How a list is ranked. Scores are shares of an item's row of neighbours, 0 to 1 and above 0.

    `earlier_factor`: what the neighbours of an item count less than those of the item after it; `second_step`: what the
    neighbours of the current item's best neighbours count; `coming_back` speaks for the item before the current one to
    be gone back to, and `coming_back_factor` times that for each one earlier; `staying` for the current item, where it
    may be shown. The first `leave_out` of the last items are not: 0 to RECENT_ITEMS. With `learn_weights` what the
    parts count follows what shoppers turn to, from here on (`operators.part_weights`).
    """

    earlier_factor: float = 0.5
    second_step: float = 1.0
    coming_back: float = 0.15
    coming_back_factor: float = 0.8
    staying: float = 0.5
    leave_out: int = 1
    learn_weights: bool = True

    def weights(self) -> np.ndarray:
        """WEIGHTS[1]."""
        out = np.zeros(1, WEIGHTS)
        out["slots"] = [self.earlier_factor**slot for slot in range(RECENT_FETCHED)]
        out["second_step"] = self.second_step
        earlier = [self.coming_back * self.coming_back_factor**place for place in range(RECENT_ITEMS - 1)]
        out["returns"] = [self.staying, *earlier]
        out["leave_out"] = min(self.leave_out, RECENT_ITEMS)
        return out


DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What a shop wants to be so in its lists.

    What was bought stays out for `bought_days` (0: it never does), of a category in `bought_days_by_category` for as
    long as that says. At most `category_max` items of a list are of one category (0: no limit). After `fatigue_after`
    impressions without an act upon the item each further one multiplies its score by `fatigue_factor` (above 0; 1:
    nothing sinks); `fatigue_days` after the newest of them they are forgotten.
    """

    bought_days: int = 365
    bought_days_by_category: Mapping[str, int] = field(default_factory=dict)
    category_max: int = 0
    fatigue_after: int = 3
    fatigue_factor: float = 0.5
    fatigue_days: int = 14

    @property
    def asks_for_categories(self) -> bool:
        """Does any of them hang on the category of an item?"""
        return self.category_max > 0 or len(self.bought_days_by_category) > 0

    def rules(self) -> np.ndarray:
        """LIST_RULES[1]."""
        out = np.zeros(1, LIST_RULES)
        out["bought_minutes"] = self.bought_days * DAY_MINUTES
        out["longest_minutes"] = max([self.bought_days, *self.bought_days_by_category.values()]) * DAY_MINUTES
        out["shown_minutes"] = self.fatigue_days * DAY_MINUTES if self.fatigue_factor < 1 else 0
        out["fatigue_after"] = self.fatigue_after
        out["category_max"] = self.category_max
        out["fatigue_factor"] = self.fatigue_factor
        return out

    def minutes_by_category(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys of categories uint32[k], sorted, and for how long what was bought of them stays out, int64[k]."""
        told = {
            int(category_key(np.uint64(hash_text(name)))): days * DAY_MINUTES
            for name, days in self.bought_days_by_category.items()
        }
        keys = sorted(told)
        return np.array(keys, np.uint32), np.array([told[key] for key in keys], np.int64)
