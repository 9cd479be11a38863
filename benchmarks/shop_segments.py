"""Segments of real shoppers: a year of purchases through decode, profile, learn and score, beside monthly RFM k-means.

Protocol. A shop's log is converted and goes through the real steps in event time: one user shard, default settings, but
that every act is a sample, for these logs are small, and that shoppers are kept for 400 days. Whatever is scored is
scored by the versions published before. At the end of each month everyone seen so far has the segment told last.

Beside it: recency, frequency and money of the year so far (log1p, standardised), scikit-learn's KMeans with 10 starts,
fitted anew at the end of each month for as many segments as ours has then.

Figures. Silhouette: ours of each version, on the newest samples and all of MODEL_FEATURES; of RFM in its own three
dimensions, where figures are higher by nature. Stability: ours between successive versions on the same samples; and of
both, month to month: the adjusted Rand index of everyone's segment at the end of a month and of the month before (a
shopper who changes habits lowers it too). Who: are the segments of Complete Journey's households different people? The
table of demographics is never shown to the learner; a household counts in the segment in which it acted most often;
chi-square test of independence (Pearson), and Cramer's V with the bias correction of Bergsma (2013).
"""

from __future__ import annotations

import csv
import gzip
import itertools
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import chi2_contingency
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from flows.logs import configure_logs
from flows.settings import Log
from operators.convert import convert
from operators.decode import Decoder, Limits
from operators.learn import SAMPLED, Learner, LearnSettings
from operators.profile_settings import DAY_MS, ProfileSettings
from operators.profiles import Profiles
from operators.read_files import FileReader
from operators.score import Score
from operators.segment_quality import adjusted_rand
from state.batches import EventBatch, ProfileBatch, ScoredBatch
from state.features import MODEL_FEATURES
from state.flow_control import FlowControl
from state.metrics import Metrics, read_samples
from state.models import SegmentModel
from state.names import Names
from state.samples import lessons_of

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Where real logs are found, as the tests find them; none is part of the project."""

RECORDS_MAX = 256
PART = "log/0"
_MEAN_ORDER = MODEL_FEATURES.index("average_order_value")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A converted file, and the table of who its shoppers are, if there is one."""

    name: str
    format: str
    source: str
    people: str = ""


SCENARIOS = {
    s.name: s
    for s in (
        Scenario("segments_online_retail", "online-retail", "online_retail.csv.gz"),
        Scenario(
            "segments_completejourney",
            "completejourney",
            "completejourney_transactions_sample.csv.gz",
            "completejourney_demographics.csv.gz",
        ),
    )
}


@dataclass(slots=True)
class Year:
    """What came of a log. By month: everyone's segment, and everyone's RFM group."""

    versions: list[SegmentModel] = field(default_factory=list)
    months: list[str] = field(default_factory=list)
    ours: list[dict[str, int]] = field(default_factory=list)
    rfm: list[dict[str, int]] = field(default_factory=list)
    rfm_silhouette: list[float] = field(default_factory=list)
    acted: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    drifts: dict[str, float] = field(default_factory=dict)


def replay(scenario: Scenario, seed: int, folder: Path) -> Year:
    """A log through the steps."""
    log = folder / f"{scenario.name}.jsonl"
    if not log.exists():
        convert(scenario.format, SHARED_DATA / scenario.source, log)
    metrics = Metrics()
    settings = ProfileSettings(item_shards=1, sample_every=1, inactivity_ttl_ms=400 * DAY_MS)
    profiles, score = Profiles(0, settings, metrics), Score(0, metrics)
    learner = Learner("segments", LearnSettings(seed=seed), metrics)
    year = Year()
    now: dict[str, int] = {}
    figures: dict[str, list[float]] = {}  # newest act, ms; acts; money
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as names_folder:
        names = Names(Path(names_folder), 0, 1_000_000)
        decoder = Decoder(names, metrics, FlowControl(1), 1, 1, Limits(), lambda: 4e9)
        reader = FileReader(log, records_max=RECORDS_MAX)
        while (raw := reader.read()) is not None:
            raw.part = PART
            for value in decoder([raw]):
                if not (isinstance(value, tuple) and isinstance(value[1], EventBatch)):
                    continue
                for batch in profiles.process([value[1]]):
                    if not isinstance(batch, ProfileBatch):
                        continue
                    if len(batch):
                        _close_months(year, batch, now, figures, seed)
                        _score(year, score, batch, now, figures)
                    learned = learner.process([k for k in lessons_of(SAMPLED, [batch], 1) if k.model == "segments"])
                    year.versions += learned
                    score.process(learned)
        reader.close()
        names.close()
    _close_month(year, now, figures, seed)
    year.drifts = read_samples(metrics.drift, "signal")
    return year


