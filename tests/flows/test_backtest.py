"""`coterie backtest`: who enters and leaves a segment under other rules, and when a pipeline is stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import running as tools

DAY = 86_400_000
START = 1_700_000_000_000 // DAY * DAY

OLD = """
[segments.buyers]
where = "purchases_30d >= 3"
[segments.lookers]
where = "views_7d >= 1"
[segments.gone]
where = "purchases_total >= 1"
"""
NEW = """
[segments.buyers]
where = "purchases_30d >= 2"
[segments.lookers]
where = "views_7d >= 1"
[segments.fresh]
score = {bought = ["purchases_total >= 1", 2]}
at_least = 2
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with settings and two logs, purchases and views: ann buys three times, bob twice, cid once; all look."""
    views = [
        {"type": "view", "ts": START + day * DAY, "user_id": user, "item_id": "i"}
        for day in range(3)
        for user in ("ann", "bob", "cid", "dan")
    ]
    bought = [
        {
            "type": "purchase",
            "ts": START + day * DAY + 1000,
            "user_id": user,
            "order_id": f"{user}{day}",
            "lines": [{"item_id": "i", "quantity": 1, "unit_price": 5}],
        }
        for day, users in enumerate((("ann", "bob", "cid"), ("ann", "bob"), ("ann",)))
        for user in users
    ]
    for name, events in (("views", views), ("purchases", bought)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (tmp_path / "coterie.toml").write_text(OLD)
    (tmp_path / "new.toml").write_text(NEW)
    return tmp_path


def test_members_enter_and_leave_and_sizes_are_told_by_day(shop: Path) -> None:
    """Two logs in step, against what can be counted by hand; the chart is drawn."""
    done = tools.run_cli(
        "backtest", "views.jsonl", "purchases.jsonl", "--rules", "new.toml", "--report", "r.json", "--plot", "p.svg",
        cwd=shop,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "buyers" in done.stdout and "generated" not in done.stderr
    report = json.loads((shop / "r.json").read_bytes())
    assert report["events"] == 12 + 6
    buyers = report["segments"]["buyers"]
    assert (buyers["before"], buyers["after"], buyers["enter"], buyers["leave"]) == (1, 2, ["bob"], [])
    assert (buyers["overlap"], buyers["churn"]) == (0.5, 0.5)
    assert [(day["before"], day["after"]) for day in buyers["days"]] == [(0, 0), (0, 2), (1, 2)]
    assert report["segments"]["lookers"]["churn"] == 0
    assert (report["segments"]["gone"]["churn"], report["segments"]["gone"]["leave"]) == (1, ["ann", "bob", "cid"])
    fresh = report["segments"]["fresh"]
    assert (fresh["old"], fresh["churn"], fresh["after"]) == (False, 0, 3)
    assert (shop / "p.svg").read_text().startswith("<?xml")


def test_who_is_erased_is_in_no_segment_any_more(shop: Path) -> None:
    """Nor when the erasure comes in the same batch as the entry; who begins anew is in what their new acts say."""
    bought = [
        {
            "type": "purchase",
            "ts": START + minute * 60_000,
            "user_id": user,
            "order_id": f"{user}{minute}",
            "lines": [{"item_id": "i", "quantity": 1, "unit_price": 5}],
        }
        for user in ("ann", "bob", "cid")
        for minute in range(3)
    ]
    erased = [{"type": "erase", "ts": START + 5 * 60_000, "user_id": user} for user in ("ann", "cid")]
    anew = [{**bought[-1], "ts": START + 9 * 60_000, "order_id": "anew"}]
    (shop / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in [*bought, *erased, *anew]))
    for text in ("coterie.toml", "new.toml"):
        (shop / text).write_text(
            '[segments.three]\nwhere = "purchases_30d >= 3"\n[segments.one]\nwhere = "purchases_30d >= 1"\n'
        )
    done = tools.run_cli("backtest", "log.jsonl", "--rules", "new.toml", "--report", "r.json", cwd=shop)
    assert done.returncode == 0, done.stderr
    segments = json.loads((shop / "r.json").read_bytes())["segments"]
    assert {name: (s["before"], s["after"]) for name, s in segments.items()} == {"three": (1, 1), "one": (2, 2)}
    assert all(day["before"] >= 0 for s in segments.values() for day in s["days"])


@pytest.mark.parametrize(
    ("text", "told"),
    [("not json\n" * 3, "log.jsonl: 3 bad_json, so nothing was compared"), ("", "log.jsonl: no records, so nothing")],
)
def test_a_log_of_nothing_passes_no_gate(shop: Path, text: str, told: str) -> None:
    """Else a pipeline would take a broken log for a rule that moves nobody; some refused records are told beside."""
    (shop / "log.jsonl").write_text(text)
    command = "--rules", "new.toml", "--churn-max", "0"
    done = tools.run_cli("backtest", "log.jsonl", *command, cwd=shop)
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr
    with open(shop / "views.jsonl", "a") as log:
        log.write("not json\n")
    assert "13 events, 1 of them refused" in tools.run_cli("backtest", "views.jsonl", *command, cwd=shop).stdout


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--churn-max", "nan"), "'nan' is not a finite number"),
        (("--plot", "nowhere/p.png"), "there is no folder 'nowhere'"),
        (("--report", "nowhere/r.json"), "there is no folder 'nowhere'"),
    ],
)
def test_flags_that_cannot_be_used_are_told_before_the_replay(shop: Path, flags: tuple[str, ...], told: str) -> None:
    """One line, exit 2."""
    done = tools.run_cli("backtest", "views.jsonl", "--rules", "new.toml", *flags, cwd=shop)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


def test_a_segment_that_is_gone_has_a_churn_of_one_though_nobody_is_left_in_it(shop: Path) -> None:
    """It is the rule that is gone."""
    (shop / "coterie.toml").write_text(OLD + '[segments.nobody]\nwhere = "purchases_30d > 99"\n')
    done = tools.run_cli("backtest", "views.jsonl", "--rules", "new.toml", "--churn-max", "0.9", cwd=shop)
    assert done.returncode == 3


def test_too_much_churn_stops_a_pipeline(shop: Path) -> None:
    """Exit 3 names the segment; a bound that is kept is no failure."""
    (shop / "new.toml").write_text(NEW + '[segments.gone]\nwhere = "purchases_total >= 1"\n')
    command = "backtest", "views.jsonl", "purchases.jsonl", "--rules", "new.toml", "--churn-max"
    stopped = tools.run_cli(*command, "0.4", cwd=shop)
    assert stopped.returncode == 3
    assert "segments.buyers: churn 50.0% is above 40.0%" in stopped.stderr
    assert tools.run_cli(*command, "0.5", cwd=shop).returncode == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (NEW.replace("purchases_30d", "purchses"), 'new.toml: segments.buyers.where: unknown feature "purchses"'),
        ("[shop]\n", "new.toml: there is no [segments] table"),
        ("[segments", "new.toml: end of document: expected ']' at the end of a table declaration; is it TOML?"),
    ],
)
def test_rules_that_cannot_be_read_are_told_with_their_file(shop: Path, text: str, told: str) -> None:
    """One line, exit 2."""
    (shop / "new.toml").write_text(text)
    done = tools.run_cli("backtest", "views.jsonl", "--rules", "new.toml", cwd=shop)
    assert done.returncode == 2
    assert told in done.stderr and "Traceback" not in done.stderr
