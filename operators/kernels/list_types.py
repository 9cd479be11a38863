"""What goes into the ranking and what comes out of it, as tuples of arrays, which kernels take as they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.kernels.group_items import GroupItems
from state.batches import LIST_LENGTH
from state.models import ByCategory


class Beside(NamedTuple):
    """The neighbours of each of the last items of n shoppers, best first (count 0: none)."""

    items: np.ndarray
    """uint64[n, RECENT_FETCHED, NEIGHBOURS]"""
    scores: np.ndarray
    """float32 likewise"""
    counts: np.ndarray
    """uint8[n, RECENT_FETCHED]"""


class Last(NamedTuple):
    """The last items of n shoppers, newest first, and how many are known."""

    items: np.ndarray
    """uint64[n, RECENT_ITEMS]"""
    known: np.ndarray
    """uint8[n]"""


class Shoppers(NamedTuple):
    """What the ladder goes by, of n shoppers."""

    categories: np.ndarray
    """uint64[n]: of the current item; 0: not known"""
    favourites: np.ndarray
    """uint64[n]: the category liked best; 0: none"""
    segments: np.ndarray
    """int32[n]: number of the segment; -1: none"""
    contexts: np.ndarray
    """uint64[n]: number of the context; 0: none"""


def unknown_shoppers(n: int) -> Shoppers:
    """Nothing is known of n shoppers."""
    return Shoppers(np.zeros(n, np.uint64), np.zeros(n, np.uint64), np.full(n, -1, np.int32), np.zeros(n, np.uint64))


class Popular(NamedTuple):
    """Popular items, best first."""

    items: np.ndarray
    """uint64[m]"""
    scores: np.ndarray
    """float32[m], 0 or more"""


class Ladder(NamedTuple):
    """What fills lists up."""

    categories: ByCategory
    segments: GroupItems
    """by number of the segment plus one"""
    contexts: GroupItems
    popular: Popular
    order: np.ndarray
    """int64: some of CATEGORY, SEGMENT, POPULAR and CONTEXT, the one that is to have most places first"""
    tried: np.int64
    """Each of the others has one in so many of the free places for sure; 0: none"""


class Lists(NamedTuple):
    """Lists of n shoppers, best first; places past `counts` are 0."""

    items: np.ndarray
    """uint64[n, LIST_LENGTH]"""
    scores: np.ndarray
    """float32 likewise"""
    because: np.ndarray
    """uint64 likewise: the last item that gave most to the score, itself if it is one that comes back; of what is
    popular in a category that, in a segment or a context its number, in the whole shop 0"""
    counts: np.ndarray
    """uint8[n]"""
    rungs: np.ndarray
    """uint64[n]: one of RUNGS for each place, RUNG_BITS each"""


def empty_lists(n: int) -> Lists:
    """Room for n lists."""
    return Lists(
        np.zeros((n, LIST_LENGTH), np.uint64),
        np.zeros((n, LIST_LENGTH), np.float32),
        np.zeros((n, LIST_LENGTH), np.uint64),
        np.zeros(n, np.uint8),
        np.zeros(n, np.uint64),
    )