def _score(year: Year, score: Score, batch: ProfileBatch, now: dict[str, int], figures: dict[str, list[float]]) -> None:
    (scored,) = [s for s in score.process([batch]) if isinstance(s, ScoredBatch)]
    ids = batch.ids.tobytes()
    for row, segment in zip(batch.rows, scored.scores["segment"].tolist(), strict=True):
        user = ids[row["user_at"] : row["user_at"] + row["user_len"]].decode()
        now[user] = segment
        if row["acts"]:
            year.acted[user][segment] += int(row["acts"])
            known = figures.setdefault(user, [0.0, 0.0, 0.0])
            known[0] = float(row["event_ts"])
            known[1] += float(row["acts"])
            known[2] = known[1] * float(row["x"][_MEAN_ORDER])


def _close_months(
    year: Year, batch: ProfileBatch, now: dict[str, int], figures: dict[str, list[float]], seed: int
) -> None:
    month = datetime.fromtimestamp(int(batch.rows["event_ts"].max()) / 1000, UTC).strftime("%Y-%m")
    if not year.months:
        year.months.append(month)
    elif month > year.months[-1]:
        _close_month(year, now, figures, seed)
        year.months.append(month)


def _close_month(year: Year, now: dict[str, int], figures: dict[str, list[float]], seed: int) -> None:
    """Keep everyone's segment, and fit RFM k-means for as many."""
    year.ours.append({user: segment for user, segment in now.items() if segment >= 0})
    users = list(figures)
    x = np.array([figures[user] for user in users])
    x[:, 0] = (x[:, 0].max() - x[:, 0]) / DAY_MS
    logs = np.log1p(np.maximum(x, 0.0))
    logs = (logs - logs.mean(0)) / np.maximum(logs.std(0), 1e-9)
    k = max(2, len(year.versions[-1].numbers)) if year.versions else 2
    labels = KMeans(k, n_init=10, random_state=seed).fit_predict(logs)
    year.rfm.append(dict(zip(users, labels.tolist(), strict=True)))
    year.rfm_silhouette.append(float(silhouette_score(logs, labels, sample_size=2_000, random_state=seed)))


def month_to_month(labels: list[dict[str, int]]) -> float:
    """Mean adjusted Rand index of successive months, over whoever is in both."""
    found = []
    for before, after in itertools.pairwise(labels):
        both = [user for user in before if user in after]
        if both:
            found.append(adjusted_rand(np.array([before[u] for u in both]), np.array([after[u] for u in both])))
    return float(np.mean(found)) if found else float("nan")


def differences(labels: dict[str, int], people: Path) -> list[tuple[str, int, float, int, float, float]]:
    """Of each column of a table of people: (column, people, chi-square, degrees of freedom, p, Cramer's V)."""
    with gzip.open(people, "rt", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["household_id"] in labels]
    found = []
    for column in rows[0]:
        if column == "household_id":
            continue
        known = [(labels[row["household_id"]], row[column]) for row in rows if row[column] not in ("", "NA", "Unknown")]
        segments, values = (sorted(set(side)) for side in zip(*known, strict=True))
        table = np.zeros((len(segments), len(values)))
        for segment, value in known:
            table[segments.index(segment), values.index(value)] += 1
        table = table[table.sum(1) >= 5]
        table = table[:, table.sum(0) > 0]
        result = chi2_contingency(table)
        n, (r, c) = table.sum(), table.shape
        phi = max(0.0, result.statistic / n - (r - 1) * (c - 1) / (n - 1))
        rows_fair, columns_fair = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
        v = float(np.sqrt(phi / max(min(rows_fair, columns_fair) - 1, 1e-9)))
        found.append((column, int(n), float(result.statistic), int(result.dof), float(result.pvalue), v))
    return found


