"""What the worker promises its users: the same exact fields whatever the way in, stopped, killed or run as several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import running as tools
from running import Outcome
from shop_logs import EARLY, SETTINGS, cut_after_catalogue, halves, write_shop_log

from operators.generate import ShopPlan
from state.features import MODEL_FEATURES

PLAN = ShopPlan(seed=3, shoppers=600, items=300, categories=8, days=6, events=12_000, duplicate_share=0.02)
SLOWLY = {"batch_records_max": 128, "in_flight_max": 512}
"""Many small batches, so that a kill falls in the middle."""


@pytest.fixture(scope="module")
def shop_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "shop.jsonl"
    write_shop_log(PLAN, path)
    return path


@pytest.fixture(scope="module", autouse=True)
def _declared() -> Iterator[None]:
    """All that is run here, and whoever looks at it, goes by the settings of the log."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in SETTINGS.items():
            environment.setenv(name, value)
        yield


@dataclass(frozen=True)
class Replayed:
    """A log that was replayed on one process: what it came to, the report, and every record."""

    outcome: Outcome
    report: dict[str, Any]
    records: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, redis_server: str, shop_log: Path) -> Replayed:
    """The log replayed, once for all who ask what it comes to."""
    url = f"{redis_server}/0"  # no test of its own is given this one
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushdb()
    state, report = tools.replay(tmp_path_factory.mktemp("alone"), url, shop_log)
    outcome = Outcome.of(url, state)
    assert {to for _, to, _, _ in outcome.triggers} == {"cart_abandoned", "browsed_without_buying", "lapsed"}
    assert len(outcome.rule_changes) > 1000
    assert {to for _, _, to, _, _ in outcome.rule_changes} >= {"cart_abandoners", "repeat_buyers", "rfm_silver"}
    return Replayed(outcome, report, tools.records(url))


@pytest.fixture
def replayed(alone: Replayed) -> Outcome:
    """What the log comes to, replayed on one process."""
    return alone.outcome


def start_on(running: tools.Worker, log: Path, topic: str) -> None:
    """Start a worker on a topic that holds a whole log, of which it knows the catalogue already.

    What an item event tells holds for the acts taken in after it, and partitions are read in no certain order. And
    where a log is sent to a worker that waits, one partition may be days ahead of another that still seems idle.
    """
    catalogue, acts = cut_after_catalogue(log, running.folder)
    running.start()
    running.load(catalogue, topic)
    tools.wait_for(lambda: tools.features(running.state).keys() >= EARLY, "a snapshot with the catalogue in it")
    assert running.stop() == 0
    running.load(acts, topic)
    running.start()


def cold_shoppers(state: Path) -> int:
    """How many shoppers lie in the cold tier."""
    from state.cold_store import read_cold
    from state.store import read_store

    store = read_store(state)
    assert store is not None
    return sum(len(read_cold(store.cold, f"profiles-{shard:03d}")[0]) for shard in range(store.user_shards))


def test_replay_on_two_processes_gives_the_exact_fields_of_one(
    tmp_path: Path, redis_url: str, shop_log: Path, replayed: Outcome
) -> None:
    """Rescaling changes nothing that follows from counting."""
    state, report = tools.replay(tmp_path, redis_url, shop_log, processes=2, name="two")
    assert report["processes"] == 2
    quality = report["quality"]
    assert 0.5 < quality["coverage"] <= 1.0 and 2.0 < quality["novelty_bits"] < 16.0
    assert quality["rungs"].keys() <= {"neighbours", "second_step", "coming_back", "category", "popular"}
    assert quality["rungs"].keys() >= {"neighbours", "second_step", "coming_back"}
    assert sum(rung["share"] for rung in quality["rungs"].values()) == pytest.approx(1.0, abs=1e-3)
    assert sum(rung["hits"] for rung in quality["rungs"].values()) == round(quality["hit_rate_20"] * quality["judged"])
    assert quality["part_factors"]["current"] == 1.0 and len(quality["part_factors"]) == 4
    assert quality["challenger"] is None
    assert replayed.apart(Outcome.of(redis_url, state)) == {}


