"""What is kept of shoppers for the rules of their lists, against a plain reference: cut, away and back, resumed."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.cold_tier import BACK, ColdTier
from operators.goods import Goods
from operators.held_items import HeldItems
from operators.kernels.goods import category_key
from operators.kernels.held_items import BOUGHT_MAX, SHOWN_MAX, items_of
from operators.kernels.list_rules import ruled_reference
from operators.list_settings import DAY_MINUTES, RuleSettings
from operators.personalize import LIST_ROW
from state.batches import PROFILE
from state.cold_store import ColdStore
from state.hashing import hash_text
from state.journal import Journal
from state.marks import ACTED_ON, BOUGHT, FORGOTTEN, MARK, SHOWN
from state.metrics import Metrics, read_samples
from state.profile_table import AVAILABLE, FACT_ROW
from state.table import Table

SHOPPERS = 5
ITEMS = [hash_text(f"i{n}") for n in range(20)]
TEA, COFFEE, NAILS = (hash_text(name) for name in ("tea", "coffee", "nails"))
DAY_MS = 86_400_000
RULES = RuleSettings(bought_days=30, bought_days_by_category={"coffee": 3, "nails": 0}, fatigue_after=2, fatigue_days=5)

Told = tuple[int, int, int, int, int]
"""What, item, category, ts, pieces."""


class Shard:
    """What a user shard keeps, and the rows that refer to it."""

    def __init__(self, directory: Path, rules: RuleSettings = RULES, goods: Goods | None = None) -> None:
        self.directory, self.rules, self.goods = directory, rules, goods or Goods()
        self.metrics = Metrics()
        self.held = HeldItems(rules, self.goods, self.metrics)
        self.lists = Table(LIST_ROW)
        self.lists.extend(SHOPPERS)
        self.cold = ColdTier(ColdStore(directory, "lists", sync=False))
        self.tables = {"lists": self.lists, "cold": self.cold.table, **self.held.tables}
        self.away: set[int] = set()

    def profiles(self, now_ms: int = 0, fresh: int = 0, erased: int = 0, acts: int = 1) -> np.ndarray:
        rows = np.zeros(SHOPPERS, PROFILE)
        rows["user"], rows["row"] = np.arange(SHOPPERS) + 1000, np.arange(SHOPPERS)
        rows["event_ts"], rows["fresh"], rows["erased"], rows["acts"] = now_ms, fresh, erased, acts
        return rows

    def take(self, told: list[tuple[int, Told]], **flags: int) -> None:
        """Take what shoppers were told, who come back where they are away."""
        profiles = self.profiles(**flags)
        profiles["fresh"][list(self.away)] = BACK
        profiles = self.held.bring_back(self.cold, profiles, self.lists)
        assert not profiles["fresh"][list(self.away)].any() or flags
        self.away = set()
        marks = np.array(
            [(item, category, ts, pieces, who, what) for who, (what, item, category, ts, pieces) in told], MARK
        )
        self.held.take(profiles, marks, self.lists)

    def leave(self, who: set[int]) -> None:
        left = np.array([(1000 + w, w) for w in sorted(who - self.away)], np.uint64).reshape(-1, 2)
        self.held.send_away(self.cold, left, self.lists)
        assert not self.lists.words[sorted(who)].any()
        self.away |= who

    def resumed(self) -> Shard:
        """As of a snapshot taken now."""
        self.cold.before_snapshot()
        marker = Journal(self.directory, "personalize", sync=False).save(self.tables)
        again = Shard(self.directory, self.rules, self.goods)
        Journal(self.directory, "personalize", sync=False).load(marker, again.tables)
        again.cold.restored()
        again.away = set(self.away)
        return again

    def factors(self, now_ms: int) -> list[dict[int, float]]:
        """What holds for the list of each shopper."""
        self.take([])
        profiles, places = self.profiles(now_ms), np.arange(SHOPPERS, dtype=np.int32)[::1]
        rules = self.held.rules(profiles, places, SHOPPERS, self.lists)
        out = []
        for start, end in zip(rules.starts[:-1].tolist(), rules.starts[1:].tolist(), strict=True):
            told: dict[int, float] = {}
            for item, factor in rules.ruled[start:end].tolist():
                told[item] = min(factor, told.get(item, 1.0))
            out.append(told)
        return out


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[int, Told]]:
    """What shoppers were told, in an order that is almost that of time."""
    seed, count = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 150))
    rng = np.random.default_rng(seed)
    ts = np.sort(rng.integers(0, 40 * DAY_MS, count)) + rng.integers(0, 600_000, count)
    whats = rng.choice([SHOWN, ACTED_ON, BOUGHT, FORGOTTEN], count, p=[0.5, 0.1, 0.38, 0.02])
    items = rng.choice(draw(st.sampled_from([3, 20])), count)
    return [
        (
            int(rng.integers(SHOPPERS)),
            (
                int(what),
                0 if what == FORGOTTEN else ITEMS[item],
                [0, TEA, COFFEE, NAILS][(item + int(rng.random() < 0.1)) % 4],
                int(at),
                int(rng.integers(-3, 4)) * 1000,
            ),
        )
        for what, item, at in zip(whats.tolist(), items.tolist(), ts.tolist(), strict=True)
    ]


def goods_that_know(some: dict[int, int]) -> Goods:
    goods, facts = Goods(), np.zeros(len(some), FACT_ROW)
    facts["item"], facts["category"], facts["ts"], facts["available"] = [*some], [*some.values()], 1, AVAILABLE
    goods.restore(facts)
    return goods


@given(told=logs(), data=st.data(), known=st.booleans(), factor=st.sampled_from([0.5, 0.01, 1.0]))
@settings(max_examples=150, deadline=None)
def test_what_is_kept_says_what_the_plain_reference_says(
    told: list[tuple[int, Told]], data: st.DataObject, known: bool, factor: float
) -> None:
    """Whatever the batches, also for shoppers who were away in between and after a resume."""
    rules = RuleSettings(30, {"coffee": 3, "nails": 0}, 0, 2, factor, 5)
    categories = {ITEMS[n]: (TEA, COFFEE)[n % 2] for n in range(7)} if known else {}
    minutes_of = {int(category_key(np.uint64(hash_text(n)))): d * DAY_MINUTES for n, d in (("coffee", 3), ("nails", 0))}
    category_of = {item: int(category_key(np.uint64(category))) for item, category in categories.items()}
    with tempfile.TemporaryDirectory() as directory:
        shard = Shard(Path(directory), rules, goods_that_know(categories))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(told)), max_size=4)))
        so_far: dict[int, list[Told]] = defaultdict(list)
        for start, end in zip([0, *cuts], [*cuts, len(told)], strict=True):
            shard.take(told[start:end])
            for who, one in told[start:end]:
                so_far[who].append(one)
            now_ms = max([ts for _, (_, _, _, ts, _) in told[:end]], default=0) + 60_000
            expected = [
                ruled_reference(so_far[who], now_ms, rules.rules(), minutes_of, category_of) for who in range(SHOPPERS)
            ]
            assert shard.factors(now_ms) == expected
            shard.leave(data.draw(st.sets(st.integers(0, SHOPPERS - 1))))
            if data.draw(st.booleans()):
                shard = shard.resumed()
        shard.take([])
        shard.take([], fresh=1)
        assert shard.held.size == 0, "what is forgotten is given back"


def test_who_goes_leaves_nothing_behind_and_who_came_back_after_it_begins_anew(tmp_path: Path) -> None:
    """By an erasure in the middle of a batch, or because the row's life is over."""
    shard, one = Shard(tmp_path), (BOUGHT, ITEMS[0], 0, DAY_MS, 1000)
    shard.take([(0, one), (1, one), (1, (FORGOTTEN, 0, 0, DAY_MS, 0)), (1, (BOUGHT, ITEMS[1], 0, DAY_MS, 1000))])
    assert shard.factors(DAY_MS)[:2] == [{ITEMS[0]: 0.0}, {ITEMS[1]: 0.0}]
    shard.take([(0, one)], erased=1, acts=0)
    assert shard.held.size == 0 and shard.factors(DAY_MS) == [{}] * SHOPPERS


