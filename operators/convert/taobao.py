"""Taobao's UserBehavior clicks: `user_id,item_id,category_id,behavior,ts`, ts in epoch seconds.

One event a line, in the file's order, streaming. There are no prices: a purchase is an order of one piece at price 0.
Source: https://tianchi.aliyun.com/dataset/649
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from operators.convert.output import Output, read_rows, valid_id

HEADER = ("user_id", "item_id", "category_id", "behavior", "ts")
BEHAVIOURS = {"pv": "view", "cart": "add_to_cart", "fav": "wishlist", "buy": "purchase"}


def convert_taobao(source: Path, output: Output) -> None:
    """Lines are malformed, of an unknown_behaviour, or of the class of the event they became.

    The event's id is made of the line's number, so that lines that are alike stay events of their own.
    """
    output.declare("malformed", "unknown_behaviour", *BEHAVIOURS.values())
    for line, raw, fields in read_rows(source, HEADER):
        if len(fields) != len(HEADER) or not all(map(valid_id, fields[:3])) or not _is_seconds(fields[4]):
            output.skip(line, raw, "malformed")
            continue
        user, item, category, behaviour, ts = fields
        kind = BEHAVIOURS.get(behaviour)
        if kind is None:
            output.skip(line, raw, "unknown_behaviour")
            continue
        output.classes[kind] += 1
        name = f"taobao-{line}"
        event: dict[str, Any] = {"type": kind, "ts": int(ts) * 1000, "event_id": name, "user_id": user}
        if kind == "purchase":
            event["order_id"] = name
            event["lines"] = [{"item_id": item, "category": category, "quantity": 1, "unit_price": 0}]
        else:
            event["item_id"] = item
            event["category"] = category
        output.event(event)


def _is_seconds(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12
