"""What the propensities are held against: gradient boosting and BG/NBD, each refitted monthly on the past alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from benchmarks.propensity_replay import Decided
from operators.profile_settings import DAY_MS
from state.features import MODEL_FEATURES

WEEK_DAYS = 7
_ORDERS, _DAYS = MODEL_FEATURES.index("purchases_total"), MODEL_FEATURES.index("days_known")


def month_starts(first_ts: int, end_ts: int) -> list[int]:
    """Epoch ms of the first of each month (UTC) after `first_ts` up to `end_ts`."""
    first = datetime.fromtimestamp(first_ts / 1000, UTC)
    out: list[int] = []
    for month in range(first.year * 12 + first.month, (1 << 31)):
        at = int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000
        if at > end_ts:
            break
        out.append(at)
    return out


def _months(decided: Decided) -> Iterator[tuple[int, np.ndarray]]:
    """The start of each month, and which of the judged decisions were taken in it."""
    starts = month_starts(decided.first_ts, decided.end_ts)
    for at, until in zip(starts, [*starts[1:], 1 << 62], strict=True):
        of_month = decided.judged & (decided.ts >= at) & (decided.ts < until)
        if of_month.any():
            yield at, of_month


def boosted(decided: Decided, whole_horizon: bool, **params: float) -> np.ndarray:
    """Probabilities of gradient boosting on the same features (nan where none was made).

    At the start of a month it is fitted to all outcomes known by then, or with `whole_horizon` to those of decisions
    whose horizon has passed by then. Source: scikit-learn's HistGradientBoostingClassifier.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    p = np.full(len(decided.y), np.nan)
    for at, of_month in _months(decided):
        known = decided.known_ts < at
        if whole_horizon:
            known &= decided.ts + decided.aim.horizon_days * DAY_MS < at
        if len(np.unique(decided.y[known])) == 2:
            model = HistGradientBoostingClassifier(random_state=7, **params).fit(decided.x[known], decided.y[known])
            p[of_month] = model.predict_proba(decided.x[of_month])[:, 1]
    return p


def bg_nbd(decided: Decided, purchases: list[tuple[int, str, int, float]]) -> np.ndarray:
    """Probabilities of at least one more purchase within the horizon by the BG/NBD model (nan where none was made).

    At the start of a month it is fitted to the purchases of all customers so far. A decision is taken at a purchase:
    with x repeats and T = t_x weeks since the first, P = P(alive) (1 - ((alpha + T) / (alpha + T + t))^(r + x)), where
    P(alive) = (b + x - 1) / (a + b + x - 1), and 1 for x = 0.
    """
    p = np.full(len(decided.y), np.nan)
    horizon = decided.aim.horizon_days / WEEK_DAYS
    for at, of_month in _months(decided):
        (r, alpha, a, b), _ = fit_bg_nbd(*repeats(purchases, at))
        x = decided.x[of_month, _ORDERS].astype(np.float64) - 1.0
        since = decided.x[of_month, _DAYS].astype(np.float64) / WEEK_DAYS
        alive = np.where(x > 0, (b + x - 1.0) / (a + b + x - 1.0), 1.0)
        p[of_month] = alive * (1.0 - ((alpha + since) / (alpha + since + horizon)) ** (r + x))
    return p


def repeats(
    purchases: list[tuple[int, str, int, float]], until_ts: int, days: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, t_x, T) by customer as of a time: repeat purchases, weeks from the first to the newest, and to that time.

    With `days`, purchases of one day are one, as they are in the literature.
    """
    times: dict[str, list[int]] = {}
    for ts, customer, _, _ in purchases:
        if ts < until_ts:
            of_one = times.setdefault(customer, [])
            if not days or not of_one or of_one[-1] != ts:
                of_one.append(ts)
    week = WEEK_DAYS * DAY_MS
    x = np.array([len(t) - 1 for t in times.values()], np.float64)
    newest = np.array([(t[-1] - t[0]) / week for t in times.values()])
    return x, newest, np.array([(until_ts - t[0]) / week for t in times.values()])


def fit_bg_nbd(x: np.ndarray, newest: np.ndarray, age: np.ndarray) -> tuple[tuple[float, float, float, float], float]:
    """Maximum likelihood of the BG/NBD model: ((r, alpha, a, b), log likelihood).

    Source: Fader, Hardie and Lee, "Counting your customers the easy way: an alternative to the Pareto/NBD model",
    Marketing Science 24 (2005), equation (6) in the form of its appendix.
    """

    def loss(logs: np.ndarray) -> float:
        r, alpha, a, b = np.exp(logs)
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        common += gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
        lives = -(r + x) * np.log(alpha + age)
        gone = np.log(a) - np.log(b + np.maximum(x, 1.0) - 1.0) - (r + x) * np.log(alpha + newest)
        return -float((common + np.where(x > 0, np.logaddexp(lives, gone), lives)).sum())

    found = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=[(-8.0, 8.0)] * 4)
    r, alpha, a, b = np.exp(found.x).tolist()
    return (r, alpha, a, b), -float(found.fun)


Rival = Callable[[Decided], np.ndarray]

RIVALS: dict[str, Rival] = {
    "boosting, outcomes known by then": lambda d: boosted(d, whole_horizon=False),
    "boosting, whole horizons": lambda d: boosted(d, whole_horizon=True),
    "boosting, whole horizons, small trees": lambda d: boosted(
        d, whole_horizon=True, learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=40
    ),
}
"""Gradient boosting as it comes; as it should be, on outcomes that do not tell of themselves by being early; and with
trees as small as these logs."""
