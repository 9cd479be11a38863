"""Partitions of Kafka that are out of reach: who notices, and what the log is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from kafka import TopicPartition

log = logging.getLogger(__name__)

OUTAGE_SECONDS_MIN = 2.0
"""Partitions out of reach for so long are an outage, of which the log tells."""


class Outage:
    """Tells the log once that partitions are out of reach (no leader, no connection to it), once that they are back."""

    def __init__(self, bootstrap: str, monotonic: Callable[[], float]) -> None:
        self.bootstrap = bootstrap
        self.told = False
        self.away: list[TopicPartition] = []
        self._monotonic = monotonic
        self._looked_at = self._reached_at = monotonic()

    def look(self, consumer: Any, readers: Iterable[TopicPartition]) -> None:
        """Look after the connections, at most twice a second."""
        now = self._monotonic()
        if now - self._looked_at < 0.5:
            return
        self._looked_at = now
        self.away = away = [tp for tp in readers if not self._in_reach(consumer, tp)]
        if not away:
            if self.told:
                seconds = now - self._reached_at
                log.warning("Kafka at %s: all partitions are in reach again, after %.0f s", self.bootstrap, seconds)
            self.told, self._reached_at = False, now
        elif not self.told and now - self._reached_at >= OUTAGE_SECONDS_MIN:
            self.told = True
            log.error(
                "Kafka at %s: no connection to the leader of %s[%d] and %d more partitions; trying until there is one",
                self.bootstrap, away[0].topic, away[0].partition, len(away) - 1,
            )  # fmt: skip

    @staticmethod
    def _in_reach(consumer: Any, tp: TopicPartition) -> bool:
        leader = consumer._client.cluster.leader_for_partition(tp)
        return leader is not None and leader >= 0 and bool(consumer._client.connected(leader))
