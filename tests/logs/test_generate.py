"""The made-up shop: the same plan is the same log, and the log is what the plan and the personas say."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from operators.generate import PERSONAS, ShopPlan, generate, personas, user_id, write_log
from operators.generate.events import FUTURE_DAYS
from operators.generate.shoppers import DRIFTING
from operators.read_files import open_to_read
from state.events import Authority, Refusal

PLAN = ShopPlan(events=60_000)
DAY_MS = 86_400_000
FAR_MS = 4_102_444_800_000  # the year 2100


def events_of(plan: ShopPlan) -> list[dict[str, Any]]:
    return [orjson.loads(line) for chunk in generate(plan) for line in chunk.splitlines()]


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    return events_of(PLAN)


@pytest.fixture(scope="module")
def by_persona(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    names = personas(PLAN)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if "user_id" in event:
            found[str(names[int(event["user_id"][1:])])].append(event)
    return found


def per_view(events: list[dict[str, Any]], kind: str) -> float:
    counts = Counter(event["type"] for event in events)
    return counts[kind] / counts["view"]


def test_the_same_plan_is_the_same_log_and_another_seed_is_not() -> None:
    """Byte for byte, in this process or another: nothing but the plan goes in."""
    small = ShopPlan(events=5_000, items=500, shoppers=100)
    log = b"".join(generate(small))
    assert log == b"".join(generate(small))
    assert log != b"".join(generate(dataclasses.replace(small, seed=8)))
    np.testing.assert_array_equal(personas(small), personas(dataclasses.replace(small, events=6_000, days=3)))


@pytest.mark.parametrize(
    "plan",
    (
        ShopPlan(events=2, items=1, shoppers=1, categories=1, days=1),
        ShopPlan(events=101, items=100, shoppers=50, days=1),
        ShopPlan(events=4_000, items=1_000, shoppers=3_000, days=40, seed=3),
        ShopPlan(events=30_000, items=70, shoppers=40, categories=50, drift=False),
        *(ShopPlan(events=2_000 + k, items=300, shoppers=200, seed=k) for k in range(8)),
    ),
    ids=lambda plan: f"{plan.events}-{plan.items}-{plan.shoppers}-{plan.seed}",
)
def test_events_are_exactly_as_many_as_planned(plan: ShopPlan) -> None:
    """Whatever the sizes: the number, unique ids, times that never fall, within the days (and a last session)."""
    events = events_of(plan)
    assert len(events) == plan.events
    assert len({event["event_id"] for event in events}) == plan.events
    ts = np.array([event["ts"] for event in events])
    assert (np.diff(ts) >= 0).all()
    assert ts[0] == plan.start_ms
    assert ts[-1] < plan.start_ms + (plan.days + 1) * DAY_MS
    assert Counter(event["type"] == "item" for event in events)[True] == plan.items
    assert all(event["type"] == "item" for event in events[: plan.items])


def test_every_event_is_valid() -> None:
    """What decoding lets in decides: there is nothing in the log that it refuses."""
    authority = Authority(65_536, 0, frozenset(), frozenset())
    plan = ShopPlan(events=20_000, duplicate_share=0.05, late_share=0.05, seed=11)
    for chunk in generate(plan):
        assert chunk.endswith(b"\n")
        for line in chunk.splitlines():
            found = authority.parse(line, FAR_MS)
            assert not isinstance(found, Refusal), (found, line)


def test_every_shopper_comes_when_there_are_events_enough() -> None:
    """All shoppers act, also when each has only ten events; their ids are the ones of the ground truth."""
    for plan in (PLAN, ShopPlan(events=101_000, items=1_000, shoppers=10_000)):
        seen = {event["user_id"] for event in events_of(plan) if "user_id" in event}
        assert seen == {user_id(n) for n in range(plan.shoppers)}


def test_acts_mention_the_catalogue_as_its_item_events_do(events: list[dict[str, Any]]) -> None:
    """Item, category and price of an act are those of the item's own event; ids and titles can be read aloud."""
    items = {event["item_id"]: event for event in events if event["type"] == "item"}
    assert len(items) == PLAN.items
    assert len({item["category"] for item in items.values()}) == PLAN.categories
    for event in events:
        if "item_id" in event and event["type"] != "item":
            item = items[event["item_id"]]
            assert (event["category"], event["price"]) == (item["category"], item["price"])
        for line in event.get("lines", []):
            assert line["category"] == items[line["item_id"]]["category"]
    assert items["oak-lamp-1"]["title"] == "Oak Lamp 1"


