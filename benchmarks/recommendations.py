"""How good are the lists of 20, and what do they cost? Ours beside what else one would take, on real logs.

Protocol, `recommend_*` (prequential: predict, then learn). Events come in time order, those of many sessions among each
other, in batches of 1, 256 or 4,096. An event is judged by the list that stood before it: the one made at the end of
the last batch its shopper acted in, or what is popular where there is none yet. Then the whole batch is learned, and
then a list is made for each shopper who acted in it, as a worker does. The current item is never in the list, and an
event on the very item looked at is no case, nor is a shopper's first. The first 30 % of the events are learned from and
not judged. `cases` are all others; `fresh` are those whose list was made after the shopper's event before (at batches
of 1 that is all of them; the worker's own `hit_rate_20` counts these). A log of few sessions that took months would
have most of a session in one batch of 4,096. So for batches larger than 1 logs of sessions are told as by a busier
shop: sessions in the order they begin, eight times as many open as a batch has events, each acting about once a minute.

Protocol, `published_*`: a stream is learned, in batches of 256; then the published test cases are asked for, and
nothing is learned from them. Here an event on the current item is a case like any other. Whether the current item
stays in the list is the scenario's.

Figures. HR@20: share of the cases whose item is in the list; MRR@20: mean of 1 / its rank, 0 where it is not; NDCG@20:
mean of 1 / log2(1 + rank). Coverage: share of the stream's items that stood in any list. us: CPU of one core, per event
learned and per list made; of peers in plain Python or River that is Python's time, and no more than an order of size.
Peers are told the shopper's 20 last items. River's BiasedMF is too slow for whole logs: it sees the first 20,000 events
only, 30 % of them unjudged.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.recommendation_ours import Ours
from benchmarks.recommendation_peers import (
    HISTORY,
    LENGTH,
    LastItem,
    Peer,
    Popularity,
    Refitted,
    RiverMf,
    SKnn,
    VmisKnn,
    newest_first,
)
from benchmarks.recommendation_sets import LOGS, SCENARIOS, Cases, Scenario, Stream, busier

WARM_UP_SHARE = 0.3
BATCHES = (1, 256, 4096)
PUBLISHED_BATCH = 256
OPEN_SESSIONS_PER_BATCH = 8
QUICK_EVENTS = 20_000
QUICK_CASES = 2_000
RIVER_EVENTS = 20_000


@dataclass(frozen=True, slots=True)
class Contender:
    """`make(shoppers, items, current_out, seed)` gives a peer; it sees no more than the first `events_max` events, and
    only what is `prequential` or `published`."""

    name: str
    make: Callable[[int, int, bool, int], Peer]
    events_max: int | None = None
    prequential: bool = True
    published: bool = True


CONTENDERS = (
    Contender("ours", lambda shoppers, items, out, seed: Ours(shoppers, items, out)),
    Contender(
        "ours, weights as given",
        lambda shoppers, items, out, seed: Ours(shoppers, items, out, learn_weights=False),
        published=False,
    ),
    Contender("popularity, fading", lambda shoppers, items, out, seed: Popularity(out)),
    Contender("co-visits of the last item", lambda shoppers, items, out, seed: LastItem(out)),
    Contender("VMIS-kNN m=500 k=100", lambda shoppers, items, out, seed: VmisKnn(current_out=out)),
    Contender(
        "VMIS-kNN m=1500 k=500, 3 items",
        lambda shoppers, items, out, seed: VmisKnn(1500, 500, 3, out),
        prequential=False,
    ),
    Contender("SKNN k=100, 500 newest", lambda shoppers, items, out, seed: SKnn(current_out=out)),
    Contender("implicit cosine, refitted", lambda shoppers, items, out, seed: Refitted("cosine", shoppers, items, out)),
    Contender("implicit BM25, refitted", lambda shoppers, items, out, seed: Refitted("bm25", shoppers, items, out)),
    Contender(
        "implicit ALS, refitted", lambda shoppers, items, out, seed: Refitted("als", shoppers, items, out, seed=seed)
    ),
    Contender(
        "River BiasedMF",
        lambda shoppers, items, out, seed: RiverMf(items, out, seed=seed),
        events_max=RIVER_EVENTS,
        published=False,
    ),
)


class Tally:
    """Cases judged so far."""

    def __init__(self) -> None:
        self.cases = 0
        self.hits, self.reciprocal, self.gain = 0, 0.0, 0.0

    def judge(self, lists: np.ndarray, items: np.ndarray) -> None:
        """`lists` int64[n, 20], best first, -1 past the end; `items` int64[n] what came."""
        found = lists == items[:, None]
        hit = found.any(axis=1)
        ranks = found.argmax(axis=1)[hit] + 1.0
        self.cases += len(items)
        self.hits += len(ranks)
        self.reciprocal += float((1.0 / ranks).sum())
        self.gain += float((1.0 / np.log2(1.0 + ranks)).sum())

    def figures(self) -> tuple[float, float, float]:
        """HR@20, MRR@20, NDCG@20."""
        n = max(self.cases, 1)
        return self.hits / n, self.reciprocal / n, self.gain / n


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one peer, scenario and size of batches; those of fresh cases are None where nothing is learned."""

    scenario: str
    peer: str
    batch: int
    events: int
    cases: int
    hr: float
    mrr: float
    ndcg: float
    coverage: float
    update_us: float
    list_us: float
    fresh_cases: int | None = None
    fresh_hr: float | None = None
    fresh_mrr: float | None = None


