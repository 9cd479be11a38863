"""Names: several processes share a directory, and every one of them ends up with the same texts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.hashing import hash_text
from state.names import Names

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.fixture(autouse=True)
def files_are_closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names keep their file open as long as the process lives; here the process ends with the test."""
    opened, make = list[Names](), Names.__init__

    def make_and_note(self: Names, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        opened.append(self)

    monkeypatch.setattr(Names, "__init__", make_and_note)
    yield
    for names in opened:
        if names._file:
            names._file.close()


def learn_spans(names: Names, texts: list[str], hashes: list[int] | None = None) -> None:
    """What the decoder does: hand the texts over as spans of a buffer."""
    encoded = [b"??" + text.encode() for text in texts]
    ends = np.cumsum([len(e) for e in encoded])
    lengths = np.array([len(e) - 2 for e in encoded], np.int64)
    hashes = hashes or [hash_text(text) for text in texts]
    buffer = np.frombuffer(b"".join(encoded), np.uint8)
    names.learn_spans(buffer, np.array(hashes, np.uint64), ends - lengths, lengths)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.lists(TEXTS, max_size=8)), max_size=12))
def test_two_processes_learn_each_other_names(steps: list[tuple[int, bool, list[str]]]) -> None:
    """After publish and refresh each knows all texts, with quotes, escapes and controls as they were."""
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        both = [Names(directory, 0), Names(directory, 1)]
        known: list[set[str]] = [set(), set()]
        for who, spans, texts in steps:
            if spans:
                learn_spans(both[who], texts)
            else:
                assert [both[who].learn(t) for t in texts] == [hash_text(t) for t in texts]
            known[who] |= set(texts)
            both[who].publish()
            both[1 - who].refresh()
            known[1 - who] |= known[who]
            for names, expected in zip(both, known, strict=True):
                assert len(names) == len(expected)
                assert {names.text(hash_text(t)) for t in expected} == expected
                assert {json.loads(names.literal(hash_text(t))) for t in expected} == expected
        for names in both:
            names.flush()
        reader = Names.reading(directory)
        assert len(reader) == len(known[0] | known[1])
        again = Names(directory, 0)
        assert {again.text(hash_text(t)) for t in known[0]} == known[0]
        lines = [line for p in directory.iterdir() for line in p.read_bytes().splitlines()]
        assert len(lines) == len(set(lines)), "a name that was read from another is not written once more"


def test_names_outgrow_their_first_room(tmp_path: Path) -> None:
    """Twenty thousand names of any length keep their places."""
    names = Names(tmp_path)
    texts = [f"{'x' * (n % 97)}-{n}" for n in range(20_000)]
    learn_spans(names, texts[:11_000])
    for text in texts[11_000:]:
        names.learn(text)
    names.flush()
    for n in range(0, 20_000, 37):
        assert names.text(hash_text(texts[n])) == texts[n]
    assert names.find(hash_text("never")) == -1
    assert names.literal(hash_text("never")) == b"null" and names.text(hash_text("never")) is None
    assert len(Names.reading(tmp_path)) == 20_000
    assert names.nbytes >= names.arena.nbytes


def test_a_torn_last_line_is_forgotten_and_written_over(tmp_path: Path) -> None:
    """A crash in the middle of a write leaves half a line: nobody reads it, and the next start cuts it off."""
    names = Names(tmp_path, 3)
    names.learn("whole")
    names.flush()
    path = tmp_path / "names-003.jsonl"
    with path.open("ab") as file:
        file.write(b'"hal')
    other = Names(tmp_path, 4)
    assert len(other) == 1
    again = Names(tmp_path, 3)
    assert path.read_bytes() == b'"whole"\n'
    again.learn("half")
    again.publish()
    other.refresh()
    assert other.text(hash_text("half")) == "half" and path.read_bytes() == b'"whole"\n"half"\n'


def test_a_line_that_is_still_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    """A reader that comes in between reads the line later, and once."""
    reader = Names(tmp_path, 0)
    path = tmp_path / "names-001.jsonl"
    path.write_bytes(b'"one"\n"tw')
    reader.refresh()
    assert len(reader) == 1
    with path.open("ab") as file:
        file.write(b'o"\n')
    reader.refresh()
    reader.refresh()
    assert len(reader) == 2 and reader.text(hash_text("two")) == "two"


def test_past_the_bound_new_names_are_refused_and_counted(tmp_path: Path) -> None:
    """The bound holds for what is learnt and for what is read; known names stay."""
    names = Names(tmp_path, 0, names_max=3)
    for text in ("a", "b", "c", "d", "a"):
        names.learn(text)
    assert len(names) == 3 and names.refused == 1
    assert names.text(hash_text("d")) is None and names.text(hash_text("a")) == "a"
    names.flush()
    assert (tmp_path / "names-000.jsonl").read_bytes() == b'"a"\n"b"\n"c"\n'
    small = Names(tmp_path, 1, names_max=2)
    assert len(small) == 2 and small.refused == 1


def test_the_first_text_of_a_hash_stands_and_the_second_is_counted(tmp_path: Path) -> None:
    """Two texts of one hash that are met together: `collisions` tells."""
    names = Names(tmp_path)
    learn_spans(names, ["first", "second"], [77, 77])
    assert names.text(77) == "first"
    assert names.collisions == 1


def test_none_is_no_name(tmp_path: Path) -> None:
    """Hash 0 is passed over; a name stays in memory alone where there is no directory."""
    names = Names()
    learn_spans(names, ["", "x"], [0, 5])
    names.publish(), names.flush(), names.refresh()
    assert len(names) == 1 and names.text(5) == "x" and not list(tmp_path.iterdir())


def test_what_was_learnt_is_in_the_file_after_a_flush(tmp_path: Path) -> None:
    """`flush` is what a journal waits for: every name stands in the file when it returns."""
    names = Names(tmp_path)
    names.learn("one")
    names.publish()
    assert (tmp_path / "names-000.jsonl").read_bytes() == b'"one"\n'
    names.learn("two")
    names.flush()
    assert (tmp_path / "names-000.jsonl").read_bytes() == b'"one"\n"two"\n'
