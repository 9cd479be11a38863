"""The events: what is done in each session; and the disorder that a plan asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.generate.catalogue import THEME_ITEMS, Catalogue
from operators.generate.draws import draw, draw_by, random_for
from operators.generate.plan import DAY_MS, ShopPlan
from operators.generate.sessions import Sessions
from operators.generate.shoppers import column, theme_weights

FUTURE_DAYS = 3_650
"""How far ahead a broken clock runs."""

LATE_MINUTES = (5, 360)
"""How much further down late events stand than their time says."""

DUPLICATE_SECONDS = (1, 600)
"""How soon events are told a second time."""

SEARCH, CLICK, VIEW, WISH, CART, TAKE_OUT, BUY, SEND_BACK = range(8)
"""Kinds of events, in the order in which they befall an item."""

TYPES = ("search", "click", "view", "wishlist", "add_to_cart", "remove_from_cart", "purchase", "purchase")
"""The type of an event of each kind, as the log says it."""


@dataclass(slots=True)
class Events:
    """What shoppers did, in order of time: kind (a place in TYPES), session, item; and what each session bought."""

    ts: np.ndarray
    kind: np.ndarray
    session: np.ndarray
    item: np.ndarray
    cart_items: np.ndarray  # the items bought by session s: cart_items[cart_starts[s]:cart_starts[s + 1]]
    cart_pieces: np.ndarray
    cart_starts: np.ndarray


def draw_events(plan: ShopPlan, catalogue: Catalogue, sessions: Sessions) -> Events:
    """What is done in the sessions, exactly as many events as the plan leaves to the shoppers."""
    random = random_for(plan, 3)
    target = plan.events - plan.items
    n = len(sessions.visits)
    session = np.repeat(np.arange(n), sessions.visits)  # of each visit: one item looked at, and what is done about it
    persona = sessions.persona[session]
    first = np.diff(session, prepend=-1) > 0
    last = np.diff(session, append=n) > 0
    item = _walk(plan, catalogue, sessions, session, first, random)

    def happens(name: str) -> np.ndarray:
        hit: np.ndarray = random.random(len(session)) < column(name)[persona]
        return hit

    acts = np.zeros((len(session), BUY + 1), bool)
    acts[:, SEARCH] = random.random(len(session)) < column("search")[persona] * np.where(first, 3.0, 0.7)
    acts[:, CLICK] = happens("click")
    acts[:, VIEW] = True
    acts[:, WISH] = happens("wish")
    acts[:, CART] = happens("cart")
    acts[:, TAKE_OUT] = acts[:, CART] & happens("take_out")
    bought = acts[:, CART] & ~acts[:, TAKE_OUT]
    buys = (np.bincount(session[bought], minlength=n) > 0) & (random.random(n) < column("buy")[sessions.persona])
    acts[:, BUY] = last & buys[session]
    visit, kind = np.nonzero(acts)

    event_session = session[visit]
    gaps = random.lognormal(0.0, 0.8, len(visit)) * (1000 * column("gap_seconds"))[sessions.persona[event_session]]
    gaps[np.diff(event_session, prepend=-1) > 0] = 0.0
    passed = np.cumsum(gaps)
    counts = np.bincount(event_session, minlength=n)
    begins = np.cumsum(counts) - counts
    ts = sessions.start_ms[event_session] + (passed - passed[begins][event_session]).astype(np.int64)

    # An order that is sent back is an event of its own, days later, within the log's time.
    back_ms = ts[begins + counts - 1] + random.integers(DAY_MS, 6 * DAY_MS, n)
    sent_back = buys & (random.random(n) < column("send_back")[sessions.persona])
    sent_back &= back_ms < plan.start_ms + plan.days * DAY_MS

    # Sessions are taken until the events are as many as asked for; the last one is cut short, if need be.
    total = np.cumsum(counts + sent_back)
    whole = int(np.searchsorted(total, target, side="right"))
    over = target - (int(total[whole - 1]) if whole else 0)
    kept = int(begins[whole]) + over if whole < n else len(visit)
    returns = np.flatnonzero(sent_back[:whole])

    ts = np.concatenate([ts[:kept], back_ms[returns]])
    order = np.argsort(ts, kind="stable")
    cart_sessions = session[bought]
    return Events(
        ts=ts[order],
        kind=np.concatenate([kind[:kept], np.full(len(returns), SEND_BACK)])[order],
        session=np.concatenate([event_session[:kept], returns])[order],
        item=np.concatenate([item[visit[:kept]], np.zeros(len(returns), np.int64)])[order],
        cart_items=item[bought],
        cart_pieces=random.geometric(1.0 / column("pieces")[sessions.persona[cart_sessions]]),
        cart_starts=np.searchsorted(cart_sessions, np.arange(n + 1)),
    )


def _walk(
    plan: ShopPlan,
    catalogue: Catalogue,
    sessions: Sessions,
    session: np.ndarray,
    first: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """The item of each visit: a step or two on in the session's theme, or a leap to one of the theme's best."""
    n = len(session)
    theme = sessions.theme[session]
    strays = np.flatnonzero(random.random(n) < 0.1)
    later = sessions.start_ms[session[strays]] >= plan.start_ms + plan.days * DAY_MS // 2
    u = random.random(len(strays))
    for half in (False, True):
        mine = later == half
        theme[strays[mine]] = draw_by(
            theme_weights(plan, catalogue, half), sessions.persona[session[strays[mine]]], u[mine]
        )
    leaps = first | (random.random(n) < 0.3)
    best = draw(1.0 / (np.arange(THEME_ITEMS) + 1.0), random.random(n))
    steps = np.cumsum(random.integers(1, 3, n))
    leapt = np.maximum.accumulate(np.where(leaps, np.arange(n), 0))
    place = (best[leapt] + steps - steps[leapt]) % catalogue.size[theme]
    items: np.ndarray = catalogue.first[theme] + plan.categories * place
    return items


def disturb(plan: ShopPlan, ts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order in which events are told (some twice), and the time each of them carries."""
    random = random_for(plan, 4)
    n = len(ts)
    counts = [round(share * n) for share in (plan.late_share, plan.duplicate_share, plan.future_share)]
    chosen = random.permutation(n)
    ends = np.minimum(np.cumsum(counts), n)
    late, twice, future = (chosen[: ends[0]], chosen[ends[0] : ends[1]], chosen[ends[1] : ends[2]])
    told_ms = ts.copy()
    told_ms[late] += random.integers(LATE_MINUTES[0] * 60_000, LATE_MINUTES[1] * 60_000, len(late))
    again_ms = ts[twice] + random.integers(DUPLICATE_SECONDS[0] * 1000, DUPLICATE_SECONDS[1] * 1000, len(twice))
    order = np.argsort(np.concatenate([told_ms, again_ms]), kind="stable")
    carried = ts.copy()
    carried[future] += FUTURE_DAYS * DAY_MS
    return np.concatenate([np.arange(n), twice])[order], carried
