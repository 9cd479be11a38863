"""From scores and answers to records: who is written, what, and when."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from record_helpers import DAY_MS, NAN, answer, commands, hset, profile, scored_batch

from operators.kernels.lists import add_hits, find_ranks, find_ranks_reference
from operators.list_settings import LadderSettings
from operators.personalize import ALWAYS, Personalize, PersonalizeSettings
from state.batches import ACT, WriteBatch
from state.features import MODEL_FEATURES
from state.metrics import Metrics
from state.models import ByCategory, PopularModel
from state.names import Names
from state.redis_keys import Keys
from state.rungs import BESIDE, COMING_BACK, RUNG_BITS, RUNGS

SPEND = MODEL_FEATURES.index("spend_30d")
SCORED = (7, 2, 0.5, 0.25, 0.75, 9)


def make(**settings: Any) -> tuple[Personalize, list[int]]:
    """A step, and the hashes of the items i0 to i9."""
    names = Names()
    items = [names.learn(f"i{n}") for n in range(10)]
    return Personalize(3, PersonalizeSettings(**settings), Metrics(), names, Keys()), items


def written(batch: WriteBatch) -> dict[str, list[list[bytes]]]:
    """The commands of each shopper, by id."""
    spans = [(batch.starts[i], batch.starts[i + 1]) for i in range(len(batch.users))]
    out = {batch.user_id(i).decode(): commands(batch.commands[a:b].tobytes()) for i, (a, b) in enumerate(spans)}
    assert [len(c) for c in out.values()] == batch.per_user.tolist()
    return out


def fields(found: list[list[bytes]]) -> dict[str, bytes]:
    return hset(next(words for words in found if words[0] == b"HSET"))[1]


def test_a_record_says_what_the_steps_found_out() -> None:
    """Scores, list with reasons, newest event, version: of a shopper who acted."""
    step, i = make()
    batch = scored_batch([profile(recent=i[:3], version=12)], [SCORED], item_shards=2)
    batch.scores["other"], batch.scores["why"][0, 0, 0], batch.scores["why_by"][0, 0, 0] = 4, SPEND, 1.5
    batch.scores["why"][0, 1:, :2], batch.scores["why_by"][0, 1:, :2] = (0, SPEND), ((0.25, -0.125), (-3.0, 0.5))
    assert step.process([batch, answer(1, (0, 0, [(i[4], 0.5)]))]) == []
    (out,) = step.process([answer(1, (0, 2, [(i[5], 0.4)]), (0, 1, [(i[0], 0.9), (i[4], 0.2)]))])
    found = written(out)["ann"]
    assert [words[0] for words in found] == [b"HSET", b"EXPIRE"]
    told = fields(found)
    assert told == {
        "event_ts": b"%d" % (20_000 * DAY_MS),
        "version": b"12",
        "segment": b"s7",
        "macro": b"m2",
        "margin": b"0.5000",
        "model": b"9",
        "purchase_propensity": b"0.2500",
        "churn_risk": b"0.7500",
        "why": b'{"segment":[["spend_30d",1.50]],"next":"s4",'
        b'"purchase":[["views_24h",0.25],["spend_30d",-0.12]],"churn":[["views_24h",-3.00],["spend_30d",0.50]]}',
        "recs": b'[["i4",0.6000,"i0"],["i1",0.1500,"i1"],["i2",0.1200,"i2"],["i5",0.1000,"i2"]]',
        "rules": b"[]",
        "variants": b"{}",
    }
    assert (out.versions.tolist(), out.receipt) == ([12], batch.profiles.receipt)


ARRIVALS = st.permutations(
    ["scored1", "answer1a", "answer1b", "scored2", "answer2a", "scored3", "answer3a", "answer3b"]
).filter(lambda order: [x for x in order if x[0] == "s"] == ["scored1", "scored2", "scored3"])


def conversation(i: list[int]) -> dict[str, Any]:
    """Three batches of one shard, in which one shopper acts three times; the second asks one item shard only."""
    sizes = {1: 2, 2: 1, 3: 2}
    values: dict[str, Any] = {}
    for n, shards in sizes.items():
        people = [profile("ann", 0, [i[n]], version=n), profile(f"other{n}", n, [i[0], i[n]], version=1, fresh=1)]
        values[f"scored{n}"] = scored_batch(people, [(n, 0, 0.1 * n, 0.1, 0.2, n)] * 2, sequence=n, item_shards=shards)
        values[f"answer{n}a"] = answer(n, (0, 0, [(i[4 + n], 0.5)]), (1, 1, [(i[9], 0.3)]))
        values[f"answer{n}b"] = answer(n, (1, 0, [(i[8], 0.7)]))
    return values


@settings(max_examples=80, deadline=None)
@given(ARRIVALS)
def test_answers_may_come_before_or_after_what_asked_for_them(order: list[str]) -> None:
    """The same records and the same table, whenever the item shards answer; a shopper's versions in their order."""
    told = []
    for arrivals in (
        ["scored1", "answer1a", "answer1b", "scored2", "answer2a", "scored3", "answer3b", "answer3a"],
        order,
    ):
        step, i = make()
        values = conversation(i)
        out = [batch for name in arrivals for batch in step.process([values[name]])]
        table = step.tables["lists"]
        rows = [[row[name].tobytes() for name in table.dtype.names or ()] for row in table.rows[: table.size]]
        told.append(([(written(batch), batch.versions.tolist()) for batch in out], rows))
    assert told[0] == told[1]


