"""The events as they stand on the wire: one msgspec type for each, told apart by `type`; docs/INTERFACES.md in code.

Ids may be strings or integers; numbers whose exact decimal matters are left open here and checked in `state.events`.
Fields that no type names are ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

Id = str | int

AVAILABLE_NOT_TOLD = -1.0
"""The `value` of an `item` event in EVENT that does not tell whether it is available (0 or 1)."""


class Record(msgspec.Struct, tag_field="type", kw_only=True, gc=False):
    """What all events have; `ts` is epoch ms or RFC 3339."""

    ts: int | str
    event_id: Id | None = None


class Shopper(Record, kw_only=True):
    """An event of a shopper."""

    user_id: Id
    context: dict[str, Any] | None = None


class Act(Shopper, kw_only=True):
    """An act while shopping."""

    category: Id | None = None
    price: Any = None
    quantity: Any = None
    session_id: Id | None = None
    device: str | None = None
    channel: str | None = None
    country: str | None = None
    query: str | None = None
    dwell_ms: Any = None


class ItemAct(Act, kw_only=True):
    """An act upon an item."""

    item_id: Id


class View(ItemAct, tag="view", kw_only=True):
    """An item was looked at."""


class Click(ItemAct, tag="click", kw_only=True):
    """An item was clicked in a list."""


class Search(Act, tag="search", kw_only=True):
    """A search, with or without an item."""

    item_id: Id | None = None


class AddToCart(ItemAct, tag="add_to_cart", kw_only=True):
    """Pieces of an item were put into the cart."""


class RemoveFromCart(ItemAct, tag="remove_from_cart", kw_only=True):
    """Pieces of an item were taken out of the cart."""


class Wishlist(ItemAct, tag="wishlist", kw_only=True):
    """An item was put on the wish list."""


class PurchaseLine(msgspec.Struct, kw_only=True, gc=False):
    """One line of an order; a negative quantity is a cancelled or returned line."""

    item_id: Id
    category: Id | None = None
    quantity: Any
    unit_price: Any


class Purchase(Shopper, tag="purchase", kw_only=True):
    """An order was placed (or, by negative quantities, sent back)."""

    order_id: Id
    lines: list[PurchaseLine]
    currency: str | None = None


class Custom(Shopper, tag="custom", kw_only=True):
    """An act of a kind the shop has declared."""

    name: str
    value: Any = None
    item_id: Id | None = None
    session_id: Id | None = None


class Impression(Shopper, tag="impression", kw_only=True):
    """A variant of an experiment was shown, and items with it."""

    experiment: Id
    variant: Id
    item_ids: list[Id] | None = None


class Consent(Shopper, tag="consent", kw_only=True):
    """The shopper allows, or no longer allows, that this is done at all."""

    granted: bool
    purposes: list[str] | None = None


class Erase(Shopper, tag="erase", kw_only=True):
    """All that is kept of the shopper is to go."""

    request_id: Id | None = None


class Identify(Shopper, tag="identify", kw_only=True):
    """The anonymous visitor turned out to be this shopper."""

    anonymous_id: Id


class Profile(Shopper, tag="profile", kw_only=True):
    """Facts about the shopper that come from elsewhere."""

    attributes: dict[str, Any]


class Item(Record, tag="item", kw_only=True):
    """Facts about an item; no shopper acted."""

    item_id: Id
    category: Id | None = None
    price: Any = None
    brand: str | None = None
    title: str | None = None
    available: bool | None = None


Wire = (
    View
    | Click
    | Search
    | AddToCart
    | RemoveFromCart
    | Wishlist
    | Purchase
    | Custom
    | Impression
    | Consent
    | Erase
    | Identify
    | Profile
    | Item
)
