"""The smallest change that is told of a rule, done as events: then the rule is true, or no longer true."""

from __future__ import annotations

import random
import re

from profile_shop import BEGIN_MS, DAY, HOUR, MINUTE, Shop, line, order

from operators.rules.changes import smallest_change
from operators.rules.plain import evaluate_reference
from operators.rules.read import read_rules

TYPES = {
    "view": "view",
    "click": "click",
    "search": "search",
    "addition": "add_to_cart",
    "removal": "remove_from_cart",
    "item put": "wishlist",
    "purchase": "purchase",
    "review event": "custom",
}
MEASURES = ("views", "clicks", "searches", "carts", "removals", "wishlists", "purchases", "custom_review")
COUNTS = (
    *(f"{measure}_{window}" for measure in MEASURES for window in ("1h", "24h", "7d", "30d")),
    *("purchases_total", "items_bought_7d", "items_bought_total", "events_total", "sessions_total"),
    *("session_events", "session_depth", "session_carts", "session_purchases", "cart_items"),
)
RECENCIES = ("recency_days", *(f"{measure}_recency_days" for measure in MEASURES[:6]))
TRIALS = 400


def _act(kind: str, ts: int, n: int) -> bytes:
    told = {"event_id": f"{kind}{n}"}
    if kind == "purchase":
        return order(ts, ("i1", 1, 0.0), **told)
    if kind == "custom":
        return line(kind, ts, name="review", **told)
    return line(kind, ts, item_id="i1", **told)


def _log(draw: random.Random) -> list[bytes]:
    """What one shopper did over some weeks, in order of time; last perhaps a word about them, long after."""
    ts = BEGIN_MS + 7 * MINUTE
    out = []
    for n in range(draw.randint(1, 14)):
        out.append(_act(draw.choice([*TYPES.values()]), ts, n))
        ts += draw.choice([1000, 4 * MINUTE, 50 * MINUTE, 5 * HOUR, DAY, 3 * DAY, 12 * DAY])
    if draw.random() < 0.3:
        out.append(line("profile", ts, attributes={"age": 30}))
    return out


def _clause(draw: random.Random) -> str:
    one, other = draw.choice(COUNTS), draw.choice(COUNTS)
    bound = draw.randint(0, 6)
    sign = draw.choice(["<", "<=", ">", ">=", ">="])
    return draw.choice(
        [
            f"{one} {sign} {bound}",
            f"{one} BETWEEN {bound} AND {bound + 3}",
            f"{one} {sign} {other} - {bound}",
            f"{one} * 2 {sign} {other}",
            f"{one} / NULLIF({other}, 0) {sign} {bound / 2}",
            f"{draw.choice(RECENCIES)} BETWEEN 0 AND {bound}",
            f"{draw.choice(RECENCIES)} > {bound}",
        ]
    )


def _told_acts(sentence: str) -> tuple[str, int] | None:
    """The type of event and how many of it a sentence tells of; None where it tells of something else."""
    found = re.match(r"(one|\d+) more (.*)", sentence) or re.match(r"(an?) (.*) now$", sentence)
    if found is None or re.search(r"piece|session|event$|events$", found[2].replace("review event", "review")):
        return None
    kind = next((kind for noun, kind in TYPES.items() if found[2].startswith(noun.removesuffix(" put"))), None)
    if kind is None:
        kind = {"searches": "search", "items": "wishlist"}.get(found[2].split()[0])
    return None if kind is None else (kind, 1 if found[1] in ("one", "a", "an") else int(found[1]))


def test_so_many_more_acts_make_of_a_rule_what_is_told() -> None:
    """Fed through the profiles at the time of the newest event, whatever windows the rule looks at."""
    draw, done = random.Random(20_250_101), 0
    for _ in range(TRIALS):
        log = _log(draw)
        joined = f" {draw.choice(['AND', 'OR'])} ".join(_clause(draw) for _ in range(draw.randint(1, 3)))
        rules = read_rules({"a": {"where": joined}}, ("review", "scroll")) if _can_be_asked(joined) else None
        if rules is None:
            continue
        shop = Shop()
        shop.feed(*log)
        before = shop.features("ann")
        change = smallest_change(rules, "a", before)
        acts = _told_acts(change.sentence) if change else None
        if acts is None:
            continue
        kind, many = acts
        ts = int(shop.row("ann")["event_ts"])
        shop.feed(*(_act(kind, ts, 1000 + n) for n in range(many)))
        after = shop.features("ann")
        held, now = (evaluate_reference(rules, found)[0]["a"] for found in (before, after))
        assert held != now, (joined, change, log)
        done += 1
    assert done > TRIALS // 5


def _can_be_asked(condition: str) -> bool:
    return not re.search(r"(\w+) (?:\* 2 )?[<>]=? \1\b", condition)
