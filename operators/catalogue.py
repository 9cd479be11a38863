"""The segment catalogue: what a person is told of every segment, and how many shoppers are in it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from state.batches import SegmentCounts
from state.metrics import Metrics
from state.models import Emerging, SegmentCard, SegmentModel

SHARE_DIGITS = 4

EMERGING = "emerging"
"""The field that tells of shoppers who fit no segment."""


@dataclass(frozen=True, slots=True)
class RuleCard:
    """What a person is told of a rule segment: its name, its place in a shopper's set, and what it says."""

    name: str
    place: int
    says: str


class Catalogue:
    """Keeps the fields of the Redis hash of segments.

    In: segment models (the newest stands) and each user shard's counts. Out: segment id ("s7", or the name of a rule,
    of which `rules` are the cards) -> JSON, for the fields that changed since they were last told, among them EMERGING;
    at the end of input all of them. An empty value means that the field is to be removed: the model no longer carries
    the card of that long retired segment, or the rule is gone. Keeps the newest model, the counts of each user shard,
    and the fields as told: bounded by the cards of a model, the rules and the number of shards.
    """

    def __init__(self, metrics: Metrics, resume: bytes | None = None, rules: Sequence[RuleCard] = ()) -> None:
        self._metrics = metrics
        self._rules = rules
        self._model: SegmentModel | None = None
        self._counts: dict[int, SegmentCounts] = {}
        self._told: dict[str, bytes] = {}
        self._shown: set[str] = set()  # label values the gauge has now
        if resume is not None:
            self._model, self._counts, self._told = pickle.loads(resume)
            self._fields()

    def process(self, values: Sequence[SegmentModel | SegmentCounts]) -> list[dict[str, bytes]]:
        """Take one call's models and counts in; the fields that changed by them, if any did."""
        for value in values:
            if isinstance(value, SegmentModel):
                self._model = value
            else:
                self._counts[value.shard] = value
        fields = self._fields()
        changed = {name: text for name, text in fields.items() if self._told.get(name) != text}
        changed.update({name: b"" for name in self._told if name not in fields})
        self._told = fields
        return [changed] if changed else []

    def finish(self) -> list[dict[str, bytes]]:
        """Every field as it stands."""
        self._told = self._fields()
        return [dict(self._told)] if self._told else []

    def snapshot(self) -> bytes:
        """All that the catalogue knows, for its `resume`."""
        return pickle.dumps((self._model, self._counts, self._told), protocol=5)

    def _sizes(self) -> dict[int, int]:
        """Shoppers by segment number, of the segments that have a card."""
        if self._model is None:
            return {}
        numbers = [card.number for card in self._model.cards]
        return {n: sum(int(c.counts[n]) for c in self._counts.values() if n < len(c.counts)) for n in numbers}

    def _fields(self) -> dict[str, bytes]:
        sizes = self._sizes()
        users = sum(sizes.values())
        cards = self._model.cards if self._model else []
        members = {rule.name: self._members(rule.place) for rule in self._rules}
        self._show(sizes, members)
        fields = {f"s{card.number}": _field(card, sizes[card.number], users) for card in cards}
        if self._model and self._model.emerging is not None:
            fields[EMERGING] = _emerging(self._model.emerging)
        if self._counts:
            fields |= {rule.name: _rule_field(rule, members[rule.name], users) for rule in self._rules}
        return fields

    def _members(self, place: int) -> int:
        return sum(int(c.members[place]) for c in self._counts.values() if place < len(c.members))

    def _show(self, sizes: dict[int, int], members: dict[str, int]) -> None:
        """Set the gauge of each live segment and each rule, and take the labels of the others away."""
        cards = self._model.cards if self._model else []
        live = {f"s{card.number}": sizes[card.number] for card in cards if not card.retired_at} | members
        for segment, size in live.items():
            self._metrics.segment_users.labels(segment=segment).set(size)
        for segment in self._shown - live.keys():
            self._metrics.segment_users.remove(segment)
        self._shown = set(live)


def _field(card: SegmentCard, size: int, users: int) -> bytes:
    """One segment's JSON; its share is that of the shoppers counted, of the learner's samples before any is."""
    return orjson.dumps(
        {
            "name": card.name,
            "macro": f"m{card.macro}",
            "size": size,
            "share": round(size / users if users else card.share, SHARE_DIGITS),
            "traits": card.traits,
            "born_at": card.born_at,
            "born_by": card.born_by,
            "parents": [f"s{number}" for number in card.parents],
            "retired_at": card.retired_at or None,
            "retired_by": card.retired_by or None,
            "heirs": [f"s{number}" for number in card.heirs],
        }
    )


def _emerging(emerging: Emerging) -> bytes:
    """What fits no segment, as JSON."""
    return orjson.dumps(
        {
            "share": round(emerging.share, SHARE_DIGITS),
            "samples": emerging.samples,
            "traits": emerging.traits,
        }
    )


def _rule_field(rule: RuleCard, size: int, users: int) -> bytes:
    """A rule segment's JSON; its share is that of the shoppers who are counted by segment, null before any is."""
    return orjson.dumps(
        {
            "name": rule.name,
            "macro": None,
            "size": size,
            "share": round(size / users, SHARE_DIGITS) if users else None,
            "traits": [],
            "born_at": None,
            "parents": [],
            "retired_at": None,
            "rule": rule.says,
        }
    )
