"""The peers of the benchmark of recommendations, by examples worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.recommendation_ours import Ours
from benchmarks.recommendation_peers import (
    HISTORY,
    LENGTH,
    LastItem,
    Peer,
    Popularity,
    Refitted,
    RiverMf,
    SKnn,
    VmisKnn,
    newest_first,
)
from operators.covisit import CovisitSettings
from operators.kernels import neighbours
from operators.kernels.candidates import RECENT_FETCHED
from operators.kernels.ranking import rank_reference
from operators.kernels.remembered import REMEMBERED_NEIGHBOURS
from operators.kernels.sessions import recent_reference
from operators.list_settings import ListSettings

SESSIONS = [[1, 2, 3], [2, 3, 4], [1, 4], [5]]
"""One after the other; the shopper is the number of the session."""


def taught(peer: Peer, sessions: list[list[int]] = SESSIONS) -> Peer:
    for shopper, items in enumerate(sessions):
        n = len(items)
        peer.learn(np.full(n, shopper), np.array(items), np.arange(n))
    return peer


def listed(peer: Peer, history: list[int], shopper: int = -1) -> list[int]:
    """The list for a history, oldest first."""
    [row] = peer.lists(np.array([shopper]), newest_first(history)[None])
    assert row.shape == (LENGTH,)
    n = int((row >= 0).sum())
    assert (row[:n] >= 0).all() and (row[n:] == -1).all()
    return row[:n].tolist()


def test_vmis_knn_says_what_comes_out_by_hand() -> None:
    """Two items looked at: 1, then 2.

    Weights: 2 is the newest of two items, 2/2; 1 has 1/2. Sessions: 0 has both, 1.5; 1 has 2, 1.0; 2 has 1, 0.5. They
    vote by similarity and place of the newest item shared: 1.5 * 0.9, 1.0 * 0.9, 0.5 * 0.8. Four sessions: idf of what
    is in two of them is log 2. Item 3 is in 0 and 1, item 4 in 1 and 2, item 1 in 0 and 2, item 2 in 0 and 1.
    """
    scores = taught(VmisKnn(m=10, k=10)).scores(-1, [2, 1])
    assert scores == pytest.approx(
        {
            1: (1.35 + 0.4) * math.log(2),
            2: (1.35 + 0.9) * math.log(2),
            3: (1.35 + 0.9) * math.log(2),
            4: (0.9 + 0.4) * math.log(2),
        }
    )
    # By hand, then what is popular; the current item is left out.
    assert listed(taught(VmisKnn(m=10, k=10)), [1, 2])[:3] == [3, 1, 4]


def test_vmis_knn_keeps_the_newest_sessions_and_the_nearest_neighbours() -> None:
    """With m = 1 only the newest session of an item is visited, with k = 1 only the most similar one votes; the own
    session never does."""
    assert set(taught(VmisKnn(m=1, k=10)).scores(-1, [1])) == {1, 4}
    assert set(taught(VmisKnn(m=10, k=1)).scores(-1, [2, 1])) == {1, 2, 3}
    assert set(taught(VmisKnn(m=10, k=10)).scores(2, [1])) == {1, 2, 3}


def test_sknn_says_what_comes_out_by_hand() -> None:
    """Cosines of {1, 2} with the sessions: 2/sqrt(2 * 3), 1/sqrt(2 * 3), 1/sqrt(2 * 2)."""
    a, b, c = 2 / math.sqrt(6), 1 / math.sqrt(6), 1 / 2
    assert taught(SKnn()).scores(-1, [2, 1]) == pytest.approx({1: a + c, 2: a + b, 3: a + b, 4: b + c})
    assert set(taught(SKnn(sample=1)).scores(-1, [2, 1])) == {1, 4}, "the newest of all sessions that share an item"
    assert set(taught(SKnn(k=1)).scores(-1, [2, 1])) == {1, 2, 3}


def test_co_visits_of_the_last_item_are_plain_counts() -> None:
    """Both ways, of neighbours in the session alone; an item does not count beside itself."""
    peer = taught(LastItem(), [[1, 2], [1, 2], [3, 1], [2, 2]])
    assert peer.scores(-1, [1]) == {2: 2.0, 3: 1.0}
    assert peer.scores(-1, [2]) == {1: 2.0}
    assert listed(peer, [3, 1])[:2] == [2, 3]


def test_popularity_fades() -> None:
    """What was bought three times long ago is behind what was bought twice now; the current item may be left out."""
    for current_out, expected in ((True, [2]), (False, [1, 2])):
        peer = taught(Popularity(current_out, half_life_events=2, every=1), [[2] * 3, [9] * 10, [1] * 2])
        assert [item for item in listed(peer, [1]) if item != 9] == expected


def test_a_list_never_holds_an_item_twice_and_never_the_current_one() -> None:
    """Of every peer, on a random log; those that leave the current item in may show it."""
    rng = np.random.default_rng(4)
    sessions = [rng.integers(0, 40, 6).tolist() for _ in range(80)]
    peers: list[Peer] = [
        Popularity(),
        LastItem(),
        VmisKnn(),
        SKnn(),
        RiverMf(40),
        *(Refitted(kind, 80, 40, every=100) for kind in ("cosine", "bm25", "als")),
        Ours(80, 40),
    ]
    for peer in peers:
        taught(peer, sessions).settle()
        for items in sessions[:20]:
            found = listed(peer, items)
            assert len(found) == LENGTH and len(set(found)) == LENGTH and items[-1] not in found
    assert any(items[-1] in listed(taught(SKnn(current_out=False), sessions), items) for items in sessions)


def test_an_item_to_item_model_is_fitted_when_its_time_has_come() -> None:
    """Until then only what is popular. Cosines of 1: 2 has 2 / sqrt(8), 3 1 / sqrt(4), 5 1 / sqrt(8)."""
    peer = taught(Refitted("cosine", 9, 9, every=1000), [[5, 1, 1], [1, 2, 3], [1, 2], [1], [5]])
    assert listed(peer, [1]) == [5], "5 was the first event"
    peer.settle()
    assert listed(peer, [1]) == [2, 3, 5]


def test_ours_are_the_kernels_of_the_worker() -> None:
    """The lists are those of the plain references of pairs, weights and ranking, all rows remembered, what is popular
    behind."""
    rng = np.random.default_rng(5)
    shoppers, items = rng.integers(0, 6, 300), rng.integers(0, 30, 300)
    ts = np.arange(300) * 60_000
    peer = Ours(6, 30)
    peer.learn(shoppers, items, ts)
    peer.settle()
    settings = CovisitSettings(item_shards=1)
    rates = (2.0 ** (1.0 / settings.half_lives_pairs[0]), 2.0 ** (1.0 / settings.half_lives_pairs[1]))
    hashes = peer.hashes
    liked: dict[int, list[tuple[int, int]]] = {}
    pairs: list[tuple[int, int, float]] = []
    for shopper, item, time in zip(shoppers.tolist(), hashes[items].tolist(), ts.tolist(), strict=True):
        before = liked.setdefault(shopper, [])
        recent = recent_reference(before)
        if recent[:1] != [item]:
            pairs += neighbours.pairs_of_reference(item, recent, 1.0)
        before.append((time, item))
    growth = [math.prod([rate] * len(pairs)) for rate in rates]
    answers = {
        item: neighbours.answer_reference(
            {other: weights for other, *weights in row}, growth, (0, 0), settings.short_weight
        )
        for item, row in neighbours.update_reference(pairs, rates).items()
    }
    best = {item: answer[:REMEMBERED_NEIGHBOURS] for item, answer in answers.items()}
    for shopper in range(6):
        history = items[shoppers == shopper].tolist()[-HISTORY:]
        recent = recent_reference(liked[shopper])
        asked = [answers[item] for item in recent[:RECENT_FETCHED]]
        expected = [item for item, *_ in rank_reference(asked, recent, ListSettings().weights(), best, [], 0)]
        found = listed(peer, history, shopper)
        assert [int(hashes[item]) for item in found][: len(expected)] == expected
