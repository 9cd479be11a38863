"""Typed settings from a TOML file, the environment and the flags; errors name the place and the remedy."""

from __future__ import annotations

import codecs
import difflib
import json
import math
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotated_types import Ge, Le
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from flows.recommend_section import Recommend
from flows.sections import (
    DeadLetterFile,
    Events,
    Kafka,
    Learn,
    Log,
    MetricsEndpoint,
    Redis,
    Shop,
    State,
    Worker,
)
from operators.rules.shipped import SHIPPED

ENVIRONMENT_PREFIX = "COTERIE_"
DEFAULT_FILE = Path("coterie.toml")
EXAMPLE_FILE = "coterie.example.toml"
FLAGS = {
    "redis.url": "--redis",
    "kafka.bootstrap": "--kafka",
    "state.directory": "--state",
    "worker.processes": "--processes",
}
"""Settings that have a flag of their own on the command line."""


class ConfigurationError(Exception):
    """A setting or a configuration file cannot be used; the text is one line: where, what was found, what to do."""


def redacted(text: str) -> str:
    """A text with the user and password of the addresses in it covered."""
    return re.sub(r"([?&](?:username|password)=)[^&\s]*", r"\1***", re.sub(r"//[^/\s]*@", "//***@", text))


class Settings(BaseSettings):
    """Everything that can be set. Immutable; made by `load_settings`, or in a worker by `model_validate`."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        enable_decoding=False,  # a section's validator reads lists and tables, so that its errors are ours
        extra="forbid",
        frozen=True,
    )

    redis: Redis = Redis()
    kafka: Kafka = Kafka()
    state: State = State()
    events: Events = Events()
    shop: Shop = Shop()
    learn: Learn = Learn()
    recommend: Recommend = Recommend()
    worker: Worker = Worker()
    metrics: MetricsEndpoint = MetricsEndpoint()
    dead_letters: DeadLetterFile = DeadLetterFile()
    log: Log = Log()
    segments: dict[str, Any] = Field(
        SHIPPED,
        description="Rules that name segments of shoppers. A [segments] table takes the place of all of these.",
    )

    @field_validator("segments", mode="before")
    @classmethod
    def _rules(cls, table: Any, info: ValidationInfo) -> Any:
        """Every rule read once, so that what is wrong with one is told by whatever command is started."""
        from operators.rules.errors import RuleError  # sqlglot is loaded only where a shop has rules of its own
        from operators.rules.read import read_rules

        if isinstance(table, str):
            try:
                table = json.loads(table)
            except json.JSONDecodeError as error:
                raise PydanticCustomError("refused", "is not a JSON object") from error
        events = info.data.get("events")
        if events is not None:  # else the events are refused, and names are not known
            try:
                read_rules(table, events.custom_names, events.context_names)
            except RuleError as error:
                told = {"place": error.place, "text": error.text}
                raise PydanticCustomError("rule", "{text}", told) from error
        return table

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed over: the layers are laid upon one another where errors can still tell them apart."""
        return (init_settings,)

    def is_given(self, path: str) -> bool:
        """Was a setting ("redis.url") given, rather than left at its default?"""
        section, _, name = path.partition(".")
        table = getattr(self, section)
        return name in (table if isinstance(table, dict) else table.model_fields_set)

    def with_values(self, values: Mapping[str, object]) -> Settings:
        """A copy with other values, {"redis.url": ...}, checked like the first ones.

        Raises ConfigurationError.
        """
        sections: dict[str, Any] = {
            name: {} for name in type(self).model_fields if name != "segments"
        }  # given, it would be no rules
        given = sections | self.model_dump(exclude_unset=True)
        for path, value in values.items():
            section, _, name = path.partition(".")
            given[section][name] = value
        return _validated(given, {}, dict(values), "settings")


def load_settings(config: Path | None = None, flags: Mapping[str, object] | None = None) -> Settings:
    """Settings from a TOML file, over it the environment, over that the flags ({"redis.url": value}, None: not given).

    Without `config`, coterie.toml is read if it is there. Raises ConfigurationError.
    """
    path = config or DEFAULT_FILE
    in_file = read_toml(path) if config is not None or path.exists() else {}
    in_environment = EnvSettingsSource(Settings)()
    for name in os.environ:
        section, delimiter, _ = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name.startswith(ENVIRONMENT_PREFIX) and delimiter and section not in Settings.model_fields:
            raise ConfigurationError(f"environment {name}: {_unknown(section, tuple(Settings.model_fields))}")
    given_flags = {name: value for name, value in (flags or {}).items() if value is not None}
    merged = {name: dict(table) if isinstance(table, dict) else table for name, table in in_file.items()}
    layers = [*in_environment.items()]
    for flag, value in given_flags.items():
        section, _, key = flag.partition(".")
        layers.append((section, {key: value}))
    for section, table in layers:
        below = merged.get(section, {})
        merged[section] = {**below, **table} if isinstance(below, dict) and isinstance(table, dict) else table
    return _validated(merged, in_environment, given_flags, str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's tables. Raises ConfigurationError with file, line and column."""
    try:
        return tomllib.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8).decode())
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at (.*)\)", str(error))
        text = f"{found[2]}: {found[1][0].lower()}{found[1][1:]}" if found else str(error)
        raise ConfigurationError(f"{path}: {text}; is it TOML?") from error


