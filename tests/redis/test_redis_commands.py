"""User records as bytes: whatever stands in them, Redis reads the very fields that were meant."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_helpers import commands, hset

from operators.kernels import redis_commands as kernels
from operators.kernels import resp
from operators.kernels import transition_commands as entries
from operators.kernels.contexts import BANDS
from state.batches import (
    EXPLAINED,
    LIST_LENGTH,
    PROFILE,
    SCORE,
    TRANSITION,
    TRANSITION_KINDS,
    TRIGGER,
    WHY_LENGTH,
)
from state.features import DIMENSIONS, MODEL_FEATURES
from state.names import Names
from state.redis_keys import Keys
from state.rungs import CATEGORY, CONTEXT, RUNG_BITS, RUNGS, SEGMENT

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.sampled_from(['"', "\\", "\r\n", "a\0b", "\x7f", "é" * 64, "\x01" * 128, "{}[],:", "null"]),
).filter(lambda t: 1 <= len(t.encode()) <= 128)
INTS = st.one_of(
    st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-20, 20), st.integers(0, 18).map(lambda k: 10**k - 1)
)
SCORES = st.one_of(st.floats(0, 1, width=32), st.floats(-2000, 2000, width=32), st.just(0.0))
CHANCES = st.one_of(st.floats(0, 1, width=32), st.just(math.nan))

AMOUNTS = st.one_of(st.just(0.0), st.sampled_from([0.004, -0.006, 0.995, -0.0949, 1e7]), st.floats(-30, 30, width=32))
RULES = ("loyal", "cart_abandoners", "r3")


def near(text: bytes, value: float) -> bool:
    """Four decimals, of the nearest such number."""
    whole, _, part = text.partition(b".")
    assert len(part) == 4 and whole.lstrip(b"-").isdigit()
    return abs(float(text) - float(np.float32(value))) <= 0.0000501 + 1e-7 * abs(value)


@settings(deadline=None)
@given(INTS)
def test_integers_are_written_in_decimal(value: int) -> None:
    """All of 64 bits but the smallest, which no count and no time is."""
    out = np.zeros(32, np.uint8)
    end = resp.put_int(out, 3, np.int64(value))
    assert out[3:end].tobytes() == str(value).encode() and not out[end:].any()


@settings(deadline=None)
@given(st.one_of(SCORES, st.sampled_from([-0.00001, 0.00005, 0.99995, 0.99999, 1e9])))
def test_numbers_are_written_with_four_decimals(value: float) -> None:
    """To the nearest; what rounds to nothing has no sign."""
    out = np.zeros(40, np.uint8)
    end = resp.put_fixed(out, 0, np.float32(value))
    text = out[:end].tobytes()
    assert near(text, value) and text != b"-0.0000"


REASONS = kernels.rule_texts(kernels.REASONS)


def context_told(band: int, device: int | None, texts: list[str]) -> str:
    """How a context is told; the names of devices 8 and 9 nobody knows."""
    hours = [f"{3 * band - 3:02d}-{3 * band:02d}"] if band else []
    parts = hours + ([texts[device]] if device is not None and device < 8 else [])
    return "context:" + "/".join(parts) if parts else "popular"


@st.composite
def shoppers(draw: st.DrawFn) -> dict[str, object]:
    erased = draw(st.booleans())
    return {
        "id": draw(TEXTS).encode(),
        "event_ts": draw(INTS),
        "version": draw(st.integers(0, 2**62)),
        "acts": draw(st.integers(0, 3)),
        "fresh": draw(st.booleans()),
        "erased": erased,
        "rules": draw(st.integers(0, 2 ** len(RULES) - 1)),
        "segment": draw(st.sampled_from([-1, -1, 0, 7, 123_456])),
        "macro": draw(st.integers(-1, 30)),
        "band": draw(st.integers(0, BANDS)),
        "device": draw(st.sampled_from([None, *range(10)])),
        "margin": draw(st.floats(0, 1, width=32)),
        "purchase": draw(CHANCES),
        "churn": draw(CHANCES),
        "model": draw(st.integers(0, 2**31 - 1)),
        "other": draw(st.sampled_from([-1, 0, 8, 123_457])),
        "why": [[draw(st.integers(0, DIMENSIONS - 1)) for _ in range(WHY_LENGTH)] for _ in EXPLAINED],
        "why_by": [[draw(AMOUNTS) for _ in range(WHY_LENGTH)] for _ in EXPLAINED],
        "list": draw(
            st.one_of(
                st.none(),
                st.lists(
                    st.tuples(
                        st.integers(0, 9), SCORES, st.sampled_from([None, *range(10)]), st.integers(0, len(RUNGS) - 1)
                    ),
                    max_size=LIST_LENGTH,
                ),
            )
        ),
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(shoppers(), max_size=6), st.lists(TEXTS, min_size=10, max_size=10), st.data(), st.booleans())
def test_records_are_the_fields_that_were_meant(
    people: list[dict[str, object]], texts: list[str], data: st.DataObject, small: bool
) -> None:
    """Ids with quotes, controls, line ends, of 128 bytes; unknown names; no scores; any order; little room."""
    names = Names()
    known = {n: names.learn(text) for n, text in enumerate(texts[:8])}  # the last two are names nobody knows
    hashes = [known.get(n, 2**63 + n) for n in range(10)]
    profiles, scores = np.zeros(len(people), PROFILE), np.zeros(len(people), SCORE)
    lists = [np.zeros((len(people), LIST_LENGTH), t) for t in (np.uint64, np.float32, np.uint64)]
    counts, rungs, ids = np.zeros(len(people), np.uint8), np.zeros(len(people), np.uint64), b""
    for k, told in enumerate(people):
        for name in ("event_ts", "version", "acts", "fresh", "erased", "rules"):
            profiles[k][name] = told[name]
        profiles[k]["band"] = told["band"]
        profiles[k]["device"] = 0 if told["device"] is None else hashes[told["device"]]
        profiles[k]["user_at"], profiles[k]["user_len"] = len(ids), len(told["id"])
        ids += told["id"]
        for name in SCORE.names or ():
            scores[k][name] = told[name]
        for place, (item, score, because, rung) in enumerate(told["list"] or []):
            lists[0][k, place], lists[1][k, place] = hashes[item], score
            lists[2][k, place] = 0 if because is None else because if rung == SEGMENT else hashes[because]
            rungs[k] |= np.uint64(rung << RUNG_BITS * place)
        counts[k] = len(told["list"] or [])
    who = np.array(data.draw(st.permutations(range(len(people)))), np.int32)
    list_rows = np.array([-1 if told["list"] is None else k for k, told in enumerate(people)], np.int32)
    starts, per_user = np.zeros(len(who) + 1, np.int64), np.zeros(len(who), np.int32)
    scratch = np.empty(48 * 1024, np.uint8)
    room = 1 if small else 400_000
    constants, rules = Keys("shop:", 7).record_texts(), kernels.rule_texts(RULES)
    while True:
        out = np.full(room, 35, np.uint8)
        written = kernels.write_records(
            who, profiles, np.frombuffer(ids, np.uint8), scores, (*lists, counts, rungs), list_rows, *constants, rules,
            (names.slots, names.hashes, names.starts, names.arena), REASONS, scratch, out, starts, per_user,
        )  # fmt: skip
        if written == len(who):
            break
        assert written < len(who)
        assert (out[starts[written] :] == 35).all(), "nothing is written behind the last whole shopper"
        room = room * 2 + 1000
    for i, k in enumerate(who.tolist()):
        told = people[k]
        found = commands(out[starts[i] : starts[i + 1]].tobytes())
        assert len(found) == per_user[i]
        hold(found, told, texts, b"shop:user:" + told["id"])


def hold(found: list[list[bytes]], told: dict[str, object], texts: list[str], key: bytes) -> None:
    """The commands of one shopper against what was told of them."""
    if told["erased"] or told["fresh"]:
        assert found.pop(0) == [b"DEL", key]
    if told["erased"] and not told["acts"]:
        assert not found
        return
    assert found.pop() == [b"EXPIRE", key, b"7"]
    ((at, fields),) = map(hset, found)
    assert at == key
    assert fields.pop("event_ts") == str(told["event_ts"]).encode()
    assert fields.pop("version") == str(told["version"]).encode()
    if told["segment"] >= 0:
        assert fields.pop("segment") == b"s%d" % told["segment"]
        assert fields.pop("macro") == b"m%d" % told["macro"]
        assert near(fields.pop("margin"), told["margin"])
        assert fields.pop("model") == b"%d" % told["model"]
    for name, score in (("purchase_propensity", told["purchase"]), ("churn_risk", told["churn"])):
        if not math.isnan(score):
            assert near(fields.pop(name), score)
    known = [told["segment"] >= 0, not math.isnan(told["purchase"]), not math.isnan(told["churn"])]
    if any(known):
        why = json.loads(fields.pop("why"))
        assert why.pop("next", None) == (f"s{told['other']}" if known[0] and told["other"] >= 0 else None)
        assert list(why) == [name for name, is_known in zip(EXPLAINED, known, strict=True) if is_known]
        for name, parts in why.items():
            place = EXPLAINED.index(name)
            amounts = [float(np.float32(amount)) for amount in told["why_by"][place]]
            wanted = list(itertools.takewhile(lambda amount: abs(amount) > 0.0050001, amounts))
            assert [feature for feature, _ in parts] == [
                MODEL_FEATURES[j] for j, _ in zip(told["why"][place], wanted, strict=False)
            ]
            assert [amount for _, amount in parts] == pytest.approx(wanted, abs=0.0050001, rel=1e-6)
    if told["list"] is not None:
        listed = json.loads(fields.pop("recs"))
        wanted = [entry for entry in told["list"] if entry[0] < 8]
        assert [entry[0] for entry in listed] == [texts[item] for item, *_ in wanted]
        for (_, score, because), (_, score_told, because_told, rung) in zip(listed, wanted, strict=True):
            assert abs(score - float(np.float32(score_told))) <= 0.000051 + 1e-7 * abs(score_told)
            if rung == SEGMENT:
                assert because == f"segment:s{because_told or 0}"
            elif rung == CONTEXT:
                assert because == context_told(told["band"], told["device"], texts)
            elif because_told is not None and because_told < 8:
                assert because == ("category:" if rung == CATEGORY else "") + texts[because_told]
            else:
                assert because == "popular"
    rules = [name for k, name in enumerate(RULES) if int(str(told["rules"])) >> k & 1]
    assert (json.loads(fields.pop("rules")), fields.pop("variants")) == (rules, b"{}")
    assert not fields


def test_the_longest_list_has_room() -> None:
    """Twenty items of 128 control characters each, because of as long ones: what the scratch buffer is made for."""
    names = Names()
    hashes = np.array([names.learn(chr(1) * 126 + f"{n:02d}") for n in range(40)], np.uint64)
    out = np.full(48 * 1024, 35, np.uint8)
    directory = (names.slots, names.hashes, names.starts, names.arena)
    scores = np.full(20, -12345.6789, np.float32)
    for rung in (CATEGORY, CONTEXT):
        out[:] = 35
        rungs = np.uint64(sum(rung << RUNG_BITS * k for k in range(20)))
        end = kernels.put_list(
            out, 0, hashes[:20], scores, hashes[20:], 20, rungs, np.uint8(BANDS), hashes[39], directory, REASONS
        )
        listed = json.loads(out[:end].tobytes())
        assert [entry[0][-2:] for entry in listed] == [f"{n:02d}" for n in range(20)]
        assert listed[19][1] == pytest.approx(-12345.6789, abs=0.001) and (out[end:] == 35).all()


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200), st.data())
def test_bytes_are_copied_between_their_bounds(before: bytes, data: bytes, draw: st.DataObject) -> None:
    """Any span to any place, an empty one too; nothing beside it is touched."""
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, len(data)))
    out = np.full(len(before) + len(data) + 1, 35, np.uint8)
    at = resp.put(out, len(before), np.frombuffer(data, np.uint8), start, end)
    assert at == len(before) + end - start
    assert out.tobytes() == b"#" * len(before) + data[start:end] + b"#" * (len(out) - at)


CHANGES = st.tuples(
    st.integers(0, 3),
    st.integers(0, len(TRANSITION_KINDS) - 1),
    st.sampled_from([-1, 0, 1, 2]),
    st.sampled_from([-1, 0, 1, 2]),
    st.one_of(st.integers(-(2**62), 2**62), st.integers(0, 2 * 10**12)),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(CHANGES.filter(lambda change: change[1] != TRIGGER or change[3] >= 0), max_size=8),
    st.lists(st.tuples(st.integers(0, 2**64 - 1), TEXTS), min_size=4, max_size=4),
    st.sampled_from([("loyal", "cart_abandoners", "r3"), ("é" * 64, "a", "b")]),
)
def test_transitions_are_the_entries_that_were_meant(
    changes: list[tuple[int, int, int, int, int]], shoppers: list[tuple[int, str]], rules: tuple[str, ...]
) -> None:
    """Every kind, left or entered, at any time; ids as they come. No entry has more bytes than room is made for."""
    people = [(user, text.encode()) for user, text in shoppers]
    profiles = np.zeros(len(people), PROFILE)
    profiles["user"] = [user for user, _ in people]
    profiles["user_len"] = [len(user_id) for _, user_id in people]
    profiles["user_at"] = np.cumsum([0, *profiles["user_len"][:-1]])
    ids = np.frombuffer(b"".join(user_id for _, user_id in people), np.uint8)
    texts = entries.EntryTexts.of("shop:transitions", 500, rules)
    out, scratch = np.full(len(changes) * texts.room, 35, np.uint8), np.empty(texts.room, np.uint8)
    end = entries.write_transitions(np.array(changes, TRANSITION), profiles, ids, texts, scratch, out)
    assert out[:end].tobytes() == entries.transitions_reference(changes, people, "shop:transitions", 500, rules)
    assert (out[end:] == 35).all()
