"""Segments by sequence: who did this, then that, within a span; against trying every run of events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, HOUR, MINUTE, Shop, cuts, line, order

from operators.profile_rules import PlacedRules
from operators.rules.ruleset import Ruleset
from state.batches import RULE

TABLE: dict[str, Any] = {
    "bought": {"sequence": ["view category = 'a'", "add_to_cart", "purchase"], "within": "6h"},
    "stuck": {"sequence": ["view", "add_to_cart", "purchase"], "within": "6h", "stuck_at": 2},
    "twice": {"sequence": ["view item_id IN ('i', 'k')", "view item_id = 'i'"], "within": "2h", "hold": "1h"},
    "dear": {"sequence": ["search", "view price >= 50 AND category <> 'b'"], "within": "1d"},
    "viewers": {"where": "views_24h >= 1"},
}
RULESET = Ruleset.of(TABLE)
PLACED = PlacedRules(RULESET, (4, 0, 9, 1, 2), 1)
NAMES = dict(zip(PLACED.places, RULESET.names, strict=True))


def matches(step: str, event: dict[str, Any]) -> bool:
    """Is an event what a step of TABLE asks for?"""
    name, _, asked = step.partition(" ")
    if event["type"] != name:
        return False
    category = event.get("category")
    return {
        "": True,
        "category = 'a'": category == "a",
        "item_id IN ('i', 'k')": event.get("item_id") in ("i", "k"),
        "item_id = 'i'": event.get("item_id") == "i",
        "price >= 50 AND category <> 'b'": event.get("price", -1) >= 50 and category not in (None, "b"),
    }[asked]


def newest_begin(steps: list[str], events: list[dict[str, Any]], within_ms: int) -> int:
    """Of all runs of these steps among events in order, each a later event than the one before and none later than the
    span after the first: when the last of them to begin began; -1 where there is none."""
    best = -1

    def go(step: int, first: int, begun: int) -> None:
        nonlocal best
        if step == len(steps):
            best = max(best, begun)
            return
        for k in range(first, len(events)):
            begin = events[k]["ts"] if step == 0 else begun
            if matches(steps[step], events[k]) and events[k]["ts"] - begin <= within_ms:
                go(step + 1, k + 1, begin)

    go(0, 0, 0)
    return best


def members(events: list[dict[str, Any]], at: int) -> set[str]:
    """The segments by sequence, without holding, of a shopper with these events, as of a time."""
    found = set()
    for name, rule in RULESET.rules.by_name.items():
        if rule.sequence is None:
            continue
        steps, within, stuck = TABLE[name]["sequence"], rule.sequence.within_ms, rule.sequence.stuck_at
        begun = newest_begin(steps[: stuck or len(steps)], events, within)
        if begun < 0 or at - begun > within:
            continue
        if stuck and newest_begin(steps[: stuck + 1], events, within) >= begun:
            continue
        found.add(name)
    return found


@st.composite
def histories(draw: st.DrawFn) -> list[bytes]:
    """One shopper's records in order of time."""
    ts, records = BEGIN_MS, []
    for n in range(draw(st.integers(1, 12))):
        ts += draw(st.sampled_from([0, MINUTE, HOUR, 2 * HOUR, 5 * HOUR]))
        kind = draw(st.sampled_from(["view", "view", "add_to_cart", "purchase", "search"]))
        item = draw(st.sampled_from("ijk"))
        if kind == "purchase":
            records.append(order(ts, (item, 1, 5.0), event_id=f"e{n}"))
        elif kind == "search":
            records.append(line(kind, ts, event_id=f"e{n}", query="q"))
        else:
            told: dict[str, Any] = {"category": draw(st.sampled_from("ab"))} if draw(st.booleans()) else {}
            told |= {"price": draw(st.sampled_from([10, 50, 90]))} if draw(st.booleans()) else {}
            records.append(line(kind, ts, event_id=f"e{n}", item_id=item, **told))
    return records


@settings(max_examples=80, deadline=None)
@given(histories(), st.data())
def test_members_are_those_with_a_run_of_the_steps(records: list[bytes], data: st.DataObject) -> None:
    """As of every event's time and long after, whatever the batches."""
    shop = Shop(rules=PLACED)
    events = [json.loads(record) for record in records]
    until = events[-1]["ts"]
    for cut in cuts(data.draw, len(records)):
        shop.feed(*records[cut])
    for later in (0, HOUR, 2 * HOUR + 1, 6 * HOUR, 6 * HOUR + 1, DAY, 2 * DAY):
        shop.pulse(until + later + 1)
        bits = int(shop.row("ann")["rules"])
        inside = {name for place, name in NAMES.items() if bits >> place & 1} - {"viewers"}
        expected = members(events, until + later)
        held = {"twice"} if members(events, until + later - HOUR) & {"twice"} or "twice" in inside else set()
        assert inside - held == expected - held, later
    assert int(shop.row("ann")["sequences"]) == 0 or bits == 0


@pytest.mark.parametrize("cold", [False, True])
def test_a_run_goes_on_after_a_restart_and_in_the_cold_tier(tmp_path: Path, cold: bool) -> None:
    """A shopper views, is put aside or the worker stops, and buys: the run is whole, and ends on time."""
    if cold:
        shop = Shop(cold=tmp_path, bytes_max=1, rules=PLACED)
        shop.feed(
            line("view", BEGIN_MS, item_id="i", category="a"), line("add_to_cart", BEGIN_MS + MINUTE, item_id="i")
        )
        shop.feed(*(line("search", BEGIN_MS + 2 * MINUTE, f"u{n}", query="q") for n in range(40)))
        assert "ann" not in shop.rows()
    else:
        shop = Shop(rules=PLACED)
        shop.feed(
            line("view", BEGIN_MS, item_id="i", category="a"), line("add_to_cart", BEGIN_MS + MINUTE, item_id="i")
        )
        shop = shop.resumed(tmp_path)
    shop.feed(order(BEGIN_MS + HOUR, ("i", 1, 5.0)))
    shop.pulse(BEGIN_MS + 3 * DAY)
    ann = [
        (change["before"], change["after"], int(change["at"]) - BEGIN_MS)
        for batch in shop.batches
        for change in batch.changes
        if change["kind"] == RULE and _user(batch, change) == "ann"
    ]
    assert (-1, 4, HOUR) in ann and (4, -1, 6 * HOUR + 1) in ann
    assert (0, -1, HOUR) in ann


def _user(batch: Any, change: Any) -> str:
    row = batch.rows[change["position"]]
    return str(batch.ids.tobytes()[row["user_at"] : row["user_at"] + row["user_len"]].decode())
