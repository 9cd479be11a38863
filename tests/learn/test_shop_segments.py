"""The benchmark of real shops' segments goes through the worker's own steps."""

from __future__ import annotations

from pathlib import Path

from benchmarks.shop_segments import SCENARIOS, replay
from operators.generate import ShopPlan, write_log


def test_log_is_learned_from_and_told_by_month(tmp_path: Path) -> None:
    """Versions come, every shopper has a segment in the end, and a group of the batch method beside it."""
    scenario = SCENARIOS["segments_online_retail"]
    plan = ShopPlan(seed=5, shoppers=300, items=200, categories=8, days=45, events=6_000)
    write_log(plan, tmp_path / f"{scenario.name}.jsonl")  # in place of the converted file
    year = replay(scenario, 7, tmp_path)
    assert len(year.versions) > 5 and len(year.months) >= 2
    assert set(year.ours[-1].values()) <= {card.number for card in year.versions[-1].cards}
    assert 0 < len(year.rfm[-1]) <= len(year.ours[-1])
