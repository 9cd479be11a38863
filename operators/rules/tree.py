"""A condition as a tree of typed nodes: what the parser makes, and what programs, explanations and changes read.

A number is a Constant, Number, Negative, NullIf or Arithmetic; a condition is a Compare, Between, In, TextIn, IsNull or
Fixed (these are its clauses), or a Not, And, Or of conditions. A node knows nothing of any shopper.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Constant:
    """A number that was written, or a truth (1.0, 0.0) that an attribute is compared with."""

    value: float
    boolean: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric feature, attribute or score; `absent` is its value where a shopper has none (None: NULL)."""

    name: str
    absent: float | None = None


@dataclass(frozen=True, slots=True)
class Negative:
    """-x."""

    of: Numeric


@dataclass(frozen=True, slots=True)
class NullIf:
    """NULL where x is `value`, otherwise x."""

    of: Numeric
    value: float


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`operator` is one of + - * /; what is divided by is a constant other than 0, or a NullIf of 0."""

    operator: str
    left: Numeric
    right: Numeric


@dataclass(frozen=True, slots=True)
class Text:
    """A feature or attribute that is text."""

    name: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of any type: all that can be asked of it is whether there is one."""

    name: str


@dataclass(frozen=True, slots=True)
class Compare:
    """`operator` is one of = <> < <= > >=."""

    operator: str
    left: Numeric
    right: Numeric


@dataclass(frozen=True, slots=True)
class Between:
    """low <= x <= high."""

    of: Numeric
    low: Numeric
    high: Numeric


@dataclass(frozen=True, slots=True)
class In:
    """x is one of the numbers."""

    of: Numeric
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TextIn:
    """A text is one of the texts; with a single one: it equals it."""

    of: Text
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """There is no value."""

    of: Numeric | Text | Attribute


@dataclass(frozen=True, slots=True)
class Fixed:
    """TRUE or FALSE."""

    value: bool


@dataclass(frozen=True, slots=True)
class Not:
    """The other way round; unknown stays unknown."""

    of: Condition


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them."""

    parts: tuple[Condition, ...]


Numeric: TypeAlias = Constant | Number | Negative | NullIf | Arithmetic
Clause: TypeAlias = Compare | Between | In | TextIn | IsNull | Fixed
Condition: TypeAlias = Clause | Not | And | Or
Leaf: TypeAlias = Number | Text | Attribute

OPPOSITE = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def clauses(condition: Condition, negated: bool = False) -> Iterator[tuple[Clause, bool]]:
    """The clauses of a condition in the order of writing, each with whether it is the other way round in it."""
    if isinstance(condition, Not):
        yield from clauses(condition.of, not negated)
    elif isinstance(condition, And | Or):
        for part in condition.parts:
            yield from clauses(part, negated)
    else:
        yield condition, negated


def numerics(clause: Clause) -> tuple[Numeric, ...]:
    """The numbers that a clause asks for, constants among them."""
    if isinstance(clause, Compare):
        return clause.left, clause.right
    if isinstance(clause, Between):
        return clause.of, clause.low, clause.high
    if isinstance(clause, In):
        return (clause.of,)
    if isinstance(clause, IsNull) and not isinstance(clause.of, Text | Attribute):
        return (clause.of,)
    return ()


def inside(number: Numeric) -> Iterator[Numeric]:
    """A number and every number it is made of, in the order of writing."""
    yield number
    if isinstance(number, Negative | NullIf):
        yield from inside(number.of)
    elif isinstance(number, Arithmetic):
        yield from inside(number.left)
        yield from inside(number.right)


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Every mention of a feature, attribute or score in a condition, in the order of writing."""
    for clause, _ in clauses(condition):
        if isinstance(clause, TextIn | IsNull) and isinstance(clause.of, Text | Attribute):
            yield clause.of
        for number in numerics(clause):
            yield from (one for one in inside(number) if isinstance(one, Number))


def clause_text(clause: Clause, negated: bool = False) -> str:
    """A clause as one would write it, or its opposite."""
    no = "NOT " if negated else ""
    match clause:
        case Compare(operator, left, right):
            return f"{number_text(left)} {OPPOSITE[operator] if negated else operator} {number_text(right)}"
        case Between(of, low, high):
            return f"{number_text(of)} {no}BETWEEN {number_text(low)} AND {number_text(high)}"
        case In(of, values):
            return f"{number_text(of)} {no}IN ({', '.join(map(figure, values))})"
        case TextIn(of, (value,)):
            return f"{name_text(of.name)} {'<>' if negated else '='} {quoted(value)}"
        case TextIn(of, texts):
            return f"{name_text(of.name)} {no}IN ({', '.join(map(quoted, texts))})"
        case IsNull(of):
            asked = name_text(of.name) if isinstance(of, Text | Attribute) else number_text(of)
            return f"{asked} IS {no}NULL"
        case Fixed(value):
            return "TRUE" if value != negated else "FALSE"


def condition_text(condition: Condition) -> str:
    """A whole condition as one would write it."""
    match condition:
        case Not(of):
            inner = condition_text(of)
            return f"NOT ({inner})" if isinstance(of, And | Or) else f"NOT {inner}"
        case And(parts):
            return " AND ".join(f"({condition_text(p)})" if isinstance(p, Or) else condition_text(p) for p in parts)
        case Or(parts):
            return " OR ".join(map(condition_text, parts))
        case _:
            return clause_text(condition)


_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2}


def number_text(number: Numeric, binding: int = 0) -> str:
    """A number as one would write it, in parentheses where what stands around it binds stronger than `binding`."""
    match number:
        case Constant(value, boolean):
            return ("TRUE" if value else "FALSE") if boolean else figure(value)
        case Number(name):
            return name_text(name)
        case Negative(of):
            inner = number_text(of, 3)
            return f"-({inner})" if inner.startswith("-") else f"-{inner}"  # two in a row begin a comment
        case NullIf(of, value):
            return f"NULLIF({number_text(of)}, {figure(value)})"
        case Arithmetic(operator, left, right):
            own = _BINDING[operator]
            text = f"{number_text(left, own)} {operator} {number_text(right, own + 1)}"
            return f"({text})" if own < binding else text


def figure(value: float) -> str:
    """A number without needless digits."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def name_text(name: str) -> str:
    """A name as SQL takes it: in double quotes where it is more than letters, digits and underscores."""
    return name if name.isascii() and name.isidentifier() else '"' + name.replace('"', '""') + '"'
