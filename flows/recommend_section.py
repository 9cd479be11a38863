"""How lists are made: the table [recommend]."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator

from flows.section import Options, Section, Words, refuse, refuse_unknown
from state.rungs import CONTEXT_PARTS, LADDER


def _days(days: Any) -> int:
    if not isinstance(days, int) or isinstance(days, bool) or not 0 <= days <= DAYS_MAX:
        raise refuse(f"is not a whole number of days (0 to {DAYS_MAX})")
    return days


DAYS_MAX = 36_500
DaysByName = dict[Annotated[str, Field(min_length=1, max_length=128)], Annotated[int, BeforeValidator(_days)]]


def _rungs(names: tuple[str, ...]) -> tuple[str, ...]:
    return _some_of(names, LADDER, "a rung")


def _parts(names: tuple[str, ...]) -> tuple[str, ...]:
    return _some_of(names, CONTEXT_PARTS, "a part")


def _some_of(names: tuple[str, ...], known: tuple[str, ...], what: str) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise refuse_unknown(name, known)
    if len(set(names)) < len(names) or not names:
        raise refuse(f"is empty, or names {what} twice; at least one is needed, each once")
    return names


LIST_WEIGHTS = ("earlier_factor", "second_step", "coming_back", "coming_back_factor", "learn_weights")
"""What a challenger's lists may have other values of."""


class Recommend(Section):
    """How items are ranked. A half-life in events counts the events of the whole shop; weights are of shares."""

    long_half_life_events: float = Field(
        500_000.0, ge=1, le=1e12, description="Half-life of the slow co-visitation weights."
    )
    short_half_life_events: float = Field(
        2_000.0, ge=1, le=1e12, description="Half-life of the fast co-visitation weights."
    )
    short_weight: float = Field(0.25, ge=0, le=10, description="Weight of the fast beside the slow ones.")
    together_n: int = Field(
        10, ge=1, le=32, description="Of so many items it is told that they are bought together with another one."
    )
    together_half_life_pairs: float = Field(
        1_000_000.0,
        ge=1,
        le=1e12,
        description="After so many pairs of items bought together one counts half; n items in an order make n (n - 1).",
    )
    popular_n: int = Field(100, ge=20, le=1000, description="Length of the list of popular items.")
    popular_half_life_days: float = Field(
        3.0, ge=0.01, le=365, description="Half-life of an item's popularity, in event time."
    )
    popular_every_batches: int = Field(
        16, ge=1, le=100_000, description="An item shard tells its popular items once in so many batches."
    )
    popular_categories: int = Field(
        1000, ge=1, le=10_000, description="Of so many of the largest categories it is kept what is popular in them."
    )
    ladder: Annotated[Words, AfterValidator(_rungs)] = Field(
        ("category", "popular"),
        description="What fills lists up where nothing stands beside the last items: what is popular in the category of"
        ' the current item and in the favourite one ("category"), among the shoppers of the segment ("segment"), in the'
        ' whole shop ("popular"), in the context of the newest act ("context").',
    )
    context: Annotated[Words, AfterValidator(_parts)] = Field(
        ("hour", "device"),
        description='What that context is made of: the hour of the shop\'s day, in bands of three ("hour"), and the'
        ' `device` that acts tell ("device").',
    )
    ladder_measured: bool = Field(
        True, description="Whether the rung that is hit most often goes first; else, and to begin with, as given."
    )
    earlier_factor: float = Field(
        0.5, ge=0, le=1, description="What stands beside an earlier item counts so much of what stands beside the next."
    )
    second_step: float = Field(
        1.0, ge=0, le=10, description="Weight of what stands beside the best neighbours of the current item."
    )
    coming_back: float = Field(
        0.15, ge=0, le=10, description="What speaks for going back to the item before the current one."
    )
    coming_back_factor: float = Field(0.8, ge=0, le=1, description="And for each one earlier, times this.")
    learn_weights: bool = Field(
        True, description="Whether these weights follow what shoppers turn to, from the values given on."
    )
    challenger: Options = Field(
        {},
        max_length=8,
        description="Other values of the five settings above, such as {second_step = 0.5}: lists made with them are "
        "judged beside those in force, and not written.",
    )

    bought_days: int = Field(
        365,
        ge=0,
        le=DAYS_MAX,
        description="What a shopper bought stays out of their lists for so long; 0: it never does.",
    )
    bought_days_by_category: DaysByName = Field(
        {},
        max_length=4096,
        description="The same for items of a category, such as {coffee = 14}, which come back; 0: they never stay out.",
    )
    category_max: int = Field(0, ge=0, le=20, description="Most items of one category in a list; 0: no limit.")
    fatigue_after: int = Field(
        3,
        ge=0,
        le=254,
        description="So often an item may be shown to a shopper without an act before it sinks in lists.",
    )
    fatigue_factor: float = Field(
        0.5, ge=0.01, le=1, description="What each further impression multiplies its score by; 1: nothing sinks."
    )
    fatigue_days: int = Field(
        14, ge=1, le=DAYS_MAX, description="Impressions of an item are forgotten so long after the newest of them."
    )

    @field_validator("challenger")
    @classmethod
    def _of_lists(cls, table: Options) -> Options:
        taken = {}
        for name, value in table.items():
            if name not in LIST_WEIGHTS:
                raise refuse_unknown(name, LIST_WEIGHTS)
            try:
                taken[name] = getattr(cls.model_validate({name: value}), name)  # "0.1" is a number here as there
            except ValidationError as error:
                text = error.errors()[0]["msg"]
                raise refuse(f"holds a {name} of {json.dumps(value)}: {text[0].lower()}{text[1:]}") from error
        return taken
