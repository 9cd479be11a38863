"""A set of named features compiled into arrays, so that a kernel can work them out for many shoppers at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from operators.kernels import feature_columns as kernels
from operators.kernels.feature_columns import Plan, feature_columns
from operators.kernels.feature_crossings import Thresholds, next_crossing_ms
from operators.kernels.slabs import Slab, Slabs
from operators.kernels.tastes import told_tag
from operators.kernels.windows import SIZES_MS, custom_tag
from operators.profile_settings import DAY_MS, ProfileSettings
from state.batches import MONEY_UNIT
from state.features import MEASURES, WEEKDAYS, WINDOWS, catalogue, custom_features
from state.hashing import hash_text
from state.profile_table import BRAND, CATEGORY, MEASURE_TAGS, PIECE_UNIT, RECENCIES

EVERY_CHANGE = float("nan")
"""As a threshold: any change of the feature is to be told."""

ATTRIBUTE = "attribute_"
_UNITS = {"items_bought": PIECE_UNIT, "spend": MONEY_UNIT}

_PLAIN = {
    "active_days_30d": kernels.ACTIVE_DAYS,
    "events_total": kernels.EVENTS,
    "purchases_total": kernels.ORDERS,
    "items_bought_total": kernels.ITEMS,
    "spend_total": kernels.SPEND_TOTAL,
    "returns_total": kernels.RETURNS,
    "returned_spend_total": kernels.RETURNED,
    "returned_share": kernels.RETURNED_SHARE,
    "average_order_value": kernels.ORDER_VALUE,
    "order_gap_days_mean": kernels.GAP_MEAN,
    "order_gap_days_spread": kernels.GAP_SPREAD,
    "days_known": kernels.DAYS_KNOWN,
    "sessions_total": kernels.SESSIONS,
    "session_events": kernels.SESSION_EVENTS,
    "session_minutes": kernels.SESSION_MINUTES,
    "session_depth": kernels.SESSION_DEPTH,
    "session_dwell_seconds": kernels.SESSION_DWELL,
    "session_carts": kernels.SESSION_CARTS,
    "session_purchases": kernels.SESSION_ORDERS,
    "mean_price_viewed": kernels.MEAN_PRICE,
    "price_level": kernels.PRICE_LEVEL,
    "cart_items": kernels.CART_ITEMS,
    "cart_lines": kernels.CART_LINES,
    "cart_value": kernels.CART_VALUE,
    "cart_minutes": kernels.CART_MINUTES,
}
_NEEDS = {
    kernels.WINDOW: kernels.N_WINDOWS,
    kernels.ACTIVE_DAYS: kernels.N_DAYS,
    kernels.FOCUS: kernels.N_TASTES,
    kernels.SHARE: kernels.N_TASTES,
    kernels.PRICE_LEVEL: kernels.N_PRICES,
    kernels.CART_ITEMS: kernels.N_CART,
    kernels.CART_LINES: kernels.N_CART,
    kernels.CART_VALUE: kernels.N_CART,
    kernels.CART_MINUTES: kernels.N_CART,
}


class FeaturePlan:
    """Features of the catalogue, and of its patterns `DIMENSION_VALUE_share` and `attribute_NAME`, as columns.

    `numbers` are asked for as float64 columns, `texts` (favourites, attributes) as uint64 columns of hashes, in the
    order given; `attribute_NAME` may be among both, for its type is known only when it is told. A name that is not a
    feature of a shop with these settings, or not of this kind, is a ValueError that says so. What the columns hold is
    said at `operators.kernels.feature_columns.feature_columns`.
    """

    def __init__(self, numbers: Iterable[str], texts: Iterable[str], settings: ProfileSettings) -> None:
        self.numbers, self.texts = tuple(numbers), tuple(texts)
        self._gap_ms = settings.session_gap_ms
        names = _Names(settings)
        self._window_tags = sorted({names.windows[name][0] for name in self.numbers if name in names.windows})
        self._taste_tags: list[int] = []
        self._shares: list[tuple[int, int]] = []
        numeric = [self._number(name, names) for name in self.numbers]
        textual = [self._text(name, names) for name in self.texts]
        self.arrays = self._compiled(numeric, textual)

    def thresholds(self, compared_with: Mapping[str, Iterable[float]]) -> Thresholds:
        """The constants that some of the numbers are compared with, as `crossings` takes them."""
        unknown = compared_with.keys() - set(self.numbers)
        if unknown:
            raise ValueError(f'"{min(unknown)}" has thresholds, but is not among the numbers of the plan')
        values = [np.unique(np.array([*compared_with.get(name, ())], np.float64)) for name in self.numbers]
        starts = np.concatenate([[0], np.cumsum([len(of) for of in values])]).astype(np.int64)
        kinds = [int(kind) if len(of) else -1 for kind, of in zip(self.arrays.kinds, values, strict=True)]
        tiles = [
            SIZES_MS[w % len(WINDOWS)]
            for w, kind in zip(self.arrays.first, kinds, strict=True)
            if kind == kernels.WINDOW
        ]
        tiles += [DAY_MS] if kernels.ACTIVE_DAYS in kinds else []
        return Thresholds(
            starts,
            np.concatenate([np.empty(0), *values]),
            tile_ms=min(tiles, default=0),
            by_session=any(kernels.SESSION_EVENTS <= kind <= kernels.SESSION_ORDERS for kind in kinds),
            growing=np.flatnonzero(np.isin(kinds, (kernels.RECENCY, kernels.CART_MINUTES))),
        )

    def columns(
        self, profiles: Slab, sessions: Slab, slabs: Slabs, who: np.ndarray, as_of: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The features of the shoppers of rows `who` int32[n] as of `as_of` int64[n] (ms): float64[n, numbers],
        uint64[n, texts]."""
        numbers = np.empty((len(who), len(self.numbers)))
        texts = np.empty((len(who), len(self.texts)), np.uint64)
        feature_columns(
            profiles, sessions, slabs, who, len(who), as_of, self._gap_ms, self.arrays, numbers, texts
        )  # fmt: skip
        return numbers, texts

    def crossings(
        self,
        profiles: Slab,
        sessions: Slab,
        slabs: Slabs,
        who: np.ndarray,
        as_of: np.ndarray,
        thresholds: Thresholds,
    ) -> np.ndarray:
        """When, after `as_of` int64[n] (ms, no earlier than their newest acts) and nothing happening, the features of
        the shoppers of rows `who` int32[n] first cross a threshold: int64[n] ms, 2^62 for never."""
        out = np.empty(len(who), np.int64)
        next_crossing_ms(
            profiles, sessions, slabs, who, len(who), as_of, self._gap_ms, self.arrays, thresholds, out
        )  # fmt: skip
        return out

    def _taste(self, tag: int) -> int:
        if tag not in self._taste_tags:
            self._taste_tags.append(tag)
        return self._taste_tags.index(tag)

    def _number(self, name: str, names: _Names) -> tuple[int, int, int, int]:
        """Code, two arguments and the hash of an attribute's name."""
        if name in names.windows:
            tag, window, unit = names.windows[name]
            return kernels.WINDOW, self._window_tags.index(tag) * len(WINDOWS) + window, unit, 0
        if name in _PLAIN:
            return _PLAIN[name], 0, 0, 0
        if name.startswith(ATTRIBUTE) and name != ATTRIBUTE:
            return kernels.ATTRIBUTE, 0, 0, hash_text(name.removeprefix(ATTRIBUTE))
        names.refuse_unless_known(name, "number")
        if name.endswith("recency_days"):
            measure = name.removesuffix("recency_days").removesuffix("_") or "purchases"
            return kernels.RECENCY, RECENCIES.index(measure), 0, 0
        if name.endswith("_focus"):
            return kernels.FOCUS, self._taste(names.taste_tag(name.removesuffix("_focus"))), 0, 0
        if name.startswith("hour_"):
            _, begin, end, _ = name.split("_")
            return kernels.HOURS, int(begin), int(end), 0
        if name.startswith("weekday_"):
            return kernels.WEEKDAY, WEEKDAYS.index(name.split("_")[1]), 0, 0
        ((dimension, value),) = names.shares(name)
        self._shares.append((self._taste(names.taste_tag(dimension)), hash_text(value)))
        return kernels.SHARE, len(self._shares) - 1, 0, 0

    def _text(self, name: str, names: _Names) -> tuple[int, int, int]:
        """Code, slot of the taste and hash of an attribute's name."""
        if name.startswith(ATTRIBUTE) and name != ATTRIBUTE:
            return kernels.TEXT_ATTRIBUTE, 0, hash_text(name.removeprefix(ATTRIBUTE))
        names.refuse_unless_known(name, "text")
        return kernels.FAVOURITE, self._taste(names.taste_tag(name.removeprefix("favourite_"))), 0

    def _compiled(self, numeric: Sequence[tuple[int, ...]], textual: Sequence[tuple[int, ...]]) -> Plan:
        measure_slots = np.full(MEASURE_TAGS, -1, np.int64)
        for slot, tag in enumerate(self._window_tags):
            if tag < MEASURE_TAGS:
                measure_slots[tag] = slot
        needs = np.zeros(5, np.uint8)
        needs[[_NEEDS[kind] for kind, *_ in numeric if kind in _NEEDS]] = 1
        needs[kernels.N_TASTES] |= any(kind == kernels.FAVOURITE for kind, *_ in textual)
        return Plan(
            kinds=_column(numeric, 0, np.int64),
            first=_column(numeric, 1, np.int64),
            second=_column(numeric, 2, np.int64),
            named=_column(numeric, 3, np.uint64),
            text_kinds=_column(textual, 0, np.int64),
            text_slots=_column(textual, 1, np.int64),
            text_named=_column(textual, 2, np.uint64),
            window_tags=np.array(self._window_tags, np.int64),
            measure_slots=measure_slots,
            taste_tags=np.array(self._taste_tags, np.int64),
            share_slots=_column(self._shares, 0, np.int64),
            share_values=_column(self._shares, 1, np.uint64),
            needs=needs,
        )


