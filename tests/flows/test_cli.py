"""The command line: exit codes, one-line errors, and what goes to standard output and what to standard error."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import structlog

from flows.cli import cli, main
from flows.commands.records import decode_record
from state.features import CATALOGUE, PATTERNS
from state.redis_keys import Keys

NOWHERE = "redis://me:hunter2@127.0.0.1:1/0"
RECORD = {
    "segment": "s3",
    "macro": "m1",
    "margin": "0.42",
    "rules": '["loyal"]',
    "purchase_propensity": "0.125",
    "churn_risk": "nan",
    "why": '{"segment":[["spend_30d",1.42]],"next":"s5"}',
    "recs": '[["oak-lamp",0.9,"pine-lamp"],["mug",0.1,"s3"]]',
    "variants": '{"banner":"b"}',
    "event_ts": "1767225600000",
    "version": "17",
    "model": "4",
}
CARDS = {
    "s3": {
        "name": "evening buyers",
        "macro": "m1",
        "size": 30,
        "share": 0.3,
        "traits": [["spend_30d", 80.5, 12.25]],
        "born_at": 1,
        "parents": [],
        "retired_at": 0,
    },
    "s4": {"name": "browsers", "macro": "m2", "size": 70, "share": 0.7, "traits": [], "born_at": 1, "retired_at": 0},
    "s1": {"name": "gone", "macro": "m2", "size": 0, "share": 0.0, "traits": [], "born_at": 1, "retired_at": 9},
}

Coterie = Callable[..., tuple[int, str, str]]


@pytest.fixture
def coterie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Coterie]:
    """Run a command in an empty folder: (exit code, standard output, standard error)."""
    for name in list(os.environ):
        if name.startswith("COTERIE_") and "__" in name:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    yield run
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def filled_redis(redis_url: str) -> str:
    """A Redis that holds one shopper's record and three segments, one of them retired."""
    keys = Keys()
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.user("u1"), mapping=RECORD)
        client.hset(keys.segments, mapping={name: json.dumps(card) for name, card in CARDS.items()})
    return redis_url


def _is_one_line(text: str) -> bool:
    return text.endswith("\n") and text.count("\n") == 1 and "Traceback" not in text


def test_help_answers_without_loading_the_engine_or_the_compiler() -> None:
    """`coterie --help` must be instant; what is heavy is imported by the command that needs it."""
    heavy = ("bytewax", "kafka", "numba", "numpy", "pydantic", "redis", "rich", "river", "scipy")
    program = (
        "import sys, flows.cli\n"
        "try: flows.cli.main(['--help'])\n"
        "except SystemExit as end: code = end.code\n"
        f"print(code, [name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=_project())
    assert done.stderr == "0 []\n"
    assert all(command in done.stdout for command in cli.commands)


def _project() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_takes_a_configuration_and_explains_itself(coterie: Coterie, command: str) -> None:
    """--config FILE and --help work everywhere."""
    code, out, _ = coterie(command, "--help")
    assert code == 0
    assert "--config FILE" in out


def test_the_flags_are_the_documented_ones() -> None:
    """Dashboards and scripts hold on to them: adding is free, changing is breaking."""
    promised = {
        "replay": {"--redis", "--state", "--speed", "--processes", "--report"},
        "run": {"--kafka", "--redis", "--state", "--processes"},
        "load": {"--kafka", "--topic", "--rate", "--speed"},
        "convert": {"--out", "--skipped"},
        "show": {"--redis", "--state", "--json"},
        "segments": {"--redis", "--state", "--json"},
        "features": {"--json"},
        "check": {"--kafka", "--redis", "--state"},
        "demo": set(),
    }
    for command, flags in promised.items():
        found = {option for parameter in cli.commands[command].params for option in parameter.opts}
        assert flags | {"--config"} <= found, command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["repaly"], "coterie: No such command 'repaly'"),
        (["run", "--proceses", "2"], "coterie run: No such option '--proceses'"),
        (["replay"], "coterie replay: Missing argument 'LOG...'; coterie replay --help tells more"),
        (["replay", "absent.jsonl"], "coterie replay: Invalid value for 'LOG...': File 'absent.jsonl' does not exist"),
        (["replay", __file__, "--speed", "-1"], "'-1' is neither max nor a number above 0"),
        (["replay", __file__, "--report", "absent/r.json"], "--report"),
        (["load", __file__, "--rate", "5", "--speed", "2"], "--rate and --speed exclude each other"),
        (["convert", "excel", __file__, "-o", "out.jsonl"], "there is no format 'excel'; formats are"),
        (["run", "--processes", "0"], "--processes: 0 is out of range (1 to 64)"),
        (["run", "--processes", "two"], "'two' is not a valid integer"),
        (["check", "--kafka", "broker"], '--kafka: "broker" is not a list of brokers (HOST:PORT,HOST:PORT)'),
        (["features", "--config", "absent.toml"], "absent.toml: no such file"),
    ],
)
def test_a_wrong_command_line_ends_with_two_and_one_line(coterie: Coterie, arguments: list[str], told: str) -> None:
    """One line on standard error says where and what to do; nothing was done, nothing printed."""
    code, out, err = coterie(*arguments)
    assert (code, out) == (2, "")
    assert _is_one_line(err)
    assert told in err


