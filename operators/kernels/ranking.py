"""From the neighbours of a shopper's last items to one list: weigh, merge, leave out what was just seen, fill up.

An item's score is the sum, over the shopper's last items, of its score beside each times the weight of that one's place
in the history; of what it is beside the neighbours of the current item, times what those are beside it: two steps of a
walk; and of the weight of coming back, where it is one of the last items itself. Sources: weighted item-based scoring
over the recent session, Ludewig and Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018);
walks over co-visits, Baluja et al., "Video suggestion and discovery for YouTube" (WWW 2008); coming back, Anderson et
al., "The dynamics of repeat consumption" (WWW 2014).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from operators.kernels.remembered import REMEMBERED_NEIGHBOURS
from state.batches import LIST_LENGTH, NEIGHBOURS, RECENT_ITEMS
from state.compiled import kernel

RECENT_FETCHED = 4
"""For how many of a shopper's last items the neighbours are asked."""

SLOT_WEIGHTS = np.array([0.5**slot for slot in range(RECENT_FETCHED)], np.float32)
"""What the neighbours of the newest item, the one before, ... count."""

SLOT_NEIGHBOURS = np.array([NEIGHBOURS >> slot for slot in range(RECENT_FETCHED)])
"""How many of the neighbours of the newest item, the one before, ... are taken, best first."""

WALKS = 4
"""From how many of the current item's best neighbours a second step is made, where their rows are remembered."""

WALK_WEIGHT = np.float32(1.0)
"""What a second step counts."""

RETURN_WEIGHTS = np.array([0.5] + [0.15 * 0.8**slot for slot in range(RECENT_ITEMS - 1)], np.float32)
"""What speaks for the newest item (where it may stand in a list), the one before, ... to come next once more, in shares
of a row of neighbours."""

LEAVE_OUT_CURRENT = 1
"""`leave_out`: only the newest item stays out of the list; what was seen before it may come back."""

LEAVE_OUT_RECENT = RECENT_ITEMS
"""`leave_out`: none of the last items is shown."""

RUNGS = ("neighbours", "second_step", "coming_back", "popular")
"""Where a listed item came from: the neighbours of the last items, a second step, what was looked at before, or what
is popular. Of several the one that gave most to its score."""

BESIDE, SECOND_STEP, COMING_BACK, POPULAR = range(len(RUNGS))

RUNG_BITS = 2
"""The rungs of a list are one uint64: of place k the bits from RUNG_BITS * k on."""

_GIFTS = int(SLOT_NEIGHBOURS.sum()) + WALKS * REMEMBERED_NEIGHBOURS + RECENT_ITEMS  # at most: 100
_SLOTS = 256  # of the table of candidates
_SLOT_MASK = np.uint64(_SLOTS - 1)


@kernel
def _listed(hashes, n, wanted):
    """Is `wanted` one of the first n hashes?"""
    found = False
    for k in range(n):
        found |= hashes[k] == wanted
    return found


