"""What a person is told of a segment: a name in plain words, the traits that set it apart, the group it is in."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from state.features import MODEL_FEATURES

TRAITS_MAX = 5
TRAIT_GAP_MIN = 0.25
"""A feature is a trait where a segment's centre lies this many standard deviations from everyone's mean."""

WORD_GAP_MIN = 0.5
"""A feature gives a name its words from this gap on."""

MACROS_MAX = 4
MACRO_SHARE_MIN = 0.05
"""No group of segments is smaller than this share of the shoppers."""

REGROUP_GAIN = 0.05
"""Segments are grouped anew only where that raises the silhouette of the groups by this much."""

_COLUMN = {name: j for j, name in enumerate(MODEL_FEATURES)}

_OF_BUYERS = {"spend_30d", "average_order_value", "purchases_30d", "items_bought_30d"}
"""Features that say nothing of who does not buy."""

_DAYTIMES = (
    ("hour_0_6_share", "night"),
    ("hour_6_12_share", "morning"),
    ("hour_12_18_share", "afternoon"),
    ("hour_18_24_share", "evening"),
)

_QUALIFIERS = {
    "spend_30d": ("high spend", "low spend"),
    "average_order_value": ("large orders", "small orders"),
    "purchases_30d": ("frequent orders", "few orders"),
    "items_bought_30d": ("many pieces", "few pieces"),
    "mean_price_viewed": ("high prices", "low prices"),
    "category_focus": ("one category", "many categories"),
    "session_minutes": ("long sessions", "short sessions"),
    "session_events": ("busy sessions", "brief sessions"),
    "active_days_30d": ("often here", "seldom here"),
    "sessions_total": ("many visits", "few visits"),
    "searches_30d": ("much searching", "little searching"),
    "carts_30d": ("full carts", "empty carts"),
    "carts_24h": ("carts today", "no carts today"),
    "views_24h": ("active today", "quiet today"),
    "views_30d": ("many views", "few views"),
    "clicks_30d": ("many clicks", "few clicks"),
}
"""The words for a feature far above and far below everyone's mean."""


def traits(centre: np.ndarray, own_mean: np.ndarray, all_mean: np.ndarray) -> list[tuple[str, float, float]]:
    """The features that set a segment apart, strongest first: (name, the segment's mean, everyone's mean).

    `centre` float[d] in standardised space ranks them; the means float[d] are in natural units, told to 3 digits.
    """
    order = np.argsort(-np.abs(centre), kind="stable")[:TRAITS_MAX]
    return [
        (MODEL_FEATURES[j], float(f"{own_mean[j]:.3g}"), float(f"{all_mean[j]:.3g}"))
        for j in order.tolist()
        if abs(centre[j]) >= TRAIT_GAP_MIN
    ]


def name_of(centre: np.ndarray, own_mean: np.ndarray, number: int, taken: set[str]) -> str:
    """A name such as "evening buyers, high spend" that is not in `taken`, from a centre float[d] in standardised space.

    Role and daytime come first, then as many of the strongest features as it takes to be unlike all others; where
    words do not suffice, the segment's number. `own_mean` float[d] are the segment's means in natural units.
    """
    role, spoken_for = _role(centre, own_mean)
    if role != "buyers":
        spoken_for = spoken_for | _OF_BUYERS
    daytime = max(_DAYTIMES, key=lambda pair: centre[_COLUMN[pair[0]]])
    base = f"{daytime[1]} {role}" if centre[_COLUMN[daytime[0]]] >= WORD_GAP_MIN else role
    gaps = [(abs(float(centre[_COLUMN[f]])), f) for f in _QUALIFIERS if f not in spoken_for]
    strongest = [f for gap, f in sorted(gaps, key=lambda pair: -pair[0]) if gap >= WORD_GAP_MIN]
    words = [_QUALIFIERS[f][0 if centre[_COLUMN[f]] > 0 else 1] for f in strongest[:3]]
    candidates = [base] if not words else [", ".join([base, *words[:n]]) for n in range(1, len(words) + 1)]
    return next((name for name in candidates if name not in taken), f"{candidates[0]}, no. {number}")


