"""How well the propensities foresee what shoppers of real logs do, beside gradient boosting refitted every month.

Every model is judged by what it said when the decision was taken. Names of scenarios are permanent.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.propensity_replay import CDNOW, Aim, Decided, Scenario, cdnow_purchases, replay
from benchmarks.propensity_rivals import RIVALS, bg_nbd, fit_bg_nbd, repeats
from flows.logs import configure_logs
from flows.settings import Log
from operators.learn import LearnSettings
from operators.learn.measures import calibration_error, log_loss, roc_auc
from operators.profile_settings import DAY_MS

LOGS = Path(__file__).parents[1].parent / "shared" / "data"

SCENARIOS = {
    s.name: s
    for s in (
        Scenario(
            "propensity_completejourney",
            "completejourney",
            "completejourney_transactions_sample.csv.gz",
            (Aim("purchase", 14, 90), Aim("churn", 30, 105)),
        ),
        Scenario(
            "propensity_online_retail",
            "online-retail",
            "online_retail.csv.gz",
            (Aim("purchase", 14, 90), Aim("churn", 30, 105)),
        ),
        Scenario("propensity_cdnow", CDNOW, "cdnow_master.txt.gz", (Aim("purchase", 90, 180), Aim("churn", 180, 270))),
    )
}

AUC_BEHIND_MAX = 0.01
"""The champion's ROC-AUC is to be no further below the best gradient boosting."""

CALIBRATION_ERROR_MAX = 0.02

CHAMPION = "champion"
PUBLISHED_WEEKS = 39
"""CDNOW's customers are counted over so many weeks in the literature, a tenth of them."""

Figures = dict[str, Any]


def measure(scenario: Scenario, settings: LearnSettings, folder: Path) -> list[Figures]:
    """Figures of every model on a log, a dict per model and target."""
    begun = time.process_time()
    purchases = cdnow_purchases(folder / scenario.file) if scenario.format == CDNOW else []
    out = []
    for decided in replay(scenario, folder, settings):
        out.append(_figures(scenario, CHAMPION, decided, decided.p, decided.judged))
        out[-1]["versions"] = decided.versions
        rivals = {name: rival(decided) for name, rival in RIVALS.items()}
        if purchases and decided.aim.target == "purchase":
            rivals["BG/NBD"] = bg_nbd(decided, purchases)
        for name, p in rivals.items():
            out.append(_figures(scenario, name, decided, p, decided.judged & ~np.isnan(p)))
    out[-1]["cpu_seconds"] = time.process_time() - begun
    return out


def _figures(scenario: Scenario, model: str, decided: Decided, p: np.ndarray, judged: np.ndarray) -> Figures:
    p, y = p[judged].astype(np.float64), decided.y[judged]
    return {
        "scenario": scenario.name,
        "target": decided.aim.target,
        "horizon_days": decided.aim.horizon_days,
        "warm_up_days": decided.aim.warm_up_days,
        "model": model,
        "decisions": len(decided.y),
        "judged": len(y),
        "share": float(y.mean()),
        "auc": roc_auc(p, y),
        "log_loss": log_loss(p, y),
        "calibration_error": calibration_error(p, y),
    }


def misses(figures: list[Figures]) -> list[str]:
    """What of the aims for the purchase propensity was missed, a sentence each."""
    out = []
    for own in figures:
        if own["model"] != CHAMPION or own["target"] != "purchase":
            continue
        rivals = [f for f in figures if (f["scenario"], f["target"]) == (own["scenario"], own["target"])]
        best = max(f["auc"] for f in rivals if f["model"] in RIVALS)
        if own["auc"] < best - AUC_BEHIND_MAX:
            out.append(f"{own['scenario']}: ROC-AUC {own['auc']:.4f}, gradient boosting has {best:.4f}")
        if own["calibration_error"] > CALIBRATION_ERROR_MAX:
            out.append(f"{own['scenario']}: calibration error {own['calibration_error']:.4f}")
    return out


@click.command("propensity")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures there.")
@click.argument("names", nargs=-1, type=click.Choice(list(SCENARIOS)))
def propensity(out: Path | None, names: tuple[str, ...]) -> None:
    """Measure the propensities on real logs, NAMES or all; fails where an aim is missed."""
    configure_logs(Log(level="warning"))
    console = Console(width=140)
    if not LOGS.is_dir():
        raise click.ClickException(f"no real logs at {LOGS}; put them there")
    found: list[Figures] = []
    for name in names or SCENARIOS:
        found += measure(SCENARIOS[name], LearnSettings(), LOGS)
    console.print(_table(found))
    if "propensity_cdnow" in (names or SCENARIOS):
        console.print(_published(LOGS))
    if out:
        out.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    if missed := misses(found):
        raise click.ClickException("; ".join(missed))


def _table(found: list[Figures]) -> Table:
    table = Table("scenario", title="prequential, as said at the time of the decision")
    for column in ("outcome", "model", "judged", "share", "ROC-AUC", "log loss", "calibration error"):
        table.add_column(column, justify="left" if column in ("outcome", "model") else "right")
    for f in found:
        if f["model"] == CHAMPION:
            table.add_section()
        table.add_row(
            f["scenario"],
            f"{f['target']} {f['horizon_days']} d",
            f["model"],
            f"{f['judged']:,} of {f['decisions']:,}",
            f"{f['share']:.3f}",
            *(f"{f[key]:.4f}" for key in ("auc", "log_loss", "calibration_error")),
        )
    return table


def _published(folder: Path) -> str:
    """The BG/NBD parameters of CDNOW's first weeks, for who wants to hold them against the literature's."""
    purchases = cdnow_purchases(folder / SCENARIOS["propensity_cdnow"].file)
    until = purchases[0][0] + PUBLISHED_WEEKS * 7 * DAY_MS
    (r, alpha, a, b), likelihood = fit_bg_nbd(*repeats(purchases, until, days=True))
    return (
        f"BG/NBD on CDNOW's first {PUBLISHED_WEEKS} weeks: r {r:.3f}, alpha {alpha:.3f}, a {a:.3f}, b {b:.3f}, "
        f"log likelihood {likelihood:.1f}; on a tenth of the customers Fader, Hardie and Lee state .243, 4.414, .793, "
        "2.426 and -9582.4"
    )
