"""Reads one condition: SQL as sqlglot parses it, of which only what a rule can mean is let through, and types checked.

Everything else is refused by its name, with the place and the remedy. Nothing of the text is ever run.
"""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError

from operators.rules.errors import RuleError
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
    figure,
)
from operators.rules.vocabulary import Vocabulary

CHARACTERS_MAX = 2_000
"""The longest condition."""

NESTING_MAX = 48
"""How deep parentheses, NOT and chains of arithmetic may go; kernels have room for so much."""

IN_VALUES_MAX = 64
"""The most values behind an IN."""

_COMPARISONS: dict[type[Any], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_TURNED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARITHMETIC: dict[type[Any], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}
_FOLD = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_BOOLEAN = (*_COMPARISONS, exp.Between, exp.In, exp.Is, exp.Not, exp.And, exp.Or, exp.Boolean)
_NAMES: dict[type[Any], str] = {
    exp.Case: "CASE",
    exp.If: "IF",
    exp.Select: "a query",
    exp.Subquery: "a query",
    exp.Exists: "EXISTS",
    exp.Star: "*",
    exp.DPipe: "||",
    exp.Mod: "%",
    exp.IntDiv: "DIV",
    exp.Null: "NULL",
    exp.Placeholder: "a placeholder",
    exp.Parameter: "a parameter",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM",
}
_ALLOWED = "a condition is made of AND, OR, NOT, comparisons, BETWEEN, IN, IS NULL, + - * / and NULLIF"
_NESTED = f"is nested too deeply; at most {NESTING_MAX} levels, divide it into several segments or a score"


def parse_condition(text: object, place: str, vocabulary: Vocabulary) -> Condition:
    """The tree of a condition such as "purchases_7d >= 3 AND hour_6_9_share > 0.5".

    Raises RuleError, one line that begins with `place`, for whatever is no condition over the names of `vocabulary`,
    is longer than CHARACTERS_MAX or nested deeper than NESTING_MAX.
    """
    if not isinstance(text, str):
        raise RuleError(place, f'{text!r} is not text; write a condition such as "purchases_7d >= 3"')
    if not text.strip():
        raise RuleError(place, 'is empty; write a condition such as "purchases_7d >= 3"')
    if len(text) > CHARACTERS_MAX:
        told = f"is {len(text):,} characters long, at most {CHARACTERS_MAX:,}"
        raise RuleError(place, f"{told}; divide it into several segments or a score")
    try:
        return _Reader(place, vocabulary).condition(_parsed(text, place), 0)
    except RecursionError as error:
        raise RuleError(place, _NESTED) from error


def _parsed(text: str, place: str) -> exp.Expr:
    warnings = logging.getLogger("sqlglot")
    was_disabled, warnings.disabled = warnings.disabled, True  # what it warns of is refused here, in one line
    try:
        return sqlglot.parse_one(text, into=exp.Condition)
    except ParseError as error:
        raise RuleError(place, f"{_syntax(error)}; {_ALLOWED}") from error
    except RecursionError:
        raise
    except Exception as error:  # the tokenizer, and on broken text the parser, end with whatever error comes first
        quote = next((q for q in "'\"" if text.count(q) % 2), None)  # it ran to the end looking for the other one
        told = f"the {quote} at column {text.rindex(quote) + 1} is never closed" if quote else "is not SQL"
        raise RuleError(place, f"{told}; {_ALLOWED}") from error
    finally:
        warnings.disabled = was_disabled


def _syntax(error: ParseError) -> str:
    """What the parser stumbled over, and where."""
    if not error.errors:
        return "is not a condition"
    first = error.errors[0]
    highlight, description = f'"{first.get("highlight")}"', str(first.get("description"))
    if description.startswith("Expecting"):
        told = f"{description[0].lower()}{description[1:]} after {highlight}"
    elif description.startswith("Required"):
        told = f"something is missing after {highlight}"
    else:
        told = f"{highlight} is not expected"
    return f"{told} at {_where(first)}"


def _where(error: dict[str, Any]) -> str:
    """Where an error begins, from 1 on; sqlglot counts to the end of the word it stumbled over."""
    column = max(1, int(error["col"]) - len(str(error.get("highlight") or "x")) + 1)
    return f"column {column}" if error["line"] == 1 else f"line {error['line']}, column {column}"


class _Reader:
    """Walks the parser's tree for one condition; `depth` is how far down a node lies."""

    def __init__(self, place: str, vocabulary: Vocabulary) -> None:
        self._place = place
        self._vocabulary = vocabulary

    def condition(self, node: exp.Expr, depth: int) -> Condition:
        """A node that has to be true or false."""
        node = self._bare(node, depth)
        if isinstance(node, exp.And | exp.Or):
            parts = tuple(self.condition(part, depth + 1) for part in _chain(node))
            return And(parts) if isinstance(node, exp.And) else Or(parts)
        if isinstance(node, exp.Not):
            return Not(self.condition(node.this, depth + 1))
        if isinstance(node, exp.Boolean):
            return Fixed(bool(node.this))
        sign = _COMPARISONS.get(type(node))
        if sign is not None:
            return self._comparison(sign, node.this, node.expression, depth)
        if isinstance(node, exp.Between):
            return self._between(node, depth)
        if isinstance(node, exp.In):
            return self._in(node, depth)
        if isinstance(node, exp.Is):
            return self._is(node, depth)
        if isinstance(node, exp.Column):
            name = self._name(node)
            return self._refuse(f'"{name}" alone is no condition; compare it, as in {name} > 0')
        if isinstance(node, exp.Literal | exp.Neg | exp.Nullif | exp.Add | exp.Sub | exp.Mul | exp.Div):
            return self._refuse(f"{_shown(node)} alone is no condition; compare it with something")
        return self._unknown(node)

    def number(self, node: exp.Expr, depth: int) -> Numeric:
        """A node that has to be a number."""
        node = self._bare(node, depth)
        if isinstance(node, exp.Literal):
            return self._literal(node)
        if isinstance(node, exp.Column):
            return self._number_of(self._name(node))
        if isinstance(node, exp.Neg):
            of = self.number(node.this, depth + 1)
            return Constant(-of.value) if isinstance(of, Constant) else Negative(of)
        if isinstance(node, exp.Nullif):
            value = self.number(node.expression, depth + 1)
            if not isinstance(value, Constant):
                self._refuse(f"{_shown(node)}: the second value of NULLIF has to be a number, as in NULLIF(x, 0)")
            return NullIf(self.number(node.this, depth + 1), value.value)
        sign = _ARITHMETIC.get(type(node))
        if sign is not None:
            return self._arithmetic(sign, node, depth)
        if isinstance(node, _BOOLEAN):
            return self._refuse(f"{_shown(node)} is true or false, where a number is wanted; join conditions with AND")
        return self._unknown(node)

    def _comparison(self, sign: str, left: exp.Expr, right: exp.Expr, depth: int) -> Condition:
        left, right = self._bare(left, depth), self._bare(right, depth)
        if isinstance(left, exp.Null) or isinstance(right, exp.Null):
            self._refuse("a comparison with NULL is never true; write IS NULL or IS NOT NULL")
        if _is_text(left) or isinstance(left, exp.Boolean):
            left, right, sign = right, left, _TURNED[sign]
        if self._kind(left) == "text" or _is_text(right):
            text = self._text(left, right)
            if sign not in ("=", "<>"):
                self._refuse(f'"{text.name}" is compared with text, which {sign} cannot; use =, <>, IN or IS NULL')
            equal = TextIn(text, (str(right.this),))
            return equal if sign == "=" else Not(equal)
        if isinstance(right, exp.Boolean):
            if self._kind(left) != "attribute" or sign not in ("=", "<>"):
                self._refuse(f"{_shown(left)} {sign} {_shown(right)}: only an attribute can be = or <> TRUE or FALSE")
            return Compare(sign, Number(self._name(left)), Constant(float(right.this), boolean=True))
        one, other = self.number(left, depth + 1), self.number(right, depth + 1)
        if _is_attribute(one) and _is_attribute(other):
            self._refuse(f"two attributes have no known type; compare {_shown(left)} with a number or text")
        return Compare(sign, one, other)

    def _between(self, node: exp.Expr, depth: int) -> Condition:
        if node.args.get("symmetric"):
            self._refuse("BETWEEN SYMMETRIC is not known here; write the lower bound first")
        for one in (node.this, node.args["low"], node.args["high"]):
            if self._kind(one) == "text" or _is_text(one):
                self._refuse(f"{_shown(one)} is text, which BETWEEN cannot compare; use =, <>, IN or IS NULL")
        of, low, high = (self.number(one, depth + 1) for one in (node.this, node.args["low"], node.args["high"]))
        if isinstance(low, Constant) and isinstance(high, Constant) and low.value > high.value:
            told = f"BETWEEN {figure(low.value)} AND {figure(high.value)} holds no number"
            self._refuse(f"{told}; write the lesser one first")
        return Between(of, low, high)

    def _in(self, node: exp.Expr, depth: int) -> Condition:
        if node.args.get("query") is not None:
            self._refuse(f"a query is not known here; {_ALLOWED}")
        values = [self._bare(value, depth) for value in node.expressions]
        if not 0 < len(values) <= IN_VALUES_MAX:
            self._refuse(f"IN with {len(values)} values; give 1 to {IN_VALUES_MAX}")
        left = self._bare(node.this, depth)
        if any(_is_text(value) for value in values) or self._kind(left) == "text":
            texts = [self._text(left, value) for value in sorted(values, key=_is_text, reverse=True)]
            return TextIn(texts[0], tuple(dict.fromkeys(str(value.this) for value in values)))
        numbers = [self.number(value, depth + 1) for value in values]
        literals = [number.value for number in numbers if isinstance(number, Constant)]
        if len(literals) != len(numbers):
            self._refuse(f"{_shown(node)}: only literals can stand behind IN; compare features with = and OR")
        return In(self.number(left, depth + 1), tuple(dict.fromkeys(literals)))

    def _is(self, node: exp.Expr, depth: int) -> Condition:
        if not isinstance(node.expression, exp.Null):
            self._refuse(f"IS {_shown(node.expression)} is not known here; write = {_shown(node.expression)}")
        of = self._bare(node.this, depth)
        kind = self._kind(of)
        if kind == "text":
            return IsNull(Text(self._name(of)))
        if kind == "attribute":
            return IsNull(Attribute(self._name(of)))
        return IsNull(self.number(of, depth + 1))

    def _arithmetic(self, sign: str, node: exp.Expr, depth: int) -> Numeric:
        left, right = self.number(node.this, depth + 1), self.number(node.expression, depth + 1)
        if sign == "/":
            guarded = isinstance(right, NullIf) and right.value == 0
            if not guarded and not (isinstance(right, Constant) and right.value != 0):
                divisor = _shown(node.expression)
                self._refuse(
                    f"{_shown(node)}: division by a window that may be empty; write NULLIF({divisor}, 0), with which"
                    f" the comparison is not true where {divisor} is 0"
                    if not isinstance(right, Constant)
                    else f"{_shown(node)}: division by 0; divide by another number"
                )
        if isinstance(left, Constant) and isinstance(right, Constant):
            value = float(_FOLD[sign](left.value, right.value))
            if math.isfinite(value):
                return Constant(value)
            self._refuse(f"{_shown(node)} is out of range; use smaller numbers")
        return Arithmetic(sign, left, right)

    def _literal(self, node: exp.Expr) -> Constant:
        if node.is_string:
            self._refuse(f"{_shown(node)} is text, where a number is wanted; write numbers without quotes")
        try:
            value = float(node.this)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._refuse(f"{node.this} is not a finite number; use a smaller one")
        return Constant(value)

    def _number_of(self, name: str) -> Number:
        kind = self._vocabulary.kind(name, self._place)
        if kind == "text":
            self._refuse(f"\"{name}\" is text, where a number is wanted; compare it with a text, as in {name} = '...'")
        return Number(name, 0.0 if kind == "share" else None)

    def _text(self, left: exp.Expr, right: exp.Expr) -> Text:
        """The text feature or attribute on the left, which is compared with the text on the right."""
        kind = self._kind(left)
        if kind == "text" and not _is_text(right):
            self._kind(right)  # a name in double quotes is refused as such
            self._refuse(
                f"\"{self._name(left)}\" is text and can only be compared with a text, as in '{_shown(right)}'"
            )
        if kind == "attribute" and not _is_text(right):
            self._refuse(f'"{self._name(left)}" is compared with texts and with {_shown(right)}; give one kind of them')
        if _is_text(left):
            self._refuse(f"{_shown(left)} and {_shown(right)} are both texts; compare a feature with one of them")
        if kind not in ("text", "attribute"):
            self._refuse(f"{_shown(left)} is a number, {_shown(right)} is text; write numbers without quotes")
        return Text(self._name(left))

    def _kind(self, node: exp.Expr) -> str | None:
        """What a column is; None for whatever is no column."""
        node = node.unnest()
        return self._vocabulary.kind(self._name(node), self._place) if isinstance(node, exp.Column) else None

    def _name(self, node: exp.Expr) -> str:
        """The name of a column that is known."""
        if node.args.get("table") is not None:
            self._refuse(f'"{node.sql()}" names a table; write the feature alone: {node.name}')
        if isinstance(node.this, exp.Star):
            self._unknown(node.this)
        name = str(node.name)
        try:
            self._vocabulary.kind(name, self._place)
        except RuleError as error:
            if node.this.args.get("quoted"):
                self._refuse(f"{error.text}; a text stands in single quotes: '{name}'")
            raise
        return name

    def _bare(self, node: exp.Expr, depth: int) -> exp.Expr:
        """A node without the parentheses around it."""
        while isinstance(node, exp.Paren):
            node, depth = node.this, depth + 1
        if depth > NESTING_MAX:
            self._refuse(_NESTED)
        return node

    def _unknown(self, node: exp.Expr) -> NoReturn:
        if isinstance(node, exp.Boolean):
            self._refuse(f"{_shown(node)} stands where a number is wanted; compare numbers with numbers")
        name = _NAMES.get(type(node))
        if name is None:
            if isinstance(node, exp.Anonymous):
                name = f"the function {node.name}"
            elif isinstance(node, exp.Func) and not isinstance(node, exp.Cast):
                name = f"the function {node.sql_name()}"
            else:
                name = node.key.upper()
        self._refuse(f"{name} is not known here; {_ALLOWED}")

    def _refuse(self, text: str) -> NoReturn:
        raise RuleError(self._place, text)


def _chain(node: exp.Expr) -> Sequence[exp.Expr]:
    """What a chain of the same AND or OR joins, in the order of writing; the parser nests it to the left."""
    parts: list[exp.Expr] = []
    kind, one = type(node), node
    while type(one) is kind:
        parts.append(one.expression)
        one = one.this
    parts.append(one)
    return parts[::-1]


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and bool(node.is_string)


def _is_attribute(number: Numeric) -> bool:
    return isinstance(number, Number) and number.name.startswith("attribute_")


def _shown(node: exp.Expr) -> str:
    """A piece of the condition in one short line."""
    if isinstance(node, exp.Literal) and not node.is_string:
        return str(node.this)
    try:
        text = " ".join(str(node.sql(comments=False)).split())
    except ValueError:  # a node that no SQL can be made of
        return node.key.upper()
    return text if len(text) <= 80 else text[:77] + "..."