@click.command("segments")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the learner and of k-means.")
@click.argument("names", nargs=-1, type=click.Choice(list(SCENARIOS)))
def segments(seed: int, names: tuple[str, ...]) -> None:
    """Discover the segments of real shops' shoppers, NAMES or all."""
    configure_logs(Log(level="warning"))
    console = Console(width=150)
    for name in names or SCENARIOS:
        scenario = SCENARIOS[name]
        if not (SHARED_DATA / scenario.source).exists():
            raise click.ClickException(f"{name}: found no {SHARED_DATA / scenario.source}; put the file there")
        with tempfile.TemporaryDirectory(prefix="coterie-bench-logs-") as folder:
            year = replay(scenario, seed, Path(folder))
        _print(console, name, year)
        if scenario.people:
            _print_people(console, name, year, SHARED_DATA / scenario.people)


def _print(console: Console, name: str, year: Year) -> None:
    last = year.versions[-1]
    known = [m for m in year.versions if np.isfinite(m.silhouette)]
    table = Table("segment", "name", "since", "share", "what sets it apart", title=f"{name}: at the end of the year")
    for card in last.cards:
        if not card.retired_at:
            told = ", ".join(f"{feature} {own:g} ({every:g})" for feature, own, every in card.traits[:3])
            since = datetime.fromtimestamp(card.born_at / 1000, UTC).strftime("%Y-%m-%d")
            table.add_row(f"s{card.number}", card.name, f"{since} {card.born_by}", f"{card.share:.1%}", told)
    console.print(table)
    counts = [len(m.numbers) for m in year.versions]
    table = Table("", "ours", "RFM k-means, monthly", title=f"{name}: {last.samples:,} samples, {len(counts)} versions")
    table.add_row("segments, least to most", f"{min(counts)} to {max(counts)}", "as many")
    table.add_row("numbers ever given", str(max(int(m.numbers.max()) for m in year.versions) + 1), "-")
    table.add_row(
        "silhouette, mean", f"{np.mean([m.silhouette for m in known]):.3f}", f"{np.mean(year.rfm_silhouette):.3f}"
    )
    table.add_row("Davies-Bouldin, mean", f"{np.nanmean([m.davies_bouldin for m in known]):.2f}", "-")
    table.add_row("version to version, ARI", f"{np.nanmean([m.stability for m in year.versions]):.3f}", "-")
    table.add_row("month to month, ARI", f"{month_to_month(year.ours):.3f}", f"{month_to_month(year.rfm):.3f}")
    emerging = [m.emerging.share for m in year.versions if m.emerging]
    table.add_row("emerging share, mean and most", f"{np.mean(emerging):.3f}, {max(emerging):.3f}", "-")
    table.add_row("drifts", ", ".join(f"{signal} {count:g}" for signal, count in year.drifts.items()) or "none", "-")
    console.print(table)


def _print_people(console: Console, name: str, year: Year, people: Path) -> None:
    most = {user: next((s for s, _ in acts.most_common() if s >= 0), -1) for user, acts in year.acted.items()}
    columns = ("people", "chi-square", "df", "p", "Cramer's V")
    for title, labels in (("ours", {u: s for u, s in most.items() if s >= 0}), ("RFM k-means", year.rfm[-1])):
        table = Table("column", *columns, title=f"{name}: are the segments different people? {title}")
        for column, n, statistic, df, p, v in differences(labels, people):
            table.add_row(column, f"{n:,}", f"{statistic:.1f}", str(df), f"{p:.2g}", f"{v:.3f}")
        console.print(table)
