"""The rules that the settings name segments by, as the steps take them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson

from flows.settings import ConfigurationError, Settings, read_toml
from operators.catalogue import RuleCard
from operators.profile_rules import PlacedRules
from operators.rules.durations import span_text
from operators.rules.errors import RuleError
from operators.rules.read import Rule
from operators.rules.ruleset import Ruleset
from operators.rules.tree import condition_text
from state.store import Store


def ruleset(settings: Settings) -> Ruleset:
    """The rules that the settings name segments by."""
    return Ruleset.of(settings.segments, settings.events.custom_names, settings.events.context_names)


def read_rules_file(settings: Settings, path: Path) -> Ruleset:
    """The rules of the [segments] tables of a TOML file, for the same shop. Raises ConfigurationError."""
    told = read_toml(path)
    if "segments" not in told:
        raise ConfigurationError(f"{path}: there is no [segments] table; add one, such as [segments.loyal]")
    try:
        return Ruleset.of(told["segments"], settings.events.custom_names, settings.events.context_names)
    except RuleError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def rules_digest(settings: Settings) -> str:
    """What all rules say, and what their features are counted by, in short: other rules, another digest."""
    shop = settings.shop
    counted = settings.events.context_names, shop.session_gap_minutes, shop.timezone
    said = orjson.dumps([list(settings.segments.items()), counted], default=str)
    return hashlib.sha256(said).hexdigest()


def placed_rules(settings: Settings, store: Store) -> PlacedRules:
    """The rules at their places in a state directory that knows them."""
    rules = ruleset(settings)
    return PlacedRules(rules, tuple(store.rules.index(name) for name in rules.names), store.rules_version)


def rule_cards(placed: PlacedRules) -> list[RuleCard]:
    """What a person is told of each rule."""
    rules = placed.ruleset.rules.by_name
    return [RuleCard(name, place, says(rules[name])) for name, place in zip(rules, placed.places, strict=True)]


def says(rule: Rule) -> str:
    """A rule as its condition reads; of a score, its parts with their points."""
    if rule.sequence is not None:
        stuck = f", stuck at {rule.sequence.stuck_at}" if rule.sequence.stuck_at else ""
        return f"{rule.sequence.text} within {span_text(rule.sequence.within_ms)}{stuck}"
    parts = ", ".join(f"{condition_text(part.condition)}: {part.points:g}" for part in rule.score)
    return f"{condition_text(rule.condition)} ({parts})" if parts else condition_text(rule.condition)
