"""Refused records on disk: every line can be read again, and the file has a bound."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.dead_letters import DeadLetterFile, encode
from state.batches import REASONS, DeadLetter, DeadLetters

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LETTERS = st.builds(
    DeadLetter,
    st.sampled_from(REASONS),
    TEXT,
    TEXT,
    TEXT,
    st.integers(0, 500),
    st.integers(0, 2**63 - 1),
    st.binary(max_size=60),
)


@settings(deadline=None)
@given(LETTERS)
def test_a_letter_is_one_line_of_json(letter: DeadLetter) -> None:
    """With all its fields; the record as text where it is text, else its bytes as well."""
    line = encode(letter)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    told = json.loads(line)
    for name in ("reason", "path", "detail", "source", "partition", "offset"):
        assert told.pop(name) == getattr(letter, name)
    raw = told.pop("raw")
    assert base64.b64decode(told.pop("raw_base64")) == letter.raw if told else raw.encode() == letter.raw
    assert not told


def letters(first: int, count: int) -> DeadLetters:
    return DeadLetters([DeadLetter("bad_json", "", "no", "clicks", 1, first + n, b"x" * 30) for n in range(count)])


def offsets(path: Path) -> list[int]:
    return [json.loads(line)["offset"] for line in path.read_text().splitlines()]


def test_a_full_file_becomes_the_older_one(tmp_path: Path) -> None:
    """Two files hold the newest letters, in order, without a gap; neither is much longer than the bound."""
    path = tmp_path / "letters" / "dead.jsonl"
    file = DeadLetterFile(path, 1000)
    size = len(encode(letters(0, 1).letters[0]))
    for n in range(0, 100, 5):
        file.write([letters(n, 2), letters(n + 2, 3)])
        kept = offsets(path)
        if path.with_name("dead.jsonl.1").exists():
            kept = offsets(path.with_name("dead.jsonl.1")) + kept
        assert kept == list(range(kept[0], n + 5)), "flushed at once, in order"
        assert path.stat().st_size < 1000 + 5 * (size + 3)
    file.close()
    assert sorted(p.name for p in path.parent.iterdir()) == ["dead.jsonl", "dead.jsonl.1"]
    file.close()


def test_a_restart_appends_and_rotates_where_it_left_off(tmp_path: Path) -> None:
    """What stands in the file counts towards its bound; nothing is made before there is a letter."""
    path = tmp_path / "dead.jsonl"
    DeadLetterFile(path, 300).write([])
    DeadLetterFile(path, 300).write([DeadLetters([])])
    assert not path.exists()
    for n in range(4):
        file = DeadLetterFile(path, 300)
        file.write([letters(n, 1)])
        file.close()
    assert offsets(tmp_path / "dead.jsonl.1") == [0, 1, 2] and offsets(path) == [3]