def test_a_batch_without_questions_waits_for_those_before_it() -> None:
    """A shopper's newer record is not overtaken by the older one: the version in Redis would fall."""
    step, i = make()
    first = scored_batch([profile(recent=[i[1]], version=1)], sequence=1, item_shards=1)
    second = scored_batch([profile(recent=[i[1]], version=2)], sequence=2, item_shards=0)
    out = step.process([first, second, answer(1, (0, 0, [(i[2], 0.5)]))])
    assert [batch.versions.tolist() for batch in out] == [[1], [2]]


def test_a_swept_shopper_is_written_only_when_a_score_moved() -> None:
    """By a segment, or by more than the bound since what was last written; and then without a list."""
    step, i = make(rescored_by=0.02)
    step.process([scored_batch([profile(recent=[i[0]], version=3)], [SCORED])])

    def swept(segment: int, purchase: float, churn: float, margin: float = 0.5) -> WriteBatch:
        (out,) = step.process(
            [scored_batch([profile(recent=[i[0]], version=3, acts=0)], [(segment, 2, margin, purchase, churn, 9)])]
        )
        return out

    for same in ((7, 0.25, 0.75), (7, 0.265, 0.735)):
        assert len(swept(*same).users) == 0
    assert fields(written(swept(7, 0.275, 0.75))["ann"])["purchase_propensity"] == b"0.2750"
    assert len(swept(7, 0.26, 0.75).users) == 0, "compared with what was written, not with what was seen"
    assert fields(written(swept(7, 0.275, 0.60))["ann"])["churn_risk"] == b"0.6000"
    assert len(swept(7, 0.275, 0.60, margin=0.515).users) == 0
    assert fields(written(swept(7, 0.275, 0.60, margin=0.53))["ann"])["margin"] == b"0.5300"
    assert len(swept(7, 0.275, 0.60, margin=0.515).users) == 0
    told = written(swept(8, 0.275, 0.60))["ann"]
    assert fields(told)["segment"] == b"s8" and "recs" not in fields(told)
    assert [words[0] for words in told] == [b"HSET", b"EXPIRE"], "a record that had expired is not to live for ever"


def test_an_erased_shopper_s_record_is_deleted_whatever_redis_holds() -> None:
    """One DEL and nothing else; the list that stood is forgotten."""
    step, i = make()
    step.process([scored_batch([profile(recent=[i[0]], version=30)], [SCORED], item_shards=0)])
    (out,) = step.process([scored_batch([profile(acts=0, erased=1, version=0, event_ts=0)], [SCORED])])
    assert written(out) == {"ann": [[b"DEL", b"coterie:user:ann"]]}
    assert out.versions.tolist() == [ALWAYS] and out.per_user.tolist() == [1]
    row = step.tables["lists"].rows[0]
    assert row["count"] == 0 and not row["items"].any() and row["segment"] == -1 and step.tables["lists"].dirty[0]


def test_a_new_shopper_s_record_begins_empty() -> None:
    """What an earlier owner of the key left goes first; rules and variants are there from the first write on."""
    step, i = make()
    (out,) = step.process([scored_batch([profile(recent=[i[0]], fresh=1)])])
    found = written(out)["ann"]
    assert [words[0] for words in found] == [b"DEL", b"HSET", b"EXPIRE"]
    told = fields(found)
    assert (told["rules"], told["variants"], told["recs"]) == (b"[]", b"{}", b"[]")
    assert "segment" not in told and "churn_risk" not in told and "why" not in told
    (out,) = step.process([scored_batch([profile(recent=[i[0]], version=2)])])
    assert [words[0] for words in written(out)["ann"]] == [b"HSET", b"EXPIRE"]
    (out,) = step.process([scored_batch([profile(fresh=1, erased=1, version=1)])])
    assert [words[0] for words in written(out)["ann"]] == [b"DEL", b"HSET", b"EXPIRE"]
    assert out.versions.tolist() == [ALWAYS]


