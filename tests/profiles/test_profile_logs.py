"""Every feature of every shopper at ten instants, on real logs and on disordered ones, against the oracle.

An instant is a tenth of a log's records; what is asked then is asked as of the newest event so far. Against the oracle
nobody is left out and no sample is drawn: everybody known by then takes part, at each of the ten. What the page does
not settle (the weights of a ninth value, a favourite among equals) the oracle leaves open; how much that is, is bounded
here. Where two runs are compared, it is at the end of the log, and of Taobao's shoppers every twelfth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from disorder import lateness_of, shuffled_within
from profile_oracle import Oracle, told_apart
from profile_oracle_events import parse, read_ts
from profile_shop import DAY, HOUR, MINUTE, READ_AT, Shop
from test_profile_features import oracle_for

from operators.convert import convert
from operators.generate import ShopPlan, generate
from operators.profile_features import features

INSTANTS = 10
REAL = {
    "taobao": "taobao_clicks.csv.gz",
    "online-retail": "online_retail.csv.gz",
    "completejourney": "completejourney_transactions_sample.csv.gz",
}
SHOPPERS = {"taobao": 58_732, "online-retail": 4_371, "completejourney": 2_373}
EVENTS = {"taobao": 96_168, "online-retail": 22_217, "completejourney": 47_034}

ORDERLY = ShopPlan(seed=21, shoppers=600, items=300, categories=8, days=40, events=20_000)
DISORDERLY = ShopPlan(
    seed=22,
    shoppers=600,
    items=300,
    categories=8,
    days=40,
    events=20_000,
    late_share=0.10,
    duplicate_share=0.02,
    future_share=0.01,
)
LATENESS_MS = 10 * MINUTE
KEPT_VALUES, KEPT_ORDERS = 8, 4


@dataclass
class Held:
    """A log that was taken in by the profile steps and by the oracle in step, and where they differ.

    `apart` tells it by instant, shopper and feature; `known` how many shoppers there were at each instant; `compared`
    how many features were held against one another, `unsettled` how many of these the oracle leaves open.
    """

    shop: Shop
    oracle: Oracle
    log: list[bytes]
    newest_ts: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    known: list[int] = field(default_factory=list)
    compared: int = 0
    unsettled: int = 0
    apart: dict[tuple[int, str], dict[str, tuple[Any, Any]]] = field(default_factory=dict)

    def look(self, later_ms: tuple[int, ...]) -> None:
        """Compare everybody, as of the newest event and later."""
        users = self.oracle.users()
        for later in later_ms:
            now = self.newest_ts + later
            assert self.shop.rows().keys() == set(users)
            for user, found in self.shop.each_features(now):
                expected = self.oracle.features(user, now)
                self.compared += len(expected)
                self.unsettled += sum(value is ... for value in expected.values())
                if differs := told_apart(found, expected):
                    self.apart[len(self.known), user] = differs
        self.known.append(len(users))

    @property
    def watermarks(self) -> set[int]:
        """Those of all shards."""
        return {int(step.store.shard.rows["watermark_ts"][0]) for step in self.shop.steps.values()}


def hold(log: list[bytes], shards: int, size: int, later_ms: tuple[int, ...] = (0,), **settings: Any) -> Held:
    """Run a log through the steps of some shards in batches of `size`, and through the oracle; look at each tenth."""
    shop = shop_of(shards, **settings)
    held = Held(shop, oracle_for(shop), log)
    for k in range(INSTANTS):
        part = log[k * len(log) // INSTANTS : (k + 1) * len(log) // INSTANTS]
        shop.feed_in(part, size)
        for record in part:
            ts = read_ts(parse(record))
            if ts > READ_AT * 1000:
                held.verdicts["from_the_future"] += 1
                continue
            held.verdicts[held.oracle.take(record)] += 1
            held.newest_ts = max(held.newest_ts, ts)
        held.look(later_ms)
    return held


def shop_of(shards: int, **settings: Any) -> Shop:
    """A shop of default settings that keeps everybody, whenever they were last seen."""
    keeps = {"custom_names": (), "context_names": (), "inactivity_ttl_ms": 4000 * DAY}
    return Shop(shards, refusals=frozenset({"from_the_future"}), **{**keeps, **settings})


Figures = dict[str, dict[str, Any]]


def run(held: Held, shards: int, size: int) -> Figures:
    """What comes of a log run through the steps alone, on other shards or in other batches."""
    shop = shop_of(shards, timezone=held.shop.settings.timezone)
    shop.feed_in(held.log, size)
    return figures(shop, held.newest_ts)


def figures(shop: Shop, now: int) -> Figures:
    """Everybody's features as of then; of more than 5,000 shoppers, those of some, the same in every run."""
    rows = shop.rows()
    chosen = sorted(rows)[:: 1 + len(rows) // 5_000]
    of = shop.settings
    return {user: features(rows[user][0].tables, rows[user][1], shop.names, of, now) for user in chosen}


def without(every: Figures, *names: str) -> Figures:
    """Everybody's features but for some."""
    return {user: {n: value for n, value in found.items() if n not in names} for user, found in every.items()}


def settled(oracle: Oracle, every: Figures) -> Figures:
    """Everybody's features but for those that the page lets depend on the order of arrival within the bounds.

    The oracle must have taken the log in in order of time.
    """
    out: Figures = {}
    for user, found in every.items():
        open_: set[str] = set()
        for kind in ("category", "brand"):
            if len(oracle.weights(user, kind)) > KEPT_VALUES:
                open_ |= {f"favourite_{kind}", f"{kind}_focus", *(["price_level"] if kind == "category" else [])}
        times = oracle.order_times(user)
        if any(b - a <= LATENESS_MS for a, b in zip(times, times[KEPT_ORDERS:], strict=False)):
            open_ |= {"order_gap_days_mean", "order_gap_days_spread"}
        out[user] = {name: value for name, value in found.items() if name not in open_}
    return out


def made(plan: ShopPlan) -> list[bytes]:
    """The records of a plan."""
    return b"".join(generate(plan)).splitlines()


@pytest.fixture(scope="module", params=list(REAL))
def real(
    request: pytest.FixtureRequest, data_file: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Held]:
    """A real log's name, and the log held against the oracle: four shards, batches of 4,000 records."""
    name = request.param
    path = tmp_path_factory.mktemp("log") / f"{name}.jsonl"
    convert(name, data_file(REAL[name]), path)
    return name, hold(path.read_bytes().splitlines(), 4, 4_000)


@pytest.fixture(scope="module")
def orderly() -> Held:
    """A made-up log in order of time, looked at also hours and weeks later."""
    return hold(made(ORDERLY), 3, 1_000, (0, 5 * HOUR, 20 * DAY))


@pytest.fixture(scope="module")
def shuffled() -> Held:
    """The same out of order, within the bounds; but facts of items, of which the order is told to matter, go first."""
    log = made(ORDERLY)
    facts, rest = log[: ORDERLY.items], log[ORDERLY.items :]
    return hold([*facts, *shuffled_within(rest, LATENESS_MS, seed=5)], 3, 1_000, (0, 5 * HOUR, 20 * DAY))


@pytest.fixture(scope="module")
def disorderly() -> Held:
    """A made-up log with events hours late, told twice, and from the future; in the time of a shop in New York."""
    return hold(made(DISORDERLY), 3, 1_000, (0, 5 * HOUR, 20 * DAY), timezone="America/New_York")


def test_every_feature_of_every_shopper_of_a_real_log_is_the_oracles_at_ten_instants(real: tuple[str, Held]) -> None:
    """Taobao's clicks, Online Retail with its cancellations, Complete Journey with its products: all their events."""
    name, held = real
    assert held.apart == {}
    assert held.verdicts["taken"] == EVENTS[name] == sum(len(b.receipt.ts) for b in held.shop.batches)
    assert held.known[-1] == SHOPPERS[name] and sorted(held.known) == held.known
    assert held.unsettled < 0.01 * held.compared


def test_triggers_of_a_real_log_are_those_of_the_plain_list_of_events(real: tuple[str, Held]) -> None:
    """All that follows from absence, up to the end of the log, each once and at its time."""
    _, held = real
    assert held.watermarks == {held.newest_ts}
    assert held.shop.triggers() == held.oracle.triggers(held.newest_ts) != set()


def test_batches_and_shards_change_no_feature_of_a_real_log(real: tuple[str, Held]) -> None:
    """In batches of 997 on the same shards all is the same; on seven, all but prices against those of the shard."""
    _, held = real
    expected = figures(held.shop, held.newest_ts)
    assert run(held, 4, 997) == expected
    assert without(run(held, 7, 2_500), "price_level") == without(expected, "price_level")


def test_disorder_within_the_bounds_changes_no_feature_and_no_trigger_of_a_real_log(real: tuple[str, Held]) -> None:
    """Shuffled within ten minutes, all is the same to the last digit, but for what the page excepts."""
    _, held = real
    is_fact = [record.startswith(b'{"type":"item"') for record in held.log]
    facts, rest = ([r for r, fact in zip(held.log, is_fact, strict=True) if fact is wanted] for wanted in (True, False))
    shop = shop_of(4)
    shop.feed_in([*facts, *shuffled_within(rest, LATENESS_MS, seed=3)], 3_000)
    assert shop.triggers() == held.shop.triggers()
    expected, found = figures(held.shop, held.newest_ts), figures(shop, held.newest_ts)
    assert settled(held.oracle, found) == settled(held.oracle, expected)


def test_a_ninth_category_of_a_real_log_stays_within_the_bound_of_space_saving(real: tuple[str, Held]) -> None:
    """Where the oracle leaves the favourite open: its weight is never too small, and too great by an eighth at most."""
    name, held = real
    many = 0
    for user, found in figures(held.shop, held.newest_ts).items():
        exact = held.oracle.weights(user, "category")
        if len(exact) > KEPT_VALUES:
            many += 1
            total = sum(exact.values())
            assert max(exact.values()) / total - 1e-3 < found["category_focus"]
            assert found["category_focus"] < exact[found["favourite_category"]] / total + 1 / 8 + 1e-3
    assert many > 1_000 or name != "completejourney"


@pytest.mark.parametrize("which", ["orderly", "shuffled", "disorderly"])
def test_every_feature_of_every_shopper_is_the_oracles_whatever_the_disorder(
    which: str, request: pytest.FixtureRequest
) -> None:
    """In order, out of order within ten minutes, and hours late and told twice: at each tenth, and later."""
    held: Held = request.getfixturevalue(which)
    assert held.apart == {}
    assert held.known[-1] == 600
    assert held.unsettled < 0.01 * held.compared
    assert held.verdicts["duplicate"] == held.shop.counted("duplicates")
    assert held.verdicts["late"] == held.shop.counted("late_events")
    assert held.verdicts["from_the_future"] == len(held.shop.refused)


def test_the_disorder_is_what_it_is_said_to_be(orderly: Held, shuffled: Held, disorderly: Held) -> None:
    """So that nothing above is held on a log that happens to be in order."""
    assert lateness_of(orderly.log) == 0 and sorted(orderly.log) == sorted(shuffled.log)
    assert 0.9 * LATENESS_MS < lateness_of(shuffled.log) <= LATENESS_MS
    assert sum(a != b for a, b in zip(orderly.log, shuffled.log, strict=True)) > 10_000
    assert disorderly.verdicts["duplicate"] > 300 and disorderly.verdicts["from_the_future"] > 150


@pytest.mark.parametrize("which", ["orderly", "shuffled"])
def test_triggers_within_the_bounds_are_those_of_the_plain_list(which: str, request: pytest.FixtureRequest) -> None:
    """Whatever the order of arrival: each once, at its time."""
    held: Held = request.getfixturevalue(which)
    assert held.watermarks == {held.newest_ts}
    assert held.shop.triggers() == held.oracle.triggers(held.newest_ts) != set()


def test_disorder_within_the_bounds_changes_no_feature_and_no_trigger(orderly: Held, shuffled: Held) -> None:
    """Shuffled within ten minutes, all is the same to the last digit, but for what the page excepts."""
    assert orderly.shop.triggers() == shuffled.shop.triggers()
    expected, found = (figures(held.shop, orderly.newest_ts) for held in (orderly, shuffled))
    assert settled(orderly.oracle, found) == settled(orderly.oracle, expected)


@pytest.mark.parametrize("which", ["shuffled", "disorderly"])
def test_batches_and_shards_change_no_feature_of_a_disorderly_log(which: str, request: pytest.FixtureRequest) -> None:
    """In batches of 130 on the same shards all is the same; on five, all but prices against those of the shard."""
    held: Held = request.getfixturevalue(which)
    expected = figures(held.shop, held.newest_ts)
    assert run(held, 3, 130) == expected
    assert without(run(held, 5, 1_700), "price_level") == without(expected, "price_level")
