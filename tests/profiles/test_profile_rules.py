"""Rule segments in the profile step: who is in which, since when, whatever the batches, against asking all the time."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, HOUR, MINUTE, Shop, cuts, line, order

from operators.profile_rules import PlacedRules
from operators.rules.plain import evaluate_reference
from operators.rules.ruleset import Ruleset
from state.batches import RULE

TABLE: dict[str, Any] = {
    "viewers": {"where": "views_1h >= 2"},
    "held_viewers": {"where": "views_1h >= 2", "hold": "90m"},
    "waiting": {"where": "recency_days BETWEEN 0.25 AND 0.5"},
    "carts": {"where": "cart_items > 0 AND cart_minutes >= 60"},
    "busy": {"where": "session_events >= 2 AND purchases_24h = 0"},
    "points": {"score": {"a": ["views_24h >= 1", 2], "b": ["purchases_24h >= 1", 3]}, "at_least": 5},
    "phone": {"where": "favourite_device = 'phone' OR attribute_age > 30"},
    "long_gone": {"where": "views_recency_days > 1.5", "hold": "1h"},
}
PLACES = (3, 0, 7, 1, 2, 5, 6, 11)
RULESET = Ruleset.of(TABLE)
PLACED = PlacedRules(RULESET, PLACES, 9)
STEP = 5 * MINUTE

Change = tuple[str, str, str, int]
"""(user, from, to, at)."""


def told(shop: Shop) -> list[Change]:
    """Every change of a rule segment, by user and time."""
    names = {place: name for name, place in zip(RULESET.names, PLACES, strict=True)} | {-1: ""}
    found = []
    for batch in shop.batches:
        ids = batch.ids.tobytes()
        for position, kind, before, after, at in batch.changes.tolist():
            if kind == RULE:
                row = batch.rows[position]
                user = ids[row["user_at"] : row["user_at"] + row["user_len"]].decode()
                found.append((user, names[before], names[after], at))
    return sorted(found)


def members(shop: Shop) -> dict[str, set[str]]:
    """The segments of every shopper in memory, by their rows."""
    return {
        user: {
            name for name, place in zip(RULESET.names, PLACES, strict=True) if int(shop.row(user)["rules"]) >> place & 1
        }
        for user in shop.rows()
    }


def asked_all_the_time(records: list[bytes], until_ms: int) -> list[Change]:
    """What follows from the definition: conditions asked of the plain features after each event, and in between at each
    multiple of STEP and a millisecond after it. Of records in order of time, each at a multiple of STEP."""
    shop = Shop()
    changes: list[Change] = []
    inside: dict[tuple[str, str], int | None] = {}  # (user, rule) of members -> since when the condition has been false

    def ask(user: str, at: int) -> None:
        true, _ = evaluate_reference(RULESET.rules, shop.features(user, at))
        for name, holds in true.items():
            hold_ms = RULESET.rules.by_name[name].hold_ms
            if holds:
                if (user, name) not in inside:
                    changes.append((user, "", name, at))
                inside[user, name] = None
            elif (user, name) in inside:
                since = inside[user, name]
                inside[user, name] = since = at if since is None else since
                if at >= since + hold_ms:
                    del inside[user, name]
                    changes.append((user, name, "", at))

    newest: dict[str, int] = {}

    def pass_time(user: str, until: int) -> None:
        for at in range(newest[user] + STEP, until + 1, STEP):
            ask(user, at - STEP + 1)
            if at < until or until == until_ms:
                ask(user, at)
        if until == until_ms:
            ask(user, until)

    for record in records:
        event = json.loads(record)
        user, ts = event["user_id"], event["ts"]
        if user in newest:
            pass_time(user, ts)
        shop.feed(record)
        newest[user] = ts
        ask(user, ts)
    for user in newest:
        pass_time(user, until_ms)
    return sorted(changes)


@st.composite
def in_order(draw: st.DrawFn) -> list[bytes]:
    """Some shoppers' records in order of time, at multiples of STEP, over about a day."""
    ts = BEGIN_MS
    records = []
    for _ in range(draw(st.integers(1, 14))):
        ts += draw(st.sampled_from([0, STEP, STEP, 2 * STEP, HOUR, 3 * HOUR, 7 * HOUR]))
        user = draw(st.sampled_from(["ann", "bob"]))
        item = draw(st.sampled_from("ij"))
        kind = draw(st.sampled_from(["view", "view", "cart", "order", "profile"]))
        told = {"device": draw(st.sampled_from(["phone", "desktop"]))}
        number = len(records)
        if kind == "order":
            records.append(order(ts, (item, 1, 10.0), user=user, event_id=f"e{number}"))
        elif kind == "cart":
            records.append(line("add_to_cart", ts, user, item_id=item, event_id=f"e{number}", **told))
        elif kind == "profile":
            age = draw(st.integers(20, 40))
            records.append(line("profile", ts, user, attributes={"age": age}, event_id=f"e{number}"))
        else:
            records.append(line("view", ts, user, item_id=item, event_id=f"e{number}", **told))
    return records