def test_a_challenger_is_judged_by_the_same_acts_and_not_written(
    tmp_path: Path, redis_url: str, shop_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of nothing but what was seen before find less; those of the record are the champion's."""
    monkeypatch.setenv("COTERIE_RECOMMEND__CHALLENGER", '{"coming_back": 10, "learn_weights": false}')
    for name, value in SLOWLY.items():  # small batches, so that many acts are judged
        monkeypatch.setenv(f"COTERIE_WORKER__{name.upper()}", str(value))
    _, report = tools.replay(tmp_path, redis_url, shop_log)
    quality = report["quality"]
    compared = quality["challenger"]
    assert 0 < compared["judged"] <= quality["judged"] and compared["z"] < -3
    assert compared["challenger_mrr_20"] < compared["champion_mrr_20"]
    assert set(quality["part_factors"].values()) != {1.0}  # the champion's weights follow what shoppers turn to
    assert compared["champion_hit_rate_20"] == pytest.approx(quality["hit_rate_20"], abs=0.01)
    lists = [orjson.loads(record["recs"]) for record in tools.records(redis_url).values()]
    recs = [one for one in lists if one]
    seen_before = sum(one[0][0] == one[0][2] for one in recs)
    assert seen_before < len(recs) / 2  # which the challenger's lists all begin with


def test_replay_reports_every_event(shop_log: Path, alone: Replayed) -> None:
    """Events read are events taken in, refused or dropped as duplicates; nothing else."""
    report = alone.report
    lines = shop_log.read_bytes().count(b"\n")
    assert report["events"] == lines
    assert report["accepted"] + report["duplicates"] + sum(report["rejected"].values()) == lines
    assert report["duplicates"] > 0
    shoppers = {orjson.loads(line).get("user_id") for line in shop_log.read_bytes().splitlines()} - {None}
    assert report["users"] == len(shoppers) == len(alone.records)


def test_every_record_tells_why_its_scores_are_what_they_are(alone: Replayed) -> None:
    """Up to three features of each, of those the models see, strongest first; nothing of what is not scored."""
    scored_by = {"segment": "segment", "purchase": "purchase_propensity", "churn": "churn_risk"}
    told = set()
    for record in alone.records.values():
        why = orjson.loads(record.get("why", "{}"))
        next_one = why.pop("next", None)
        assert next_one is None or (next_one[0] == "s" and next_one != record["segment"])
        assert why.keys() == {name for name, field in scored_by.items() if field in record}
        for name, parts in why.items():
            amounts = [abs(amount) if name != "segment" else amount for _, amount in parts]
            assert amounts == sorted(amounts, reverse=True) and all(amount > 0.0 for amount in amounts)
            assert len({feature for feature, _ in parts} & set(MODEL_FEATURES)) == len(parts) <= 3
            told |= {name} if parts else set()
    assert told >= {"segment", "purchase"}  # nobody can have been away for long enough for a model of churn


def test_kafka_gives_the_exact_fields_of_a_replay(
    tmp_path: Path,
    redis_url: str,
    kafka_topic: Callable[..., str],
    worker: Callable[..., Any],
    shop_log: Path,
    replayed: Outcome,
) -> None:
    """Four partitions, read by whole record batches, end in the same records; SIGTERM ends the worker with 0."""
    topic = kafka_topic(4)
    running = worker([topic])
    start_on(running, shop_log, topic)
    tools.wait_for(lambda: replayed.is_in(redis_url), "the records and triggers of the replay")
    assert running.stop() == 0
    assert replayed.apart(Outcome.of(redis_url, running.state)) == {}


@pytest.mark.parametrize("memory_mb", [0, 0.1])
@pytest.mark.parametrize("processes", [1, 2])
def test_kill_9_of_a_worker_in_the_middle_changes_no_exact_field(
    processes: int,
    memory_mb: float,
    tmp_path: Path,
    redis_url: str,
    kafka_topic: Callable[..., str],
    worker: Callable[..., Any],
    shop_log: Path,
    replayed: Outcome,
) -> None:
    """A worker is killed twice in the middle; its supervisor starts all again, and they end where a replay does.

    With as little memory as can be set shoppers leave for the cold tier all the time, and come back when they act.
    """
    topic = kafka_topic(4)
    running = worker([topic], processes=processes, profile_memory_mb=memory_mb, **SLOWLY)
    start_on(running, shop_log, topic)
    tools.wait_for(lambda: len(tools.records(redis_url)) > 100, "the first hundred records")
    starts = running.log.count("workers started")
    running.kill_a_worker()
    tools.wait_for(lambda: running.log.count("workers started") > starts, "the next start")
    tools.wait_for(lambda: len(tools.records(redis_url)) > 350, "more records")
    running.kill_a_worker()
    tools.wait_for(lambda: replayed.is_in(redis_url), "the records and triggers of the replay")
    assert running.stop() == 0
    assert replayed.apart(Outcome.of(redis_url, running.state)) == {}
    assert bool(cold_shoppers(running.state)) == bool(memory_mb)


def test_kill_9_of_everything_then_a_start_with_other_processes_continues(
    tmp_path: Path,
    redis_url: str,
    kafka_topic: Callable[..., str],
    worker: Callable[..., Any],
    shop_log: Path,
    replayed: Outcome,
) -> None:
    """One process is killed with its supervisor, two take over, stop, and one ends the log: versions never fall."""
    topic = kafka_topic(4)
    first, second = halves(shop_log, tmp_path)
    running = worker([topic], **SLOWLY)
    start_on(running, first, topic)
    tools.wait_for(lambda: len(tools.records(redis_url)) > 100, "the first hundred records")
    running.kill_all()
    before = {key: int(record["version"]) for key, record in tools.records(redis_url).items()}
    running.processes = 2
    running.load(second, topic)
    running.start()

    def never_fell() -> bool:
        now = tools.records(redis_url)
        for key, version in before.items():
            assert int(now[key]["version"]) >= version, key
            before[key] = int(now[key]["version"])
        return len(now) > 300

    tools.wait_for(never_fell, "the second start to get further")
    assert running.stop() == 0
    running.processes = 1
    running.start()
    tools.wait_for(lambda: never_fell() and replayed.is_in(redis_url), "the records and triggers of the replay")
    assert running.stop() == 0
    assert replayed.apart(Outcome.of(redis_url, running.state)) == {}


BAD = {
    "bad_json": b'{"type": "view", ',
    "unknown_type": b'{"type": "look", "ts": 1772409600000, "user_id": "u1"}',
    "missing_field": b'{"type": "view", "ts": 1772409600000, "item_id": "i1"}',
    "bad_field": b'{"type": "view", "ts": 1772409600000, "user_id": "u1", "item_id": "i1", "price": "dear"}',
    "too_large": b'{"type": "view", "ts": 1772409600000, "user_id": "u1", "item_id": "i1", "query": "'
    + b"x" * 70_000
    + b'"}',
    "too_old": b'{"type": "view", "ts": 1772409600, "user_id": "u1", "item_id": "i1"}',
    "from_the_future": b'{"type": "view", "ts": 32503680000000, "user_id": "u1", "item_id": "i1"}',
}
WITHDRAWN = [
    b'{"type": "view", "ts": 1772409600000, "user_id": "u2", "item_id": "i1", "event_id": "a"}',
    b'{"type": "consent", "ts": 1772409601000, "user_id": "u2", "granted": false, "event_id": "b"}',
    b'{"type": "view", "ts": 1772409602000, "user_id": "u2", "item_id": "i2", "event_id": "c"}',
]


def test_bad_input_of_every_kind_becomes_a_dead_letter_and_stops_nothing(tmp_path: Path, redis_url: str) -> None:
    """Each reason of the interface page, with path, source and offset; the good events among them are taken in."""
    good = b'{"type": "view", "ts": 1772409603000, "user_id": "u3", "item_id": "i1", "event_id": "d"}'
    lines = [*BAD.values(), *WITHDRAWN, good]
    log = tmp_path / "bad.jsonl"
    log.write_bytes(b"\n".join(lines) + b"\n")
    state, report = tools.replay(tmp_path, redis_url, log)
    assert report["rejected"] == {**dict.fromkeys(BAD, 1), "no_consent": 1}
    assert report["accepted"] == 3
    letters = [orjson.loads(line) for line in (state / "dead-letters.jsonl").read_bytes().splitlines()]
    assert {letter["reason"]: letter["offset"] for letter in letters} == {
        **{reason: offset for offset, reason in enumerate(BAD)},
        "no_consent": len(BAD) + 2,
    }
    assert all(letter["source"] == "log" and letter["detail"] for letter in letters)
    assert next(letter for letter in letters if letter["reason"] == "bad_field")["path"] == "price"
    assert set(tools.records(redis_url)) == {"coterie:user:u2", "coterie:user:u3"}


def test_erasure_takes_the_record_and_the_profile_away(tmp_path: Path, redis_url: str) -> None:
    """After an erase event nothing of the shopper is left in Redis or in the newest snapshot."""
    log = tmp_path / "erase.jsonl"
    lines = [
        {"type": "view", "ts": 1772409600000, "user_id": "gone", "item_id": "i1"},
        {"type": "view", "ts": 1772409600000, "user_id": "stays", "item_id": "i1"},
        {"type": "erase", "ts": 1772409601000, "user_id": "gone"},
    ]
    log.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    state, report = tools.replay(tmp_path, redis_url, log)
    assert set(tools.records(redis_url)) == {"coterie:user:stays"}
    assert set(tools.features(state)) == {"stays"}
    assert report["users"] == 1


def test_real_clicks_are_all_taken_in(tmp_path: Path, redis_url: str, data_file: Callable[[str], Path]) -> None:
    """Taobao's slice: every event, shopper and item of it."""
    log = tmp_path / "taobao.jsonl.gz"
    assert tools.run_cli("convert", "taobao", data_file("taobao_clicks.csv.gz"), "-o", log).returncode == 0
    _, report = tools.replay(tmp_path, redis_url, log)
    assert (report["accepted"], report["rejected"], report["duplicates"]) == (96_168, {}, 0)
    assert (report["users"], report["items"]) == (58_732, 75_384)
    assert len(tools.records(redis_url)) == 58_732


def test_real_invoices_are_all_accounted_for(
    tmp_path: Path, redis_url: str, data_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Online Retail: the money and the pieces of every customer, cancellations included, as summed from the file.

    The log tells of a year, so customers are kept for longer than the 90 days that are the default.
    """
    import csv
    import gzip
    from collections import Counter, defaultdict
    from decimal import Decimal

    monkeypatch.setenv("COTERIE_REDIS__INACTIVITY_TTL_DAYS", "3650")
    source = data_file("online_retail.csv.gz")
    log = tmp_path / "retail.jsonl.gz"
    done = tools.run_cli("convert", "online-retail", source, "-o", log)
    assert done.returncode == 0, done.stderr
    state, report = tools.replay(tmp_path, redis_url, log)
    assert report["rejected"] == {} and report["duplicates"] == 0

    seen: set[tuple[str, ...]] = set()
    classes: Counter[str] = Counter()
    money: dict[str, Decimal] = defaultdict(Decimal)
    pieces: Counter[str] = Counter()
    with gzip.open(source, "rt", newline="") as file:
        for row in csv.reader(file):
            if row[0] == "InvoiceNo":
                continue
            line = tuple(row)
            quantity, price, customer = int(row[3]), Decimal(row[5]), row[6].removesuffix(".0")
            if line in seen:
                classes["duplicate"] += 1
            elif not customer:
                classes["without_customer"] += 1
            elif price <= 0:
                classes["non_positive_price"] += 1
            else:
                classes["cancellation" if quantity < 0 else "purchase"] += 1
                money[customer] += quantity * price
                pieces[customer] += quantity
            seen.add(line)
    assert sum(classes.values()) == 541_909
    for name, count in classes.items():
        assert f"{count:,}" in done.stderr, name
    found = tools.features(state)
    assert set(found) == set(money)
    for customer, record in found.items():
        assert Decimal(str(record["spend_total"])) == money[customer]
        assert record["items_bought_total"] == pieces[customer]


def test_a_log_that_is_left_out_keeps_its_place(tmp_path: Path, redis_url: str, shop_log: Path) -> None:
    """A state goes on with other logs than before, and with the first one again, where it was left."""
    first, second = halves(shop_log, tmp_path)
    lines = [path.read_bytes().count(b"\n") for path in (first, second)]
    reports = [tools.replay(tmp_path, redis_url, *logs)[1] for logs in ((first,), (second,), (first, second))]
    assert [report["events"] for report in reports] == [*lines, 0]
    assert reports[1]["users"] == reports[2]["users"] > reports[0]["users"] > 0
    assert not any(report["stopped"] for report in reports)
