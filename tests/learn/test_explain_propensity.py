"""What is told of a propensity adds up to it, and the change that is told turns it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.explain_propensity import LIFELONG, contributions, smallest_change
from operators.kernels.logistic import logistic
from operators.learn.transform import propensity_inputs
from operators.rules.wording import bounds_of, can_move, is_recency, is_whole, only_grows
from state.features import CATALOGUE, MODEL_FEATURES, PROPENSITY_INPUTS
from state.models import PropensityModel

ORDERS, VIEWS = MODEL_FEATURES.index("purchases_total"), MODEL_FEATURES.index("views_24h")


def _model(seed: int | None = None, **weights: float) -> PropensityModel:
    """Random weights, or none but those given by the name of the input (`_x_` between the factors of a product)."""
    e = len(PROPENSITY_INPUTS)
    w, mean, scale = np.zeros(e), np.zeros(e), np.ones(e)
    if seed is not None:
        rng = np.random.default_rng(seed)
        w, mean, scale = rng.normal(0.0, 0.3, e), rng.uniform(0.5, 2.0, e), rng.uniform(0.5, 2.0, e)
    for name, weight in weights.items():
        w[PROPENSITY_INPUTS.index(name.replace("_x_", " x "))] = weight
    mean, scale, w = (a.astype(np.float32) for a in (mean, scale, w))
    return PropensityModel("purchase", 1, mean, scale, w, -0.5, 100, 0.8)


def _shopper(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(0.5, 1.0, len(MODEL_FEATURES)).astype(np.float32)


def _told(model: PropensityModel, x: np.ndarray) -> float:
    out = np.empty(1, np.float32)
    logistic(propensity_inputs(x[None]), model.mean, model.scale, model.weights, model.bias, out)
    return float(out[0])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_contributions_add_up_to_the_propensity(seed: int) -> None:
    """With the mean shopper's log-odds they give what the shards' kernel gives; every feature is told once."""
    model, x = _model(seed), _shopper(seed)
    found = contributions(model, x)
    odds = model.bias + sum(part for _, part in found)
    assert 1.0 / (1.0 + np.exp(-odds)) == pytest.approx(_told(model, x), abs=1e-5)
    assert sorted(name for name, _ in found) == sorted(MODEL_FEATURES)
    sizes = [abs(part) for _, part in found]
    assert sizes == sorted(sizes, reverse=True)


def test_a_product_is_its_factors_in_halves() -> None:
    """And a square is its feature's alone."""
    x = np.zeros(len(MODEL_FEATURES), np.float32)
    x[ORDERS], x[MODEL_FEATURES.index("days_known")] = np.expm1(1.0), np.expm1(2.0)
    found = dict(contributions(_model(purchases_total_x_days_known=0.3, purchases_total_x_purchases_total=0.2), x))
    assert found["days_known"] == pytest.approx(0.3, abs=1e-6)
    assert found["purchases_total"] == pytest.approx(0.3 + 0.2, abs=1e-6)
    assert sum(map(abs, found.values())) == pytest.approx(0.8, abs=1e-6)


