"""docs/INTERFACES.md and the code name the same things: nothing undocumented, nothing documented that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import orjson
import pytest
from prometheus_client import Counter, Gauge

from flows import cli
from flows.commands.backtest import CHURN_EXIT
from flows.report import read_report, write_figures
from flows.settings import FLAGS, load_settings
from flows.state_directory import prepare_state
from flows.steps import Process, Steps
from operators.catalogue import Catalogue, RuleCard
from operators.contender import CONTENDERS
from operators.convert import FORMATS
from operators.dead_letters import encode
from operators.kernels import redis_commands
from operators.kernels.parts import PARTS
from operators.learn import MODELS
from operators.learn.propensity import CHALLENGER, CHAMPION, LATE_OUTCOME
from operators.load_kafka import route
from operators.personalize import Personalize, PersonalizeSettings
from operators.write_redis import RedisSettings, RedisWriter
from state.batches import (
    ACT,
    DIMENSIONS_TOLD,
    FETCH,
    KINDS,
    PAIR,
    PROFILE,
    REASONS,
    SCORE,
    TOUCH,
    TRANSITION,
    TRANSITION_KINDS,
    TRIGGERS,
    DeadLetter,
    ProfileBatch,
    Receipt,
    ScoredBatch,
    SegmentCounts,
    WriteBatch,
)
from state.event_types import PurchaseLine, Wire
from state.features import CATALOGUE, DIMENSIONS, LIFETIME, MEASURES, PATTERNS, WINDOWS, told_features
from state.flow_control import FlowControl
from state.metrics import DRIFT_SIGNALS, LINEAGE, OTHER_STREAM, STREAMS, Histogram, Metrics
from state.models import SegmentCard, SegmentModel
from state.names import Names
from state.redis_keys import Keys
from state.rungs import RUNGS

PROJECT = Path(__file__).resolve().parents[1]
PAGE = (PROJECT / "docs" / "INTERFACES.md").read_text()
COMMON = {"ts", "event_id", "user_id", "context"}
"""Fields that the page tells of before the table of events."""

Row = list[str]


def _tables(section: str) -> list[tuple[str, list[Row]]]:
    """The tables under a heading: (text of the first header cell, rows of cells)."""
    found = re.search(rf"^#+ {re.escape(section)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/INTERFACES.md has no heading {section!r}"
    tables: list[tuple[str, list[Row]]] = []
    rows: list[Row] | None = None
    for line in found[1].splitlines():
        if not line.startswith("|"):
            rows = None
        elif rows is None:
            rows = []
            tables.append((_cells(line)[0], rows))
        elif set(line) - set("|- "):
            rows.append(_cells(line))
    return tables


def _cells(line: str) -> Row:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _rows(section: str, first_column: str) -> list[Row]:
    """The rows of the table whose first column has this header."""
    return next(rows for name, rows in _tables(section) if name == first_column)


def _words(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def _names(section: str, first_column: str) -> list[str]:
    """What the first cells of a table name, none of it twice."""
    names = [word for row in _rows(section, first_column) for word in _words(row[0]) or [row[0]]]
    assert len(names) == len(set(names)), f"{section}: {first_column}: a name stands twice"
    return names


def _fields(kind: Any) -> tuple[set[str], set[str]]:
    """A wire type's own fields: (required, optional)."""
    fields = [f for f in msgspec.structs.fields(kind) if f.name not in COMMON]
    return {f.name for f in fields if f.required}, {f.name for f in fields if not f.required}


def test_every_event_type_stands_on_the_page_with_its_fields() -> None:
    """Types, required and optional fields, and the topic that `coterie load` chooses."""
    rows = {_words(row[0])[0]: row for row in _rows("Events", "type")}
    kinds = {kind.__struct_config__.tag: kind for kind in Wire.__args__}
    assert rows.keys() == kinds.keys() == set(KINDS)
    for name, (_, required, optional, topic) in rows.items():
        assert (set(_words(required)), set(_words(optional))) == _fields(kinds[name]), name
        assert route(orjson.dumps({"type": name}))[0] == topic, name
    lines = {_words(row[0])[0]: row[1] for row in _rows("Purchase lines", "field")}
    required_fields, optional_fields = _fields(PurchaseLine)
    assert {name for name, needed in lines.items() if needed == "yes"} == required_fields
    assert {name for name, needed in lines.items() if needed == "no"} == optional_fields


def test_every_field_and_reason_of_a_dead_letter_stands_on_the_page() -> None:
    """Those of a record that is not UTF-8, which has all of them."""
    letter = orjson.loads(encode(DeadLetter("bad_json", "", "", "log", 0, 0, b"\xff")))
    assert set(_names("Dead letters", "field")) == set(letter)
    assert set(_names("Dead letters", "reason")) == set(REASONS)


