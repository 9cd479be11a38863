"""Settings: which layer wins, what every error says, and that every setting is documented."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

from flows.example_settings import example
from flows.rules import read_rules_file
from flows.settings import ConfigurationError, Settings, load_settings, redacted
from flows.steps import contenders, learn_settings
from operators.rules.shipped import SHIPPED

PROJECT = Path(__file__).resolve().parents[2]
LISTED = " (coterie.example.toml lists them)"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting from the environment, no coterie.toml in the current directory."""
    import os

    for name in list(os.environ):
        if name.startswith("COTERIE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _error(text: str, **flags: object) -> str:
    """The one line that a file with this text is refused with."""
    Path("coterie.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(flags={name.replace("__", "."): value for name, value in flags.items()})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_flags_win_over_the_environment_and_the_environment_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer overrides the one below setting by setting, never table by table."""
    Path("coterie.toml").write_text("[worker]\nprocesses = 2\nlinger_ms = 2\nin_flight_max = 10_000\n")
    monkeypatch.setenv("COTERIE_WORKER__PROCESSES", "3")
    monkeypatch.setenv("COTERIE_WORKER__LINGER_MS", "3")
    worker = load_settings(flags={"worker.processes": 4, "redis.url": None}).worker
    assert (worker.processes, worker.linger_ms, worker.in_flight_max, worker.users_max) == (4, 3.0, 10_000, 2_000_000)


def test_what_a_challenger_is_given_is_read_as_it_is_for_the_champion() -> None:
    """A number may be written as a text, and so may true and false."""
    Path("coterie.toml").write_text('[recommend]\nchallenger = {coming_back = "0.1", learn_weights = "false"}\n')
    champion, challenger = contenders(load_settings())
    assert challenger.weights.in_force["returns"][0, 1] == pytest.approx(0.1) and champion.weights.learns
    assert not challenger.weights.learns


def test_without_a_file_the_defaults_hold_and_nothing_counts_as_given() -> None:
    """coterie.toml is optional, and a default can be told from a value that was given."""
    settings = load_settings()
    assert settings == Settings()
    assert not settings.is_given("redis.url")


def test_a_value_equal_to_the_default_counts_as_given() -> None:
    """Whoever names the default Redis means that Redis, not an embedded one."""
    assert load_settings(flags={"redis.url": Settings().redis.url}).is_given("redis.url")


def test_lists_and_tables_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are text with commas, tables are JSON; an empty variable is none."""
    monkeypatch.setenv("COTERIE_KAFKA__CLICKS", "clicks, web-clicks")
    monkeypatch.setenv("COTERIE_LEARN__CLUSTERER_PARAMS", '{"halflife": 0.5, "n_clusters": 6}')
    monkeypatch.setenv("COTERIE_EVENTS__OLDEST", "2001-02-03")
    monkeypatch.setenv("COTERIE_KAFKA__WHOLE_BATCHES", "false")
    monkeypatch.setenv("COTERIE_REDIS__URL", "")
    settings = load_settings()
    assert settings.kafka.clicks == ("clicks", "web-clicks")
    assert settings.learn.clusterer_params == {"halflife": 0.5, "n_clusters": 6}
    assert settings.events.oldest == date(2001, 2, 3)
    assert settings.kafka.whole_batches is False
    assert not settings.is_given("redis.url")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[learn]\nsegmets = 3",
            'coterie.toml: learn.segmets: unknown setting; did you mean "segments"?' + LISTED,
        ),
        (
            "[lern]\nsegments = 3",
            'coterie.toml: lern: unknown setting; did you mean "learn"?' + LISTED,
        ),
        (
            "[kafka]\nprocesses = 3",
            'coterie.toml: kafka.processes: unknown setting; did you mean "worker.processes"?' + LISTED,
        ),
        (
            "processes = 3",
            'coterie.toml: processes: unknown setting; did you mean "worker.processes"?' + LISTED,
        ),
        ("worker = 3", "coterie.toml: worker: 3 is not a table of settings (coterie.example.toml lists them)"),
        ('[worker]\nprocesses = "two"', 'coterie.toml: worker.processes: "two" is not a whole number (1 to 64)'),
        ("[worker]\nprocesses = 65", "coterie.toml: worker.processes: 65 is out of range (1 to 64)"),
        ("[worker]\nprocesses = 1.5", "coterie.toml: worker.processes: 1.5 is not a whole number (1 to 64)"),
        ("[worker]\nprocesses = true", "coterie.toml: worker.processes: true is not a whole number (1 to 64)"),
        ('[worker]\nlinger_ms = "a"', 'coterie.toml: worker.linger_ms: "a" is not a number (0 to 1000)'),
        ("[worker]\nlinger_ms = nan", "coterie.toml: worker.linger_ms: NaN is not a finite number (0 to 1000)"),
        (
            "[learn]\nlearning_rate = 0",
            "coterie.toml: learn.learning_rate: 0 is out of range (more than 0, at most 10)",
        ),
        ('[kafka]\nwhole_batches = "perhaps"', 'coterie.toml: kafka.whole_batches: "perhaps" is not true or false'),
        ('[kafka]\nstart = "now"', "coterie.toml: kafka.start: \"now\" is not one of 'earliest' or 'latest'"),
        (
            '[kafka]\nbootstrap = "broker"',
            'coterie.toml: kafka.bootstrap: "broker" is not a list of brokers (HOST:PORT,HOST:PORT)',
        ),
        (
            "[recommend.bought_days_by_category]\ncoffee = 1.5",
            ("coterie.toml: recommend.bought_days_by_category.coffee: 1.5 is not a whole number of days (0 to 36500)"),
        ),
        ("[kafka]\nclicks = 7", "coterie.toml: kafka.clicks: 7 is not a list"),
        ('[kafka]\nclicks = ["a", 7]', "coterie.toml: kafka.clicks[1]: 7 is not text"),
        (
            '[events]\ncontext_names = ["a", "b", "c", "d", "e", "f"]',
            (
                'coterie.toml: events.context_names: ["a", "b", "c", "d", "e", "f"] holds 6 names;'
                " at most 5 can be declared, leave some out"
            ),
        ),
        ('[events]\noldest = "May"', 'coterie.toml: events.oldest: "May" is not a day (YYYY-MM-DD)'),
        (
            '[shop]\ntimezone = "Mars/Base"',
            'coterie.toml: shop.timezone: "Mars/Base" is not a time zone ("UTC", "Europe/Berlin" and the like)',
        ),
        (
            "[worker]\nprocesses = 0\nlinger_ms = -1",
            "coterie.toml: worker.processes: 0 is out of range (1 to 64) (and 1 more)",
        ),
        (
            "[learn]\nclusterer_params = {halflife = nan}",
            "coterie.toml: learn.clusterer_params.halflife: NaN is not a finite number",
        ),
        (
            "[learn]\nclusterer_params = {halflife = [1], sigma = []}",
            (
                "coterie.toml: learn.clusterer_params.halflife: [1] is neither true or false, nor a number, nor text"
                " (and 1 more)"
            ),
        ),
        (
            "[recommend.challenger]\nsecond_stp = 1",
            (
                'coterie.toml: recommend.challenger: {"second_stp": 1} holds "second_stp", which is none of'
                " earlier_factor, second_step, coming_back, coming_back_factor, learn_weights;"
                ' did you mean "second_step"?'
            ),
        ),
        (
            '[recommend]\nladder = ["categry"]',
            (
                'coterie.toml: recommend.ladder: ["categry"] holds "categry", which is none of category, segment,'
                ' popular, context; did you mean "category"?'
            ),
        ),
        (
            "[recommend]\nladder = []",
            "coterie.toml: recommend.ladder: [] is empty, or names a rung twice; at least one is needed, each once",
        ),
        (
            '[recommend]\ncontext = ["hours"]',
            (
                'coterie.toml: recommend.context: ["hours"] holds "hours", which is none of hour, device;'
                ' did you mean "hour"?'
            ),
        ),
        (
            '[recommend]\ncontext = ["device", "device"]',
            (
                'coterie.toml: recommend.context: ["device", "device"] is empty, or names a part twice; at least one is'
                " needed, each once"
            ),
        ),
        (
            '[recommend]\nbought_days_by_category = {"" = 1}',
            'coterie.toml: recommend.bought_days_by_category.: "" is not a name of 1 to 128 characters',
        ),
        (
            "[recommend]\nchallenger = {second_step = 11}",
            (
                'coterie.toml: recommend.challenger: {"second_step": 11} holds a second_step of 11: input should'
                " be less than or equal to 10"
            ),
        ),
        (
            "[worker]\nin_flight_max = 10",
            (
                "coterie.toml: worker.in_flight_max: 10 is less than worker.batch_records_max (4096);"
                " raise the one or lower the other"
            ),
        ),
        (
            "[learn]\nsegments_min = 9\nsegments = 6",
            ("coterie.toml: learn.segments_min: 9 is more than learn.segments (6); lower the one or raise the other"),
        ),
        (
            "[worker]\nprocesses = = 2",
            "coterie.toml: line 2, column 13: invalid value; is it TOML?",
        ),
    ],
)
def test_an_error_in_the_file_names_file_setting_value_and_remedy(text: str, expected: str) -> None:
    """One line, where, what was found, what to do."""
    assert _error(text) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "COTERIE_WORKER__PROCESSES",
            "two",
            'environment COTERIE_WORKER__PROCESSES: "two" is not a whole number (1 to 64)',
        ),
        (
            "COTERIE_LEARN__SEGMETS",
            "3",
            'environment COTERIE_LEARN__SEGMETS: unknown setting; did you mean "segments"?' + LISTED,
        ),
        (
            "COTERIE_LERN__SEGMENTS",
            "3",
            'environment COTERIE_LERN__SEGMENTS: unknown setting; did you mean "learn"?' + LISTED,
        ),
        (
            "COTERIE_LEARN__CLUSTERER_PARAMS",
            "{",
            'environment COTERIE_LEARN__CLUSTERER_PARAMS: "{" is not a JSON object',
        ),
    ],
)
def test_an_error_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    """The file is not blamed for what the environment said."""
    monkeypatch.setenv(name, value)
    assert _error("[worker]\nprocesses = 2\n") == expected


def test_an_error_in_a_flag_names_the_flag() -> None:
    """A flag that hides a good value of the file is blamed itself."""
    assert _error("[worker]\nprocesses = 2", worker__processes=0) == "--processes: 0 is out of range (1 to 64)"


def test_a_file_may_begin_with_a_byte_order_mark() -> None:
    """As editors on Windows write it."""
    Path("coterie.toml").write_bytes(b"\xef\xbb\xbf[worker]\nprocesses = 2\n")
    assert load_settings().worker.processes == 2
    assert read_rules_file(load_settings(), _with_mark("rules.toml", '[segments.a]\nwhere = "TRUE"\n')).names == ("a",)


def _with_mark(name: str, text: str) -> Path:
    Path(name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    return Path(name)


def test_few_segments_bound_the_default_of_the_fewest() -> None:
    """Who asks for at most two has not asked for four at least."""
    Path("coterie.toml").write_text("[learn]\nsegments = 2\n")
    assert learn_settings(load_settings()).segments_min == 2


def test_a_password_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors and log lines go to places where secrets must not."""
    assert "hunter2" not in _error('[redis]\nurl = "http://me:hunter2@shop:6379"')
    assert "hunter2" not in _error('[kafka.options]\nsasl_plain_password = ["hunter2"]')
    assert redacted("redis://me:hunter2@shop:6379/0") == "redis://***@shop:6379/0"


def test_a_named_file_must_be_there_and_be_text() -> None:
    """A missing or unreadable file is a configuration error, not a traceback."""
    with pytest.raises(ConfigurationError, match=r"^other\.toml: no such file$"):
        load_settings(Path("other.toml"))
    Path("other.toml").write_bytes(b"[redis]\nurl = '\xff'")
    with pytest.raises(ConfigurationError, match=r"^other\.toml: is not UTF-8 text \(byte 15\)$"):
        load_settings(Path("other.toml"))


def test_values_laid_over_settings_are_checked_and_count_as_given() -> None:
    """A command may move Redis or the state without touching anything else."""
    settings = load_settings(flags={"worker.processes": 2}).with_values({"redis.url": "redis://127.0.0.1:7000/0"})
    assert settings.redis.url == "redis://127.0.0.1:7000/0"
    assert settings.worker.processes == 2
    assert settings.is_given("redis.url")
    assert not settings.is_given("kafka.bootstrap")
    with pytest.raises(ConfigurationError):
        settings.with_values({"redis.url": "nowhere"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[shop]\nsession_gap_minutes = 5", "lateness_minutes"),
        ("[shop]\ncart_abandoned_minutes = 5", "cart_abandoned_minutes"),
        ('[events]\ncustom_names = ["x", "x_value"]', "custom_names"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path: Path, text: str, told: str) -> None:
    """By name, also where one of them is a default: no worker would start with them."""
    (tmp_path / "coterie.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        load_settings(tmp_path / "coterie.toml")


LOYAL = {"loyal": {"where": "purchases_30d >= 3"}}


def test_rules_of_a_shop_take_the_place_of_the_shipped_ones() -> None:
    """All of them; an empty table is none; a shop without a table has the shipped ones."""
    assert load_settings().segments == SHIPPED
    Path("coterie.toml").write_text("[segments]\n")
    assert load_settings().segments == {}
    Path("coterie.toml").write_text('[segments.loyal]\nwhere = "purchases_30d >= 3"\n')
    settings = load_settings()
    assert settings.segments == LOYAL
    assert settings.is_given("segments.loyal")
    assert not Settings().is_given("segments.loyal")
    assert settings.with_values({"worker.processes": 2}).segments == LOYAL
    assert load_settings(flags={"worker.processes": 2}).with_values({"worker.processes": 3}).segments == LOYAL
    assert Settings().with_values({"worker.processes": 2}).segments == SHIPPED
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


def test_rules_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One JSON object, or a variable for a line."""
    monkeypatch.setenv("COTERIE_SEGMENTS", '{"loyal": {"where": "purchases_30d >= 3"}}')
    assert load_settings().segments == LOYAL
    monkeypatch.setenv("COTERIE_SEGMENTS", '{"loyal": {"where": "purchases_30d >= 3", "hold": "x"}}')
    with pytest.raises(
        ConfigurationError, match=r"^environment COTERIE_SEGMENTS: segments\.loyal\.hold: \"x\" is not a"
    ):
        load_settings()
    monkeypatch.setenv("COTERIE_SEGMENTS", "{")
    with pytest.raises(ConfigurationError, match=r"environment COTERIE_SEGMENTS: .* is not a JSON object"):
        load_settings()
    monkeypatch.delenv("COTERIE_SEGMENTS")
    monkeypatch.setenv("COTERIE_SEGMENTS__LOYAL__WHERE", "purchases_30d >= 3")
    assert load_settings().segments == LOYAL
    monkeypatch.setenv("COTERIE_SEGMENTS__LOYAL__WHERE", "purchases_30d >=")
    with pytest.raises(ConfigurationError, match=r"^environment COTERIE_SEGMENTS__LOYAL__WHERE: something is missing"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[segments.loyal]\nwhere = "purchses_30d >= 3"',
            (
                'segments.loyal.where: unknown feature "purchses_30d"; did you mean "purchases_30d"?'
                " (coterie features lists them)"
            ),
        ),
        (
            '[segments.loyal]\nscore = {often = ["views_7d", 1]}\nat_least = 1',
            'segments.loyal.score.often[0]: "views_7d" alone is no condition; compare it, as in views_7d > 0',
        ),
        (
            '[segments]\nloyal = "views_7d > 1"',
            "segments.loyal: 'views_7d > 1' is not a table; write {where = \"...\"}",
        ),
        (
            '[segments.loyal]\nwere = "views_7d > 1"',
            (
                'segments.loyal.were: unknown setting; did you mean "where"?'
                " (a segment has where, or score and at_least, or sequence and within; and hold)"
            ),
        ),
        ("segments = 3", "segments: 3 is not a table of rules; write [segments.NAME] and a line with where"),
        (
            '[segment.loyal]\nwhere = "views_7d > 1"',
            'segment: unknown setting; did you mean "segments"?' + LISTED,
        ),
    ],
)
def test_a_rule_that_cannot_be_used_is_told_with_file_and_place(text: str, expected: str) -> None:
    """By whatever command is started, in the same form as any other setting."""
    assert _error(text) == f"coterie.toml: {expected}"


def test_rules_know_what_the_shop_declares() -> None:
    """Custom events and contexts of the same file."""
    rule = "[segments.a]\nwhere = \"custom_review_7d > 1 AND favourite_context_campaign = 'x'\""
    assert "is it declared in events.custom_names?" in _error(rule)
    Path("coterie.toml").write_text('[events]\ncustom_names = ["review"]\ncontext_names = ["campaign"]\n' + rule)
    assert list(load_settings().segments) == ["a"]


def test_every_setting_is_documented() -> None:
    """coterie.example.toml lists every setting with its default and what it means; `make example` writes it."""
    page = (PROJECT / "coterie.example.toml").read_text()
    assert page == example(), "coterie.example.toml is behind flows/sections.py: run `make example`"
    given = tomllib.loads(re.sub(r"^#(?=[a-z_]+ = )", "", page, flags=re.MULTILINE))
    assert Settings(**given) == Settings()
    assert given["segments"] == SHIPPED
    for section, table in Settings.model_fields.items():
        if section == "segments":
            continue
        fields = getattr(table.annotation, "model_fields", {})
        assert set(given[section]) == set(fields)
        assert all(field.description for field in fields.values()), section


def test_every_number_has_bounds() -> None:
    """A limit on everything: no number in the settings is open towards the top."""
    for section, table in Settings.model_fields.items():
        for name, field in getattr(table.annotation, "model_fields", {}).items():
            if field.annotation in (int, float):
                assert any(hasattr(bound, "le") for bound in field.metadata), f"{section}.{name} has no upper bound"


@pytest.mark.parametrize("url", ["redis://h:abc/0", "redis://h:0/0", "redis://h:6379/zz", "redis://h:70000/0"])
def test_an_address_of_redis_without_a_port_or_a_number_is_refused(url: str) -> None:
    """Where it is read, not where it would first be used."""
    with pytest.raises(
        ConfigurationError, match=r"--redis: .* has no port from 1 to 65535, or no number of a database"
    ):
        load_settings(flags={"redis.url": url})