def _column(rows: Sequence[tuple[int, ...]], k: int, dtype: type) -> np.ndarray:
    return np.array([row[k] for row in rows], dtype)


class _Names:
    """What the names of a shop's features mean."""

    def __init__(self, settings: ProfileSettings) -> None:
        self.known = catalogue(settings.custom_names, settings.context_names)
        self.dimensions = settings.dimensions
        # By name: the tag of its cells, which window, the unit it is counted in.
        self.windows = {
            f"{m}_{span}": (tag, w, _UNITS.get(m, 1))
            for tag, m in enumerate(MEASURES, start=1)
            for w, span in enumerate(WINDOWS)
        }
        for name in settings.custom_names:
            count, value = (int(custom_tag(np.uint64(hash_text(name)), k)) for k in (0, 1))
            for w, (of_count, of_value) in enumerate(custom_features(name)):
                self.windows[of_count.name] = (count, w, 1)
                self.windows[of_value.name] = (value, w, PIECE_UNIT)

    def taste_tag(self, kind: str) -> int:
        """The tag of the cells of categories, brands or a circumstance."""
        if kind in ("category", "brand"):
            return CATEGORY if kind == "category" else BRAND
        return int(told_tag(np.uint64(hash_text(kind))))

    def shares(self, name: str) -> list[tuple[str, str]]:
        """(dimension, value) of a name of the pattern DIMENSION_VALUE_share, all that it may mean."""
        if not name.endswith("_share") or name in self.known:
            return []
        told = name.removesuffix("_share")
        return [(d, told[len(d) + 1 :]) for d in self.dimensions if told.startswith(f"{d}_") and len(told) > len(d) + 1]

    def refuse_unless_known(self, name: str, kind: str) -> None:
        """Raise a ValueError unless this is a feature that can be asked for as a `kind` (number or text)."""
        if name == "session_sequence":
            raise ValueError(
                '"session_sequence" is a list of items: it is neither a number nor a text, and cannot be compared'
            )
        shares = self.shares(name)
        if name not in self.known and not shares:
            near = get_close_matches(name, self.known, 1)
            raise ValueError(f'unknown feature "{name}"' + (f'; did you mean "{near[0]}"?' if near else ""))
        if len(shares) > 1:
            meant = " or ".join(f'"{value}" of {dimension}' for dimension, value in shares)
            raise ValueError(f'"{name}" may be the share of {meant}: rename one of these contexts')
        found = "text" if name.startswith("favourite_") and not shares else "number"
        if found != kind:
            raise ValueError(f'"{name}" is a {found}, not a {kind}')
