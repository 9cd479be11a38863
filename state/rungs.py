"""Where an item of a list came from: the names that lists, metrics, the report and the settings have in common."""

from __future__ import annotations

RUNGS = ("neighbours", "second_step", "coming_back", "category", "segment", "popular", "context")
"""The neighbours of the last items, a second step, or what was looked at before, of several the one that gave most to
the score; else what is popular in a category, in the shopper's segment, in the whole shop, or in their context."""

BESIDE, SECOND_STEP, COMING_BACK, CATEGORY, SEGMENT, POPULAR, CONTEXT = range(len(RUNGS))

LADDER = RUNGS[CATEGORY:]
"""What fills a list up where nothing speaks for an item in particular."""

CONTEXT_PARTS = ("hour", "device")
"""What a context can be made of."""

RUNG_BITS = 3
"""The rungs of a list are one uint64: of place k the bits from RUNG_BITS * k on."""
