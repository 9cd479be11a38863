"""Made-up logs for the whole worker: what the generator makes, and by hand what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from operators.generate import ShopPlan, generate

EARLY = frozenset(f"early-{n:02}" for n in range(32))
"""Shoppers whose only act comes right after the catalogue: when each is known, so is every item, in every partition."""

SETTINGS = {
    "COTERIE_EVENTS__CUSTOM_NAMES": "review",
    "COTERIE_EVENTS__CONTEXT_NAMES": "campaign",
    "COTERIE_SHOP__LAPSED_DAYS": "2",
}
"""What the environment must say for these logs: their names, and a time within which shoppers can lapse."""

EVERY = 7
"""After so many acts of the generator, one by hand of the same shopper and time."""


def write_shop_log(plan: ShopPlan, path: Path) -> None:
    """Write the log of a plan with profile attributes, custom events, contexts and cart acts of many items in it."""
    lines = b"".join(generate(plan)).splitlines()
    catalogue, acts = lines[: plan.items], lines[plan.items :]
    out = [*catalogue, *(_early(user, plan.start_ms) for user in sorted(EARLY))]
    for n, line in enumerate(acts):
        out.append(line)
        if n % EVERY == 0:
            act = orjson.loads(line)
            out.append(orjson.dumps({"ts": act["ts"], "user_id": act["user_id"], "event_id": f"h{n}", **_by_hand(n)}))
    path.write_bytes(b"\n".join(out) + b"\n")


def cut_after_catalogue(log: Path, folder: Path) -> tuple[Path, Path]:
    """The log in two: up to the acts of EARLY, and all that follows."""
    lines = log.read_bytes().splitlines(keepends=True)
    last = max(n for n, line in enumerate(lines) if b'"early-' in line) + 1
    return _write(folder / "catalogue.jsonl", lines[:last]), _write(folder / "acts.jsonl", lines[last:])


def halves(log: Path, folder: Path) -> tuple[Path, Path]:
    """The log in two of as many lines each."""
    lines = log.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    return _write(folder / "first.jsonl", lines[:middle]), _write(folder / "second.jsonl", lines[middle:])


def _write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def _early(user: str, ts: int) -> bytes:
    return orjson.dumps({"type": "search", "ts": ts, "user_id": user, "event_id": user, "query": "open?"})


def _by_hand(n: int) -> dict[str, Any]:
    k = n // EVERY
    kinds: tuple[dict[str, Any], ...] = (
        {"type": "profile", "attributes": {"age": 18 + k % 70, "club": ("gold", "")[k % 2], "letter": k % 3 == 0}},
        {"type": "custom", "name": "review", "value": k % 5 + 0.5, "context": {"campaign": f"c{k % 3}"}},
        {"type": "view", "item_id": f"extra-{k % 40}", "price": k % 90, "context": {"campaign": f"c{k % 4}"}},
        {"type": "add_to_cart", "item_id": f"extra-{k % 40}", "quantity": 1 + k % 3, "price": k % 90},
        {"type": "remove_from_cart", "item_id": f"extra-{(k - 1) % 40}"},
    )
    return kinds[k % len(kinds)]