def test_shares_of_personas_are_as_written() -> None:
    """The ground truth follows the shares, to sampling error."""
    names = personas(ShopPlan(shoppers=50_000, items=1, categories=1, events=2))
    counts = Counter(names.tolist())
    total = sum(p.share for p in PERSONAS)
    for persona in PERSONAS:
        assert counts[persona.name] / 50_000 == pytest.approx(persona.share / total, abs=0.01)


def test_hours_of_the_day_tell_personas_apart(by_persona: dict[str, list[dict[str, Any]]]) -> None:
    """Each persona is busiest at one of its own hours."""
    histograms = {}
    for persona in PERSONAS:
        hours = np.bincount([event["ts"] // 3_600_000 % 24 for event in by_persona[persona.name]], minlength=24)
        histograms[persona.name] = hours / hours.sum()
        away = min(abs((float(hours.argmax()) + 0.5 - hour + 12) % 24 - 12) for hour, _, _ in persona.hours)
        assert away <= 1.5, persona.name
    for one, other in itertools.combinations(histograms.values(), 2):
        assert np.abs(one - other).sum() / 2 > 0.25


def test_the_funnel_narrows_and_its_shape_is_the_personas(by_persona: dict[str, list[dict[str, Any]]]) -> None:
    """Fewer carts than views, fewer orders than carts; loyal shoppers buy, abandoners do not."""
    for events in by_persona.values():
        assert 1 > per_view(events, "add_to_cart") > per_view(events, "purchase") > 0
    bought = {name: per_view(events, "purchase") for name, events in by_persona.items()}
    assert bought["loyal_weekly"] > 10 * bought["cart_abandoner"]
    carts = {name: per_view(events, "add_to_cart") for name, events in by_persona.items()}
    for persona in PERSONAS:
        assert carts[persona.name] == pytest.approx(persona.cart, abs=0.04)


def test_orders_hold_what_was_put_into_the_cart(events: list[dict[str, Any]]) -> None:
    """Every item of an order lay in the session's cart and was not taken out; returns are of what was bought before."""
    carts: dict[str, Counter[str]] = defaultdict(Counter)
    orders: dict[str, dict[str, Any]] = {}
    returns = 0
    for event in events:
        if event["type"] in ("add_to_cart", "remove_from_cart"):
            carts[event["session_id"]][event["item_id"]] += 1 if event["type"] == "add_to_cart" else -1
        elif event["type"] == "purchase" and event["lines"][0]["quantity"] > 0:
            assert event["order_id"] not in orders
            orders[event["order_id"]] = event
            cart = carts["s" + event["order_id"][1:]]
            assert Counter(line["item_id"] for line in event["lines"]) == +cart
        elif event["type"] == "purchase":
            returns += 1
            order = orders["o" + event["order_id"][1:]]
            assert event["user_id"] == order["user_id"]
            assert DAY_MS <= event["ts"] - order["ts"] <= 7 * DAY_MS
            bought, back = order["lines"][0], event["lines"][0]
            assert (back["item_id"], back["quantity"]) == (bought["item_id"], -bought["quantity"])
    assert len(orders) > 800
    assert 0.01 < returns / len(orders) < 0.1


def test_spending_tells_personas_apart(by_persona: dict[str, list[dict[str, Any]]]) -> None:
    """The mean price looked at is lowest with bargain hunters and highest with big spenders."""
    prices = {
        name: np.mean([event["price"] for event in events if event["type"] == "view"])
        for name, events in by_persona.items()
    }
    assert min(prices, key=lambda name: prices[name]) == "bargain_hunter"
    assert max(prices, key=lambda name: prices[name]) == "big_spender"


def test_items_seen_together_belong_together(events: list[dict[str, Any]]) -> None:
    """Most steps of a session stay among ten related items: what a recommender has to find out."""
    last: dict[str, str] = {}
    steps = related = 0
    for event in events:
        if event["type"] == "view":
            here, before = event["item_id"], last.get(event["session_id"])
            last[event["session_id"]] = here
            if before is not None:
                (kind, number), (kind_before, number_before) = (i.rsplit("-", 1) for i in (here, before))
                steps += 1
                related += kind == kind_before and (int(number) - 1) // 10 == (int(number_before) - 1) // 10
    assert related / steps > 0.7


def test_a_few_items_are_seen_most(events: list[dict[str, Any]]) -> None:
    """A tenth of the items has more than a quarter of the views."""
    counts = sorted(Counter(e["item_id"] for e in events if e["type"] == "view").values(), reverse=True)
    assert sum(counts[: PLAN.items // 10]) > 0.25 * sum(counts)


@pytest.mark.parametrize("drift", (True, False))
def test_drift_turns_tastes_over_half_way(drift: bool) -> None:
    """With drift a category becomes the fashion and bargain hunters like other ones; without, nothing changes."""
    plan = ShopPlan(events=60_000, drift=drift)
    middle = plan.start_ms + plan.days * DAY_MS // 2
    names = personas(plan)
    everyone: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    hunters: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for event in events_of(plan):
        if event["type"] == "view":
            half = int(event["ts"] >= middle)
            everyone[half][event["category"]] += 1
            if names[int(event["user_id"][1:])] == DRIFTING:
                hunters[half][event["category"]] += 1
    categories = sorted({*everyone[0], *everyone[1]})
    share = np.array([[c[k] / c.total() for k in categories] for c in everyone])
    changed = np.array([[c[k] / c.total() for k in categories] for c in hunters])
    growth = (share[1] + 1e-3) / (share[0] + 1e-3)
    moved = np.abs(changed[0] - changed[1]).sum() / 2
    if drift:
        assert growth.max() > 5 and moved > 0.4
    else:
        assert growth.max() < 2 and moved < 0.2


def test_late_duplicate_and_future_events_are_as_many_as_planned() -> None:
    """Against the same plan without them: shares to the event, each a different event, nothing else changed."""
    clean = {event["event_id"]: event for event in events_of(PLAN)}
    plan = dataclasses.replace(PLAN, late_share=0.03, duplicate_share=0.02, future_share=0.01)
    lines = events_of(plan)
    acts = PLAN.events - PLAN.items
    assert len(lines) == PLAN.events + round(0.02 * acts)
    counts = Counter(event["event_id"] for event in lines)
    assert set(counts) == set(clean)
    twice = {name for name, count in counts.items() if count == 2}
    assert len(twice) == round(0.02 * acts) and set(counts.values()) == {1, 2}
    ahead = {event["event_id"] for event in lines if event != clean[event["event_id"]]}
    assert len(ahead) == round(0.01 * acts)
    for event in lines:
        if event["event_id"] in ahead:
            assert event["ts"] - clean[event["event_id"]]["ts"] == FUTURE_DAYS * DAY_MS
    newest, late, seen = 0, set(), set()
    for event in lines:
        if event["event_id"] in seen or event["event_id"] in ahead:
            continue
        seen.add(event["event_id"])
        if event["ts"] < newest:
            late.add(event["event_id"])
        else:
            newest = event["ts"]
    assert round(0.03 * acts) * 0.95 < len(late) <= round(0.03 * acts)  # at the end nothing comes that they are late to
    assert not late & twice and not ahead & twice


@pytest.mark.parametrize("ending", ("", ".gz", ".zst"))
def test_a_written_log_is_the_generated_one(tmp_path: Path, ending: str) -> None:
    """Whatever the packing."""
    plan = ShopPlan(events=3_000, items=500, shoppers=50)
    path = tmp_path / f"shop.jsonl{ending}"
    write_log(plan, path)
    with open_to_read(path) as file:
        assert file.readall() == b"".join(generate(plan))


@pytest.mark.parametrize(
    ("change", "said"),
    (
        ({"events": 3000}, "events (3000) must be more than items (3000)"),
        ({"categories": 24, "items": 20}, "24 categories need as many items at least, not 20"),
        ({"shoppers": 0}, "shoppers must be from 1 to 10,000,000, not 0"),
        ({"events": 10**8}, "events must be from 1 to 10,000,000, not 100,000,000"),
        ({"late_share": 1.5}, "late_share must be from 0 to 1, not 1.5"),
        ({"late_share": 0.7, "duplicate_share": 0.7}, "must not exceed 1 together"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"start": "1960-01-01"}, "start must not be before 1970"),
    ),
)
def test_a_plan_that_cannot_be_kept_is_refused(change: dict[str, Any], said: str) -> None:
    """At once, with what to change."""
    with pytest.raises(ValueError) as failure:
        ShopPlan(**change)
    assert said in str(failure.value)
