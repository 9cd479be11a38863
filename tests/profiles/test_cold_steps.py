"""Scores and lists go along to the cold tier and come back: the steps behind tell the same as if nobody had left."""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, HOUR, NEAR_MS, Shop, cuts, line, logs

from operators.contender import Comparison, Contender
from operators.list_settings import ListSettings
from operators.personalize import Personalize, PersonalizeSettings
from operators.score import Score
from state.batches import ANSWER, TRANSITION_KINDS, AnswerBatch, ProfileBatch, ScoredBatch, SegmentCounts, WriteBatch
from state.cold_store import ColdStore
from state.features import DIMENSIONS, MODEL_FEATURES
from state.journal import Journal, Marker
from state.metrics import Metrics
from state.models import PopularModel, SegmentModel
from state.redis_keys import Keys

USERS = tuple(f"u{n}" for n in range(20))
SESSIONS = MODEL_FEATURES.index("sessions_total")
CLUSTER = TRANSITION_KINDS.index("cluster")


def by_sessions(numbers: tuple[int, ...] = (3, 1, 4), at: tuple[int, ...] = (1, 2, 4)) -> SegmentModel:
    """Segments by the number of sessions alone, a figure that no passing of time changes."""
    centres = np.zeros((len(at), DIMENSIONS), np.float32)
    centres[:, SESSIONS] = np.log1p(at)
    scale = np.full(DIMENSIONS, 1e6, np.float32)
    scale[SESSIONS] = 1.0
    return SegmentModel(
        version=1,
        mean=np.zeros(DIMENSIONS, np.float32),
        scale=scale,
        centres=centres,
        numbers=np.array(numbers, np.int32),
        macros=np.zeros(len(at), np.int32),
        cards=[],
        samples=1,
        silhouette=0.5,
        stability=1.0,
    )


class Line:
    """A shard's steps behind one another: profiles, scores and lists, each with a cold store of its own or none."""

    def __init__(
        self, cold: Path | None = None, shop: Shop | None = None, challenged: bool = False, **given: Any
    ) -> None:
        self.cold, self.given, self.comparison = cold, given, Comparison()
        self.shop = shop or Shop(1, cold, inactivity_ttl_ms=4000 * DAY, **given)
        scores, lists = (ColdStore(cold, n, sync=False) if cold else None for n in ("score-0", "personalize-0"))
        self.score = Score(0, Metrics(), cold=scores)
        self.lists = Personalize(
            0,
            PersonalizeSettings(),
            Metrics(),
            self.shop.names,
            Keys(),
            cold=lists,
            contenders=[Contender(ListSettings(learn_weights=False))] * (1 + challenged),
            comparison=self.comparison,
        )
        self.moves: Counter[tuple[str, int, int, int]] = Counter()
        self.counts: list[int] = []
        self.written: dict[str, list[bytes]] = {}

    def begin(self) -> Line:
        """Models come before the first event."""
        self._count(self.score.process([by_sessions()]))
        items = np.array([self.shop.names.learn(f"p{n}") for n in range(30)], np.uint64)
        self.lists.process([PopularModel(1, items, np.linspace(1, 0.5, 30, dtype=np.float32))])
        return self

    def feed(self, *records: bytes) -> None:
        """Take records in, and what comes of them on through all steps; every item shard answers that it knows none."""
        for batch in self.shop.feed(*records):
            out = self.score.process([batch])
            scored = next(value for value in out if isinstance(value, ScoredBatch))
            self._count(out)
            ids = batch.ids.tobytes()
            for position, kind, before, after, ts in scored.transitions.tolist():
                if kind == CLUSTER:
                    self.moves[_id(batch, ids, position), before, after, ts] += 1
            answers = [AnswerBatch(0, batch.sequence, np.empty(0, ANSWER)) for _ in range(batch.item_shards)]
            for out_batch in self.lists.process([scored, *answers]):
                self._note(out_batch)

    def _count(self, out: list[Any]) -> None:
        self.counts = next((value.counts.tolist() for value in out if isinstance(value, SegmentCounts)), self.counts)

    def _note(self, batch: WriteBatch) -> None:
        for i, (first, last) in enumerate(pairwise(batch.starts.tolist())):
            self.written.setdefault(batch.user_id(i).decode(), []).append(batch.commands[first:last].tobytes())

    def told(self) -> tuple[Any, ...]:
        """Moves from segment to segment, how many each segment holds, every record, and how good the lists were."""
        (counts,) = self.score.finish()
        assert isinstance(counts, SegmentCounts)
        return self.moves, np.trim_zeros(counts.counts).tolist(), self.written, self.lists.judged.tolist()

    def snapshot(self, directory: Path) -> tuple[dict[str, Marker], list[tuple[Marker, bytes]]]:
        """Everything a resume needs."""
        steps = []
        for name, step in (("score", self.score), ("personalize", self.lists)):
            step.before_snapshot()
            steps.append((Journal(directory, name, sync=False).save(step.tables), step.extra_state()))
        return self.shop.snapshot(directory), steps

    def to_disk(self) -> None:
        """Bring the cold files of all steps to where they are now."""
        for step in (*self.shop.steps.values(), self.score, self.lists):
            step.before_snapshot()

    def resumed(
        self,
        directory: Path,
        snapshot: tuple[dict[str, Marker], list[tuple[Marker, bytes]]],
        challenged: bool = False,
    ) -> Line:
        """The steps as of a snapshot of theirs."""
        again = Line(self.cold, self.shop.resumed(directory, snapshot[0]), challenged, **self.given)
        for (name, step), (marker, extra) in zip(
            (("score", again.score), ("personalize", again.lists)), snapshot[1], strict=True
        ):
            Journal(directory, name, sync=False).load(marker, step.tables)
            step.restored()
            step.restore_extra(extra)
        again.moves, again.written = self.moves.copy(), {user: list(told) for user, told in self.written.items()}
        again.lists.judged += self.lists.judged
        return again