def test_every_write_renews_the_time_to_live_and_no_sweep_brings_the_expired_back() -> None:
    """Redis may have lost a record meanwhile; who was silent for longer than the time to live stays gone."""
    step, i = make()
    step.process([scored_batch([profile(recent=[i[0]])], [SCORED])])
    moved = (8, 2, 0.9, 0.9, 0.9, 9)
    for silent_days, commands_found in ((80, [b"HSET", b"EXPIRE"]), (100, None)):
        swept = scored_batch([profile(recent=[i[0]], acts=0)], [moved])
        swept.profiles.watermark_ts = int(swept.profiles.rows["event_ts"][0]) + silent_days * DAY_MS
        (out,) = step.process([swept])
        assert [words[0] for words in written(out).get("ann", [])] == (commands_found or [])
        moved = (9, 2, 0.9, 0.1, 0.1, 9)


def test_who_has_no_history_is_given_what_is_popular() -> None:
    """With that as the reason; the newest popular items count, also after a resume."""
    step, i = make()
    step.process([PopularModel(1, np.array([i[3], 999, i[4]], np.uint64), np.array([3, 2, 1], np.float32))])
    again, _ = make()
    again.restore_extra(step.extra_state())
    for one in (step, again):
        (out,) = one.process([scored_batch([profile()])])
        recs = json.loads(fields(written(out)["ann"])["recs"])
        assert [(item, because) for item, _, because in recs] == [("i3", "popular"), ("i4", "popular")]


def test_a_list_says_which_category_and_which_segment_an_item_is_popular_in() -> None:
    """Of the current item's category, which the item shard tells; then the favourite one; then of the segment. A
    category whose name is not known is told as popular."""
    step, i = make(ladder=LadderSettings(("category", "segment", "popular"), measured=False))
    lamps, chairs = (step._names.learn(name) for name in ("lamps", 'the "chairs"'))
    known = sorted([(lamps, i[1]), (chairs, i[2]), (77, i[3])])
    categories, items = (np.array(column, np.uint64) for column in zip(*known, strict=True))
    by_category = ByCategory(categories, np.arange(4), items, np.ones(3, np.float32))
    step.process([PopularModel(1, np.array([i[8]], np.uint64), np.ones(1, np.float32), by_category)])
    step.process([scored_batch([profile("bob", 1, [i[4]])], [SCORED], sequence=1, acts=[(0, i[4], 0)])])
    for sequence, current, favourite, expected in (
        (2, lamps, chairs, [("i1", "category:lamps"), ("i2", 'category:the "chairs"')]),
        (3, 77, 0, [("i3", "popular")]),
        (4, 0, 0, []),
    ):
        batch = scored_batch([profile(recent=[i[0]])], [SCORED], sequence=sequence, item_shards=1)
        batch.profiles.rows["favourite"] = favourite
        answered = answer(sequence, (0, 0, []))
        answered.rows["category"] = current
        (out,) = step.process([batch, answered])
        recs = json.loads(fields(written(out)["ann"])["recs"])
        told = [(item, because) for item, _, because in recs]
        assert told == [*expected, ("i4", "segment:s7"), ("i8", "popular")]


def test_a_list_is_filled_up_by_what_is_looked_at_in_its_context_and_says_which() -> None:
    """Mornings and evenings, phones and desktops; of a context that nobody else acted in it is what is popular."""
    step, i = make(ladder=LadderSettings(("context", "popular"), measured=False))
    phone, desktop = (step._names.learn(name) for name in ("phone", "desktop"))
    step.process([PopularModel(1, np.array([i[8]], np.uint64), np.ones(1, np.float32))])
    told = []
    contexts = [(3, phone), (7, phone), (7, desktop), (7, 0), (0, desktop)]
    for n, (band, device) in enumerate(contexts):
        crowd = scored_batch([profile("bob", 1, [i[n]])], sequence=2 * n, acts=[(0, i[n], 0)])
        crowd.profiles.rows["band"], crowd.profiles.rows["device"] = band, device
        step.process([crowd])
    for n, (band, device) in enumerate([*contexts, (1, phone), (0, 0)]):
        batch = scored_batch([profile(recent=[i[9]])], sequence=20 + n)
        batch.profiles.rows["band"], batch.profiles.rows["device"] = band, device
        (out,) = step.process([batch])
        told.append([(item, because) for item, _, because in json.loads(fields(written(out)["ann"])["recs"])])
    popular = ("i8", "popular")
    assert told == [
        [("i0", "context:06-09/phone"), popular],
        [("i1", "context:18-21/phone"), popular],
        [("i2", "context:18-21/desktop"), popular],
        [("i3", "context:18-21"), popular],
        [("i4", "context:desktop"), popular],
        [popular],
        [popular],
    ]


