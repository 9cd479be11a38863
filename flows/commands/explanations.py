"""Why a shopper is where they are, for `coterie show`: rules, the discovered segment, the propensities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flows.settings import Settings
from state.models import PropensityModel, SegmentModel

FEATURES_TOLD = 5
"""Of a segment or a propensity so many features are told, the strongest."""

_WANTED = 2.0
"""A propensity's smallest change is one that makes it so many times as great."""


def explain_rules(settings: Settings, features: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    """Why a shopper of these features meets the condition of each rule segment or not, and what would change that: by
    name {"met", "clauses", "change"}; "met" is None for a sequence, which does not follow from features. Whom a rule
    holds is in the segment without meeting it."""
    from flows.rules import ruleset, says
    from operators.rules.changes import smallest_change
    from operators.rules.explain import explain
    from operators.rules.plain import evaluate_reference

    rules = ruleset(settings).rules
    inside, _ = evaluate_reference(rules, features)
    told: dict[str, dict[str, Any]] = {}
    for name, rule in rules.by_name.items():
        if rule.sequence is not None:
            clause = {"clause": says(rule), "value": None, "holds": None}
            told[name] = {"met": None, "clauses": [clause], "change": None}
            continue
        change = smallest_change(rules, name, features)
        told[name] = {
            "met": inside[name],
            "clauses": explain(rules, name, features),
            "change": change.sentence if change else None,
        }
    return told


def explain_models(
    packed: Mapping[bytes, bytes], features: Mapping[str, object], segment: str
) -> dict[str, dict[str, Any]]:
    """By "segment" {"next", "margin", "pulls"}, "purchase" and "churn" {"propensity", "contributions", "change"}: what
    the models say of a shopper of these features, which count most, and of a propensity the smallest single change
    that would double it. Models that Redis does not have, or has otherwise than this version writes them, are left out.
    """
    from operators.explain_propensity import contributions, propensity_of
    from operators.explain_segment import pull
    from state.features import MODEL_FEATURES
    from state.models import unpack_model

    x = np.array([_number(features.get(name)) for name in MODEL_FEATURES], np.float32)
    told: dict[str, dict[str, Any]] = {}
    for name, text in ((name.decode(errors="replace"), text) for name, text in packed.items()):
        try:
            model = unpack_model(name, text)
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(model, SegmentModel):
            held = pull(model, x, int(segment[1:])) if segment[1:].isdigit() else None
            if held is not None:
                next_one = f"s{held.other}" if held.other >= 0 else None
                told["segment"] = {"next": next_one, "margin": held.margin, "pulls": held.features[:FEATURES_TOLD]}
        elif isinstance(model, PropensityModel) and len(model.mean) >= len(x):
            parts = [(feature, round(part, 4)) for feature, part in contributions(model, x)[:FEATURES_TOLD]]
            own = propensity_of(model, x)
            told[name] = {"propensity": own, "contributions": parts, "change": _change(model, x, own)}
    return told


def _change(model: PropensityModel, x: np.ndarray, own: float) -> str | None:
    from operators.explain_propensity import smallest_change

    change = smallest_change(model, x, min(_WANTED * own, 0.99))
    if change is None:
        return None
    return f"{change.sentence}: {own:.4f} becomes {change.propensity:.4f}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
