"""The catalogue of segments tells what changed, no more, and counts every shopper once."""

from __future__ import annotations

import numpy as np
import orjson

from operators.catalogue import Catalogue, RuleCard
from state.batches import SegmentCounts
from state.features import DIMENSIONS
from state.metrics import Metrics
from state.models import SegmentCard, SegmentModel

BORN_MS = 1_700_000_000_000


def _card(
    number: int, name: str, share: float = 0.5, retired_at: int = 0, parents: list[int] | None = None
) -> SegmentCard:
    return SegmentCard(number, number % 2, name, [("views_30d", 9.0, 2.5)], share, BORN_MS, parents or [], retired_at)


def _model(version: int, *cards: SegmentCard) -> SegmentModel:
    live = [card for card in cards if not card.retired_at]
    return SegmentModel(
        version,
        np.zeros(DIMENSIONS, np.float32),
        np.ones(DIMENSIONS, np.float32),
        np.zeros((len(live), DIMENSIONS), np.float32),
        np.array([card.number for card in live], np.int32),
        np.array([card.macro for card in live], np.int32),
        list(cards),
        100,
        0.5,
        1.0,
    )


def _counts(shard: int, *counts: int) -> SegmentCounts:
    return SegmentCounts(shard, np.array(counts, np.int64))


def _users(metrics: Metrics, segment: str) -> float | None:
    return metrics.registry.get_sample_value("coterie_segment_users", {"segment": segment})


def test_field_is_what_the_page_of_interfaces_says() -> None:
    """Every member, with ids in their public form."""
    (fields,) = Catalogue(Metrics()).process(
        [_model(1, _card(7, "browsers", parents=[3]), _card(3, "old", 0.0, BORN_MS + 5))]
    )
    assert orjson.loads(fields["s7"]) == {
        "name": "browsers",
        "macro": "m1",
        "size": 0,
        "share": 0.5,
        "traits": [["views_30d", 9.0, 2.5]],
        "born_at": BORN_MS,
        "born_by": "birth",
        "parents": ["s3"],
        "retired_at": None,
        "retired_by": None,
        "heirs": [],
    }
    assert orjson.loads(fields["s3"])["retired_at"] == BORN_MS + 5


def test_sizes_are_summed_over_the_shards_newest_counts() -> None:
    """A shard's new counts take the place of its old ones; a segment beyond a shard's counts has nobody there."""
    metrics = Metrics()
    catalogue = Catalogue(metrics)
    model = _model(1, _card(0, "browsers"), _card(1, "buyers"))
    catalogue.process([model, _counts(0, 5, 5), _counts(1, 9)])
    (fields,) = catalogue.process([_counts(0, 1, 2), _counts(1, 3)])
    assert [(orjson.loads(fields[s])["size"], orjson.loads(fields[s])["share"]) for s in ("s0", "s1")] == [
        (4, 0.6667),
        (2, 0.3333),
    ]
    assert (_users(metrics, "s0"), _users(metrics, "s1")) == (4.0, 2.0)


def test_only_what_changed_is_told() -> None:
    """The same again says nothing; one new name says one field; the end of input says all."""
    catalogue = Catalogue(Metrics())
    assert catalogue.process([_counts(0, 1, 1)]) == []
    first = _model(1, _card(0, "browsers"), _card(1, "buyers"))
    assert [set(fields) for fields in catalogue.process([first])] == [{"s0", "s1"}]
    assert catalogue.process([first, _counts(0, 1, 1)]) == []
    assert [set(fields) for fields in catalogue.process([_model(2, _card(0, "browsers"), _card(1, "spenders"))])] == [
        {"s1"}
    ]
    assert [set(fields) for fields in catalogue.finish()] == [{"s0", "s1"}]


def test_a_rule_card_tells_no_share_before_shoppers_are_counted_by_segment() -> None:
    """Members are known before the first model, the number they are a share of is not."""
    catalogue = Catalogue(Metrics(), rules=[RuleCard("loyal", 1, "purchases_30d >= 3")])
    members = np.array([0, 6], np.int64)
    (fields,) = catalogue.process([SegmentCounts(0, np.zeros(0, np.int64), members)])
    assert (orjson.loads(fields["loyal"])["size"], orjson.loads(fields["loyal"])["share"]) == (6, None)
    (fields,) = catalogue.process([_model(1, _card(0, "browsers")), SegmentCounts(0, np.array([8], np.int64), members)])
    assert orjson.loads(fields["loyal"])["share"] == 0.75


def test_card_that_is_gone_is_told_as_an_empty_value() -> None:
    """A field whose card the model no longer carries is to be removed, once."""
    catalogue = Catalogue(Metrics())
    catalogue.process([_model(1, _card(0, "browsers"), _card(1, "old", 0.0, BORN_MS))])
    assert catalogue.process([_model(2, _card(0, "browsers"))]) == [{"s1": b""}]
    assert catalogue.process([_model(3, _card(0, "browsers"))]) == []


def test_gauge_has_only_live_segments() -> None:
    """A retired segment's label goes, also after a restart in between."""
    metrics = Metrics()
    catalogue = Catalogue(metrics)
    catalogue.process([_model(1, _card(0, "browsers"), _card(1, "buyers")), _counts(0, 2, 3)])
    resumed_metrics = Metrics()
    resumed = Catalogue(resumed_metrics, catalogue.snapshot())
    assert _users(resumed_metrics, "s1") == 3.0
    for one, page in ((catalogue, metrics), (resumed, resumed_metrics)):
        one.process([_model(2, _card(0, "browsers"), _card(1, "buyers", 0.0, BORN_MS))])
        assert _users(page, "s1") is None
        assert _users(page, "s0") == 2.0


def test_restart_tells_nothing_twice() -> None:
    """A resumed catalogue goes on as the uninterrupted one."""
    values = [_model(1, _card(0, "browsers"), _card(1, "buyers")), _counts(0, 2, 3)]
    catalogue = Catalogue(Metrics())
    catalogue.process(values)
    resumed = Catalogue(Metrics(), catalogue.snapshot())
    assert resumed.process(values) == []
    assert resumed.process([_counts(1, 1)]) == catalogue.process([_counts(1, 1)])
    assert resumed.finish() == catalogue.finish()
    assert Catalogue(Metrics()).finish() == []