@kernel
def rank(
    items,
    scores,
    counts,
    recent,
    recent_n,
    leave_out,
    remembered,
    popular,
    popular_scores,
    out_items,
    out_scores,
    because,
    out_n,
    out_rungs,
):
    """Make each shopper's list of at most LIST_LENGTH items, best first; equal scores by hash.

    Of n shoppers: `items` uint64[n, RECENT_FETCHED, NEIGHBOURS], `scores` float32 likewise and `counts`
    uint8[n, RECENT_FETCHED] are the neighbours of each of the last items, best first (count 0: none); `recent`
    uint64[n, RECENT_ITEMS] and `recent_n` uint8[n] the last items, newest first, of which the first `leave_out` stay
    out of the list. A last item that stands there twice counts at its newest place only. `remembered` REMEMBERED[rows]
    are the neighbours of other items, as far as they are known. `popular` uint64[m] and `popular_scores` float32[m],
    best first, fill the list up: such an item's score is its share of all of `popular_scores`, but never above that of
    the item before it.

    Written: `out_items` uint64[n, LIST_LENGTH], `out_scores` float32 likewise, `because` uint64 likewise (the last item
    that gave most to the score, itself if it is one that comes back; 0: it is popular), `out_n` uint8[n], `out_rungs`
    uint64[n] (one of RUNGS for each place, RUNG_BITS each); places past out_n are 0.
    """
    gift_items = np.empty(_GIFTS, np.uint64)
    gifts = np.empty(_GIFTS, np.float32)
    gift_sources = np.empty(_GIFTS, np.int64)  # rung * RECENT_ITEMS + slot
    # The table of candidates, by open addressing; emptied after each shopper.
    keys = np.zeros(_SLOTS, np.uint64)
    sums = np.empty(_SLOTS, np.float32)
    most = np.empty(_SLOTS, np.float32)
    reason = np.empty(_SLOTS, np.int64)
    used = np.empty(_GIFTS, np.int64)
    best_items = np.empty(LIST_LENGTH, np.uint64)
    best_scores = np.empty(LIST_LENGTH, np.float32)
    best_sources = np.empty(LIST_LENGTH, np.int64)
    places = np.uint64(len(remembered) - 1)
    popular_total = np.float32(0.0)
    for p in range(len(popular)):
        popular_total += popular_scores[p]

    for n in range(len(out_n)):
        last, known = recent[n], recent_n[n]
        given = 0
        for slot in range(min(RECENT_FETCHED, known)):
            if _listed(last, slot, last[slot]):
                continue
            for k in range(min(counts[n, slot], SLOT_NEIGHBOURS[slot])):
                gift_items[given] = items[n, slot, k]
                gifts[given] = scores[n, slot, k] * SLOT_WEIGHTS[slot]
                gift_sources[given] = BESIDE * RECENT_ITEMS + slot
                given += 1
        if known > 0:
            for k in range(min(WALKS, counts[n, 0])):
                r = items[n, 0, k] & places
                if remembered[r].item == items[n, 0, k]:
                    share = scores[n, 0, k] * WALK_WEIGHT
                    for j in range(REMEMBERED_NEIGHBOURS):
                        other = remembered[r].items[j]
                        if other != 0 and other != last[0]:
                            gift_items[given] = other
                            gifts[given] = share * remembered[r].scores[j]
                            gift_sources[given] = SECOND_STEP * RECENT_ITEMS
                            given += 1
        for slot in range(min(leave_out, known), known):
            if not _listed(last, slot, last[slot]):
                gift_items[given] = last[slot]
                gifts[given] = RETURN_WEIGHTS[slot]
                gift_sources[given] = COMING_BACK * RECENT_ITEMS + slot
                given += 1

        candidates = 0
        for g in range(given):
            item, gift = gift_items[g], gifts[g]
            s = item & _SLOT_MASK
            while keys[s] != 0 and keys[s] != item:
                s = (s + np.uint64(1)) & _SLOT_MASK
            if keys[s] == 0:
                keys[s] = item
                sums[s] = gift
                most[s] = gift
                reason[s] = gift_sources[g]
                used[candidates] = s
                candidates += 1
            else:
                sums[s] += gift
                if gift > most[s]:
                    most[s] = gift
                    reason[s] = gift_sources[g]

        left_out = min(leave_out, known)
        size = 0
        for c in range(candidates):
            s = used[c]
            item, score = keys[s], sums[s]
            keys[s] = 0
            if size == LIST_LENGTH and score < best_scores[LIST_LENGTH - 1]:
                continue
            if _listed(last, left_out, item):
                continue
            at = min(size, LIST_LENGTH - 1)
            if size == LIST_LENGTH and score == best_scores[at] and best_items[at] < item:
                continue
            while at > 0:
                above = best_scores[at - 1]
                if above > score or (above == score and best_items[at - 1] < item):
                    break
                best_scores[at] = above
                best_items[at] = best_items[at - 1]
                best_sources[at] = best_sources[at - 1]
                at -= 1
            best_scores[at] = score
            best_items[at] = item
            best_sources[at] = reason[s]
            size = min(size + 1, LIST_LENGTH)
        rungs = np.uint64(0)
        for k in range(size):
            out_items[n, k] = best_items[k]
            out_scores[n, k] = best_scores[k]
            because[n, k] = last[best_sources[k] % RECENT_ITEMS]
            rungs |= np.uint64(best_sources[k] // RECENT_ITEMS) << np.uint64(RUNG_BITS * k)

        for p in range(len(popular)):
            if size == LIST_LENGTH:
                break
            item = popular[p]
            if _listed(out_items[n], size, item) or _listed(last, left_out, item):
                continue
            score = popular_scores[p] / popular_total if popular_total > 0 else np.float32(0.0)
            if size > 0:
                score = min(score, out_scores[n, size - 1])
            out_scores[n, size] = score
            out_items[n, size] = item
            because[n, size] = 0
            rungs |= np.uint64(POPULAR) << np.uint64(RUNG_BITS * size)
            size += 1

        out_n[n] = size
        out_rungs[n] = rungs
        for k in range(size, LIST_LENGTH):
            out_items[n, k] = 0
            out_scores[n, k] = 0.0
            because[n, k] = 0


def rank_reference(
    neighbours: Sequence[Sequence[tuple[int, float]]],
    recent: Sequence[int],
    leave_out: int,
    remembered: Mapping[int, Sequence[tuple[int, float]]],
    popular: Sequence[tuple[int, float]],
) -> list[tuple[int, float, int, int]]:
    """The plain reference of `rank` for one shopper: (item, score, because, rung), of (item, score) by place in
    `recent`."""
    given: dict[int, list[tuple[np.float32, int, int]]] = {}
    for slot, pairs in enumerate(neighbours[: min(RECENT_FETCHED, len(recent))]):
        if recent[slot] not in recent[:slot]:
            for item, score in pairs[: SLOT_NEIGHBOURS[slot]]:
                given.setdefault(item, []).append((np.float32(score) * SLOT_WEIGHTS[slot], recent[slot], BESIDE))
    for item, score in neighbours[0][:WALKS] if recent else ():
        for other, further in remembered.get(item, ()):
            if other != recent[0]:
                step = np.float32(score) * WALK_WEIGHT * np.float32(further)
                given.setdefault(other, []).append((step, recent[0], SECOND_STEP))
    for slot, item in enumerate(recent):
        if slot >= leave_out and item not in recent[:slot]:
            given.setdefault(item, []).append((RETURN_WEIGHTS[slot], item, COMING_BACK))
    out_of_list = set(recent[:leave_out])
    merged = [
        (item, sum((gift[0] for gift in gifts), np.float32(0.0)), *max(gifts, key=lambda gift: gift[0])[1:])
        for item, gifts in given.items()
        if item not in out_of_list
    ]
    merged = sorted(merged, key=lambda entry: (-entry[1], entry[0]))[:LIST_LENGTH]
    total = sum((np.float32(s) for _, s in popular), np.float32(0.0))
    for item, score in popular:
        if len(merged) < LIST_LENGTH and item not in out_of_list and all(item != entry[0] for entry in merged):
            share = np.float32(score) / total if total > 0 else np.float32(0.0)
            merged.append((item, min(share, merged[-1][1]) if merged else share, 0, POPULAR))
    return [(item, float(score), reason, rung) for item, score, reason, rung in merged]
