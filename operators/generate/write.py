"""Writing the log: events as lines of JSON, in chunks, into a file or wherever they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from operators.generate.catalogue import Catalogue, draw_catalogue
from operators.generate.draws import random_for
from operators.generate.events import BUY, SEARCH, SEND_BACK, TYPES, VIEW, Events, disturb, draw_events
from operators.generate.plan import ShopPlan
from operators.generate.sessions import CHANNELS, COUNTRIES, DEVICES, Sessions, draw_sessions
from operators.generate.shoppers import PERSONAS, user_id
from operators.read_files import open_to_write

CHUNK_EVENTS = 8_192
"""Events of a chunk of the log."""


def write_log(plan: ShopPlan, path: Path | str) -> None:
    """Write the log to a file, packed when its name ends in .gz or .zst."""
    with open_to_write(path) as write:
        for chunk in generate(plan):
            write(chunk)


def generate(plan: ShopPlan) -> Iterator[bytes]:
    """The log in chunks of whole lines, each ending in a newline.

    Times never fall but for late and future events; event ids are e00000000, e00000001, ... in order of time.
    """
    catalogue = draw_catalogue(plan)
    numbers = range(plan.items)
    for low in range(0, plan.items, CHUNK_EVENTS):
        yield "".join(
            f'{{"type":"item","event_id":"e{i:08d}","ts":{plan.start_ms},{catalogue.facts[i]}}}\n'
            for i in numbers[low : low + CHUNK_EVENTS]
        ).encode()
    sessions = draw_sessions(plan, catalogue)
    events = draw_events(plan, catalogue, sessions)
    lines = _Lines(plan, catalogue, sessions, events)
    order, ts = disturb(plan, events.ts)
    for low in range(0, len(order), CHUNK_EVENTS):
        chosen = order[low : low + CHUNK_EVENTS]
        yield lines.text(chosen, ts[chosen]).encode()


class _Lines:
    """Writes events as JSON, from texts made once for each item and session."""

    def __init__(self, plan: ShopPlan, catalogue: Catalogue, sessions: Sessions, events: Events) -> None:
        self.first_number = plan.items
        self.catalogue, self.sessions, self.events = catalogue, sessions, events
        used = range(int(events.session.max()) + 1)
        self.user = [f'"user_id":"{user_id(s)}"' for s in sessions.shopper[: len(used)].tolist()]
        countries = list(COUNTRIES)
        where = [
            f'"device":"{d}","channel":"{c}","country":"{k}"}}\n' for d in DEVICES for c in CHANNELS for k in countries
        ]
        place = (sessions.device * len(CHANNELS) + sessions.channel) * len(countries) + sessions.country
        self.session = [f'"session_id":"s{s:07d}",{where[w]}' for s, w in zip(used, place.tolist(), strict=False)]
        self.numbers = random_for(plan, 5).integers(800, 1200, len(events.ts))  # spreads the dwell times

    def text(self, chosen: np.ndarray, ts: np.ndarray) -> str:
        """The lines of the chosen events, which carry the given times."""
        mention, user, session = self.catalogue.mention, self.user, self.session
        kinds = self.events.kind[chosen].tolist()
        items = self.events.item[chosen].tolist()
        owners = self.events.session[chosen].tolist()
        dwells = self.numbers[chosen].tolist()
        lines = []
        for number, at, kind, item, s, dwell in zip(
            (chosen + self.first_number).tolist(), ts.tolist(), kinds, items, owners, dwells, strict=True
        ):
            head = f'{{"type":"{TYPES[kind]}","event_id":"e{number:08d}","ts":{at},{user[s]}'
            if kind == VIEW:
                lines.append(f'{head},{mention[item]},"dwell_ms":{dwell * (10 + item % 37)},{session[s]}')
            elif kind == SEARCH:
                lines.append(f'{head},"query":"{self.catalogue.query[item]}",{session[s]}')
            elif kind >= BUY:
                lines.append(f"{head},{self._order(s, kind == SEND_BACK)}}}\n")
            else:
                lines.append(f"{head},{mention[item]},{session[s]}")
        return "".join(lines)

    def _order(self, session: int, sent_back: bool) -> str:
        """The order of a session; or, sent back, its first line as a return."""
        events, catalogue = self.events, self.catalogue
        low, high = events.cart_starts[session], events.cart_starts[session + 1]
        pays = 1.0 - PERSONAS[self.sessions.persona[session]].discount
        bought = list(zip(events.cart_items[low:high].tolist(), events.cart_pieces[low:high].tolist(), strict=True))
        lines = ",".join(
            f'{{{catalogue.line[item]},"quantity":{-pieces if sent_back else pieces},'
            f'"unit_price":{round(catalogue.price_cents[item] * pays) / 100:.2f}}}'
            for item, pieces in (bought[:1] if sent_back else bought)
        )
        return f'"order_id":"{"r" if sent_back else "o"}{session:07d}","currency":"EUR","lines":[{lines}]'
