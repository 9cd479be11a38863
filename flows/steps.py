"""Every step of one worker process, made from the settings and handed what it needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.engine import BlobLogic, Sink, SnapshotClock, TableHost
from flows.recommend_section import LIST_WEIGHTS
from flows.rules import placed_rules, rule_cards
from flows.settings import Settings
from operators.catalogue import Catalogue
from operators.contender import CONTENDERS, Comparison, Contender
from operators.covisit import Covisit, CovisitSettings
from operators.dead_letters import DeadLetterFile
from operators.decode import Decoder, Limits
from operators.goods import Goods
from operators.learn import Learner, LearnSettings
from operators.list_maker import ListMemory
from operators.list_settings import LadderSettings, ListSettings, RuleSettings
from operators.list_tally import ListTally
from operators.personalize import Personalize, PersonalizeSettings
from operators.profile_settings import DAY_MS, HOUR_MS, ProfileSettings
from operators.profiles import Profiles
from operators.score import Score
from operators.visits import SplitVisits
from operators.write_redis import RedisSettings, RedisWriter
from state.cold_store import ColdStore
from state.flow_control import FlowControl
from state.input_parts import InputParts
from state.journal import Journal
from state.metrics import Metrics
from state.names import Names
from state.profile_table import TABLES
from state.redis_keys import Keys
from state.rungs import CONTEXT, RUNGS
from state.store import Store


@dataclass(slots=True)
class Process:
    """What the steps of one process share: its number, where its state is, its counters, its clock, what is read."""

    number: int
    store: Store
    names: Names
    metrics: Metrics
    control: FlowControl
    clock: Callable[[], float] = time.time
    parts: InputParts = field(default_factory=InputParts)


class Steps:
    """The steps, ready for the graph."""

    def __init__(self, settings: Settings, process: Process) -> None:
        self._settings = settings
        self._process = process
        self._snapshots = SnapshotClock(process.metrics)
        self._names_refused = 0
        self.user_shards = process.store.user_shards
        self.item_shards = process.store.item_shards
        metrics, names, control = process.metrics, process.names, process.control
        keys = redis_keys(settings)

        self.decode = Decoder(
            names, metrics, control, self.user_shards, self.item_shards, limits(settings), process.clock
        )
        self.split_visits = SplitVisits(self.item_shards)
        of_profiles = profile_settings(settings, self.user_shards, self.item_shards)
        rules = placed_rules(settings, process.store)
        of_rules = list_rules(settings)
        self._goods = Goods(settings.worker.items_max, of_rules.asks_for_categories, metrics)
        self.profiles = self._host(
            "profiles",
            lambda s: Profiles(
                s,
                of_profiles,
                metrics,
                lambda: control.stopping,
                self._cold("profiles", s),
                lambda: process.parts.listed,
                rules,
                self._goods,
            ),
            lambda b: b.shard,
            len,
        )
        of_covisit = covisit_settings(settings, self.item_shards)
        self.covisit = self._host("covisit", lambda s: Covisit(s, metrics, of_covisit), self._item_shard, _visits)
        self.score = self._host("score", lambda s: Score(s, metrics, cold=self._cold("score", s)), _user_shard, _rows)
        of_lists = PersonalizeSettings(
            ladder_settings(settings),
            list_rules=of_rules,
            transitions_max=settings.redis.transitions_max,
            rules=process.store.rules,
        )
        self._lists = ListMemory.empty()
        self.tally, self.comparison = ListTally(), Comparison()
        self.contenders = contenders(settings)
        self.personalize = self._host(
            "personalize",
            lambda s: Personalize(
                s,
                of_lists,
                metrics,
                names,
                keys,
                self._cold("personalize", s),
                self._lists,
                self.tally,
                self.contenders,
                self.comparison,
                self._goods,
            ),
            _user_shard,
            _rows,
        )
        of_learn = learn_settings(settings)
        self.learn = _LearnHost(of_learn, metrics, self._snapshots)
        self.catalogue = lambda resume: BlobLogic(
            "catalogue", Catalogue(metrics, resume, rule_cards(rules)), metrics, self._snapshots
        )

        self._writer = RedisWriter(
            RedisSettings(settings.redis.url, settings.redis.timeout_seconds, settings.redis.backoff_seconds_max),
            keys,
            metrics,
            control,
            names,
            process.store.state_id,
            (self.user_shards, self.item_shards),
            process.clock,
            self._goods,
        )
        self.redis = Sink("redis", lambda items: self._writer.write([v for _, v in items]), self._writer.close, metrics)
        self._dead_letters = DeadLetterFile(dead_letter_path(settings, process.number), settings.dead_letters.bytes_max)
        self.dead_letters = Sink(
            "dead_letters",
            lambda items: self._dead_letters.write(list(map(_bare, items))),
            self._dead_letters.close,
            metrics,
        )

    def observe_state(self) -> None:
        """Set the gauges that tell how large the state is."""
        metrics = self._process.metrics
        journal_bytes = 0
        for host in (self.profiles, self.covisit, self.score, self.personalize):
            live = list(host.live.values())
            metrics.state_bytes.labels(host.name).set(sum(t.nbytes for step, _ in live for t in step.tables.values()))
            journal_bytes += sum(journal.nbytes for _, journal in live)
        metrics.journal_bytes.set(journal_bytes)
        profiles = [step.store for step, _ in list(self.profiles.live.values())]
        for name in TABLES:
            metrics.state_bytes.labels(f"profiles.{name}").set(sum(store.tables[name].nbytes for store in profiles))
        metrics.state_bytes.labels("cold").set(sum(store.cold.nbytes for store in profiles))
        metrics.cold_users.set(sum(store.cold.size for store in profiles))
        metrics.state_bytes.labels("remembered").set(self._lists.remembered.nbytes)
        groups = (*self._lists.segments, *self._lists.contexts)
        metrics.state_bytes.labels("group_items").set(sum(column.nbytes for column in groups))
        metrics.state_bytes.labels("goods").set(self._goods.nbytes)
        metrics.state_bytes.labels("tally").set(self.tally.slots.nbytes)
        self._writer.observe()
        names = self._process.names
        metrics.state_bytes.labels("names").set(names.nbytes)
        metrics.ignored.labels("names").inc(names.refused - self._names_refused)
        self._names_refused = names.refused
        metrics.state_users.set(sum(store.users for store in profiles))
        metrics.state_items.set(sum(step.items.size for step, _ in list(self.covisit.live.values())))
        cases, hits, ranks = self.judged()
        if cases:
            metrics.hit_rate.set(hits / cases)
            metrics.mrr.set(ranks / cases)
        for part, factor in self.contenders[0].weights.factors.items():
            metrics.part_factor.labels(part).set(factor)
        if len(self.contenders) > 1:
            compared = self.comparison.figures()
            for name in CONTENDERS if compared else ():
                metrics.contender_hit_rate.labels(name).set(compared[f"{name}_hit_rate_20"])
                metrics.contender_mrr.labels(name).set(compared[f"{name}_mrr_20"])
            metrics.lists_challenger_leads.set(self.comparison.leads)
        self.tally.observe(metrics)

    def judged(self) -> tuple[float, float, float]:
        """Cases, hits and the sum of reciprocal ranks of this run, over the shards of this process."""
        judged = [step.judged for step, _ in list(self.personalize.live.values())]
        cases, hits, ranks = (float(sum(j[k] for j in judged)) for k in range(3))
        return cases, hits, ranks

    def _host(
        self, name: str, make: Callable[[int], Any], shard_of: Callable[[Any], int], events_of: Callable[[Any], int]
    ) -> TableHost:
        return TableHost(name, make, shard_of, self._journal, self._process.metrics, self._snapshots, events_of)

    def _journal(self, name: str) -> Journal:
        store = self._process.store
        return Journal(store.journals, name, sync=store.sync, before_save=self._process.names.flush)

    def _cold(self, step: str, shard: int) -> ColdStore:
        """Where a step's shard puts the rows of shoppers for whom memory has no room."""
        store = self._process.store
        return ColdStore(store.cold, f"{step}-{shard:03d}", sync=store.sync)

    def _item_shard(self, visit: Any) -> int:
        if len(visit.touches):
            item = visit.touches["item"][0]
        elif len(visit.pairs):
            item = visit.pairs["row"][0]
        else:
            item = visit.fetches[0].rows["item"][0]
        return int(item % self.item_shards)