@pytest.mark.parametrize("command", ["features", "segments", "check", "run", "demo"])
def test_a_wrong_configuration_ends_every_command_with_two_and_one_line(coterie: Coterie, command: str) -> None:
    """Before anything is connected or written."""
    Path("coterie.toml").write_text("[learn]\nsegmets = 3\n")
    code, out, err = coterie(command)
    assert (code, out) == (2, "")
    assert err == (
        'coterie.toml: learn.segmets: unknown setting; did you mean "segments"? (coterie.example.toml lists them)\n'
    )
    assert os.listdir() == ["coterie.toml"]


@pytest.mark.parametrize("arguments", [["show", "u1"], ["segments"]])
def test_a_redis_that_is_not_there_ends_with_one_and_one_line(coterie: Coterie, arguments: list[str]) -> None:
    """A connection error is no traceback, and the password is not repeated."""
    code, out, err = coterie(*arguments, "--redis", NOWHERE)
    assert (code, out) == (1, "")
    assert _is_one_line(err)
    assert "is Redis there? (--redis URL or redis.url)" in err
    assert "hunter2" not in err


def test_a_damaged_log_ends_with_one_and_one_line(coterie: Coterie) -> None:
    """A failure while running names the file."""
    Path("sessions.tsv").write_text("no such header\n1\n")
    code, out, err = coterie("convert", "sessions", "sessions.tsv", "-o", "out.jsonl")
    assert (code, out) == (1, "")
    assert _is_one_line(err)
    assert "sessions.tsv" in err


def test_convert_accounts_for_every_line_on_standard_error(coterie: Coterie) -> None:
    """Standard output stays free for data."""
    Path("sessions.tsv").write_text("SessionId\tItemId\tTime\n1\t10\t1500000000\n1\t11\t1500000010\n")
    code, out, err = coterie("convert", "sessions", "sessions.tsv", "-o", "out.jsonl")
    assert (code, out) == (0, "")
    assert "events written" in err
    assert Path("out.jsonl").read_text().count("\n") == 2


def test_the_feature_catalogue_as_json_is_the_catalogue(coterie: Coterie) -> None:
    """JSON alone on standard output, in the catalogue's order."""
    code, out, err = coterie("features", "--json")
    assert (code, err) == (0, "")
    names = [feature["name"] for feature in json.loads(out)]
    assert names == [*CATALOGUE, *(p.name for p in PATTERNS), "score_rfm_gold"]


def test_the_points_of_scores_are_features_that_are_listed(coterie: Coterie) -> None:
    """With what they are given for; those of the shop's own rules where it has some, else of the shipped ones."""
    told = {
        "name": "score_rfm_gold",
        "unit": "points",
        "window": "",
        "meaning": "points, 0 to 6, for: recent, very_recent, frequent, very_frequent, spending, spending_much; "
        "in segments.rfm_gold is score_rfm_gold >= 5",
        "source": "rules",
    }
    assert told in json.loads(coterie("features", "--json")[1])
    Path("coterie.toml").write_text(
        "[segments.keen]\nat_least = 2.5\n"
        'score = {looks = ["views_24h >= 3", 2.5], returns = ["returns_total > 0", -1]}\n'
        '[segments.quiet]\nwhere = "score_keen <= 0"\n'
    )
    _, out, _ = coterie("features", "--json")
    scores = [feature for feature in json.loads(out) if feature["name"].startswith("score_")]
    meaning = "points, -1 to 2.5, for: looks, returns; in segments.keen is score_keen >= 2.5"
    assert [(feature["name"], feature["meaning"]) for feature in scores] == [("score_keen", meaning)]
    assert "score_keen" in coterie("features")[1]
    Path("coterie.toml").write_text("[segments]\n")
    assert "score_" not in coterie("features", "--json")[1]


def test_the_feature_table_names_every_feature_but_the_many_hours_once(coterie: Coterie) -> None:
    """300 shares of hours would hide the rest."""
    _, out, _ = coterie("features")
    assert all(name in out for name in CATALOGUE if not name.startswith("hour_"))
    assert "hour_A_B_share" in out


