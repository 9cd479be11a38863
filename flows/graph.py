"""The life of an event, from the record to Redis. This file only wires; each step is a class in `operators`.

Step ids are storage keys: renaming one is a breaking change.
"""

from __future__ import annotations

from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.engine import Broadcast, Source, logged
from flows.steps import Steps
from operators.learn import SAMPLED
from state.batches import (
    AnswerBatch,
    DeadLetters,
    EventBatch,
    ProfileBatch,
    Pulse,
    ScoredBatch,
    SegmentCounts,
    user_key,
)
from state.models import PopularModel, SegmentModel, ShardPopularity
from state.samples import lessons_of

Keyed = tuple[str, Any]


def build(source: Source, steps: Steps) -> Dataflow:
    """The dataflow of one worker process."""
    flow = Dataflow("coterie")
    user_shards = range(steps.user_shards)

    raw = op.input("read", flow, source)
    # RawBatch: one buffer, spans, offsets

    decoded = op.flat_map_batch("decode", raw, logged("decode", steps.decode))
    good = op.branch("is_event", decoded, lambda item: not isinstance(item, DeadLetters))
    # (user key, EventBatch | Pulse) | (item key, VisitBatch); beside them DeadLetters

    told = op.branch("is_act", good.trues, lambda item: isinstance(item[1], EventBatch | Pulse))
    # (user key, EventBatch | Pulse); beside them (item key, VisitBatch), facts of `item` events

    profiled = op.stateful_batch("profiles", told.trues, steps.profiles)
    known = op.branch("is_profile", profiled, lambda item: isinstance(item[1], ProfileBatch))
    # (user key, ProfileBatch): windows moved, a row a shopper; beside them DeadLetters for want of consent

    visits = op.flat_map_batch(
        "to_items", known.trues, logged("to_items", lambda items: steps.split_visits(_values(items)))
    )
    answered = op.stateful_batch("covisit", op.merge("visits", visits, told.falses), steps.covisit)
    neighbours = op.branch("is_answer", answered, lambda item: isinstance(item[1], AnswerBatch))
    # (item key, AnswerBatch); beside them (item key, ShardPopularity | BoughtTogether)
    news = op.branch("is_popularity", neighbours.falses, lambda item: isinstance(item[1], ShardPopularity))
    # (item key, ShardPopularity); beside them (item key, BoughtTogether)

    def samples(items: list[Keyed]) -> list[Keyed]:
        return [(lessons.model, lessons) for lessons in lessons_of(SAMPLED, _values(items), steps.user_shards)]

    def popularity(items: list[Keyed]) -> list[Keyed]:
        return [("popular", popular) for _, popular in items]

    sampled = op.flat_map_batch("samples", known.trues, samples)
    popular = op.flat_map_batch("popularity", news.trues, popularity)
    learned = op.stateful_batch("learn", op.merge("lessons", sampled, popular), steps.learn)
    # (model, ModelVersion): what River learnt, as arrays

    def to_score(items: list[Keyed]) -> list[Keyed]:
        return [
            (user_key(s), Broadcast(s, m)) for _, m in items if not isinstance(m, PopularModel) for s in user_shards
        ]

    def to_personalize(items: list[Keyed]) -> list[Keyed]:
        return [(user_key(s), Broadcast(s, m)) for _, m in items if isinstance(m, PopularModel) for s in user_shards]

    models = op.flat_map_batch("models_to_score", learned, to_score)
    scored = op.stateful_batch("score", op.merge("scorable", models, known.trues), steps.score)
    rated = op.branch("is_scored", scored, lambda item: isinstance(item[1], ScoredBatch))
    # (user key, ScoredBatch): segment, margin, propensities, transitions; beside them SegmentCounts

    def to_shoppers(items: list[Keyed]) -> list[Keyed]:
        return [(user_key(answer.shard), answer) for _, answer in items]

    answers = op.flat_map_batch("to_shoppers", neighbours.trues, to_shoppers)
    best = op.flat_map_batch("models_to_personalize", learned, to_personalize)
    personal = op.stateful_batch("personalize", op.merge("rankable", best, rated.trues, answers), steps.personalize)
    # (user key, WriteBatch): lists ranked, records packed as Redis commands

    def to_catalogue(items: list[Keyed]) -> list[Keyed]:
        return [("catalogue", value) for _, value in items if isinstance(value, SegmentModel | SegmentCounts)]

    cards = op.flat_map_batch("to_catalogue", op.merge("segment_news", learned, rated.falses), to_catalogue)
    catalogued = op.stateful_batch("catalogue", cards, steps.catalogue)
    # ("catalogue", {field: JSON}): what `coterie:segments` says

    op.output("redis", op.merge("writes", personal, catalogued, learned, news.falses), steps.redis)
    op.output("dead_letters", op.merge("refused", good.falses, known.falses), steps.dead_letters)
    return flow


def _values(items: list[Keyed]) -> list[Any]:
    return [value for _, value in items]
