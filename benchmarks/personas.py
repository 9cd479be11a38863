"""Are the discovered segments the personas? Drifting personas, ours beside what else one would take.

Protocol. A stream of a crowd whose truth is known (`drifting_personas`); names of scenarios are permanent. Batches of
500 events: each peer tells the labels of a batch, then learns from it. Ours is the segment learner with its default
settings; its published models are applied to every event as the score step does (nearest centre; within a day a shopper
moves only to a clearly nearer one). It is not told how many personas there are; all others are. `ours, 1 in 16` learns
from one event in 16, as a worker does by default. A run takes four weeks of event time. The first 2 % of the events are
not judged.

Figures, per peer over the seeds. ARI: the adjusted Rand index of labels and personas within each 1,000 events, averaged
over the run or its last quarter (labels may mean something else in each thousand: no peer is punished for names).
ARI, one labelling: the same of the second half of the run after the recovery bound, where labels must keep their
meaning. Recovery: events from the change in the middle until two thousands in a row reach .95 of the mean of the ten
thousands before it. Kept: of the shoppers whose persona did not change, the share whose last label is the first judged
one; never left: whose label was the same at every event in between. us: CPU of one core per event, predicting and
learning.

River's clusterers learn event by event, at 50 us to several ms; they get a smaller crowd of the same kind (`shorter`),
which has its change in the middle too: KMeans a tenth, DBSTREAM a fiftieth.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.drifting_personas import Crowd, Stream, draw
from benchmarks.persona_peers import MiniBatch, Ours, Refitted, river_dbstream, river_kmeans
from operators.learn import LearnSettings
from operators.segment_quality import adjusted_rand

BATCH = 500
BLOCK = 1_000
BLOCKS_BEFORE = 10
RECOVERED = 0.95
RECOVERY_GOAL_EVENTS = 10_000
WARM_UP_SHARE = 0.02
QUICK = 0.1
"""Of the crowd, where it has to be quick."""

SCENARIOS = {
    c.name: c
    for c in (
        Crowd("personas_abrupt", "slow drift; two of six personas are somewhere else from the middle on"),
        Crowd("personas_fresh", "slow drift; one of six personas has no shoppers before the middle", moved=0, fresh=1),
        Crowd("personas_calm", "slow drift alone", moved=0),
    )
}


@dataclass(frozen=True, slots=True)
class Peer:
    """`make(crowd, seed)` gives one; `shorter` is the part of the crowd it gets."""

    name: str
    make: Callable[[Crowd, int], Any]
    shorter: float = 1.0


PEERS = (
    Peer("ours", lambda crowd, seed: Ours(crowd, LearnSettings(seed=seed))),
    Peer("ours, 1 in 16", lambda crowd, seed: Ours(crowd, LearnSettings(seed=seed), sample_every=16)),
    Peer("batch k-means, refitted", lambda crowd, seed: Refitted(crowd.personas, seed)),
    Peer("MiniBatchKMeans.partial_fit", lambda crowd, seed: MiniBatch(crowd.personas, seed)),
    Peer("River KMeans", lambda crowd, seed: river_kmeans(crowd.personas, seed), shorter=0.1),
    Peer("River DBSTREAM", lambda crowd, seed: river_dbstream(), shorter=0.02),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one peer and seed; `recovery_events` is None where it never came back."""

    ari: float
    ari_last_quarter: float
    ari_one_labelling: float
    recovery_events: int | None
    kept: float
    never_left: float
    segments: int
    event_us: float


def run(peer: Peer, crowd: Crowd, stream: Stream, seed: int) -> Figures:
    """One peer through one stream."""
    n = len(stream.x)
    model = peer.make(crowd, seed)
    labels = np.empty(n, np.int64)
    begun = time.thread_time()
    for at in range(0, n, BATCH):
        cut = slice(at, at + BATCH)
        labels[cut] = model.predict(stream.x[cut], stream.shopper[cut])
        model.learn(stream.x[cut])
    seconds = time.thread_time() - begun
    return _judge(stream, labels, model.segments, seconds / n * 1e6)