def previous_events(shopper: np.ndarray) -> np.ndarray:
    """Of each event the number of the same shopper's event before it, -1 where there is none: int64[n]."""
    order = np.argsort(shopper, kind="stable")
    same = np.r_[False, shopper[order][1:] == shopper[order][:-1]]
    out = np.empty(len(shopper), np.int64)
    out[order] = np.where(same, np.r_[-1, order[:-1]], -1)
    return out


def remember(histories: np.ndarray, shoppers: np.ndarray, items: np.ndarray) -> None:
    """Put events, in order, in front of their shoppers' histories, int64[shoppers, HISTORY]."""
    for shopper, item in zip(shoppers.tolist(), items.tolist(), strict=True):
        history = histories[shopper]
        history[1:] = history[:-1].copy()
        history[0] = item


def prequential(
    scenario: Scenario,
    contender: Contender,
    stream: Stream,
    batch: int,
    seed: int,
    warm_up_share: float = WARM_UP_SHARE,
) -> Figures:
    """One peer through one stream."""
    stream = stream if contender.events_max is None else stream.first(contender.events_max)
    if scenario.sessions and batch > 1:
        stream = busier(stream, OPEN_SESSIONS_PER_BATCH * batch, seed=0)
    peer = contender.make(stream.shoppers, stream.items, True, seed)
    n = len(stream)
    before = previous_events(stream.shopper)
    is_case = (before >= 0) & (stream.item[before] != stream.item) & (np.arange(n) >= warm_up_share * n)
    histories = np.full((stream.shoppers, HISTORY), -1, np.int64)
    standing, has_list = np.full((stream.shoppers, LENGTH), -1, np.int64), np.zeros(stream.shoppers, bool)
    shown = np.zeros(stream.items + 1, bool)
    nobody, no_history = np.array([-1]), np.full((1, HISTORY), -1, np.int64)
    everything, fresh = Tally(), Tally()
    update_s = list_s = 0.0
    made = 0
    for at in range(0, n, batch):
        cut = slice(at, at + batch)
        shoppers, items = stream.shopper[cut], stream.item[cut]
        cases = np.flatnonzero(is_case[cut])
        if len(cases):
            lists = standing[shoppers[cases]]
            missing = ~has_list[shoppers[cases]]
            if missing.any():
                lists[missing] = peer.lists(nobody, no_history)
            everything.judge(lists, items[cases])
            is_fresh = before[cut][cases] < at
            fresh.judge(lists[is_fresh], items[cases][is_fresh])
        begun = time.thread_time()
        peer.learn(shoppers, items, stream.ts[cut])
        update_s += time.thread_time() - begun
        remember(histories, shoppers, items)
        who = np.unique(shoppers)
        asked = histories[who]
        begun = time.thread_time()
        lists = peer.lists(who, asked)
        list_s += time.thread_time() - begun
        made += len(who)
        standing[who], has_list[who] = lists, True
        shown[lists] = True
    fresh_hr, fresh_mrr, _ = fresh.figures()
    return Figures(
        scenario.name,
        contender.name,
        batch,
        n,
        everything.cases,
        *everything.figures(),
        coverage=float(shown[:-1].sum() / len(np.unique(stream.item))),
        update_us=update_s / n * 1e6,
        list_us=list_s / made * 1e6,
        fresh_cases=fresh.cases,
        fresh_hr=fresh_hr,
        fresh_mrr=fresh_mrr,
    )


