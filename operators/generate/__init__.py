"""A made-up shop's log, for demonstrations, tests and benchmarks: shoppers of seven kinds, whose ground truth is known.

Shoppers differ by when they come, how long they stay, what they like, what they pay and whether they buy. The items of
a category fall into themes of ten; a session walks about in a theme, so that items seen together belong together, and
a few items of each are seen most. Half-way through, when there is drift, one kind of shopper changes its taste and a
category that nobody cared for becomes the fashion. All of it follows from the plan: the same plan is the same log.
"""

from __future__ import annotations

from operators.generate.plan import ShopPlan
from operators.generate.shoppers import PERSONAS, Persona, personas, user_id
from operators.generate.write import generate, write_log

__all__ = ["ShopPlan", "generate", "write_log", "PERSONAS", "Persona", "personas", "user_id"]
