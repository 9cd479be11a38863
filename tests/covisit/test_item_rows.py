"""The bounded rows of an item shard: who gives way, and that nothing of the others is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.item_rows import GIVEN_UP_SHARE, ItemRows
from operators.kernels.neighbours import ITEM_ROW
from state.journal import Journal
from state.metrics import Metrics
from state.table import Table

BOUND = 40
calls = st.lists(st.lists(st.integers(0, 120), min_size=1, max_size=60), max_size=12)


class Watched:
    """Rows whose moves are counted; each item's row carries its own number as category."""

    def __init__(self, bound: int = BOUND) -> None:
        self.metrics = Metrics()
        self.moves = 0
        self.rows = ItemRows(bound, self.metrics.evictions.labels("items"), self._note_move)

    def _note_move(self) -> None:
        self.moves += 1

    def ask(self, *items: int) -> list[int]:
        """The rows of items, each a little more popular than any before."""
        found = self.rows.find_or_add(np.array(items, np.uint64))
        table = self.rows.table
        for row, item in zip(found.tolist(), items, strict=True):
            if row >= 0:
                assert table.rows["item"][row] == item and table.rows["category"][row] in (0, item)
                table.rows["category"][row], table.dirty[row] = item, 1
                table.rows["popularity"][row] = self.counted = self.counted + 1.0
        return [int(row) for row in found]

    counted = 0.0

    def kept(self) -> dict[int, float]:
        """Item -> popularity."""
        of = self.rows.table.rows[: self.rows.table.size]
        assert (of["category"] == of["item"]).all() and len(set(of["item"].tolist())) == len(of)
        return dict(zip(of["item"].tolist(), of["popularity"].tolist(), strict=True))

    def evicted(self) -> float:
        return float(self.rows._evictions._value.get())


@given(calls=calls)
@settings(max_examples=150, deadline=None)
def test_the_least_popular_give_way_and_the_others_keep_their_rows(calls: list[list[int]]) -> None:
    """Beside a dictionary: whoever is asked for is there, if there is room for all that are asked for at once."""
    watched = Watched()
    for items in calls:
        before, evicted, moves = watched.kept(), watched.evicted(), watched.moves
        rows = watched.ask(*items)
        wanted, after = {item for item in items if item}, watched.kept()
        new = [item for item in dict.fromkeys(items) if item and item not in before]
        assert all((row >= 0) == (item in after) for item, row in zip(items, rows, strict=True))
        assert len(after) <= BOUND and watched.rows.find(np.array(sorted(after), np.uint64)).min(initial=0) >= 0
        gone = before.keys() - after.keys()
        left_out = [item for item in new if item not in after]
        assert watched.evicted() - evicted == len(gone) + len(left_out)
        assert (watched.moves > moves) == bool(gone)
        assert not gone & wanted and left_out == new[len(new) - len(left_out) :]
        if left_out:
            assert not before.keys() - wanted - gone, "there is no room left to be had"
        missing = len(before) + len(new) - BOUND
        spared = [before[item] for item in before.keys() - wanted - gone]
        if gone:
            assert len(gone) >= min(missing, len(before.keys() - wanted)) and min(spared, default=np.inf) > max(
                before[item] for item in gone
            )
            assert len(gone) <= max(missing, int(len(before) * GIVEN_UP_SHARE))
        else:
            assert missing <= 0 or not before.keys() - wanted


def test_rows_that_moved_come_back_from_the_journal(tmp_path: Path) -> None:
    """Snapshots before, between and after rows gave way: what is resumed is what was there."""
    watched, journal = Watched(), Journal(tmp_path, "covisit", sync=False)
    for begin in range(1, 300, 7):
        watched.ask(*range(begin, begin + 13))
        marker = journal.save({"items": watched.rows.table})
        resumed = Table(ITEM_ROW)
        Journal(tmp_path, "covisit", sync=False).load(marker, {"items": resumed})
        table = watched.rows.table
        assert resumed.rows[: resumed.size].tobytes() == table.rows[: table.size].tobytes()
    assert watched.moves > 10