def test_every_redis_key_stands_on_the_page() -> None:
    """With the prefix that is the default."""
    keys = Keys()
    made = {keys.user("<user_id>"), keys.segments, keys.popular(), keys.together("<item_id>"), keys.transitions}
    made |= {keys.models, keys.meta}
    assert set(_names("Redis", "key")) == made
    assert load_settings(flags={}).redis.prefix == keys.prefix == "coterie:"


def test_every_field_of_a_user_record_stands_on_the_page() -> None:
    """The constants that the packing kernel writes as names of fields."""
    texts, bounds = Keys().record_texts()
    first, last = redis_commands.T_SEGMENT, redis_commands.T_VARIANTS
    words = [texts[bounds[k] : bounds[k + 1]].tobytes().split(b"\r\n") for k in range(first, last + 1)]
    fields = {word.decode() for _, word, _ in words}
    assert set(_names("User record", "field")) == fields


def test_every_part_of_the_reasons_on_a_record_stands_on_the_page() -> None:
    """As the packing kernel writes them of a shopper who has all scores."""
    out, scores = np.empty(500, np.uint8), np.zeros(1, SCORE)
    end = redis_commands.put_why(out, 0, scores[0])
    assert set(_names("User record", "of `why`")) == set(orjson.loads(out[:end].tobytes()))


def test_every_field_of_a_segment_card_stands_on_the_page() -> None:
    """As the catalogue writes it."""
    zero = np.zeros(DIMENSIONS, np.float32)
    centres, numbers = zero.reshape(1, -1), np.zeros(1, np.int32)
    card = SegmentCard(number=0, macro=0, name="visitors", traits=[], share=1.0, born_at=0)
    model = SegmentModel(1, zero, zero + 1, centres, numbers, numbers, [card], 1, 0.0, 0.0)
    ((fields),) = Catalogue(Metrics()).process([model])
    assert set(_names("Segment card", "field")) == set(orjson.loads(fields["s0"]))


def test_the_card_of_a_rule_has_what_the_page_says() -> None:
    """All fields of a card but three, and one of its own."""
    catalogue = Catalogue(Metrics(), rules=[RuleCard("loyal", 0, "purchases_30d >= 3")])
    ((fields),) = catalogue.process([SegmentCounts(0, np.zeros(0, np.int64), np.zeros(1, np.int64))])
    rest = set(_names("Segment card", "field")) - {"born_by", "retired_by", "heirs"}
    assert set(orjson.loads(fields["loyal"])) == rest | set(_names("Segment card", "of a rule"))


def test_every_field_of_a_transition_stands_on_the_page() -> None:
    """As the personalize step packs it, in that order."""
    transitions = np.zeros(1, TRANSITION)
    profiles = np.zeros(1, PROFILE)
    profiles["user"], profiles["user_len"], profiles["acts"] = 1, 1, 1
    nothing: dict[str, Any] = {
        name: np.empty(0, kind)
        for name, kind in (("acts", ACT), ("pairs", PAIR), ("touches", TOUCH), ("fetches", FETCH))
    }
    receipt = Receipt(np.empty(0), np.empty(0, np.int64), {})
    ids = np.frombuffer(b"u", np.uint8)
    batch = ProfileBatch(0, 1, profiles, ids, samples=[], receipt=receipt, item_shards=0, **nothing)
    step = Personalize(0, PersonalizeSettings(), Metrics(), Names(), Keys())
    (written,) = step.process([ScoredBatch(batch, np.zeros(1, SCORE), transitions)])
    words = [word.decode() for word in written.always.split(b"\r\n")[2::2]]  # between them stand their lengths
    fields = words[words.index("*") + 1 :]
    assert _names("Transition", "field") == fields[::2]
    assert set(_words(_rows("Transition", "field")[1][1])) == set(TRANSITION_KINDS)


def test_every_field_of_the_meta_record_stands_on_the_page(redis_url: str) -> None:
    """As the sink writes them, once it has answered for an event and every model has a version."""
    import redis

    metrics = Metrics()
    for model in MODELS:
        metrics.model_version.labels(model=model).set(1)
    writer = RedisWriter(RedisSettings(redis_url), Keys(), metrics, FlowControl(1), Names(), "made-up", (1, 1))
    none = np.empty(0, np.int64)
    receipt = Receipt(np.zeros(1), np.ones(1, np.int64), {0: 1})
    empty = np.empty(0, np.uint8)
    users, places, starts = none.astype(np.uint64), none.astype(np.int32), np.zeros(1, np.int64)
    writer.write([WriteBatch(users, empty, places, places, none, empty, starts, places, b"", 0, receipt)])
    writer.close()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert set(_names("Meta record", "field")) == set(client.hgetall(Keys().meta))


