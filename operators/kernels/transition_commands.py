"""Changes of segment as Redis commands, written as bytes in one pass: an entry of the stream of transitions each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from operators.kernels.resp import MINUS, put, put_bulk, put_int
from state.batches import RULE, TRANSITION_KINDS, TRIGGER, TRIGGERS
from state.compiled import borrowed, kernel
from state.redis_keys import bulk, pack

FIELDS = ("user_id", "kind", "from", "to", "at", "id")

_USER, _KIND, _FROM, _TO, _AT, _ID = range(len(FIELDS))
_ROOM = 512
"""Bytes of an entry beyond its constants and names: id, kind, times, hash, and the lengths of all of them."""


class Texts(NamedTuple):
    """Byte strings one behind the other."""

    text: np.ndarray
    """uint8"""
    bounds: np.ndarray
    """int64[n + 1]: string k is text[bounds[k]:bounds[k + 1]]"""

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Texts:
        """Strings by their place."""
        bounds = np.cumsum([0, *map(len, strings)]).astype(np.int64)
        return cls(np.frombuffer(b"".join(strings), np.uint8), bounds)

    @property
    def longest(self) -> int:
        """Bytes of the longest."""
        return int(np.diff(self.bounds).max(initial=0))


class EntryTexts(NamedTuple):
    """The constants of entries."""

    head: Texts
    """of the command up to its first field, one string; then the name of each of FIELDS as a bulk string"""
    kinds: Texts
    """TRANSITION_KINDS"""
    triggers: Texts
    """TRIGGERS"""
    rules: Texts
    """names of rule segments by place"""

    @classmethod
    def of(cls, stream: str, entries_max: int, rules: Sequence[str]) -> EntryTexts:
        """Of entries of `stream`, which keeps about `entries_max`."""
        command = pack("XADD", stream, "MAXLEN", "~", entries_max, "*").replace(b"*6\r\n", b"*18\r\n", 1)
        words = (TRANSITION_KINDS, TRIGGERS, rules)
        return cls(
            Texts.of([command, *map(bulk, FIELDS)]),
            *(Texts.of([word.encode() for word in several]) for several in words),
        )

    @property
    def room(self) -> int:
        """An entry has at most so many bytes."""
        longest = max(self.triggers.longest, self.rules.longest)
        return len(self.head.text) + 3 * longest + _ROOM


@kernel
def _put_named(out, at, texts, place):
    return put(out, at, texts.text, texts.bounds[place], texts.bounds[place + 1])


@kernel
def _put_state(out, at, kind, place, texts):
    """Write what was left or entered: nothing where `place` is below 0."""
    if place < 0:
        return at
    if kind == TRIGGER:
        return _put_named(out, at, texts.triggers, place)
    if kind == RULE:
        return _put_named(out, at, texts.rules, place)
    out[at] = 115  # s
    return put_int(out, at + 1, np.int64(place))


@kernel
def _put_hash(out, at, value):
    """Write a hash as sixteen hexadecimal digits."""
    for k in range(16):
        digit = np.int64(value >> np.uint64(60 - 4 * k) & np.uint64(15))
        out[at + k] = digit + (48 if digit < 10 else 87)
    return at + 16


@kernel
def write_transitions(changes, profiles, ids, texts, scratch, out):
    """Write a command for each of `changes` TRANSITION[n], of the shoppers at their positions in `profiles` PROFILE[m];
    `ids` uint8, `texts` EntryTexts. Out: bytes, with `texts.room` for each; `scratch` has that much too. Returns where
    they end.

    The id of an entry is made of shopper, kind, time and what was entered, or left.
    """
    changes, profiles, ids, texts, scratch, out = borrowed((changes, profiles, ids, texts, scratch, out))
    at = np.int64(0)
    for i in range(len(changes)):
        change = changes[i]
        profile, kind = profiles[change.position], change.kind
        # `from`, `to` and the time one behind the other
        to = _put_state(scratch, 0, kind, -1 if kind == TRIGGER else change.before, texts)
        moment = _put_state(scratch, to, kind, change.after, texts)
        stable = put_int(scratch, moment, change.at)
        # and the id
        end = _put_hash(scratch, stable, profile.user)
        scratch[end] = MINUS
        end = _put_named(scratch, end + 1, texts.kinds, kind)
        scratch[end] = MINUS
        end = put(scratch, end + 1, scratch, moment, stable)
        scratch[end] = MINUS
        end += 1
        if moment > to:
            end = put(scratch, end, scratch, to, moment)
        else:
            scratch[end] = MINUS
            end = put(scratch, end + 1, scratch, 0, to)

        at = _put_named(out, at, texts.head, 0)
        at = _put_named(out, at, texts.head, 1 + _USER)
        start = np.int64(profile.user_at)
        at = put_bulk(out, at, ids, start, start + np.int64(profile.user_len))
        at = _put_named(out, at, texts.head, 1 + _KIND)
        at = put_bulk(out, at, texts.kinds.text, texts.kinds.bounds[kind], texts.kinds.bounds[kind + 1])
        at = _put_named(out, at, texts.head, 1 + _FROM)
        at = put_bulk(out, at, scratch, 0, to)
        at = _put_named(out, at, texts.head, 1 + _TO)
        at = put_bulk(out, at, scratch, to, moment)
        at = _put_named(out, at, texts.head, 1 + _AT)
        at = put_bulk(out, at, scratch, moment, stable)
        at = _put_named(out, at, texts.head, 1 + _ID)
        at = put_bulk(out, at, scratch, stable, end)
    return at


def transitions_reference(
    changes: Sequence[tuple[int, int, int, int, int]],
    shoppers: Sequence[tuple[int, bytes]],
    stream: str,
    entries_max: int,
    rules: Sequence[str],
) -> bytes:
    """The plain reference of `write_transitions`: TRANSITIONs as tuples, and (hash, id) of each shopper by position."""
    out = b""
    for position, kind, before, after, ts in changes:
        user, user_id = shoppers[position]
        if kind == TRIGGER:
            old, new = "", TRIGGERS[after]
        elif kind == RULE:
            old, new = (rules[place] if place >= 0 else "" for place in (before, after))
        else:
            old, new = (f"s{number}" if number >= 0 else "" for number in (before, after))
        name = TRANSITION_KINDS[kind]
        stable = f"{user:016x}-{name}-{ts}-{new or '-' + old}"
        values: tuple[str | bytes | int, ...] = (user_id, name, old, new, ts, stable)
        fields = [word for pair in zip(FIELDS, values, strict=True) for word in pair]
        out += pack("XADD", stream, "MAXLEN", "~", entries_max, "*", *fields)
    return out