def test_transitions_are_told_with_an_id_that_a_replay_repeats() -> None:
    """User, kind, from, to (a segment, or a trigger's name), event time; the stream is bounded."""
    step, _ = make(transitions_max=500)
    people = [profile("ann", 0), profile('b"ö\r\n', 1)]
    batches = [
        scored_batch(people, transitions=[(1, 0, -1, 4, 77), (0, 2, -1, 2, 78)], sequence=n, item_shards=0)
        for n in (1, 2)
    ]
    first, again = step.process(batches)
    assert first.always == again.always and first.always_n == 2
    one, other = (dict(zip(c[6::2], c[7::2], strict=True)) for c in commands(first.always) if c[0] == b"XADD")
    assert commands(first.always)[0][:6] == [b"XADD", b"coterie:transitions", b"MAXLEN", b"~", b"500", b"*"]
    assert one[b"user_id"] == 'b"ö\r\n'.encode() and (one[b"kind"], one[b"at"]) == (b"cluster", b"77")
    assert (one[b"from"], one[b"to"]) == (b"", b"s4")
    assert (other[b"kind"], other[b"from"], other[b"to"]) == (b"trigger", b"", b"lapsed")
    assert one[b"id"] != other[b"id"]


def test_a_name_learnt_elsewhere_is_read_before_it_is_written(tmp_path: Any) -> None:
    """Another process's item stands in the list though this one never saw its text."""
    here, there = Names(tmp_path, 0), Names(tmp_path, 1)
    here.shared = True
    item = there.learn("from afar")
    there.publish()
    step = Personalize(3, PersonalizeSettings(), Metrics(), here, Keys())
    (out,) = step.process([scored_batch([profile(recent=[5])], item_shards=1), answer(1, (0, 0, [(item, 1.0)]))])
    assert json.loads(fields(written(out)["ann"])["recs"])[0][0] == "from afar"
    for names in (here, there):
        assert names._file
        names._file.close()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 12), st.integers(0, 3)), max_size=25),
    st.lists(st.lists(st.integers(1, 12), max_size=8, unique=True), min_size=5, max_size=5),
)
def test_lists_are_judged_by_what_came_next(acts: list[tuple[int, int, int]], standing: list[list[int]]) -> None:
    """The first act of each shopper in a batch, against the list that stood before it."""
    lists, counts, rungs = np.zeros((9, 20), np.uint64), np.zeros(9, np.uint8), np.zeros(9, np.uint64)
    row_of = np.array([8, 1, 6, 3, 4], np.int32)
    for place, items in enumerate(standing):
        lists[row_of[place], : len(items)], counts[row_of[place]] = items, len(items)
        rungs[row_of[place]] = sum(k % len(RUNGS) << RUNG_BITS * k for k in range(len(items)))
    told, ranks = np.array(acts, ACT), np.full(len(acts), 77, np.int8)
    find_ranks(told, row_of, lists, counts, ranks)
    assert ranks.tolist() == find_ranks_reference([(p, item, before, standing[p]) for p, item, before in acts])
    hits, judged = np.zeros(len(RUNGS), np.int64), np.zeros(3)
    add_hits(ranks, rungs[row_of[told["position"]]], hits, judged)
    ranked = [r for r in ranks.tolist() if r > 0]
    assert hits.tolist() == [sum((r - 1) % len(RUNGS) == rung for r in ranked) for rung in range(len(RUNGS))]
    assert judged[:2].tolist() == [sum(ranks >= 0), len(ranked)] and math.isclose(judged[2], sum(1 / r for r in ranked))


def test_a_list_is_judged_once_it_stands() -> None:
    """What was written is what the next act is held against; who is new, or was erased, has no list."""
    step, i = make()
    first = scored_batch([profile(recent=[i[1]])], sequence=1, item_shards=1, acts=[(0, i[1], 0)])
    step.process([first, answer(1, (0, 0, [(i[2], 0.9), (i[3], 0.5)]))])
    assert step.judged.tolist() == [0, 0, 0]
    step.process([scored_batch([profile(recent=[i[3], i[1]])], sequence=2, acts=[(0, i[3], i[1])])])
    assert step.judged.tolist() == [1, 1, 0.5]
    tally = step.tally
    assert (tally.hits[BESIDE], tally.hits.sum()) == (1, 1)
    assert (tally.listed[BESIDE], tally.listed[COMING_BACK], tally.items_listed()) == (2, 1, 3)
    assert list(itertools.chain(first.profiles.acts["position"])) == [0] and NAN != NAN
