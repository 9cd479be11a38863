"""What the parts of a list count, as settings and as the record the kernels read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.kernels.candidates import RECENT_FETCHED, WEIGHTS
from state.batches import RECENT_ITEMS

LEAVE_OUT_RECENT = RECENT_ITEMS
"""`leave_out`: none of the last items is shown."""


@dataclass(frozen=True, slots=True)
class LadderSettings:
    """How the places of a list are filled up that nothing speaks for in particular.

    `rungs`, some of LADDER, in the order in which they are asked; where it is `measured`, to begin with: then the one
    goes first that is hit most often (`operators.kernels.rung_rates`), and each of the others has one in TRIED of the
    places, so that it goes on being measured. An act counts half in its segment after `segment_half_life_days` of event
    time.
    """

    rungs: tuple[str, ...] = ("category", "popular")
    measured: bool = True
    segment_half_life_days: float = 3.0


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
