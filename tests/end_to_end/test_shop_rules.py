"""The rules a shop has for its lists, from the event on the wire to the list in Redis, with restarts in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
import running as tools

BEGIN_MS = 1_772_409_600_000
MINUTE, DAY = 60_000, 86_400_000
CUPS = ("cup-1", "cup-2", "cup-3")
LIKED = (*CUPS, "coffee", "lamp", "chair", "clock")
"""Seen beside the table more often than what fills the list up; the first cup the most often."""
FILLERS = tuple(f"filler-{n}" for n in range(24))


def event(kind: str, at: int, user: str = "ann", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "ts": BEGIN_MS + at, "user_id": user, **fields}


def item(at: int, name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "item", "ts": BEGIN_MS + at, "item_id": name, **fields}


def crowd() -> list[dict[str, Any]]:
    """Shoppers who look at the table and one other thing each, to and fro."""
    out = [item(0, cup, category="cups") for cup in CUPS] + [item(0, "coffee", category="coffee")]
    for n, other in enumerate((*LIKED, *FILLERS)):
        times = 10 - n if other in LIKED else 2
        for k in range(2 * times):
            out.append(event("view", MINUTE * (k + 1), f"crowd-{n}", item_id=("table", other)[k % 2]))
    return sorted(out, key=lambda one: int(one["ts"]))


def bought(at: int, *lines: tuple[str, int]) -> dict[str, Any]:
    told = [{"item_id": name, "quantity": quantity, "unit_price": 5} for name, quantity in lines]
    return event("purchase", at, order_id=f"o{at}", lines=told)


FIRST = [*crowd(), event("view", DAY, item_id="table")]
THEN = [
    item(DAY + 1, "lamp", available=False),
    bought(DAY + 2, ("coffee", 1), ("chair", 2)),
    *(event("impression", DAY + 3 + k, experiment="e", variant="v", item_ids=["clock", "cup-1"]) for k in range(5)),
    event("view", DAY + 9, item_id="cup-1"),
    event("view", DAY + 10, item_id="table"),
]
AGAIN = [event("view", DAY + 11, item_id="table")]
PARTLY = [bought(2 * DAY, ("chair", -1)), event("view", 2 * DAY + 1, item_id="table")]
BACK = [
    item(14 * DAY, "lamp", available=True),
    *(item(14 * DAY, cup, available=False) for cup in CUPS[:2]),
    bought(14 * DAY + 1, ("chair", -1)),
    event("click", 14 * DAY + 2, item_id="clock"),
    event("view", 14 * DAY + 3, item_id="table"),
]
LATER = [event("view", 16 * DAY, item_id="table")]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_shop_does_not_want_is_in_no_list_and_comes_back_when_it_should(
    processes: int, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not to be had, what was bought, the third of a category and what was shown in vain; each log is read by
    another start of the worker, which knows them from its state."""
    monkeypatch.setenv("COTERIE_RECOMMEND__CATEGORY_MAX", "2")
    monkeypatch.setenv("COTERIE_RECOMMEND__FATIGUE_FACTOR", "0.01")
    monkeypatch.setenv("COTERIE_RECOMMEND__BOUGHT_DAYS_BY_CATEGORY", '{"coffee": 14}')

    def listed(*events: dict[str, Any]) -> list[str]:
        """Ann's list after some more events, read by a new start."""
        log = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        log.write_bytes(b"\n".join(map(orjson.dumps, events)))
        _, report = tools.replay(tmp_path, redis_url, log, processes=processes, name="kept")
        assert (report["rejected"], report["duplicates"], report["accepted"]) == ({}, 0, len(events))
        found: list[str] = [name for name, *_ in orjson.loads(tools.records(redis_url)["coterie:user:ann"]["recs"])]
        assert len(found) == 20
        return found

    def popular() -> set[str]:
        with redis.Redis.from_url(redis_url) as client:
            return {name for name, _ in orjson.loads(client.get("coterie:popular:all") or b"[]")}

    first = listed(*FIRST)
    assert first[:2] == ["cup-1", "cup-2"] and {"coffee", "lamp", "chair", "clock"} < set(first)
    assert "cup-3" not in first and {"lamp", *CUPS} < popular()

    gone = {"coffee", "lamp", "chair", "clock", "cup-3"}
    then = listed(*THEN)
    assert not gone & set(then)
    assert {"cup-1", "cup-2"} < set(then), "an act upon an item forgets its impressions"
    assert "lamp" not in popular() and "coffee" in popular()
    assert not gone & set(listed(*AGAIN))
    assert not gone & set(listed(*PARTLY)), "one of two chairs was sent back"

    back = listed(*BACK)
    assert {"lamp", "chair", "clock", "cup-3"} < set(back) and not {"coffee", "cup-1", "cup-2"} & set(back)
    assert "lamp" in popular() and not {"cup-1", "cup-2"} & popular()
    assert "coffee" in listed(*LATER), "coffee comes back after a fortnight"


def test_what_is_not_available_is_in_no_list_past_the_bound_of_the_catalogue(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the items, as many as there is room for; the next start knows them from its state."""
    monkeypatch.setenv("COTERIE_WORKER__CATALOGUE_ITEMS_MAX", "40")
    names = [f"thing-{n}" for n in range(80)]
    views = [
        event("view", DAY + MINUTE * k, f"crowd-{n}", item_id=("table", name)[k % 2])
        for k in range(8)
        for n, name in enumerate(names)
    ]
    told = [item(n, name, available=n % 2 == 0) for n, name in enumerate(names)]
    for number, events in enumerate((told, [*views, event("view", 2 * DAY, item_id="table")])):
        log = tmp_path / f"{number}.jsonl"
        log.write_bytes(b"\n".join(map(orjson.dumps, events)))
        tools.replay(tmp_path, redis_url, log, name="kept")
    listed = {name for name, *_ in orjson.loads(tools.records(redis_url)["coterie:user:ann"]["recs"])}
    assert len(listed) == 20 and listed <= {"table", *names[::2]}
