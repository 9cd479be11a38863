"""The tables of settings: every name with its meaning, bounds and default."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from flows.section import Options, Section, Words, refuse
from state.batches import CONTEXT_NAMES_MAX


def _redis_url(url: str) -> str:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise refuse("is not a Redis address (redis://HOST:PORT/NUMBER, rediss://... or unix://PATH)")
    try:
        parts = urlsplit(url)
        sound = url.startswith("unix://") or (parts.port != 0 and re.fullmatch(r"/?|/\d+", parts.path) is not None)
    except ValueError:
        sound = False
    if not sound:
        raise refuse("has no port from 1 to 65535, or no number of a database behind it (redis://HOST:PORT/NUMBER)")
    return url


def _bootstrap(addresses: str) -> str:
    for address in addresses.split(","):
        if not re.fullmatch(r"\s*(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):\d{1,5}\s*", address):
            raise refuse("is not a list of brokers (HOST:PORT,HOST:PORT)")
        if not 1 <= int(address.rpartition(":")[2]) <= 65_535:
            raise refuse("has a port that is not from 1 to 65535")
    return addresses


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise refuse('is not a time zone ("UTC", "Europe/Berlin" and the like)') from error
    return name


def _clusterer(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        raise refuse('is not a class such as "river.cluster.KMeans"')
    return name


def _challenger(name: str) -> str:
    if name and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        raise refuse('is neither empty nor a class such as "river.tree.HoeffdingTreeClassifier"')
    return name


def _context_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) > CONTEXT_NAMES_MAX:
        raise refuse(f"holds {len(set(names))} names; at most {CONTEXT_NAMES_MAX} can be declared, leave some out")
    return names


Topics = Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")], ...], Field(max_length=64)]


class Redis(Section):
    """The Redis that the records are written to and read from."""

    url: Annotated[str, AfterValidator(_redis_url)] = Field("redis://127.0.0.1:6379/0", description="Where Redis is.")
    prefix: str = Field("coterie:", min_length=1, max_length=64, description="What every key begins with.")
    inactivity_ttl_days: int = Field(
        90, ge=1, le=3650, description="A shopper's record expires after so long without an event."
    )
    timeout_seconds: float = Field(
        5.0, ge=0.1, le=300, description="How long an answer may take before the write is tried again."
    )
    backoff_seconds_max: float = Field(
        5.0, ge=0.1, le=300, description="The longest wait between two tries of a write."
    )
    transitions_max: int = Field(
        100_000, ge=1000, le=100_000_000, description="How many entries the stream of transitions keeps, about."
    )


class Kafka(Section):
    """The topics that the events come from."""

    bootstrap: Annotated[str, AfterValidator(_bootstrap)] = Field(
        "127.0.0.1:9092", description="Brokers to ask first, HOST:PORT,..."
    )
    clicks: Topics = Field(
        ("clicks",), description="Topics of views, clicks, searches, carts, custom events and impressions."
    )
    purchases: Topics = Field(("purchases",), description="Topics of purchases.")
    controls: Topics = Field(("controls",), description="Topics of consent, erase, identify, profile and item events.")
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a partition without a saved position is read from."
    )
    isolation: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed", description="Whether aborted records are seen."
    )
    options: Options = Field(
        {}, max_length=64, description="Further settings of kafka-python, such as security_protocol."
    )
    whole_batches: bool = Field(
        True, description="Read whole record batches (fast); false: one record at a time, as kafka-python does."
    )


class State(Section):
    """What survives a restart. The numbers of shards are fixed when the directory is made."""

    directory: Path = Field(Path("coterie-state"), description="Where the snapshots, the journals and the names are.")
    snapshot_seconds: float = Field(10.0, ge=0.05, le=3600, description="Time between two snapshots.")
    user_shards: int = Field(16, ge=1, le=999, description="Shards of the shoppers; fixed when the directory is made.")
    item_shards: int = Field(16, ge=1, le=999, description="Shards of the items; fixed when the directory is made.")
    recovery_partitions: int = Field(
        4, ge=1, le=64, description="Files of the engine's recovery store; fixed when the directory is made."
    )


class Events(Section):
    """Which events are taken in."""

    bytes_max: int = Field(
        65_536, ge=1024, le=1_048_576, description="The longest record; a longer one is a dead letter."
    )
    oldest: date = Field(date(1990, 1, 1), description="An event from before this day (UTC) is a dead letter.")
    future_seconds_max: float = Field(600.0, ge=0, le=86_400, description="How far an event may lie in the future.")
    custom_names: Words = Field(
        (), description='Names of custom events, such as "review" or "share"; another name is a dead letter.'
    )
    context_names: Annotated[Words, AfterValidator(_context_names)] = Field(
        (),
        description=f'Up to {CONTEXT_NAMES_MAX} names of contexts, such as "campaign"; others are ignored and counted.',
    )

    @field_validator("custom_names")
    @classmethod
    def _features_apart(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        both = sorted(name for name in names if f"{name}_value" in names)
        if both:
            raise refuse(
                f'holds "{both[0]}" and "{both[0]}_value", whose features would have the same names; rename one'
            )
        return names


class Shop(Section):
    """How the shop keeps time."""

    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        "UTC", description="Whose hours of the day the hour features count."
    )
    session_gap_minutes: float = Field(30.0, ge=1, le=1440, description="A session ends when nothing came for so long.")
    lateness_minutes: float = Field(
        10.0,
        validate_default=True,
        ge=0,
        le=1440,
        description="Events may lag the newest by so much (at most the session gap) and change no result.",
    )
    cart_abandoned_minutes: float = Field(
        60.0,
        validate_default=True,
        ge=1,
        le=43_200,
        description="A cart is abandoned so long after its last act without an order.",
    )
    browsed_depth_min: int = Field(
        3, ge=1, le=10_000, description="So many views and clicks without an order are browsing without buying."
    )
    lapsed_days: float = Field(30.0, ge=1, le=3650, description="A shopper without an act for so long has lapsed.")

    @field_validator("cart_abandoned_minutes")
    @classmethod
    def _not_before_the_lateness(cls, minutes: float, info: ValidationInfo) -> float:
        lateness = info.data.get("lateness_minutes")
        if lateness is not None and minutes < lateness:
            raise refuse(f"is less than lateness_minutes ({lateness:g}); raise it, or lower the lateness")
        return minutes

    @field_validator("lateness_minutes")
    @classmethod
    def _within_the_gap(cls, minutes: float, info: ValidationInfo) -> float:
        gap = info.data.get("session_gap_minutes")
        if gap is not None and minutes > gap:
            raise refuse(f"is more than session_gap_minutes ({gap:g}); lower it, or raise the gap")
        return minutes


class Learn(Section):
    """How segments and propensities are learned."""

    clusterer: Annotated[str, AfterValidator(_clusterer)] = Field(
        "operators.decayed_kmeans.DecayedKMeans",
        description="The class that finds the segments: any river.base.Clusterer, such as river.cluster.KMeans.",
    )
    clusterer_params: Options = Field({}, max_length=32, description="Arguments of that class.")
    micro_clusters: int = Field(
        24, ge=2, le=64, description="How many small groups are learned, which the segments are made of."
    )
    segments_min: int = Field(4, ge=1, le=64, description="Fewest segments, where so many can be told apart at all.")
    segments: int = Field(12, ge=2, le=64, description="Most segments; there are as many as lie well apart.")
    sample_every: int = Field(
        16, ge=1, le=100_000, description="A shopper is a sample for the models once in so many events."
    )
    samples_per_call_max: int = Field(
        16_384, ge=1, le=65_536, description="Samples learned from one batch; more are left out and counted."
    )
    publish_every: int = Field(256, ge=1, le=1_000_000, description="A new model version after so many samples.")
    purchase_horizon_hours: float = Field(
        24.0, ge=0.1, le=8760, description="The purchase propensity looks so far ahead."
    )
    churn_horizon_days: float = Field(
        14.0, ge=0.1, le=730, description="A shopper without an event for so long has left."
    )
    learning_rate: float = Field(
        0.01, gt=0, le=10, description="How fast the propensities' level follows: its step of gradient descent."
    )
    waiting_samples_max: int = Field(
        16_384, ge=64, le=1_000_000, description="Samples of a propensity that wait until the time of others is up."
    )
    challenger: Annotated[str, AfterValidator(_challenger)] = Field(
        "",
        description="A class held against the propensities: any river.base.Classifier, such as "
        "river.tree.HoeffdingTreeClassifier.",
    )
    challenger_params: Options = Field({}, max_length=32, description="Arguments of that class.")
    seed: int = Field(7, ge=0, le=2**32 - 1, description="Seed of the random generators.")


class Worker(Section):
    """The processes and their bounds."""

    processes: int = Field(1, ge=1, le=64, description="Worker processes; may differ from one start to the next.")
    batch_records_max: int = Field(4096, ge=1, le=65_536, description="Records in one batch.")
    in_flight_max: int = Field(
        60_000, ge=1, le=100_000_000, description="Events read and not yet answered for; the sources wait there."
    )
    linger_ms: float = Field(
        20.0, ge=0, le=1000, description="How long a source waits after a batch that was not full."
    )
    users_max: int = Field(
        2_000_000, ge=1, le=1_000_000_000, description="Shoppers kept; past it events of new ones are refused, counted."
    )
    items_max: int = Field(
        1_000_000, ge=1, le=1_000_000_000, description="Items kept; past it the least popular give way, counted."
    )
    profile_memory_mb: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="Memory of the profiles in a process; past it the least recently seen go to disk. 0: no bound.",
    )
    values_max: int = Field(
        1_000_000,
        ge=16,
        le=1_000_000_000,
        description="Categories, brands and the like kept; past it new ones are left out and counted.",
    )
    catalogue_items_max: int = Field(
        100_000,
        ge=1,
        le=100_000_000,
        description="Items of `item` events kept by every shard; past it those not available take the place of others.",
    )
    names_max: int = Field(
        20_000_000, ge=1, le=1_000_000_000, description="Texts of ids kept; past it new ones are left out and counted."
    )
    stop_seconds_max: float = Field(
        10.0, ge=0.1, le=600, description="How long a worker may take to stop before it is killed."
    )


class MetricsEndpoint(Section):
    """Where Prometheus reads the figures."""

    port: int = Field(
        9464, ge=0, le=65_535, description="Port of the first process; the others take the next ones. 0: off."
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")


class DeadLetterFile(Section):
    """Where records that could not be taken in are written, one JSON object a line."""

    path: Path = Field(
        Path("dead-letters.jsonl"), description="The file; a relative path starts at the state directory."
    )
    bytes_max: int = Field(
        104_857_600,
        ge=65_536,
        le=1_099_511_627_776,
        description="Past this the file becomes PATH.1, and a new one begins.",
    )


class Log(Section):
    """What the worker says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least grave line that is shown."
    )
    format: Literal["console", "json"] = Field("console", description="Lines for a person, or JSON.")
