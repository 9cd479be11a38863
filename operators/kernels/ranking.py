"""From the neighbours of a shopper's last items to one list: weigh, merge, leave out what was just seen, fill up.

An item's score is the sum, over the shopper's last items, of its score beside each times the weight of that one's place
in the history; of what it is beside the neighbours of the current item, times what those are beside it: two steps of a
walk; and of the weight of coming back, where it is one of the last items itself. Sources: weighted item-based scoring
over the recent session, Ludewig and Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018);
walks over co-visits, Baluja et al., "Video suggestion and discovery for YouTube" (WWW 2008); coming back, Anderson et
al., "The dynamics of repeat consumption" (WWW 2014).

The rules of a shop (`operators.kernels.list_rules`) multiply scores, down to 0 for what is not to be listed, and bound
the items of one category: of those the best stand in the list, and what comes after them by score in the places of the
others. What the goods tell of an item, by a miss of the cache each, is looked up of those alone whose score reaches
into the list. That the best stay, whatever order candidates come in, is a property of matroids: who is not among the
best of some is not among the best of more.

What is then free the ladder fills up (`operators.kernels.ladder`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from operators.kernels.candidates import (
    CANDIDATE,
    GIFT,
    GIFTS_MAX,
    RECENT_FETCHED,
    SLOT_NEIGHBOURS,
    SLOTS,
    WALKS,
    add_up,
    gather,
    listed,
)
from operators.kernels.gate import RULED_SLOTS, Gate, factor_of, last_of, lay_out_ruled
from operators.kernels.goods import slot_of
from operators.kernels.ladder import climb, total_of
from operators.kernels.list_rules import RULED
from state.batches import LIST_LENGTH, RECENT_ITEMS
from state.compiled import borrowed, inlined, kernel
from state.profile_table import UNAVAILABLE
from state.rungs import BESIDE, COMING_BACK, RUNG_BITS, SECOND_STEP


@inlined
def _best(table, used, candidates, last, left_out, gate):
    """Write the best LIST_LENGTH candidates that the `gate` Gate lets in to its `best`, best first, equal scores by
    hash, and free the table; how many. The first `left_out` of `last` are not among them."""
    size = 0
    best, limits = gate.best, gate.limits
    any_tired = gate.ruled[0] > 0
    to_look_up = limits[0] > 0 or limits[1] > 0
    for c in range(candidates):
        s = used[c]
        item, score = table[s].item, table[s].score
        table[s].item = 0
        if any_tired:
            factor = factor_of(gate.tired, item)
            if factor == 0:
                continue
            score *= factor
        if size == LIST_LENGTH and score < best[LIST_LENGTH - 1].score:
            continue
        if listed(last, left_out, item):
            continue
        at = min(size, LIST_LENGTH - 1)
        full = size == LIST_LENGTH
        category = np.uint32(0)
        if to_look_up:
            good = gate.goods[slot_of(gate.goods, item)]
            if good.available == UNAVAILABLE:
                continue
            if limits[1] > 0 and good.category != 0:
                category = good.category
                last_of_it = last_of(best, size, category, limits[1])
                if last_of_it >= 0:
                    at, full = last_of_it, True
        if full and (score < best[at].score or (score == best[at].score and best[at].item < item)):
            continue
        size += not full
        while at > 0:
            above = best[at - 1].score
            if above > score or (above == score and best[at - 1].item < item):
                break
            best[at].item = best[at - 1].item
            best[at].score = above
            best[at].source = best[at - 1].source
            best[at].category = best[at - 1].category
            at -= 1
        best[at].item = item
        best[at].score = score
        best[at].source = table[s].source
        best[at].category = category
    return size


@kernel
def rank(beside, last, who, weights, remembered, ladder, rules, lists):
    """Make each shopper's list of at most LIST_LENGTH items, best first; equal scores by hash.

    Of n shoppers: `beside` Beside and `last` Last, of which the first `leave_out` of `weights` WEIGHTS[1] stay out of
    the list. A last item that stands there twice counts at its newest place only. `remembered` REMEMBERED[rows] are the
    neighbours of other items, as far as they are known. `ladder` Ladder fills the list up, by `who` Shoppers: such an
    item's score is its share of all scores of its rung, but never above that of the item before it. `rules` Rules hold
    for all of them. Written: `lists` Lists.
    """
    gifts, used = np.empty(GIFTS_MAX, GIFT), np.empty(GIFTS_MAX, np.int64)
    table, best = np.zeros(SLOTS, CANDIDATE), np.empty(LIST_LENGTH, CANDIDATE)
    tired, tired_used = np.zeros(RULED_SLOTS, RULED), np.empty(RULED_SLOTS, np.int64)
    ruled = np.zeros(1, np.int64)
    gate = Gate(tired, ruled, rules.goods, rules.limits, best)
    beside, last, who, weights, remembered, ladder, lists = borrowed(
        (beside, last, who, weights, remembered, ladder, lists)
    )
    rules = borrowed(rules)
    popular_total = total_of(ladder.popular.scores, 0, len(ladder.popular.scores))
    for n in range(len(lists.counts)):
        recent, known = last.items[n], np.int64(last.known[n])
        given = gather(beside.items[n], beside.scores[n], beside.counts[n], recent, known, weights, remembered, gifts)
        candidates = add_up(gifts, given, table, used)
        left_out = min(weights[0].leave_out, known)
        start, end = rules.starts[n], rules.starts[n + 1]
        ruled[0] = lay_out_ruled(rules.ruled, start, end, tired, tired_used) if end > start else 0
        size = _best(table, used, candidates, recent, left_out, gate)
        rungs = np.uint64(0)
        for k in range(size):
            lists.items[n, k] = best[k].item
            lists.scores[n, k] = best[k].score
            lists.because[n, k] = recent[best[k].source % RECENT_ITEMS]
            rungs |= np.uint64(best[k].source // RECENT_ITEMS) << np.uint64(RUNG_BITS * k)
        lists.counts[n] = size
        lists.rungs[n] = rungs
        if size < LIST_LENGTH:
            climb(lists, n, who, ladder, popular_total, recent, left_out, gate)
        for i in range(ruled[0]):
            tired[tired_used[i]].item = 0
        for k in range(np.int64(lists.counts[n]), LIST_LENGTH):
            lists.items[n, k] = 0
            lists.scores[n, k] = 0.0
            lists.because[n, k] = 0


def rank_reference(
    neighbours: Sequence[Sequence[tuple[int, float]]],
    recent: Sequence[int],
    weights: np.ndarray,
    remembered: Mapping[int, Sequence[tuple[int, float]]],
    ladder: Sequence[tuple[int, Sequence[tuple[int, Sequence[tuple[int, float]]]]]],
    tried: int,
    factors: Mapping[int, float] = MappingProxyType({}),
    category_of: Mapping[int, int] = MappingProxyType({}),
    category_max: int = 0,
) -> list[tuple[int, float, int, int]]:
    """The plain reference of `rank` for one shopper: (item, score, because, rung), of (item, score) by place in
    `recent`; and of the rungs of the ladder as they apply to them, in order: (rung, [(because, [(item, score)])]).
    `factors` of items, 0 for those that are not to be listed; `category_of` those of which it is known."""
    w = weights[0]
    given: dict[int, list[tuple[np.float32, int, int]]] = {}
    for slot, pairs in enumerate(neighbours[: min(RECENT_FETCHED, len(recent))]):
        if recent[slot] not in recent[:slot]:
            for item, score in pairs[: SLOT_NEIGHBOURS[slot]]:
                given.setdefault(item, []).append((np.float32(score) * w["slots"][slot], recent[slot], BESIDE))
    for item, score in neighbours[0][:WALKS] if recent else ():
        for other, further in remembered.get(item, ()):
            if other != recent[0]:
                step = np.float32(score) * w["second_step"] * np.float32(further)
                given.setdefault(other, []).append((step, recent[0], SECOND_STEP))
    for slot, item in enumerate(recent):
        if slot >= w["leave_out"] and item not in recent[:slot]:
            given.setdefault(item, []).append((w["returns"][slot], item, COMING_BACK))
    candidates = [
        (
            item,
            np.float32(sum((g[0] for g in gifts), np.float32(0.0)) * np.float32(factors.get(item, 1.0))),
            *max(gifts, key=lambda g: g[0])[1:],
        )
        for item, gifts in given.items()
    ]
    laid: list[tuple[int, np.float32, int, int]] = []
    count: Counter[int] = Counter()
    out_of_list = {*recent[: w["leave_out"]], *(item for item, factor in factors.items() if factor == 0)}

    def lay(item: int, score: np.float32, reason: int, rung: int) -> bool:
        category = category_of.get(item, 0)
        if len(laid) == LIST_LENGTH or item in out_of_list or (category_max and count[category] >= category_max):
            return False
        laid.append((item, min(score, laid[-1][1]) if laid else score, reason, rung))
        out_of_list.add(item)
        count[category] += category != 0
        return True

    for candidate in sorted(candidates, key=lambda entry: (-entry[1], entry[0])):
        lay(*candidate)
    free = LIST_LENGTH - len(laid)
    trial = free // tried if tried else 0
    turns = [(k, free - (len(ladder) - 1) * trial if k == 0 else trial, False) for k in range(len(ladder))]
    whole = [(k, LIST_LENGTH, weary) for weary in (False, True) for k in range(len(ladder))]
    for k, most, weary in [*(turns if trial else ()), *whole]:
        rung, popular_lists = ladder[k]
        for reason, popular in popular_lists:
            total = sum((np.float32(s) for _, s in popular), np.float32(0.0))
            for item, score in popular:
                factor = np.float32(factors.get(item, 1.0))
                if most > 0 and (factor < 1) == weary:
                    share = np.float32(score) / total if total > 0 else np.float32(0.0)
                    most -= lay(item, np.float32(share * factor), reason, rung)
    return [(item, float(score), reason, rung) for item, score, reason, rung in laid]