def _validated(
    values: dict[str, Any], environment: Mapping[str, Any], flags: Mapping[str, object], file: str
) -> Settings:
    try:
        settings = Settings(**values)
    except ValidationError as error:
        first, *others = error.errors()
        # A value that may be of several types is told once for each of them.
        wrong = {e["loc"][:3] for e in others} - {first["loc"][:3]}
        more = f" (and {len(wrong)} more)" if wrong else ""
        raise ConfigurationError(f"{_place(first, environment, flags, file)}: {_explain(first)}{more}") from error
    if settings.worker.in_flight_max < settings.worker.batch_records_max:
        raise ConfigurationError(
            f"{file}: worker.in_flight_max: {settings.worker.in_flight_max} is less than"
            f" worker.batch_records_max ({settings.worker.batch_records_max}); raise the one or lower the other"
        )
    if settings.is_given("learn.segments_min") and settings.learn.segments_min > settings.learn.segments:
        raise ConfigurationError(
            f"{file}: learn.segments_min: {settings.learn.segments_min} is more than"
            f" learn.segments ({settings.learn.segments}); lower the one or raise the other"
        )
    return settings


def _place(error: ErrorDetails, environment: Mapping[str, Any], flags: Mapping[str, object], file: str) -> str:
    section, *rest = (str(part) for part in error["loc"])
    if error["type"] == "rule":
        return _place_of_rule(str(error["ctx"]["place"]), environment.get(section), file)
    path = ".".join((section, *rest[:1]))
    if path in flags:
        return FLAGS.get(path, path)
    table = environment.get(section)
    if table is not None and (not isinstance(table, dict) or not rest or rest[0] in table):
        return "environment " + ENVIRONMENT_PREFIX + "__".join((section, *rest[:1])).upper()
    return f"{file}: {path}" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in rest[1:2])


def _place_of_rule(place: str, environment: Any, file: str) -> str:
    parts = place.split(".")[:3]
    if isinstance(environment, str):
        return f"environment {ENVIRONMENT_PREFIX}SEGMENTS: {place}"
    if isinstance(environment, dict) and len(parts) > 1 and parts[1] in environment:
        return "environment " + ENVIRONMENT_PREFIX + "__".join(parts).upper()
    return f"{file}: {place}"


def _explain(error: ErrorDetails) -> str:
    kind, loc = error["type"], [str(part) for part in error["loc"]]
    if kind == "rule":
        return str(error["msg"])
    sections = Settings.model_fields
    fields: Mapping[str, FieldInfo] = (
        getattr(sections[loc[0]].annotation, "model_fields", {}) if loc[0] in sections else {}
    )
    if kind == "extra_forbidden":
        return _unknown(loc[-1], tuple(fields) if len(loc) > 1 else tuple(sections))
    secret = loc[:2] == ["kafka", "options"]  # passwords may stand there
    value = "a value" if secret else redacted(json.dumps(error["input"], default=str, ensure_ascii=False))
    bounds = _bounds(fields[loc[1]]) if len(loc) > 1 and loc[1] in fields else ""
    if kind == "refused":
        return f"{value} {error['msg']}"
    if isinstance(error["input"], float) and not math.isfinite(error["input"]):
        return f"{value} is not a finite number{bounds}"
    if loc[-1] == "[key]":
        return f"{value} is not a name of 1 to 128 characters"
    if len(loc) > 3:
        return f"{value} is neither true or false, nor a number, nor text"
    if kind in ("model_type", "model_attributes_type"):
        return f"{value} is not a table of settings ({EXAMPLE_FILE} lists them)"
    if kind == "literal_error":
        return f"{value} is not one of {error['ctx']['expected']}"
    if kind.startswith(("greater_than", "less_than")):
        return f"{value} is out of range{bounds}"
    for prefix, noun in (
        ("int", "a whole number"),
        ("float", "a number"),
        ("bool", "true or false"),
        ("finite", "a finite number"),
    ):
        if kind.startswith(prefix):
            return f"{value} is not {noun}{bounds}"
    for prefix, noun in (
        ("string_type", "text"),
        ("date", "a day (YYYY-MM-DD)"),
        ("path", "a path"),
        ("tuple", "a list"),
        ("dict", "a table"),
    ):
        if kind.startswith(prefix):
            return f"{value} is not {noun}"
    return f"{value}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _bounds(field: FieldInfo) -> str:
    low = next((m.ge for m in field.metadata if isinstance(m, Ge)), None)
    high = next((m.le for m in field.metadata if isinstance(m, Le)), None)
    if high is None:
        return ""
    return f" ({low} to {high})" if low is not None else f" (more than 0, at most {high})"


def _unknown(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    homes = [
        f"{s}.{name}"
        for s, field in Settings.model_fields.items()
        if name in getattr(field.annotation, "model_fields", {})
    ]
    hint = f'; did you mean "{(homes or close)[0]}"?' if close or homes else ""
    return f"unknown setting{hint} ({EXAMPLE_FILE} lists them)"