def _id(batch: ProfileBatch, ids: bytes, position: int) -> str:
    row = batch.rows[position]
    return ids[row["user_at"] : row["user_at"] + row["user_len"]].decode()


@settings(max_examples=20, deadline=None)
@given(st.data(), st.booleans())
def test_scores_and_lists_are_those_of_shoppers_who_never_left(data: st.DataObject, erase: bool) -> None:
    """Moves, counts, records and hits, for any log cut anywhere, also past a crash that leaves the cold files ahead."""
    log = data.draw(logs(most=60, users=USERS, late=NEAR_MS, erase=erase))
    with tempfile.TemporaryDirectory() as cold, tempfile.TemporaryDirectory() as journals:
        plain, tight = Line().begin(), Line(Path(cold), bytes_max=1).begin()
        parts = cuts(data.draw, len(log))
        for n, part in enumerate(parts):
            plain.feed(*log[part])
            if data.draw(st.integers(0, 3)) == 0:
                snapshot = tight.snapshot(Path(journals))
                going_on = tight.resumed(Path(journals), snapshot)
                for lost in parts[n : n + 2]:
                    going_on.feed(*log[lost])
                going_on.to_disk()
                tight = tight.resumed(Path(journals), snapshot)
            tight.feed(*log[part])
        assert tight.told() == plain.told()


def test_who_comes_back_does_not_come_from_nowhere(tmp_path: Path) -> None:
    """The segment of before the cold tier is the one a move is told from; and it goes on being counted meanwhile."""
    line_ = Line(tmp_path, bytes_max=1).begin()
    line_.feed(line("view", BEGIN_MS, "ann", item_id="a"))
    line_.feed(*(line("view", BEGIN_MS + HOUR, user, item_id="a") for user in USERS))
    assert "ann" not in line_.shop.rows() and line_.told()[1] == [21]
    line_.moves.clear()
    line_.feed(line("view", BEGIN_MS + 2 * HOUR, "ann", item_id="b"))
    assert line_.moves == {("ann", 3, 1, BEGIN_MS + 2 * HOUR): 1}
    assert line_.told()[1] == [1, 0, 20]


def test_counts_of_those_away_outlast_a_restart(tmp_path: Path) -> None:
    """Also when they are erased from the cold tier afterwards, which takes them off."""
    (tmp_path / "cold").mkdir()
    before = Line(tmp_path / "cold", bytes_max=1).begin()
    before.feed(line("view", BEGIN_MS, "ann", item_id="a"))
    before.feed(*(line("view", BEGIN_MS + HOUR, user, item_id="a") for user in USERS))
    after = before.resumed(tmp_path, before.snapshot(tmp_path))
    assert after.told()[1] == before.told()[1] == [21]
    after.feed(line("erase", BEGIN_MS + 2 * HOUR, "ann"))
    assert after.told()[1] == [20]
    after.feed(line("view", BEGIN_MS + 3 * HOUR, "ann", item_id="a"))
    assert after.told()[1] == [21] and after.moves["ann", -1, 3, BEGIN_MS + 3 * HOUR] == 1


def test_a_challenger_forgets_who_leaves_and_compares_who_comes_back_from_their_next_list_on(tmp_path: Path) -> None:
    """Twenty shoppers of whom few have room, each of whom acts twice at a time: no more than the second acts are
    compared."""
    line_ = Line(tmp_path, challenged=True, bytes_max=1).begin()
    for n in range(3):
        for user in USERS:
            line_.feed(line("view", BEGIN_MS + n * HOUR, user, item_id=f"p{n}"))
            line_.feed(line("view", BEGIN_MS + n * HOUR + 1, user, item_id=f"p{n + 9}"))
    judged = int(line_.lists.judged[0])
    assert judged == 5 * len(USERS)
    compared, hits, others, *_ = line_.comparison.sums.tolist()
    assert 2 * len(USERS) < compared <= 3 * len(USERS) and hits == others > 0


def test_a_challenger_may_be_set_at_any_start(tmp_path: Path) -> None:
    """More shoppers than a table has room for at first; of their lists of before nothing is compared."""
    users = [f"v{n}" for n in range(150)]
    before = Line().begin()
    before.feed(*(line("view", BEGIN_MS + n, user, item_id="p1") for n, user in enumerate(users)))
    snapshot = before.snapshot(tmp_path)
    after = before.resumed(tmp_path, snapshot, challenged=True)
    for n in range(3):
        after.feed(*(line("view", BEGIN_MS + (n + 1) * HOUR, user, item_id=f"p{n + 2}") for user in users))
    assert after.comparison.sums[0] == 2 * len(users) and after.lists.tables["challenger"].size >= len(users)
    again = after.resumed(tmp_path, after.snapshot(tmp_path), challenged=True)
    again.feed(*(line("view", BEGIN_MS + 4 * HOUR, user, item_id="p9") for user in users))
    assert again.comparison.sums[0] == len(users), "its lists outlast a restart"
