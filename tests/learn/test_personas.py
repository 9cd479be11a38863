"""A made-up crowd of personas is found, stays found while it drifts, and is found again after an abrupt change."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drifting_personas import FEATURES, Crowd, draw
from benchmarks.persona_peers import Refitted
from benchmarks.personas import PEERS, SCENARIOS, Peer, run
from state.features import MODEL_FEATURES

SMALL = Crowd("small", "for tests", shoppers=5_000, events=24_000)


def test_crowd_is_the_same_for_the_same_seed() -> None:
    """Shoppers, figures and truth; another seed is another crowd."""
    one, same, other = draw(SMALL, 3), draw(SMALL, 3), draw(SMALL, 4)
    assert np.array_equal(one.x, same.x) and np.array_equal(one.persona, same.persona)
    assert not np.array_equal(one.x, other.x)


def test_crowd_is_what_the_scenario_says() -> None:
    """Twelve features, the others 0; two personas change; heavy-tailed money; a fresh persona comes in the middle."""
    stream = draw(SMALL, 0)
    unused = [j for j, name in enumerate(MODEL_FEATURES) if name not in FEATURES]
    assert not stream.x[:, unused].any() and stream.changed.sum() == 2
    spend = stream.x[:, MODEL_FEATURES.index("spend_30d")]
    assert spend.mean() > 2.0 * np.median(spend)
    late = draw(Crowd("late", "", shoppers=5_000, events=20_000, moved=0, fresh=1), 0)
    fresh = np.flatnonzero(late.changed)[0]
    assert not (late.persona[: late.middle] == fresh).any() and (late.persona[late.middle :] == fresh).any()


@pytest.mark.parametrize("seed", [200, 201])
def test_segments_are_the_personas_as_well_as_batch_k_means_finds_them(seed: int) -> None:
    """Not told how many there are; faster back after the change than a model that is refitted."""
    stream = draw(SMALL, seed)
    ours = run(PEERS[0], SMALL, stream, seed)
    batch = run(Peer("batch", lambda crowd, seed: Refitted(crowd.personas, seed)), SMALL, stream, seed)
    assert ours.segments == 6
    assert ours.ari > batch.ari
    assert ours.ari_last_quarter > batch.ari_last_quarter - 0.02
    assert ours.recovery_events is not None and ours.recovery_events <= 5_000
    assert ours.kept > 0.97


def test_names_of_scenarios_are_permanent() -> None:
    """Figures are kept under them."""
    assert [*SCENARIOS] == ["personas_abrupt", "personas_fresh", "personas_calm"]