@settings(max_examples=40, deadline=None)
@given(in_order(), st.data())
def test_segments_are_entered_and_left_as_if_asked_all_the_time(records: list[bytes], data: st.DataObject) -> None:
    """In any batches, on one shard or three, at the very times, holding as long as told."""
    until = json.loads(records[-1])["ts"] + 40 * HOUR
    shop = Shop(data.draw(st.sampled_from([1, 3])), lateness_ms=0, rules=PLACED)
    for cut in cuts(data.draw, len(records)):
        shop.feed(*records[cut])
    shop.pulse(until + 1)  # what time changes is told once no event can come at that very time
    assert told(shop) == asked_all_the_time(records, until)
    entered = Counter((user, after) for user, _, after, _ in told(shop) if after)
    entered.subtract((user, before) for user, before, _, _ in told(shop) if before)
    inside = {user: {name for (who, name), times in entered.items() if who == user and times} for user in shop.rows()}
    assert members(shop) == inside


def test_a_shopper_in_the_cold_tier_leaves_on_time(tmp_path: Path) -> None:
    """Who has left memory is fetched when time takes them out of a segment."""
    shop = Shop(cold=tmp_path, bytes_max=1, rules=PLACED, lapsed_ms=4000 * DAY)
    shop.feed(line("view", BEGIN_MS, item_id="i"), line("view", BEGIN_MS + MINUTE, item_id="j"))
    shop.feed(*(line("search", BEGIN_MS + 2 * MINUTE, f"u{n}", query="q") for n in range(40)))
    assert "ann" not in shop.rows()
    shop.pulse(BEGIN_MS + 5 * HOUR)
    left = [(after, at) for user, before, after, at in told(shop) if user == "ann" and before == "viewers"]
    assert left == [("", BEGIN_MS + HOUR)]


def test_other_rules_are_asked_of_all_at_the_next_start(tmp_path: Path) -> None:
    """A rule that is gone is left without a word; one that says something else, or is new, is asked of everyone."""
    shop = Shop(rules=PLACED)
    shop.feed(line("view", BEGIN_MS, item_id="i"), line("view", BEGIN_MS + MINUTE, item_id="j"))
    assert members(shop)["ann"] == {"viewers", "held_viewers", "busy"}
    table = {"viewers": {"where": "views_1h >= 3"}, "new": {"where": "views_1h = 2"}}
    again = shop.resumed(tmp_path, rules=PlacedRules(Ruleset.of(table), (3, 20), 10))
    again.pulse(BEGIN_MS + 2 * MINUTE)
    assert int(again.row("ann")["rules"]) == 1 << 20
    changes = np.concatenate([batch.changes for batch in again.batches])
    assert [(c["before"], c["after"]) for c in changes if c["kind"] == RULE] == [(3, -1), (-1, 20)]


