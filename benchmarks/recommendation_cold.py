"""What are lists worth to shoppers and of items that are new? With and without each rung of the ladder, on real logs.

Protocol (prequential: predict, then learn). A log goes through the real steps in one shard (decode, profiles, covisit,
learn, score), 20 records at a time, as many as a worker's linger holds at 1,000 events a second. At the end of each
batch a list is made for each shopper who acted in it, once for each way of filling it up, from the same neighbours. An
event is judged by the list that stood before it, if it is its shopper's first of the batch: their first event ever by
what is popular, their second by the list made after the first, `later` by those after. Of an order each line is a case.
An act on the very item looked at last is none. An item is new while it was acted upon less than five times. The first
30 % of the batches are learned from and not judged. Segments are those of the learn step, from every act instead of one
in 16, for these logs are small; popular items come straight from the one item shard. The ways share what is remembered;
how often rungs were hit each keeps by its own lists. What the parts of a list count is as given, and not learned.
HR@20, MRR@20: share of the cases whose item is in the list; mean of 1 / its rank, 0 where it is not.

`popular`: what is popular over all fills lists up, and nothing else; the others put rungs before it, in that order.
`measured`: whichever rung is hit most often goes first, as in a worker. A context is the hour (UTC, in bands of three)
and, where a log tells devices, as the made-up shop does, the device.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.recommendation_replay import write_views
from benchmarks.recommendation_sets import LOGS
from benchmarks.recommendation_sets import SCENARIOS as SETS
from flows.logs import configure_logs
from flows.settings import Log
from operators.convert import convert
from operators.covisit import Covisit, CovisitSettings
from operators.decode import Decoder, Limits
from operators.generate import ShopPlan, write_log
from operators.kernels.contexts import contexts_of
from operators.kernels.lists import find_ranks
from operators.kernels.profile import STRENGTH
from operators.learn import SAMPLED, Learner, LearnSettings
from operators.list_maker import ListMaker, ListMemory
from operators.list_settings import LadderSettings, ListSettings
from operators.profile_settings import DAY_MS, ProfileSettings
from operators.profiles import Profiles
from operators.read_files import FileReader
from operators.score import Score
from operators.visits import SplitVisits
from state.batches import (
    LIST_LENGTH,
    PURCHASE,
    RECENT_ITEMS,
    AnswerBatch,
    EventBatch,
    ProfileBatch,
    Pulse,
    ScoredBatch,
    VisitBatch,
)
from state.flow_control import FlowControl
from state.metrics import Metrics
from state.models import PopularModel, SegmentModel, ShardPopularity
from state.names import Names
from state.rungs import CONTEXT_PARTS
from state.samples import lessons_of

RECORDS = 20
WARM_UP_SHARE = 0.3
NEW_ITEM_ACTS = 5
COLUMNS = ("first", "second", "later", "new items", "all but first")

WAYS = {
    "popular": LadderSettings(("popular",), measured=False),
    "category, popular": LadderSettings(("category", "popular"), measured=False),
    "segment, popular": LadderSettings(("segment", "popular"), measured=False),
    "category, segment, popular": LadderSettings(("category", "segment", "popular"), measured=False),
    "category, popular, measured": LadderSettings(),
    "category, segment, popular, measured": LadderSettings(("category", "segment", "popular")),
    "context, popular": LadderSettings(("context", "popular"), measured=False),
    "category, context, popular, measured": LadderSettings(("category", "popular", "context")),
    "all, measured": LadderSettings(("category", "segment", "popular", "context")),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A permanent name, and what writes its log, of a file of the shared folder if it needs one."""

    name: str
    write: Callable[[Path], object]
    file: str = ""


def _converted(name: str, format: str, file: str) -> Scenario:
    return Scenario(name, lambda log: convert(format, LOGS / file, log), file)


def _views(name: str, of: str) -> Scenario:
    return Scenario(name, lambda log: write_views(SETS[of].load(LOGS)[0], log), SETS[of].files[0])


SHOP = ShopPlan(seed=11, shoppers=30_000, items=10_000, categories=40, days=14, events=200_000)

SCENARIOS = {
    s.name: s
    for s in (
        _converted("cold_taobao", "taobao", "taobao_clicks.csv.gz"),
        _converted("cold_completejourney", "completejourney", "completejourney_transactions_sample.csv.gz"),
        _converted("cold_online_retail", "online-retail", "online_retail.csv.gz"),
        _views("cold_rsc15", "recommend_rsc15"),
        _views("cold_serenade", "recommend_serenade"),
        Scenario("cold_shop", lambda log: write_log(SHOP, log)),
    )
}


