"""Rules of segments over the features of many shoppers: a stack machine over small programs.

Shoppers are taken in blocks, and each step of the program is done for a whole block before the next: what a step costs
beyond its arithmetic is then shared by BLOCK shoppers, and the loops are ones that the compiler can vectorise. A truth
is 0 (false), 1 (unknown) or 2 (true), so that AND is the lesser, OR the greater, NOT 2 - x (Kleene's logic, as in SQL).
The plain reference is `operators.rules.plain.evaluate_reference`; programs are made by `operators.rules.programs`.
"""

from __future__ import annotations

import numpy as np

from state.compiled import kernel

BLOCK = 128
"""Shoppers taken through the program at a time; the stacks of a block stay in the cache nearest to the core."""

STACK_MAX = 64
"""Room of each of the two stacks, of numbers and of truths."""

COLUMN, CONSTANT, POINTS, NEGATE, NULL_IF, ADD, SUBTRACT, MULTIPLY, DIVIDE = range(9)
COMPARE, COMPARE_COLUMN, IS_NULL, TEXT_IN, TEXT_IS_NULL, FIXED, NOT, AND, OR, SCORE, MEMBER = range(9, 20)

LESS, EQUAL, GREATER = 1, 2, 4
"""What a comparison accepts; a sum of them."""


@kernel
def compare(x, y, accepted, truths):
    """truths[i] = is x[i] to y[i] (float64) as `accepted` says? Unknown where one is nan."""
    less, equal, greater = accepted & 1, (accepted >> 1) & 1, (accepted >> 2) & 1
    for i in range(len(truths)):
        a, b = x[i] < y[i], x[i] == y[i]
        c = x[i] > y[i]
        truths[i] = 1 - (a | b | c) + 2 * ((a & less) | (b & equal) | (c & greater))


@kernel
def evaluate(code, constants, hashes, numbers, texts, out, points):
    """Who is in which segment, and the points of every score.

    code int32[m, 4]: steps of operation and three arguments; constants float64[c]; hashes uint64[h]: what it refers to.
    numbers float64[n, k]: numeric features, nan for NULL; texts uint64[n, t]: hashes of text features, 0 for NULL.
    out uint8[n, rules] is filled with 1 where a rule is true; points float64[n, scores] with points. All C-contiguous.
    Nothing is checked here: a program has to be one of `operators.rules.programs`, with arrays of its widths.
    """
    n = out.shape[0]
    values = np.empty((STACK_MAX, BLOCK), np.float64)
    truths = np.empty((STACK_MAX, BLOCK), np.int8)
    constant = np.empty(BLOCK, np.float64)
    for first in range(0, n, BLOCK):
        size = min(BLOCK, n - first)
        rows, words = numbers[first : first + size], texts[first : first + size]
        members, scores = out[first : first + size], points[first : first + size]
        scores[:] = 0.0
        v = 0  # how many numbers are on their stack
        t = 0  # how many truths
        for step in range(code.shape[0]):
            operation, a, b, c = code[step, 0], code[step, 1], code[step, 2], code[step, 3]
            if operation == COMPARE_COLUMN:
                x = values[v, :size]
                for i in range(size):
                    x[i] = rows[i, a]
                constant[:size] = constants[b]
                compare(x, constant, c, truths[t, :size])
                t += 1
            elif operation == AND:
                t -= 1
                p, q = truths[t - 1, :size], truths[t, :size]
                for i in range(size):
                    p[i] = min(p[i], q[i])
            elif operation == OR:
                t -= 1
                p, q = truths[t - 1, :size], truths[t, :size]
                for i in range(size):
                    p[i] = max(p[i], q[i])
            elif operation == NOT:
                p = truths[t - 1, :size]
                for i in range(size):
                    p[i] = 2 - p[i]
            elif operation == SCORE:
                t -= 1
                p = truths[t, :size]
                for i in range(size):
                    scores[i, a] += constants[b] if p[i] == 2 else 0.0
            elif operation == MEMBER:
                t -= 1
                p = truths[t, :size]
                for i in range(size):
                    members[i, a] = p[i] == 2
            elif operation == TEXT_IN:
                p = truths[t, :size]
                for i in range(size):
                    word = words[i, a]
                    found = 1 if word == 0 else 0
                    for k in range(b, c):
                        if word == hashes[k]:
                            found = 2
                    p[i] = found
                t += 1
            elif operation == TEXT_IS_NULL:
                p = truths[t, :size]
                for i in range(size):
                    p[i] = 2 if words[i, a] == 0 else 0
                t += 1
            elif operation == COLUMN:
                x = values[v, :size]
                for i in range(size):
                    x[i] = rows[i, a]
                v += 1
            elif operation == CONSTANT:
                values[v, :size] = constants[b]
                v += 1
            elif operation == POINTS:
                x = values[v, :size]
                for i in range(size):
                    x[i] = scores[i, a]
                v += 1
            elif operation == COMPARE:
                v -= 2
                compare(values[v, :size], values[v + 1, :size], c, truths[t, :size])
                t += 1
            elif operation == IS_NULL:
                v -= 1
                x, p = values[v, :size], truths[t, :size]
                for i in range(size):
                    p[i] = 0 if x[i] == x[i] else 2
                t += 1
            elif operation == FIXED:
                truths[t, :size] = a
                t += 1
            elif operation == NEGATE:
                x = values[v - 1, :size]
                for i in range(size):
                    x[i] = -x[i]
            elif operation == NULL_IF:
                x = values[v - 1, :size]
                for i in range(size):
                    if x[i] == constants[b]:
                        x[i] = np.nan
            else:
                v -= 1
                x, y = values[v - 1, :size], values[v, :size]
                for i in range(size):
                    if operation == ADD:
                        x[i] += y[i]
                    elif operation == SUBTRACT:
                        x[i] -= y[i]
                    elif operation == MULTIPLY:
                        x[i] *= y[i]
                    else:
                        x[i] = x[i] / y[i] if y[i] != 0.0 else np.nan


