"""The segment catalogue: what a person is told of every segment, and how many shoppers are in it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import orjson

from state.batches import SegmentCounts
from state.metrics import Metrics
from state.models import SegmentCard, SegmentModel

SHARE_DIGITS = 4


class Catalogue:
    """Keeps the fields of the Redis hash of segments.

    In: segment models (the newest stands) and each user shard's counts. Out: segment id ("s7") -> JSON, for the fields
    that changed since they were last told; at the end of input all of them. An empty value means that the field is to
    be removed: the model no longer carries the card of that long retired segment. Keeps the newest model, one array of
    counts per user shard, and the fields as told: bounded by the cards of a model and the number of shards.
    """

    def __init__(self, metrics: Metrics, resume: bytes | None = None) -> None:
        self._metrics = metrics
        self._model: SegmentModel | None = None
        self._counts: dict[int, SegmentCounts] = {}
        self._told: dict[str, bytes] = {}
        self._shown: set[str] = set()  # label values the gauge has now
        if resume is not None:
            self._model, self._counts, self._told = pickle.loads(resume)
            self._show(self._sizes())

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
        if self._model is None:
            return {}
        sizes = self._sizes()
        self._show(sizes)
        users = sum(sizes.values())
        return {f"s{card.number}": _field(card, sizes[card.number], users) for card in self._model.cards}

    def _show(self, sizes: dict[int, int]) -> None:
        """Set the gauge of each live segment, and take the labels of the others away."""
        live = (
            {f"s{card.number}": sizes[card.number] for card in self._model.cards if not card.retired_at}
            if self._model
            else {}
        )
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
            "parents": [f"s{number}" for number in card.parents],
            "retired_at": card.retired_at or None,
        }
    )
