"""Keys and packed commands."""

from __future__ import annotations

import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from redis._parsers import Encoder
from redis.connection import PythonRespSerializer

from operators.kernels import redis_commands as commands
from state.redis_keys import Keys, pack

WORDS = st.lists(
    st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.integers()), min_size=1, max_size=8
)


@settings(deadline=None)
@given(WORDS)
def test_packed_commands_are_those_of_the_client_library(words: list[str | bytes | int]) -> None:
    """Byte for byte what redis-py would send, for texts, bytes with line ends in them, and integers."""
    encoder = Encoder("utf-8", "strict", False)
    # The library takes "a b" in the first place for two words; we never do.
    expected = PythonRespSerializer(6000, encoder.encode).pack(b"X", *words)
    assert pack(b"X", *words) == b"".join(expected)
    assert issubclass(redis.ResponseError, redis.RedisError)


def test_keys_are_those_of_the_interface() -> None:
    """Under the prefix that is configured."""
    keys = Keys()
    assert keys.user("ann") == "coterie:user:ann"
    assert (keys.segments, keys.transitions, keys.meta) == ("coterie:segments", "coterie:transitions", "coterie:meta")
    assert (keys.popular(), keys.popular("s7")) == ("coterie:popular:all", "coterie:popular:s7")
    assert Keys("shop2:").user("ann") == "shop2:user:ann"


def test_record_texts_stand_where_the_kernel_looks() -> None:
    """The constants of a record's commands, by the kernel's numbers: bulk strings, but for the prefix."""
    texts, bounds = Keys("p:", 77).record_texts()
    found = {
        name: texts[bounds[number] : bounds[number + 1]].tobytes()
        for name, number in vars(commands).items()
        if name.startswith("T_")
    }
    assert len(found) == len(bounds) - 1
    assert found.pop("T_PREFIX") == b"p:user:"
    words = {name: word.split(b"\r\n")[1].decode() for name, word in found.items()}
    assert found == {name: pack(word).removeprefix(b"*1\r\n") for name, word in words.items()}
    assert words == {
        "T_HSET": "HSET",
        "T_DEL": "DEL",
        "T_EXPIRE": "EXPIRE",
        "T_SEGMENT": "segment",
        "T_MACRO": "macro",
        "T_MARGIN": "margin",
        "T_PURCHASE": "purchase_propensity",
        "T_CHURN": "churn_risk",
        "T_WHY": "why",
        "T_RECS": "recs",
        "T_EVENT_TS": "event_ts",
        "T_VERSION": "version",
        "T_MODEL": "model",
        "T_RULES": "rules",
        "T_VARIANTS": "variants",
        "T_NO_VARIANTS": "{}",
        "T_TTL": "77",
    }
