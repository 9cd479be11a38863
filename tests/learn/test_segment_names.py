"""Names tell segments apart, and traits say how."""

from __future__ import annotations

import numpy as np

from operators.learn.segment_cards import Fit, SegmentCards
from operators.segment_names import name_of, traits
from state.features import DIMENSIONS, MODEL_FEATURES
from state.metrics import Metrics

COLUMN = {name: j for j, name in enumerate(MODEL_FEATURES)}


def _centre(**gaps: float) -> np.ndarray:
    centre = np.zeros(DIMENSIONS)
    for name, gap in gaps.items():
        centre[COLUMN[name]] = gap
    return centre


def test_names_say_who_when_and_how() -> None:
    """Role, daytime and the strongest feature, in words."""
    means = np.full(DIMENSIONS, 5.0)
    name = name_of(_centre(purchases_30d=1.2, hour_18_24_share=1.0, spend_30d=1.5), means, 1, set())
    assert name == "evening buyers, high spend"
    assert name_of(_centre(views_30d=1.0, hour_6_12_share=0.9), means, 2, set()) == "morning browsers"
    assert name_of(_centre(spend_30d=-1.0), means, 3, set()) == "occasional buyers, low spend"
    means[COLUMN["sessions_total"]] = 1.1
    assert name_of(_centre(sessions_total=-0.9), means, 3, set()) == "new visitors"


def test_names_are_never_taken_twice() -> None:
    """Where all words are used up the segment's number tells it apart."""
    centre, means, taken = (
        _centre(purchases_30d=1.2, spend_30d=1.5, session_minutes=1.0),
        np.full(DIMENSIONS, 5.0),
        set[str](),
    )
    for number in range(6):
        name = name_of(centre, means, number, taken)
        assert name not in taken
        taken.add(name)


def test_traits_are_the_strongest_features_with_both_means() -> None:
    """Strongest first, none that is hardly different."""
    own, everyone = np.full(DIMENSIONS, 2.34567), np.full(DIMENSIONS, 1.0)
    found = traits(_centre(views_30d=-2.0, carts_30d=0.5, clicks_30d=0.1), own, everyone)
    assert found == [("views_30d", 2.35, 1.0), ("carts_30d", 2.35, 1.0)]


def test_name_is_kept_while_what_it_says_holds() -> None:
    """Small moves of all features keep it; one feature that goes elsewhere does not."""
    cards, versions = SegmentCards(Metrics()), []
    evening = _centre(purchases_30d=1.2, hour_18_24_share=0.8)
    for centre in (evening, evening + 0.2, _centre(purchases_30d=1.2, hour_6_12_share=0.6)):
        fit = Fit(
            centres=centre[None],
            shares=np.ones(1),
            numbers=np.zeros(1, np.int32),
            macros=np.zeros(1, np.int32),
            mean=np.zeros(DIMENSIONS),
            scale=np.ones(DIMENSIONS),
            natural=np.full((4, DIMENSIONS), 5.0, np.float32),
            now=np.zeros(4, np.int32),
            before=np.zeros(0, np.int32),
            far=np.zeros(0, bool),
        )
        versions += [cards.make([], fit, 1_000)[0].name]
    assert versions == ["evening buyers", "evening buyers", "morning buyers"]