def test_show_as_json_is_the_decoded_record_and_the_features(coterie: Coterie, filled_redis: str) -> None:
    """Numbers are numbers, lists are lists, a number not yet known is null."""
    code, out, err = coterie("show", "u1", "--json", "--redis", filled_redis)
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "segment": "s3",
        "macro": "m1",
        "margin": 0.42,
        "rules": ["loyal"],
        "purchase_propensity": 0.125,
        "churn_risk": None,
        "why": {"segment": [["spend_30d", 1.42]], "next": "s5"},
        "recs": [["oak-lamp", 0.9, "pine-lamp"], ["mug", 0.1, "s3"]],
        "variants": {"banner": "b"},
        "event_ts": 1767225600000,
        "version": 17,
        "model": 4,
        "features": None,
    }


def test_show_tells_a_person_the_segment_why_and_what_next(coterie: Coterie, filled_redis: str) -> None:
    """The names behind the ids, the traits behind the segment, the item behind the recommendation."""
    code, out, err = coterie("show", "u1", "--redis", filled_redis)
    assert code == 0
    for part in (
        "s3 evening buyers m1",
        "spend_30d 80.5 (all: 12.25)",
        "oak-lamp",
        "pine-lamp",
        "banner: b",
        "2026-01-01T",
    ):
        assert part in out
    assert "no features" in err


def test_ids_cannot_steer_the_terminal(coterie: Coterie, redis_url: str) -> None:
    """An item id with an escape sequence is shown, not obeyed; markup is text."""
    recs = json.dumps([["\x1b[2Jlamp", 0.5, "[bold]mug[/bold]"]])
    with redis.Redis.from_url(redis_url) as client:
        client.hset(Keys().user("u2"), mapping={**RECORD, "recs": recs})
    _, out, _ = coterie("show", "u2", "--redis", redis_url)
    assert "\x1b" not in out
    assert "[bold]mug[/bold]" in out


def test_a_shopper_without_a_record_ends_with_one_and_one_line(coterie: Coterie, filled_redis: str) -> None:
    """The line names the key that was looked for."""
    code, out, err = coterie("show", "nobody", "--redis", filled_redis)
    assert (code, out) == (1, "")
    assert err == "coterie: no record of shopper 'nobody' in Redis (coterie:user:nobody)\n"


def test_segments_lists_the_living_ones_largest_first(coterie: Coterie, filled_redis: str) -> None:
    """Retired segments stand in the JSON, behind the living."""
    _, out, _ = coterie("segments", "--json", "--redis", filled_redis)
    assert [card["id"] for card in json.loads(out)] == ["s4", "s3", "s1"]
    _, table, _ = coterie("segments", "--redis", filled_redis)
    assert table.index("browsers") < table.index("evening buyers")
    assert "gone" not in table


def test_a_record_field_that_is_not_what_it_should_be_stays_text() -> None:
    """A half-written or foreign record is shown as it is."""
    record = decode_record({b"margin": b"wide", b"recs": b"[", b"note": b"\xff", b"version": b"1.5"})
    assert record == {"margin": "wide", "recs": "[", "note": "\N{REPLACEMENT CHARACTER}", "version": "1.5"}


def _check(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run `coterie check` as a process of its own, for kafka-python leaves sockets of failed connections open."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "check", "--state", "st", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(_project()), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def test_check_looks_at_everything_even_when_one_thing_fails(tmp_path: Path, redis_url: str) -> None:
    """A line each, and exit code 1."""
    code, out = _check(tmp_path, "--redis", redis_url, "--kafka", "127.0.0.1:1")
    assert code == 1
    outcomes = [tuple(line.split()[:2]) for line in out.splitlines()]
    looked_at = ("settings", "segments", "learn", "state", "redis")
    assert outcomes == [*(("ok", what) for what in looked_at), ("failed", "kafka")]


def test_check_ends_with_zero_when_everything_is_there(
    tmp_path: Path, redis_url: str, kafka_bootstrap: str, kafka_topic: Callable[..., str]
) -> None:
    """It names Redis's version and each topic's partitions."""
    topics = [kafka_topic(partitions) for partitions in (1, 2, 3)]
    names = ("COTERIE_KAFKA__CLICKS", "COTERIE_KAFKA__PURCHASES", "COTERIE_KAFKA__CONTROLS")
    servers = ("--redis", redis_url, "--kafka", kafka_bootstrap)
    code, out = _check(tmp_path, *servers, **dict(zip(names, topics, strict=True)))
    assert code == 0, out
    assert "version " in out
    for partitions, topic in enumerate(topics, start=1):
        assert f"topic {topic}, {partitions} partitions" in out


def test_output_cut_off_by_the_reader_is_no_traceback() -> None:
    """`coterie features | head -1` ends quietly."""
    command = f"{sys.executable} -m flows.cli features --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd=_project())
    assert (done.stdout, done.stderr) == ("[", "")
