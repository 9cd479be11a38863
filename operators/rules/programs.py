"""Turns the trees of rules into one program for the kernel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.kernels import rules as k
from operators.rules.read import Rules
from operators.rules.tree import (
    And,
    Arithmetic,
    Attribute,
    Between,
    Compare,
    Condition,
    Constant,
    Fixed,
    In,
    IsNull,
    Negative,
    Not,
    NullIf,
    Number,
    Numeric,
    Or,
    Text,
    TextIn,
)
from state.hashing import hash_text

ACCEPTED = {
    "<": k.LESS,
    "<=": k.LESS | k.EQUAL,
    "=": k.EQUAL,
    ">=": k.GREATER | k.EQUAL,
    ">": k.GREATER,
    "<>": k.LESS | k.GREATER,
}
_ARITHMETIC = {"+": k.ADD, "-": k.SUBTRACT, "*": k.MULTIPLY, "/": k.DIVIDE}


class Programs(NamedTuple):
    """What the kernel runs: code int32[m, 4], constants float64[c], hashes uint64[h]; see `operators.kernels.rules`."""

    code: np.ndarray
    constants: np.ndarray
    hashes: np.ndarray


def compile_rules(rules: Rules, numbers: tuple[str, ...], texts: tuple[str, ...]) -> Programs:
    """One program for all rules: scores first, each behind those it uses, then the rules in their order.

    `numbers` and `texts` name the columns.
    """
    maker = _Maker(rules, numbers, texts)
    for s, rule in enumerate(rules.scored):
        for part in rule.score:
            maker.condition(part.condition)
            maker.step(k.SCORE, s, maker.constant(part.points))
    for r, rule in enumerate(rules.by_name.values()):
        maker.condition(rule.condition)
        maker.step(k.MEMBER, r)
    code = np.array(maker.code, np.int32).reshape(-1, 4)
    return Programs(code, np.array(list(maker.constants), np.float64), np.array(maker.hashes, np.uint64))


class _Maker:
    """A program as it grows."""

    def __init__(self, rules: Rules, numbers: tuple[str, ...], texts: tuple[str, ...]) -> None:
        self.code: list[tuple[int, int, int, int]] = []
        self.constants: dict[float, int] = {}
        self.hashes: list[int] = []
        self._numbers = {name: n for n, name in enumerate(numbers)}
        self._texts = {name: n for n, name in enumerate(texts)}
        self._scores = {rule.score_name: n for n, rule in enumerate(rules.scored)}

    def step(self, operation: int, a: int = 0, b: int = 0, c: int = 0) -> None:
        """Add a step."""
        self.code.append((operation, a, b, c))

    def constant(self, value: float) -> int:
        """The place of a constant; -0.0 is 0.0, which nothing here can tell apart."""
        return self.constants.setdefault(value, len(self.constants))

    def condition(self, node: Condition) -> None:
        """Steps that leave one truth on its stack."""
        match node:
            case Fixed(value):
                self.step(k.FIXED, 2 if value else 0)
            case Not(of):
                self.condition(of)
                self.step(k.NOT)
            case And(parts) | Or(parts):
                self._join([*parts], k.AND if isinstance(node, And) else k.OR)
            case Compare(sign, left, right):
                self._compare(sign, left, right)
            case Between(of, low, high):
                self._join([Compare(">=", of, low), Compare("<=", of, high)], k.AND)
            case In(of, values):
                self._join([Compare("=", of, Constant(value)) for value in values], k.OR)
            case TextIn(of, literals):
                first = len(self.hashes)
                self.hashes += map(hash_text, literals)
                self.step(k.TEXT_IN, self._texts[of.name], first, len(self.hashes))
            case IsNull(Text(name)):
                self.step(k.TEXT_IS_NULL, self._texts[name])
            case IsNull(Attribute(name)):
                self._join([IsNull(Text(name)), IsNull(Number(name))], k.AND)
            case IsNull(of) if not isinstance(of, Text | Attribute):
                self.number(of)
                self.step(k.IS_NULL)

    def _join(self, parts: list[Condition], operation: int) -> None:
        for n, part in enumerate(parts):
            self.condition(part)
            if n:
                self.step(operation)

    def _compare(self, sign: str, left: Numeric, right: Numeric) -> None:
        if isinstance(left, Number) and left.name in self._numbers and isinstance(right, Constant):
            self.step(k.COMPARE_COLUMN, self._numbers[left.name], self.constant(right.value), ACCEPTED[sign])
            return
        self.number(left)
        self.number(right)
        self.step(k.COMPARE, 0, 0, ACCEPTED[sign])

    def number(self, node: Numeric) -> None:
        """Steps that leave one number on its stack."""
        match node:
            case Constant(value):
                self.step(k.CONSTANT, 0, self.constant(value))
            case Number(name) if name in self._scores:
                self.step(k.POINTS, self._scores[name])
            case Number(name):
                self.step(k.COLUMN, self._numbers[name])
            case Negative(of):
                self.number(of)
                self.step(k.NEGATE)
            case NullIf(of, value):
                self.number(of)
                self.step(k.NULL_IF, 0, self.constant(value))
            case Arithmetic(sign, left, right):
                self.number(left)
                self.number(right)
                self.step(_ARITHMETIC[sign])
