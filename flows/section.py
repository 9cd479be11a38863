"""What a table of settings is."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Annotated, Any, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Options = dict[str, bool | int | float | str]
Words = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(max_length=256)]


def refuse(text: str) -> PydanticCustomError:
    """An error whose text follows the value that was found."""
    return PydanticCustomError("refused", "{text}", {"text": text})


def refuse_unknown(name: str, known: Sequence[str]) -> PydanticCustomError:
    """An error for a list or table that holds a name which is none of those known, with the nearest one."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return refuse(f'holds "{name}", which is none of {", ".join(known)}{hint}')


class Section(BaseModel):
    """A table of settings. Lists may be given as text with commas, tables as JSON text, as the environment must."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _from_text(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        kind = get_origin(annotation) or annotation
        if kind in (int, float) and isinstance(value, bool):
            raise PydanticCustomError("int_type" if kind is int else "float_type", "not a number")
        if kind is tuple and isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        if kind is dict and isinstance(value, str):
            try:
                return json.loads(value)
            except json.JSONDecodeError as error:
                raise refuse("is not a JSON object") from error
        return value
