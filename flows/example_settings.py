"""Writes coterie.example.toml from the definitions of the settings: `python -m flows.example_settings`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from flows.settings import ENVIRONMENT_PREFIX, Settings

HEADING = """\
# Coterie's settings, each with its default. Copy what you change into coterie.toml.
#
# A setting can also come from the environment: [redis] url is COTERIE_REDIS__URL, lists are text with commas.
# A flag of the command line wins over the environment, the environment over the file.
"""
RULES = """\
# An empty one, [segments] alone, is no rules.
#
# where: a condition in SQL over the features that `coterie features` lists, with AND, OR, NOT, comparisons, BETWEEN,
# IN, IS NULL, + - * / and NULLIF. Texts stand in single quotes; what is divided by has to be a number or NULLIF(x, 0).
# Or score: conditions with points each, and at_least: from how many on a shopper is in it. Other rules may use the
# points as score_NAME. Or sequence: steps done in this order, such as ["view category = 'shoes'", "purchase"], within
# a time ("7d"); stuck_at: so many of them, and not the next. hold: a member stays until the condition has been false
# for so long ("90m", "1h", "7d").
# In the environment all of them are one JSON object. (COTERIE_SEGMENTS)
"""


def example() -> str:
    """Every setting with its description, bounds and default, as comments in TOML."""
    parts = [HEADING]
    for section, info in Settings.model_fields.items():
        if section == "segments":
            parts.append(_segments(str(info.description), info.default))
            continue
        kind = info.annotation
        if kind is None or kind.__doc__ is None:
            raise TypeError(f"section {section} has no description")
        parts.append(f"\n[{section}]\n# {kind.__doc__}\n")
        for name, field in kind.model_fields.items():
            variable = f"{ENVIRONMENT_PREFIX}{section}__{name}".upper()
            low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
            high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
            bounds = (
                "" if high is None else f" {low} to {high}." if low is not None else f" More than 0, at most {high}."
            )
            parts.append(f"\n# {field.description}{bounds} ({variable})\n#{name} = {_toml(field.default)}\n")
    return "".join(parts)


def _segments(description: str, rules: Mapping[str, Mapping[str, object]]) -> str:
    """The shipped rules, in force as they stand, for a table without them would be no rules at all."""
    parts = [f"\n# {description}\n{RULES}"]
    for name, rule in rules.items():
        parts.append(f"\n[segments.{name}]\n")
        parts += [f"{key} = {_inline(value)}\n" for key, value in rule.items()]
    return "".join(parts)


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return _toml(value)


def _toml(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.write(example())