class _LearnHost:
    """Makes the learner of a key once it is known: at the first lesson, or from its snapshot."""

    def __init__(self, settings: LearnSettings, metrics: Metrics, snapshots: SnapshotClock) -> None:
        self._settings = settings
        self._metrics = metrics
        self._snapshots = snapshots

    def __call__(self, resume: tuple[str, bytes] | None) -> BlobLogic:
        return BlobLogic("learn", _Lessons(self._settings, self._metrics, resume), self._metrics, self._snapshots)


class _Lessons:
    """A Learner that takes its key from its first lesson."""

    def __init__(self, settings: LearnSettings, metrics: Metrics, resume: tuple[str, bytes] | None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._key = resume[0] if resume else ""
        self._learner = Learner(resume[0], settings, metrics, resume[1]) if resume else None

    def process(self, values: list[Any]) -> list[Any]:
        if self._learner is None:
            self._key = getattr(values[0], "model", "popular")
            self._learner = Learner(self._key, self._settings, self._metrics, None)
        return self._learner.process(values)

    def finish(self) -> list[Any]:
        return self._learner.finish() if self._learner else []

    def snapshot(self) -> tuple[str, bytes]:
        assert self._learner is not None
        return self._key, self._learner.snapshot()


def redis_keys(settings: Settings) -> Keys:
    """The Redis keys under the configured prefix."""
    return Keys(settings.redis.prefix, settings.redis.inactivity_ttl_days * 86_400)


def limits(settings: Settings) -> Limits:
    """What a record may be."""
    oldest = datetime(settings.events.oldest.year, settings.events.oldest.month, settings.events.oldest.day, tzinfo=UTC)
    return Limits(
        bytes_max=settings.events.bytes_max,
        oldest_ms=int(oldest.timestamp()) * 1000,
        future_seconds_max=settings.events.future_seconds_max,
        custom_names=frozenset(settings.events.custom_names),
        context_names=frozenset(settings.events.context_names),
    )


def profile_settings(settings: Settings, user_shards: int, item_shards: int) -> ProfileSettings:
    """How profiles count."""
    return ProfileSettings(
        item_shards=item_shards,
        users_max=-(-settings.worker.users_max // user_shards),
        bytes_max=round(settings.worker.profile_memory_mb * 2**20 * settings.worker.processes / user_shards),
        values_max=-(-settings.worker.values_max // user_shards),
        facts_max=settings.worker.catalogue_items_max,
        lateness_ms=round(settings.shop.lateness_minutes * 60_000),
        cart_abandoned_ms=round(settings.shop.cart_abandoned_minutes * 60_000),
        browsed_depth_min=settings.shop.browsed_depth_min,
        lapsed_ms=round(settings.shop.lapsed_days * DAY_MS),
        inactivity_ttl_ms=settings.redis.inactivity_ttl_days * DAY_MS,
        custom_names=tuple(settings.events.custom_names),
        context_names=tuple(settings.events.context_names),
        session_gap_ms=round(settings.shop.session_gap_minutes * 60_000),
        purchase_horizon_ms=round(settings.learn.purchase_horizon_hours * HOUR_MS),
        churn_horizon_ms=round(settings.learn.churn_horizon_days * DAY_MS),
        sample_every=settings.learn.sample_every,
        timezone=settings.shop.timezone,
        list_context=tuple(settings.recommend.context) if RUNGS[CONTEXT] in settings.recommend.ladder else (),
    )


def covisit_settings(settings: Settings, item_shards: int) -> CovisitSettings:
    """How neighbour lists fade, and their bounds."""
    r = settings.recommend
    return CovisitSettings(
        item_shards=item_shards,
        half_lives_events=(r.long_half_life_events, r.short_half_life_events),
        short_weight=r.short_weight,
        half_life_baskets=r.together_half_life_pairs,
        together_n=r.together_n,
        items_max=-(-settings.worker.items_max // item_shards),
        popular_n=r.popular_n,
        popular_every_batches=r.popular_every_batches,
        popularity_half_life_days=r.popular_half_life_days,
        categories_max=r.popular_categories,
    )


def contenders(settings: Settings) -> tuple[Contender, ...]:
    """How lists are made: what is in force, and the challenger where there is one."""
    given = settings.recommend
    champion = ListSettings(**{name: getattr(given, name) for name in LIST_WEIGHTS})
    if not given.challenger:
        return (Contender(champion),)
    values: dict[str, Any] = given.challenger
    return Contender(champion), Contender(replace(champion, **values))


def list_rules(settings: Settings) -> RuleSettings:
    """What the shop wants to be so in its lists."""
    r = settings.recommend
    return RuleSettings(
        bought_days=r.bought_days,
        bought_days_by_category=dict(r.bought_days_by_category),
        category_max=r.category_max,
        fatigue_after=r.fatigue_after,
        fatigue_factor=r.fatigue_factor,
        fatigue_days=r.fatigue_days,
    )


def ladder_settings(settings: Settings) -> LadderSettings:
    """How lists are filled up."""
    r = settings.recommend
    return LadderSettings(tuple(r.ladder), r.ladder_measured, r.popular_half_life_days)


def learn_settings(settings: Settings) -> LearnSettings:
    """How segments and propensities are learnt."""
    s = settings.learn
    return LearnSettings(
        clusterer=s.clusterer,
        clusterer_params=dict(s.clusterer_params),
        micro_clusters=s.micro_clusters,
        segments_min=min(s.segments_min, s.segments),  # a default gives way; one that is given has been checked
        segments=s.segments,
        publish_every_samples=s.publish_every,
        samples_per_call_max=s.samples_per_call_max,
        learning_rate=s.learning_rate,
        waiting_samples_max=s.waiting_samples_max,
        challenger=s.challenger,
        challenger_params=dict(s.challenger_params),
        popular_n=settings.recommend.popular_n,
        popular_half_life_days=settings.recommend.popular_half_life_days,
        categories_max=settings.recommend.popular_categories,
        seed=s.seed,
    )


def dead_letter_path(settings: Settings, process: int) -> Path:
    """The dead letter file of a process: the configured one for the first, with a number for the others."""
    path = settings.state.directory / settings.dead_letters.path
    return path if process == 0 else path.with_name(f"{path.stem}-{process}{path.suffix}")


def _user_shard(value: Any) -> int:
    """The user shard a scored or profile batch, an answer or a broadcast is addressed to."""
    shard: int = value.profiles.shard if hasattr(value, "profiles") else value.shard
    return shard


def _visits(value: Any) -> int:
    return len(value.touches)


def _rows(value: Any) -> int:
    if hasattr(value, "profiles"):
        return len(value.profiles)
    return len(value) if hasattr(value, "__len__") else 0


def _bare(item: Any) -> Any:
    return item[1] if isinstance(item, tuple) else item