def _judge(stream: Stream, labels: np.ndarray, segments: int, event_us: float) -> Figures:
    n = len(labels)
    first = int(n * WARM_UP_SHARE)
    blocks = np.array([_ari(stream, labels, slice(at, at + BLOCK)) for at in range(0, n - BLOCK + 1, BLOCK)])
    middle = stream.middle // BLOCK
    level = blocks[max(middle - BLOCKS_BEFORE, 1) : middle].mean()
    good = blocks[middle:] >= RECOVERED * level
    back = np.flatnonzero(good[:-1] & good[1:])
    kept, never_left = _kept(stream, labels, first)
    return Figures(
        ari=float(blocks[-(-first // BLOCK) :].mean()),
        ari_last_quarter=float(blocks[len(blocks) * 3 // 4 :].mean()),
        ari_one_labelling=_ari(stream, labels, slice(min(stream.middle + RECOVERY_GOAL_EVENTS, n * 3 // 4), n)),
        recovery_events=int((back[0] + 1) * BLOCK) if len(back) else None,
        kept=kept,
        never_left=never_left,
        segments=int(segments),
        event_us=event_us,
    )


def _ari(stream: Stream, labels: np.ndarray, cut: slice) -> float:
    return adjusted_rand(stream.persona[cut], labels[cut])


def _kept(stream: Stream, labels: np.ndarray, first: int) -> tuple[float, float]:
    """Shares of the shoppers of unchanged personas, with two judged events or more, who kept their first label."""
    stays = ~stream.changed[stream.persona[first:]] & (labels[first:] >= 0)  # -1: no model yet
    shopper, label = stream.shopper[first:][stays], labels[first:][stays]
    order = np.argsort(shopper, kind="stable")
    shopper, label = shopper[order], label[order]
    starts = np.flatnonzero(np.r_[True, shopper[1:] != shopper[:-1]])
    sizes = np.diff(np.r_[starts, len(shopper)])
    several = sizes > 1
    own = np.repeat(label[starts], sizes)
    same = np.add.reduceat((label == own).astype(np.int64), starts) == sizes
    last = label[starts + sizes - 1] == label[starts]
    return float(last[several].mean()), float(same[several].mean())


def _shorter(crowd: Crowd, part: float) -> Crowd:
    return replace(crowd, shoppers=int(crowd.shoppers * part), events=int(crowd.events * part))


@click.command("personas")
@click.option("--seeds", default="0-9", show_default=True, help="Seeds from-to, or one.")
@click.option("--quick", is_flag=True, help="A tenth of the shoppers and events, three seeds at the most.")
@click.option("--peer", "wanted", multiple=True, type=click.Choice([p.name for p in PEERS]), help="Only these.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures there.")
@click.argument("names", nargs=-1, type=click.Choice(list(SCENARIOS)))
def personas(seeds: str, quick: bool, wanted: tuple[str, ...], out: Path | None, names: tuple[str, ...]) -> None:
    """Hold the segments against drifting personas, NAMES or personas_abrupt."""
    low, _, high = seeds.partition("-")
    every = list(range(int(low), int(high or low) + 1))[: 3 if quick else None]
    console = Console(width=160)
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}; one thread")
    whole: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in names or ("personas_abrupt",):
        crowd = _shorter(SCENARIOS[name], QUICK) if quick else SCENARIOS[name]
        peers = [p for p in PEERS if not wanted or p.name in wanted]
        found: dict[str, list[Figures]] = {p.name: [] for p in peers}
        for seed in every:
            streams: dict[float, tuple[Crowd, Stream]] = {}
            for peer in peers:
                part = min(QUICK, peer.shorter) if quick else peer.shorter
                if part not in streams:
                    streams[part] = (own := _shorter(SCENARIOS[name], part)), draw(own, seed)
                found[peer.name].append(run(peer, *streams[part], seed))
        console.print(_table(crowd, peers, found, every, quick))
        whole[name] = {peer: [asdict(f) for f in figures] for peer, figures in found.items()}
        if out:
            out.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2))


def _table(crowd: Crowd, peers: list[Peer], found: dict[str, list[Figures]], seeds: list[int], quick: bool) -> Table:
    """Means over the seeds, in brackets the worst seed."""
    title = f"{crowd.name}: {crowd.meaning}; {crowd.shoppers:,} shoppers, {crowd.events:,} events, seeds {seeds}"
    table = Table("peer", title=title)
    columns = ("events", "ARI", "last quarter", "one labelling", "recovery", "kept", "never left", "segments", "us")
    for column in columns:
        table.add_column(column, justify="right")
    for peer in peers:
        figures = found[peer.name]
        whole = SCENARIOS[crowd.name].events
        events = int(whole * (min(QUICK, peer.shorter) if quick else peer.shorter))
        table.add_row(
            peer.name,
            f"{events:,}",
            *(
                _mean_and_worst([getattr(f, n) for f in figures])
                for n in ("ari", "ari_last_quarter", "ari_one_labelling")
            ),
            _recovery([f.recovery_events for f in figures]),
            *(_mean_and_worst([getattr(f, n) for f in figures], 4) for n in ("kept", "never_left")),
            " ".join(str(k) for k in sorted({f.segments for f in figures})),
            f"{np.median([f.event_us for f in figures]):.1f}",
        )
    return table


def _mean_and_worst(values: list[float], digits: int = 3) -> str:
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f})"


def _recovery(values: list[int | None]) -> str:
    back = [value for value in values if value is not None]
    never = f", {len(values) - len(back)} never" if len(back) < len(values) else ""
    return f"{np.mean(back):,.0f} ({max(back):,}{never})" if back else "never"
