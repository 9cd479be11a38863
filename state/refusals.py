"""What is said of a record that is refused: a reason, the path of the field, what was found and what was expected."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from state.batches import KINDS

SHOWN_MAX = 60
"""Characters of a found value that a detail repeats."""


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why a record is refused: one of `state.batches.REASONS`, the path of the field, a sentence for a person."""

    reason: str
    path: str
    detail: str


def shown(value: Any) -> str:
    """A found value, cut where it is long."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "..."


def broken(record: bytes) -> Refusal | None:
    """The refusal of a record that is no JSON, None where it is: msgspec tells of the first fault it meets, and this is
    said before any fault of a field."""
    try:
        msgspec.json.decode(record, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError) as error:
        return no_json(error)
    return None


def no_json(error: Exception) -> Refusal:
    """What an error of reading says, as a refusal."""
    if isinstance(error, UnicodeDecodeError):
        found = f"bytes that are not UTF-8 at byte {error.start}"
    elif isinstance(error, RecursionError):
        found = "values nested too deeply"
    else:
        found = f"no valid JSON ({str(error).removeprefix('JSON is malformed: ')})"
    return Refusal("bad_json", "", f"found {found}; expected a JSON object in UTF-8")


_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_WRONG = re.compile(
    r"Expected `(?P<wanted>[^`]*)`(?:, got `(?P<found>[^`]*)`)?(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL
)
_OTHER = re.compile(r"(?P<text>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a bool",
    "null": "null",
    "array": "a list",
    "object": "an object",
}


def explained(message: str) -> Refusal:
    """msgspec's words for a record of the wrong shape, as a refusal."""
    missing = _MISSING.fullmatch(message)
    if missing:
        path = ".".join(part for part in (missing["path"], missing["field"]) if part)
        return Refusal("missing_field", path, f"found no field {missing['field']}; expected one")
    wrong = _WRONG.fullmatch(message)
    place = wrong or _OTHER.fullmatch(message)
    path = ((place and place["path"]) or "").replace("[...]", "")
    if path == "type":
        found = (
            "something that is not a string"
            if wrong
            else shown(message.removeprefix("Invalid value ").split(" - at ")[0].strip("'"))
        )
        return Refusal("unknown_type", "type", f"found {found}; expected one of {', '.join(KINDS)}")
    if not wrong:
        return Refusal(
            "bad_field",
            path,
            f"found a value that cannot be taken ({message.split(' - at ')[0]}); expected one in range",
        )
    found = _WORDS.get(wrong["found"] or "", "something else")
    if not path:
        return Refusal("bad_json", "", f"found {found}; expected a JSON object")
    wanted = " or ".join(_WORDS.get(word, word) for word in wrong["wanted"].split(" | ") if word != "null")
    return Refusal("bad_field", path, f"found {found}; expected {wanted}")