@dataclass(slots=True)
class Way:
    """A way of filling lists up: its lists as they stand, by row of their shoppers, and what became of them; `figures`
    float64[COLUMNS, 3] are cases, hits and the sum of reciprocal ranks."""

    lists: ListMaker
    items: np.ndarray = field(default_factory=lambda: np.zeros((0, LIST_LENGTH), np.uint64))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    rungs: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    figures: np.ndarray = field(default_factory=lambda: np.zeros((len(COLUMNS), 3)))

    def reserve(self, rows: int) -> None:
        """Room for so many shoppers."""
        more = max(rows - len(self.counts), 0)
        if more:
            more += len(self.counts)
            self.items = np.concatenate([self.items, np.zeros((more, LIST_LENGTH), np.uint64)])
            self.counts = np.concatenate([self.counts, np.zeros(more, np.uint8)])
            self.rungs = np.concatenate([self.rungs, np.zeros(more, np.uint64)])

    def judge(self, row: int, item: int, columns: list[int]) -> None:
        """Hold an item against the list of a row."""
        at = np.flatnonzero(self.items[row, : self.counts[row]] == item)
        self.figures[columns] += (1, 1, 1 / (at[0] + 1)) if len(at) else (1, 0, 0)


@dataclass(slots=True)
class Shoppers:
    """Of each shopper, by hash: events that bear items, and the item looked at last; acts of each item."""

    events: dict[int, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)
    current: dict[int, int] = field(default_factory=dict)
    acts: dict[int, int] = field(default_factory=dict)


class Steps:
    """The steps of a worker, without the engine, one shard of each."""

    def __init__(self) -> None:
        metrics = Metrics()
        settings = ProfileSettings(
            item_shards=1, sample_every=1, inactivity_ttl_ms=3650 * DAY_MS, list_context=CONTEXT_PARTS
        )
        self._profiles, self._score = Profiles(0, settings, metrics), Score(0, metrics)
        self._covisit, self._split = Covisit(0, metrics, CovisitSettings(item_shards=1)), SplitVisits(1)
        self._segments = Learner("segments", LearnSettings(), metrics)
        self._popular = Learner("popular", LearnSettings(), metrics)
        self.metrics = metrics
        self.popular: PopularModel | None = None

    def facts(self, visits: VisitBatch) -> None:
        """Take in what `item` events tell the item shards."""
        self._listen(self._covisit.process([visits]))

    def take(self, events: EventBatch | Pulse) -> Iterator[tuple[ScoredBatch, list[np.ndarray]]]:
        """What comes of a batch: scored by the models before it, and the answers of the item shard."""
        for batch in self._profiles.process([events]):
            if not isinstance(batch, ProfileBatch):
                continue
            said = [one for _, visits in self._split([batch]) for one in self._covisit.process([visits])]
            self._listen(said)
            learned = self._segments.process([k for k in lessons_of(SAMPLED, [batch], 1) if k.model == "segments"])
            (scored,) = [one for one in self._score.process([batch]) if isinstance(one, ScoredBatch)]
            self._score.process([model for model in learned if isinstance(model, SegmentModel)])
            yield scored, [one.rows for one in said if isinstance(one, AnswerBatch)]

    def _listen(self, said: list[AnswerBatch | ShardPopularity]) -> None:
        for model in self._popular.process([one for one in said if isinstance(one, ShardPopularity)]):
            assert isinstance(model, PopularModel)
            self.popular = model


def cases_of(rows: np.ndarray, known: Shoppers) -> tuple[list[tuple[int, int, int]], list[int]]:
    """(shopper, which of their events it is, item) of what EVENT rows bear, of each shopper's first event of them; and
    all items."""
    bears = (STRENGTH[rows["kind"]] > 0) & (rows["item"] != 0) & ((rows["kind"] != PURCHASE) | (rows["value"] > 0))
    first: dict[int, int] = {}
    found = []
    columns = (rows["user"], rows["item"], np.cumsum(rows["head"]))
    for user, item, event in zip(*(column[bears].tolist() for column in columns), strict=True):
        if first.setdefault(user, event) == event:
            found.append((user, known.events.get(user, 0), item))
    for user in first:
        known.events[user] = known.events.get(user, 0) + 1
    return found, rows["item"][bears].tolist()


