"""Batches made by hand, and the commands they become, read back as Redis would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from state.batches import (
    ACT,
    ANSWER,
    FETCH,
    PAIR,
    PROFILE,
    SCORE,
    TOUCH,
    TRANSITION,
    AnswerBatch,
    ProfileBatch,
    Receipt,
    ScoredBatch,
    WriteBatch,
)
from state.hashing import hash_bytes
from state.redis_keys import pack

DAY_MS = 86_400_000
NAN = float("nan")


def commands(data: bytes) -> list[list[bytes]]:
    """Packed commands, read by the protocol's own rules; anything else than arrays of bulk strings is an error."""
    out, at = [], 0

    def number(mark: bytes) -> int:
        nonlocal at
        end = data.index(b"\r\n", at)
        assert data[at : at + 1] == mark, data[at:end]
        value = int(data[at + 1 : end])
        assert str(value).encode() == data[at + 1 : end]
        at = end + 2
        return value

    while at < len(data):
        words = []
        for _ in range(number(b"*")):
            length = number(b"$")
            words.append(data[at : at + length])
            assert data[at + length : at + length + 2] == b"\r\n"
            at += length + 2
        out.append(words)
    return out


def hset(words: list[bytes]) -> tuple[bytes, dict[str, bytes]]:
    """Key and fields of an HSET, none of them twice."""
    assert words[0] == b"HSET"
    names = [w.decode() for w in words[2::2]]
    assert len(names) == len(set(names))
    return words[1], dict(zip(names, words[3::2], strict=True))


def profile(user: str | bytes = "ann", row: int = 0, recent: Sequence[int] = (), **fields: Any) -> dict[str, Any]:
    """A shopper's part of a profile batch; by default one who acted once."""
    given = {"event_ts": 20_000 * DAY_MS, "version": 1, "acts": 1, "fresh": 0, "erased": 0}
    return {**given, "user": user, "row": row, "recent": list(recent), **fields}


def scored_batch(
    profiles: Sequence[dict[str, Any]],
    scores: Sequence[tuple[int, int, float, float, float, int]] | None = None,
    sequence: int = 1,
    item_shards: int = 0,
    transitions: Sequence[tuple[int, int, int, int, int]] = (),
    acts: Sequence[tuple[int, int, int]] = (),
    receipt: Receipt | None = None,
) -> ScoredBatch:
    """What the score step hands on: (segment, macro, margin, purchase, churn, model) of each shopper; no reasons."""
    rows, ids = np.zeros(len(profiles), PROFILE), b""
    for row, told in zip(rows, profiles, strict=True):
        user = told["user"].encode() if isinstance(told["user"], str) else told["user"]
        row["user"], row["user_at"], row["user_len"] = hash_bytes(user), len(ids), len(user)
        ids += user
        row["recent_n"] = len(told["recent"])
        row["recent"][: len(told["recent"])] = told["recent"]
        for name in ("row", "event_ts", "version", "acts", "fresh", "erased"):
            row[name] = told[name]
    told_scores = [(-1, -1, 0.0, NAN, NAN, 0)] * len(profiles) if scores is None else list(scores)
    batch = ProfileBatch(
        shard=3,
        sequence=sequence,
        rows=rows,
        ids=np.frombuffer(ids, np.uint8),
        acts=np.array(list(acts), ACT),
        pairs=np.empty(0, PAIR),
        touches=np.empty(0, TOUCH),
        fetches=np.empty(0, FETCH),
        samples=[],
        receipt=receipt or Receipt(np.empty(0), np.empty(0, np.int64), {0: 0}),
        item_shards=item_shards,
    )
    return ScoredBatch(
        batch, np.array([(*one, -1, 0, 0.0) for one in told_scores], SCORE), np.array(list(transitions), TRANSITION)
    )


def answer(sequence: int, *rows: tuple[int, int, Sequence[tuple[int, float]]]) -> AnswerBatch:
    """One item shard's answer: (place, slot, neighbours with their scores) of each question."""
    out = np.zeros(len(rows), ANSWER)
    for one, (position, slot, neighbours) in zip(out, rows, strict=True):
        one["position"], one["slot"], one["count"] = position, slot, len(neighbours)
        for k, (item, score) in enumerate(neighbours):
            one["items"][k], one["scores"][k] = item, score
    return AnswerBatch(3, sequence, out)


def records(
    versions: dict[str, int],
    read_at: Sequence[float] = (),
    ts: Sequence[int] = (),
    done: dict[int, int] | None = None,
    always: Sequence[bytes] = (),
    **fields: str | int,
) -> WriteBatch:
    """A batch that writes a record of some version for each shopper."""
    packed = [
        pack("HSET", f"coterie:user:{user}", "version", version, *(w for pair in fields.items() for w in pair))
        for user, version in versions.items()
    ]
    ids = [user.encode() for user in versions]
    return WriteBatch(
        users=np.array([hash_bytes(i) for i in ids], np.uint64),
        id_bytes=np.frombuffer(b"".join(ids), np.uint8),
        id_at=np.cumsum([0, *map(len, ids)])[:-1].astype(np.int32),
        id_len=np.array(list(map(len, ids)), np.int32),
        versions=np.array(list(versions.values()), np.int64),
        commands=np.frombuffer(b"".join(packed), np.uint8),
        starts=np.cumsum([0, *map(len, packed)]).astype(np.int64),
        per_user=np.ones(len(ids), np.int32),
        always=b"".join(always),
        always_n=len(always),
        receipt=Receipt(np.array(read_at, np.float64), np.array(ts, np.int64), done) if done is not None else None,
    )