def test_a_rule_that_is_never_true_any_more_lets_everyone_go_with_a_word(tmp_path: Path) -> None:
    """What the page tells to do before a rule is removed."""
    shop = Shop(rules=PLACED)
    shop.feed(line("view", BEGIN_MS, item_id="i"), line("view", BEGIN_MS + MINUTE, item_id="j"))
    again = shop.resumed(tmp_path, rules=PlacedRules(Ruleset.of({"viewers": {"where": "FALSE"}}), (3,), 10))
    again.pulse(BEGIN_MS + 2 * MINUTE)
    assert int(again.row("ann")["rules"]) == 0
    changes = np.concatenate([batch.changes for batch in again.batches])
    assert [(c["before"], c["after"]) for c in changes if c["kind"] == RULE] == [(3, -1)]


def one_rule(version: int = 1, **rule: Any) -> PlacedRules:
    return PlacedRules(Ruleset.of({"r": rule}), (0,), version)


def test_more_may_change_in_a_batch_than_it_has_events() -> None:
    """Many shoppers who come and go several times within one batch: each change is told, as in small batches."""
    records = [
        line("view", BEGIN_MS + visit * 5 * HOUR + n * 100, f"u{n}", item_id="i", event_id=f"{n}.{visit}")
        for visit in range(4)
        for n in range(60)
    ]
    whole, cut = (Shop(rules=one_rule(where="session_events >= 1")) for _ in range(2))
    whole.feed(*records)
    cut.feed_in(records, 7)
    changes = [
        sorted((int(c["at"]), int(c["after"])) for b in shop.batches for c in b.changes if c["kind"] == RULE)
        for shop in (whole, cut)
    ]
    assert changes[0] == changes[1] and len(changes[0]) == 60 * 7


def test_a_hold_that_is_given_up_lets_go_at_the_next_start(tmp_path: Path) -> None:
    """Whoever was held by it leaves; nothing is asked for again and again."""
    shop = Shop(rules=one_rule(where="views_1h >= 1", hold="7d"))
    shop.feed(line("view", BEGIN_MS, item_id="i"))
    shop.pulse(BEGIN_MS + 2 * HOUR)
    assert int(shop.row("ann")["rules"]) == 1 and int(shop.row("ann")["rule_states"]) > 0
    again = shop.resumed(tmp_path, rules=one_rule(2, where="views_1h >= 1"))
    again.pulse(BEGIN_MS + 2 * HOUR + 10)
    ann = again.row("ann")
    assert (int(ann["rules"]), int(ann["rule_states"]), int(ann["crossing"])) == (0, 0, 0)


def test_nothing_changes_for_who_has_withdrawn_consent() -> None:
    """Neither while it is withdrawn nor, in one batch with it, when it is granted again."""
    records = [
        line("view", BEGIN_MS, item_id="i"),
        line("consent", BEGIN_MS + 10 * MINUTE, granted=False),
        line("consent", BEGIN_MS + 2 * HOUR, granted=True),
        line("view", BEGIN_MS + 3 * HOUR, "bob", item_id="i"),
    ]
    for size in (1, 4):
        shop = Shop(rules=one_rule(where="session_events >= 1"))
        shop.feed_in(records, size)
        found = [
            (int(c["at"]) - BEGIN_MS, int(c["after"])) for b in shop.batches for c in b.changes if c["kind"] == RULE
        ]
        assert sorted(found) == [(0, 0), (2 * HOUR, -1), (3 * HOUR, 0)]


def test_an_act_told_again_with_a_later_time_passes_no_time() -> None:
    """In one batch with the original or not: what follows is what follows without it."""
    records = [
        line("view", BEGIN_MS, item_id="i", event_id="a"),
        line("view", BEGIN_MS + MINUTE, item_id="j", event_id="b"),
        line("view", BEGIN_MS + 3 * HOUR, item_id="j", event_id="b"),
        line("view", BEGIN_MS + 3 * HOUR + MINUTE, "bob", item_id="i"),
    ]
    found = []
    for size, told_again in ((1, True), (4, True), (4, False)):
        shop = Shop(rules=one_rule(where="views_1h >= 2"))
        shop.feed_in([r for k, r in enumerate(records) if told_again or k != 2], size)
        shop.pulse(BEGIN_MS + 5 * HOUR)
        changes = [(int(c["at"]), int(c["after"])) for b in shop.batches for c in b.changes if c["kind"] == RULE]
        found.append(changes)
        assert len(changes) == 2
    assert found[0] == found[1] == found[2]