def test_every_command_stands_on_the_page_with_its_arguments_and_flags() -> None:
    """As click knows them; --config is everywhere."""
    rows = {_words(row[0])[0].removeprefix("coterie "): row for row in _rows("Command line", "command")}
    assert rows.keys() == cli.cli.commands.keys()
    for name, command in cli.cli.commands.items():
        options = [p for p in command.params if isinstance(p, click.Option)]
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        flags = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
        assert "--config" in flags, name
        assert set(_words(rows[name][2])) == flags - {"--config"}, name
        metavars = [str(a.metavar or a.name).upper() + ("..." if a.nargs == -1 else "") for a in arguments]
        assert _words(rows[name][1]) == metavars, name
    named = {flag for row in rows.values() for flag in _words(row[2])}
    assert set(FLAGS.values()) <= named


def test_every_format_and_exit_code_stands_on_the_page() -> None:
    """Formats of `convert`; the three codes a command can end with."""
    formats = re.search(r"Formats of `convert`: ([^.]*)\.", PAGE)
    assert formats and set(_words(formats[1])) == set(FORMATS)
    assert set(_names("Command line", "exit code")) == {
        str(c) for c in (cli.EXIT_OK, cli.EXIT_FAILED, cli.EXIT_USAGE, CHURN_EXIT)
    }


def _paths(report: dict[str, Any]) -> Iterator[str]:
    """A report's keys, a dot for each level; tables that are filled by name are empty here, and keys themselves."""
    for key, value in report.items():
        if isinstance(value, dict) and value:
            yield from (f"{key}.{inner}" for inner in value)
        else:
            yield key


def test_every_key_of_a_report_stands_on_the_page(tmp_path: Path) -> None:
    """The report of a worker that has read nothing has all keys."""
    settings = load_settings(flags={"state.directory": str(tmp_path / "state")})
    store = prepare_state(settings)
    metrics = Metrics()
    steps = Steps(settings, Process(0, store, Names(), metrics, FlowControl(1)))
    write_figures(tmp_path / "figures.json", metrics, steps, 0.0, stopped=False)
    assert set(_names("Report of a replay", "key")) == set(_paths(read_report([tmp_path / "figures.json"])))


def _described(metric: Counter | Gauge | Histogram) -> tuple[str, str, set[str]]:
    """A metric's name as Prometheus shows it, its type, its labels."""
    if isinstance(metric, Histogram):
        return metric.name, "histogram", {metric.label} if metric.label else set()
    family = next(iter(metric.collect()))
    name = family.name + ("_total" if family.type == "counter" else "")
    return name, family.type, set(metric._labelnames)


def test_every_metric_stands_on_the_page_with_type_and_labels() -> None:
    """All that a worker registers; no other."""
    metrics = [m for m in vars(Metrics()).values() if isinstance(m, Counter | Gauge | Histogram)]
    registered = {name: (kind, labels) for name, kind, labels in map(_described, metrics)}
    page = {_words(row[0])[0]: (row[1], set(_words(row[2]))) for row in _rows("Metrics", "metric")}
    assert page == registered


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("stream", (*STREAMS, OTHER_STREAM)),
        ("kind", TRANSITION_KINDS),
        ("model", (*MODELS, CHAMPION, CHALLENGER)),
        ("target", tuple(LATE_OUTCOME)),
        ("trigger", TRIGGERS),
        ("signal", DRIFT_SIGNALS),
        ("change", LINEAGE),
        ("rung", RUNGS),
        ("part", PARTS),
        ("contender", CONTENDERS),
    ],
)
def test_the_values_of_closed_labels_stand_on_the_page(label: str, values: tuple[str, ...]) -> None:
    """A dashboard can rely on the sets."""
    page = {_words(row[0])[0]: _words(row[1]) for row in _rows("Metrics", "label")}
    assert page[label] == list(values)


def test_every_feature_stands_on_the_page_by_name_or_pattern() -> None:
    """The page's measures, windows, names and the pattern of hours give the catalogue, and nothing else."""
    windowed = {f"{m}_{w}" for m in _names("Features", "measure") for w in _names("Features", "window")}
    assert windowed == {f"{m}_{w}" for m in MEASURES for w in WINDOWS}
    named = set(_names("Features", "feature"))
    told = {f.name for dimension in DIMENSIONS_TOLD for f in told_features(dimension)}
    assert named == {feature.name for feature in LIFETIME} | told
    assert set(_names("Features", "pattern")) == {feature.name for feature in PATTERNS}
    assert "`hour_<from>_<to>_share`" in PAGE and "`weekday_<day>_share`" in PAGE
    shares = {f"hour_{a}_{b}_share" for a in range(24) for b in range(a + 1, 25)}
    days = {f"weekday_{day}_share" for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
    assert windowed | named | shares | days == CATALOGUE.keys()


def test_every_step_id_under_which_something_is_kept_stands_on_the_page() -> None:
    """Inputs, keyed steps and outputs of the graph, in its order."""
    tree = ast.parse((PROJECT / "flows" / "graph.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    kept = [c for c in calls if getattr(c.func, "attr", "") in ("input", "stateful_batch", "output")]
    ids = [str(getattr(call.args[0], "value", "")) for call in sorted(kept, key=lambda call: call.lineno)]
    assert _names("Step ids", "step id") == ids