def run(log: Path) -> dict[str, Way]:
    """A log through the steps, and what the lists of each way were worth."""
    steps, known = Steps(), Shoppers()
    shared = ListMemory.empty()
    ways = {name: Way(ListMaker(s, shared._replace(rates=shared.rates.copy()))) for name, s in WAYS.items()}
    batches = -(-sum(1 for _ in log.open("rb")) // RECORDS)
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as folder:
        names = Names(Path(folder), 0, 1_000_000)
        decoder = Decoder(names, steps.metrics, FlowControl(1), 1, 1, Limits(), lambda: 4e9)
        reader = FileReader(log, records_max=RECORDS)
        number = 0
        while (raw := reader.read()) is not None:
            raw.part, number = "log/0", number + 1
            for decoded in decoder([raw]):
                value = decoded[1] if isinstance(decoded, tuple) else None
                if isinstance(value, EventBatch):
                    cases, items = cases_of(value.rows, known)
                    _judge(ways, cases if number > WARM_UP_SHARE * batches else [], known, steps)
                    for item in items:
                        known.acts[item] = known.acts.get(item, 0) + 1
                if isinstance(value, EventBatch | Pulse):
                    for scored, answers in steps.take(value):
                        _make(ways, scored, answers, known, steps)
                elif isinstance(value, VisitBatch):
                    steps.facts(value)
        reader.close()
        names.close()
    return ways


def _judge(ways: dict[str, Way], cases: list[tuple[int, int, int]], known: Shoppers, steps: Steps) -> None:
    for user, event, item in cases if steps.popular is not None else ():
        if item == known.current.get(user):
            continue
        columns = [min(event, 2)] + [3] * (known.acts.get(item, 0) < NEW_ITEM_ACTS) + [4] * (event > 0)
        if event == 0:
            best = steps.popular.items[:LIST_LENGTH].tolist()
            figures = (1, 1, 1 / (best.index(item) + 1)) if item in best else (1, 0, 0)
            for way in ways.values():
                way.figures[columns] += figures
        else:
            for way in ways.values():
                way.judge(known.rows[user], item, columns)


def _make(ways: dict[str, Way], scored: ScoredBatch, answers: list[np.ndarray], known: Shoppers, steps: Steps) -> None:
    """Judge as a worker does, and make a list in each way for whoever acted."""
    profiles, acts = scored.profiles.rows, scored.profiles.acts
    if len(profiles) == 0:
        return
    who = np.flatnonzero(profiles["acts"] > 0)
    acted = profiles[who]
    list_rows = np.full(len(profiles), -1, np.int32)
    list_rows[who] = np.arange(len(who))
    known.rows.update(zip(acted["user"].tolist(), acted["row"].tolist(), strict=True))
    known.current.update(zip(acted["user"].tolist(), acted["recent"][:, 0].tolist(), strict=True))
    columns = [np.ascontiguousarray(column) for column in (acted["recent"], acted["recent_n"], acted["favourite"])]
    segments = scored.scores["segment"][who].astype(np.int32)
    contexts = contexts_of(acted)
    assert columns[0].shape == (len(who), RECENT_ITEMS)

    rows = np.ascontiguousarray(profiles["row"])
    ranks, row_of_act = np.empty(len(acts), np.int8), rows[acts["position"]]
    for way in ways.values():
        way.reserve(int(rows.max()) + 1)
        find_ranks(acts, rows, way.items, way.counts, ranks)
        way.lists.note_ranks(ranks, way.counts[row_of_act], way.rungs[row_of_act])
    way.lists.note_acts(acts, profiles, scored.scores)  # of the last way: what groups look at is shared
    weights = ListSettings().weights()
    for way in ways.values():
        if steps.popular is not None:
            way.lists.popular = steps.popular
        made = way.lists.make(*way.lists.lay_out(answers, list_rows, *columns, segments, contexts), weights)
        way.items[acted["row"]], way.counts[acted["row"]] = made.items, made.counts
        way.rungs[acted["row"]] = made.rungs


@click.command("recommendation_cold")
@click.option("--only", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="Only these scenarios.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures there.")
def recommendation_cold(names: tuple[str, ...], out: Path | None) -> None:
    """Measure what lists are worth to shoppers and of items that are new, with and without each rung of the ladder."""
    configure_logs(Log(level="warning"))
    console = Console(width=170)
    console.print((__doc__ or "").split("\n\n", 1)[1], highlight=False, markup=False)
    whole: dict[str, dict[str, list[list[float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="coterie-bench-logs-") as folder:
        for name in names or tuple(SCENARIOS):
            scenario = SCENARIOS[name]
            if scenario.file and not (LOGS / scenario.file).exists():
                console.print(f"{name}: {LOGS / scenario.file} is not there; left out")
                continue
            log = Path(folder) / f"{name}.jsonl"
            scenario.write(log)
            ways = run(log)
            log.unlink()
            console.print(_table(name, ways))
            whole[name] = {way: found.figures.tolist() for way, found in ways.items()}
            if out:
                out.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2))


def _table(name: str, ways: dict[str, Way]) -> Table:
    cases = next(iter(ways.values())).figures[:, 0].astype(int).tolist()
    table = Table("lists filled up by", title=f"{name}: HR@20 / MRR@20")
    for column, count in zip(COLUMNS, cases, strict=True):
        table.add_column(f"{column}\n{count:,}", justify="right")
    for way, found in ways.items():
        shares = found.figures[:, 1:] / np.maximum(found.figures[:, :1], 1)
        table.add_row(way, *(f"{hr:.4f} / {mrr:.4f}" for hr, mrr in shares.tolist()))
    return table