def published(scenario: Scenario, contender: Contender, stream: Stream, cases: Cases, seed: int) -> Figures:
    """One peer trained on a stream and asked for the published cases."""
    highest = max(max(cases.following), max(max(prefix) for prefix in cases.prefixes)) + 1
    peer = contender.make(stream.shoppers, max(stream.items, highest), scenario.current_out, seed)
    n, tally, shown = len(stream), Tally(), np.zeros(max(stream.items, highest) + 1, bool)
    begun = time.thread_time()
    for at in range(0, n, PUBLISHED_BATCH):
        cut = slice(at, at + PUBLISHED_BATCH)
        peer.learn(stream.shopper[cut], stream.item[cut], stream.ts[cut])
    peer.settle()
    update_s, list_s = time.thread_time() - begun, 0.0
    for at in range(0, len(cases.prefixes), PUBLISHED_BATCH):
        prefixes = cases.prefixes[at : at + PUBLISHED_BATCH]
        histories = np.array([newest_first(prefix) for prefix in prefixes])
        begun = time.thread_time()
        lists = peer.lists(np.full(len(prefixes), -1), histories)
        list_s += time.thread_time() - begun
        tally.judge(lists, np.array(cases.following[at : at + PUBLISHED_BATCH]))
        shown[lists] = True
    return Figures(
        scenario.name,
        contender.name,
        PUBLISHED_BATCH,
        n,
        tally.cases,
        *tally.figures(),
        coverage=float(shown[:-1].sum() / stream.items),
        update_us=update_s / n * 1e6,
        list_us=list_s / len(cases.prefixes) * 1e6,
    )


def _compiled(scenario: Scenario, stream: Stream, cases: Cases | None, contender: Contender, seed: int) -> None:
    """Let kernels compile, so that their time is not counted."""
    few = stream.first(PUBLISHED_BATCH)
    if cases is None:
        prequential(scenario, contender, few, PUBLISHED_BATCH, seed)
    else:
        published(scenario, contender, few, Cases(cases.prefixes[:1], cases.following[:1]), seed)


@click.command("recommendations")
@click.option("--only", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="Only these scenarios.")
@click.option("--peer", "peers", multiple=True, type=click.Choice([c.name for c in CONTENDERS]), help="Only these.")
@click.option("--batch", "batches", multiple=True, type=int, help="Sizes of batches.  [default: 1, 256, 4096]")
@click.option("--quick", is_flag=True, help=f"The first {QUICK_EVENTS:,} events and {QUICK_CASES:,} cases.")
@click.option("--seed", default=0, show_default=True, help="Of the peers that draw.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures there.")
def recommendations(
    names: tuple[str, ...], peers: tuple[str, ...], batches: tuple[int, ...], quick: bool, seed: int, out: Path | None
) -> None:
    """Hold the lists of 20 against what shoppers of real logs turned to next."""
    console = Console(width=170)
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}; one thread")
    console.print((__doc__ or "").split("\n\n", 1)[1], highlight=False, markup=False)
    whole: list[dict[str, Any]] = []
    for name in names or tuple(SCENARIOS):
        scenario = SCENARIOS[name]
        absent = [file for file in scenario.files if not (LOGS / file).exists()]
        if absent:
            console.print(f"{name}: {LOGS / absent[0]} is not there; left out")
            continue
        stream, cases = scenario.load(LOGS)
        if quick:
            stream = stream.first(QUICK_EVENTS)
            cases = cases and Cases(cases.prefixes[:QUICK_CASES], cases.following[:QUICK_CASES])
        found = []
        for contender in CONTENDERS:
            meant = contender.prequential if cases is None else contender.published
            if not meant or (peers and contender.name not in peers):
                continue
            _compiled(scenario, stream, cases, contender, seed)
            if cases is not None:
                found.append(published(scenario, contender, stream, cases, seed))
            else:
                found += [prequential(scenario, contender, stream, b, seed) for b in batches or BATCHES]
        console.print(_table(scenario, stream, found))
        whole += [asdict(figures) for figures in found]
        if out:
            out.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2))


def _table(scenario: Scenario, stream: Stream, found: list[Figures]) -> Table:
    rule = "is never in the list" if scenario.current_out else "may be in the list"
    title = f"{scenario.name}: {scenario.meaning}; {len(stream):,} events, {len(np.unique(stream.item)):,} items."
    table = Table("peer", title=f"{title} The current item {rule}.")
    columns = ("events", "batch", "cases", "HR@20", "MRR@20", "NDCG@20", "coverage", "fresh", "HR@20", "MRR@20")
    for column in (*columns, "us/update", "us/list"):
        table.add_column(column, justify="right")
    for f in sorted(found, key=lambda f: f.batch):
        table.add_row(
            f.peer,
            f"{f.events:,}",
            f"{f.batch:,}",
            f"{f.cases:,}",
            *(f"{value:.4f}" for value in (f.hr, f.mrr, f.ndcg)),
            f"{f.coverage:.3f}",
            "" if f.fresh_cases is None else f"{f.fresh_cases:,}",
            *("" if value is None else f"{value:.4f}" for value in (f.fresh_hr, f.fresh_mrr)),
            f"{f.update_us:.2f}",
            f"{f.list_us:.2f}",
        )
    for system, hr, mrr in scenario.published:
        table.add_row(f"published: {system}", "", "", "", f"{hr:.4f}", f"{mrr:.4f}")
    return table