def test_there_is_a_bound_and_what_is_oldest_gives_way(tmp_path: Path) -> None:
    """Of what was bought and of what was shown; each that gives way is counted, unless it counts no more anyway."""
    shard = Shard(tmp_path)
    many = [hash_text(f"m{n}") for n in range(BOUGHT_MAX + 8)]
    shard.take([(0, (BOUGHT, item, 0, n * 60_000, 1000)) for n, item in enumerate(many)])
    assert shard.factors(len(many) * 60_000)[0].keys() == set(many[8:])
    shard.take([(1, (SHOWN, item, 0, n * 60_000, 0)) for n, item in enumerate(many[: SHOWN_MAX + 3])])
    kept = items_of(shard.held.tables["shown"].rows, int(shard.lists.rows["shown"][1]))
    assert kept.keys() == set(many[3 : SHOWN_MAX + 3])
    evictions = read_samples(shard.metrics.evictions, "component")
    assert {name: evictions[name] for name in ("bought", "shown")} == {"bought": 8, "shown": 3}
    shard.take([(1, (SHOWN, item, 0, 10 * DAY_MS, 0)) for item in many[100:150]])
    assert read_samples(shard.metrics.evictions, "component")["shown"] == 3


def test_nothing_is_kept_where_no_rule_asks_for_it(tmp_path: Path) -> None:
    """Bytes of a shopper matter."""
    shard = Shard(tmp_path, RuleSettings(bought_days=0, fatigue_factor=1.0))
    shard.take([(0, (what, ITEMS[0], 0, DAY_MS, 1000)) for what in (SHOWN, BOUGHT)])
    assert shard.held.size == 0