def _role(centre: np.ndarray, own_mean: np.ndarray) -> tuple[str, set[str]]:
    """What the shoppers of a segment mostly do, and the features the word already says."""

    def gap(*names: str) -> float:
        return max(float(centre[_COLUMN[name]]) for name in names)

    if gap("purchases_30d", "items_bought_30d", "spend_30d") >= WORD_GAP_MIN:
        return "buyers", {"purchases_30d", "items_bought_30d"}
    if own_mean[_COLUMN["sessions_total"]] < 1.5 and gap("sessions_total") < 0.0:
        return "new visitors", {"sessions_total", "active_days_30d"}
    if gap("carts_30d", "carts_24h") >= WORD_GAP_MIN:
        return "cart fillers", {"carts_30d", "carts_24h"}
    if gap("searches_30d") >= max(WORD_GAP_MIN, gap("views_30d", "clicks_30d")):
        return "searchers", {"searches_30d"}
    if gap("views_30d", "clicks_30d") >= WORD_GAP_MIN:
        return "browsers", {"views_30d", "clicks_30d"}
    if gap("sessions_total", "active_days_30d") >= WORD_GAP_MIN:
        return "regulars", {"sessions_total", "active_days_30d"}
    if gap("sessions_total", "active_days_30d", "views_30d") <= -WORD_GAP_MIN:
        return "rare visitors", {"sessions_total", "active_days_30d", "views_30d"}
    return "visitors", set()


def group_centres(
    centres: np.ndarray, shares: np.ndarray, sums: np.ndarray, labels: np.ndarray, current: np.ndarray | None
) -> np.ndarray:
    """Groups int64[k] of the centres float[k, d], counted from 0: Ward linkage, cut where the silhouette is best.

    The silhouette is that of sampled points (see `silhouette`), for 2 to MACROS_MAX groups of at least MACRO_SHARE_MIN
    of the shoppers each (`shares` float[k], sum 1); all in one group where no cut will do. The groups of now (`current`
    int[k]; None: there are none) stay unless another cut is better by REGROUP_GAIN.
    """
    best, found = 0.0, np.zeros(len(centres), np.int64)
    if current is not None:
        groups = np.unique(current, return_inverse=True)[1]
        if _large_enough(groups, shares):
            best, found = max(0.0, silhouette(_by_group(sums, groups), groups[labels])) + REGROUP_GAIN, groups
    if len(centres) < 3:
        return found
    tree = linkage(centres, "ward")
    for wanted in range(2, min(MACROS_MAX, len(centres) - 1) + 1):
        groups = np.unique(fcluster(tree, wanted, "maxclust"), return_inverse=True)[1]
        if _large_enough(groups, shares):
            quality = silhouette(_by_group(sums, groups), groups[labels])
            if quality > best:
                best, found = quality, groups
    return found


def _large_enough(groups: np.ndarray, shares: np.ndarray) -> bool:
    return bool(np.bincount(groups, weights=shares).min() >= MACRO_SHARE_MIN)


def _by_group(sums: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums of distances float[n, k] to each segment, as sums to each group of segments."""
    return np.stack([sums[:, groups == g].sum(1) for g in range(groups.max() + 1)], axis=1)


def silhouette(sums: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette of points with labels int[n] below k; nan where there is only one label.

    `sums` float[n, k]: of each point's distances to all points of each label (`kernels.assign.distance_sums`). Source:
    Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis" (1987).
    """
    counts = np.bincount(labels, minlength=sums.shape[1])
    if np.count_nonzero(counts) < 2:
        return float("nan")
    rows = np.arange(len(labels))
    own_count = counts[labels]
    own = sums[rows, labels] / np.maximum(own_count - 1, 1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    means[rows, labels] = np.inf
    other = means.min(1)
    larger = np.maximum(own, other)
    alone = (own_count < 2) | (larger == 0.0)
    return float(np.where(alone, 0.0, (other - own) / np.where(alone, 1.0, larger)).mean())


def adjusted_rand(first: np.ndarray, second: np.ndarray) -> float:
    """How alike two labellings of the same points are: 1 the same, 0 as if by chance; nan for no points.

    Source: Hubert and Arabie, "Comparing partitions" (1985).
    """
    n = len(first)
    if n == 0:
        return float("nan")
    _, a = np.unique(first, return_inverse=True)
    _, b = np.unique(second, return_inverse=True)
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1.0)

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1.0)).sum() / 2.0)

    both, rows, columns, all_pairs = pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), n * (n - 1.0) / 2.0
    expected = rows * columns / all_pairs if all_pairs else 0.0
    most = (rows + columns) / 2.0
    return 1.0 if most == expected else (both - expected) / (most - expected)
