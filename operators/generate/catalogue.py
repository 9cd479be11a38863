"""The catalogue: items with names and prices, in categories and themes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from operators.generate.draws import random_for
from operators.generate.plan import ShopPlan

THEME_ITEMS = 10
"""Items of a theme, at most: the last of a category may have fewer."""

_NOUNS = (  # noqa: SIM905 - words read best in a row
    "lamp chair rug kettle mug blanket mirror clock basket candle cushion desk bowl towel planter frame "
    "curtain teapot stool vase tray lantern pillow jug notebook bottle apron cabinet drawer hook plate carpet"
).split()
_ADJECTIVES = (  # noqa: SIM905 - likewise
    "oak linen copper marble velvet bamboo amber walnut cotton slate ivory cobalt maple wicker brass coral "
    "willow pearl cedar sage indigo birch silk granite olive ruby"
).split()
_BRANDS = (  # noqa: SIM905 - likewise
    "Alder Brook Corvo Dalia Ember Fjord Gilda Harbo Isola Juno Kestrel Lumen Moreno Nordhus Orla Piran"
).split()


@dataclass(slots=True)
class Catalogue:
    """Items and themes: item i is in category i % categories, theme t has first[t] + k * categories for k < size[t]."""

    price_cents: np.ndarray  # int64[items]
    facts: list[str]  # what an item event says
    mention: list[str]  # what a shopper's event says of the item
    line: list[str]  # what a purchase line says of it
    query: list[str]  # what one types to find it
    category: np.ndarray  # of a theme
    place: np.ndarray  # of a theme in its category: the first is the best liked
    level: np.ndarray  # of a theme: -1 cheap, 0, 1 dear
    first: np.ndarray
    size: np.ndarray


def draw_catalogue(plan: ShopPlan) -> Catalogue:
    """The plan's items, spread evenly over its categories; a theme of ten has one price level and one look."""
    random = random_for(plan, 1)
    n, c = plan.items, plan.categories
    sizes = np.array([(n - k + c - 1) // c for k in range(c)])
    themes = -(-sizes // THEME_ITEMS)
    category = np.repeat(np.arange(c), themes)
    place = np.concatenate([np.arange(t) for t in themes])
    level = (place + category) % 3 - 1
    theme_of = np.arange(n) // c // THEME_ITEMS  # by place in the category
    item_level = (theme_of + np.arange(n) % c) % 3 - 1
    base = random.lognormal(math.log(30), 0.5, c)
    prices = base[np.arange(n) % c] * 2.4**item_level * random.lognormal(0, 0.15, n)
    cents = np.maximum(np.round(prices * 10) * 10 - 1, 99).astype(np.int64)  # 24.90 is sold for 24.89
    brands = random.integers(0, len(_BRANDS), n)
    facts, mention, line, query = [], [], [], []
    for i in range(n):
        k = i % c
        noun = _NOUNS[k % len(_NOUNS)]
        group = "" if k < len(_NOUNS) else str(k // len(_NOUNS) + 1)
        adjective = _ADJECTIVES[(int(theme_of[i]) + 5 * k) % len(_ADJECTIVES)]
        number = i // c + 1
        of_item = f'"item_id":"{adjective}-{noun}{group}-{number}","category":"{noun}s{group}"'
        price = f"{cents[i] / 100:.2f}"
        title = f"{adjective.title()} {noun.title()} {group + ' ' if group else ''}{number}"
        facts.append(f'{of_item},"price":{price},"brand":"{_BRANDS[brands[i]]}","title":"{title}"')
        mention.append(f'{of_item},"price":{price}')
        line.append(of_item)
        query.append(f"{adjective} {noun}")
    return Catalogue(
        price_cents=cents,
        facts=facts,
        mention=mention,
        line=line,
        query=query,
        category=category,
        place=place,
        level=level,
        first=category + c * THEME_ITEMS * place,
        size=np.minimum(sizes[category] - THEME_ITEMS * place, THEME_ITEMS),
    )
