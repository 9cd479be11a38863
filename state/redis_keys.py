"""The names of everything in Redis, and how commands become bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key under a prefix, and how long a shopper's record lives without a sign of life."""

    prefix: str = "coterie:"
    inactivity_ttl_seconds: int = 90 * 86400

    def user(self, user_id: str) -> str:
        """The record of a shopper."""
        return f"{self.prefix}user:{user_id}"

    @property
    def segments(self) -> str:
        return f"{self.prefix}segments"

    @property
    def models(self) -> str:
        """The models in force, as arrays."""
        return f"{self.prefix}models"

    def popular(self, segment: str = "all") -> str:
        """The popular items of a segment, or of the whole shop."""
        return f"{self.prefix}popular:{segment}"

    def together(self, item_id: str) -> str:
        """What is bought together with an item."""
        return f"{self.prefix}together:{item_id}"

    @property
    def transitions(self) -> str:
        return f"{self.prefix}transitions"

    @property
    def meta(self) -> str:
        return f"{self.prefix}meta"

    def record_texts(self) -> tuple[np.ndarray, np.ndarray]:
        """The constants of a record's commands, as `kernels.redis_commands` numbers them: (uint8, int64 bounds).

        All but the prefix of the keys are bulk strings, as they stand in commands.
        """
        words = [
            "HSET",
            "DEL",
            "EXPIRE",
            "segment",
            "macro",
            "margin",
            "purchase_propensity",
            "churn_risk",
            "why",
            "recs",
            "event_ts",
            "version",
            "model",
            "rules",
            "variants",
            "{}",
        ]
        encoded = [*map(bulk, words), self.user("").encode(), bulk(str(self.inactivity_ttl_seconds))]
        bounds = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
        return np.frombuffer(b"".join(encoded), np.uint8), bounds


def bulk(word: str | bytes | int | float) -> bytes:
    """A word of a command as a RESP bulk string."""
    encoded = word if isinstance(word, bytes) else str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(encoded), encoded)


def pack(*words: str | bytes | int | float) -> bytes:
    """One command as a RESP array of bulk strings."""
    return b"*%d\r\n" % len(words) + b"".join(map(bulk, words))
