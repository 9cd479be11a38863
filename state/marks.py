"""What the rules of lists have to know of what shoppers did: how it travels to the step that makes the lists."""

from __future__ import annotations

import numpy as np

MARK = np.dtype(
    [
        ("item", "u8"),  # 0 where it is the shopper who goes
        ("category", "u8"),  # of the item, as it was known at the time (0: it was not)
        ("ts", "i8"),
        ("pieces", "i8"),  # bought, in thousandths; negative: sent back
        ("position", "i4"),  # the shopper's place in the batch
        ("what", "u1"),  # one of the four below
    ],
    align=True,
)
"""In event order: an item was shown, acted upon, bought (or sent back); or all that was known of the shopper goes."""

SHOWN, ACTED_ON, BOUGHT, FORGOTTEN = range(4)