@kernel
def _truth(x, y, accepted):
    """Is x to y as `accepted` says? Unknown where one is nan."""
    if x < y:
        return 2 * (accepted & 1)
    if x == y:
        return accepted & EQUAL
    if x > y:
        return (accepted & GREATER) >> 1
    return 1


@kernel
def evaluate_one(code, constants, hashes, numbers, texts, places, points, values, truths):
    """What `evaluate` says of one shopper, as a set of bits (uint64): the bit places[r] where rule r is true.

    numbers float64[k], texts uint64[t] of the shopper, places int64[rules], points float64[scores] to be filled; values
    float64[STACK_MAX] and truths int64[STACK_MAX] are written to. A step costs less here than in a block of one.
    """
    points[:] = 0.0
    found = np.uint64(0)
    v = t = 0
    for step in range(code.shape[0]):
        operation, a, b, c = code[step, 0], code[step, 1], code[step, 2], code[step, 3]
        if operation == COMPARE_COLUMN:
            truths[t] = _truth(numbers[a], constants[b], c)
            t += 1
        elif operation == AND:
            t -= 1
            truths[t - 1] = min(truths[t - 1], truths[t])
        elif operation == OR:
            t -= 1
            truths[t - 1] = max(truths[t - 1], truths[t])
        elif operation == NOT:
            truths[t - 1] = 2 - truths[t - 1]
        elif operation == SCORE:
            t -= 1
            points[a] += constants[b] if truths[t] == 2 else 0.0
        elif operation == MEMBER:
            t -= 1
            if truths[t] == 2:
                found |= np.uint64(1) << np.uint64(places[a])
        elif operation == TEXT_IN:
            truths[t] = 1 if texts[a] == 0 else 0
            for k in range(b, c):
                if texts[a] == hashes[k]:
                    truths[t] = 2
            t += 1
        elif operation == TEXT_IS_NULL:
            truths[t] = 2 if texts[a] == 0 else 0
            t += 1
        elif operation == FIXED:
            truths[t] = a
            t += 1
        elif operation == COMPARE:
            v -= 2
            truths[t] = _truth(values[v], values[v + 1], c)
            t += 1
        elif operation == IS_NULL:
            v -= 1
            truths[t] = 2 if np.isnan(values[v]) else 0
            t += 1
        else:
            v = _calculate(operation, a, b, constants, numbers, points, values, v)
    return found


@kernel
def _calculate(operation, a, b, constants, numbers, points, values, v):
    """A step that only changes the stack of numbers, of which there are v; how many there are after it."""
    if operation == COLUMN:
        values[v] = numbers[a]
        return v + 1
    if operation == CONSTANT:
        values[v] = constants[b]
        return v + 1
    if operation == POINTS:
        values[v] = points[a]
        return v + 1
    if operation == NEGATE:
        values[v - 1] = -values[v - 1]
        return v
    if operation == NULL_IF:
        if values[v - 1] == constants[b]:
            values[v - 1] = np.nan
        return v
    x, y = values[v - 2], values[v - 1]
    if operation == ADD:
        x += y
    elif operation == SUBTRACT:
        x -= y
    elif operation == MULTIPLY:
        x *= y
    else:
        x = x / y if y != 0.0 else np.nan
    values[v - 2] = x
    return v - 1