@st.composite
def _possible(draw: st.DrawFn) -> np.ndarray:
    """A shopper as there can be, in natural units: ordinary, new, or with the figures of hostile events."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hostile = draw(st.sampled_from([1.0, 1.0, 1.0, 1e9, 1e30]))
    x = np.zeros(len(MODEL_FEATURES))
    for j, name in enumerate(MODEL_FEATURES):
        feature, value = CATALOGUE[name], rng.lognormal(0.5, 1.5) * (rng.random() < 0.8)
        if feature.unit == "share":
            x[j] = rng.random()
        elif is_recency(feature):
            x[j] = value if rng.random() < 0.7 else -1.0
        elif feature.unit == "money":
            x[j] = value * hostile * rng.choice([1.0, 1.0, -1.0])
        else:
            x[j] = np.floor(value) if is_whole(feature) else value
    return x.astype(np.float32)


@pytest.mark.parametrize("grown", [0.0, 40.0])
def test_every_change_that_is_told_could_be_and_turns_the_propensity(grown: float) -> None:
    """Within bounds, by whole steps where there are only whole ones, up where nothing takes it down, with all that goes
    with it; and with it the shards' kernel says what was told. `grown` is how much the means of money have grown."""
    told = list[str]()

    @given(st.integers(0, 2**32 - 1), _possible(), st.floats(0.02, 0.98))
    @settings(max_examples=150, deadline=None)
    def check(seed: int, x: np.ndarray, wanted: float) -> None:
        model = _model(seed)
        model.mean[[j for j, name in enumerate(MODEL_FEATURES) if CATALOGUE[name].unit == "money"]] += grown
        before, change = _told(model, x), smallest_change(model, x, wanted)
        if change is None:
            return
        feature = CATALOGUE[change.feature]
        least, most = bounds_of(feature, change.after > change.value)
        told.append(change.feature)
        assert change.feature not in LIFELONG
        assert can_move(feature, dict(zip(MODEL_FEATURES, x.tolist(), strict=True)))
        assert change.value == x[MODEL_FEATURES.index(change.feature)] != change.after
        assert least <= change.after <= most
        assert change.changed[change.feature] == change.after
        if is_whole(feature):
            assert (change.after - change.value).is_integer()
        if is_recency(feature):
            assert change.after == 0.0 or change.after > change.value >= 0.0
        elif only_grows(feature):
            assert change.after > change.value
        after = x.copy()
        for name, value in change.changed.items():
            after[MODEL_FEATURES.index(name)] = value
        by_kernel = _told(model, after)
        assert by_kernel == pytest.approx(change.propensity, abs=1e-4)
        assert (by_kernel >= wanted - 1e-4) if wanted > before else (by_kernel <= wanted + 1e-4)

    check()
    assert len(set(told)) >= 10


def test_acts_bring_what_goes_with_them() -> None:
    """Another purchase is one within a week, a month and ever, of a piece at least, and now."""
    x = np.zeros(len(MODEL_FEATURES), np.float32)
    x[MODEL_FEATURES.index("recency_days")] = 9.0
    change = smallest_change(_model(purchases_7d=0.9, purchases_30d=0.9), x, 0.6)
    assert change is not None and change.sentence == "one more purchase within 30 days"
    once = ("purchases_7d", "purchases_30d", "purchases_total", "items_bought_30d", "session_events", "sessions_total")
    assert change.changed == {**dict.fromkeys(once, 1.0), "recency_days": 0.0}
    assert change.propensity == pytest.approx(1.0 / (1.0 + np.exp(0.5 - 1.8 * np.log(2.0))), abs=1e-3)


def test_the_smallest_change_is_the_smallest() -> None:
    """Of two features the one that has to move less, by as much as the weights say; none where none can do it."""
    x = np.zeros(len(MODEL_FEATURES), np.float32)
    model = _model(carts_24h=0.5, views_24h=0.25)
    change = smallest_change(model, x, 0.5)  # the log-odds are to rise by .5
    assert change is not None and change.sentence == "2 more additions to the cart within 24 hours"
    assert change.after == 2.0  # the first whole number whose log1p is 1 or more
    moved = [2.0] * 4 + [1.0]  # carts_24h, carts_30d, session_carts, session_events; one session
    assert change.deviations == pytest.approx(np.sqrt((np.log1p(moved) ** 2).sum()))
    other = smallest_change(model, x, 0.5, among=["views_24h"])
    assert other is not None and other.after == 7.0
    assert smallest_change(model, x, 0.99) is None
    assert smallest_change(model, x, 0.1) is None  # nothing falls below zero
    assert smallest_change(_model(hour_12_18_share=9.0), x, 0.5) is None  # no single act does it
