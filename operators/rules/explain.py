"""Why a shopper is in a segment or not: the clauses of its rule with the values they met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.rules.plain import Features, truth, with_scores
from operators.rules.read import Rules
from operators.rules.tree import Condition, Leaf, Not, clause_text, clauses, condition_text, leaves


def explain(rules: Rules, name: str, features: Features) -> list[dict[str, Any]]:
    """The clauses of the rule of segment `name`, in the order of writing, for one shopper's features by name.

    Each is {"clause": "purchases_7d >= 3", "value": 4, "holds": True}. `value` is that of the feature the clause asks
    for, or with several {name: value}, or None; `holds` is None where NULL leaves it unknown. A clause under a NOT is
    told as its opposite. Of a score each condition is one entry, with "points": those it gives where it holds; the last
    entry is that the points reach the bound. At most as many as a condition can have, plus one for each of a score.
    """
    rule = rules.by_name[name]
    known = with_scores(rules, features)
    told = [
        {**_entry(condition_text(part.condition), part.condition, known), "points": part.points} for part in rule.score
    ]
    for clause, negated in clauses(rule.condition):
        told.append(_entry(clause_text(clause, negated), Not(clause) if negated else clause, known))
    return told


def _entry(text: str, condition: Condition, known: Mapping[str, Any]) -> dict[str, Any]:
    names = dict.fromkeys(map(_name, leaves(condition)))
    values = {name: known.get(name) for name in names}
    value = next(iter(values.values())) if len(values) == 1 else values or None
    return {"clause": text, "value": value, "holds": truth(condition, known)}


def _name(leaf: Leaf) -> str:
    return leaf.name
