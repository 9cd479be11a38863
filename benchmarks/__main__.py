"""`make bench` is `python -m benchmarks worker`; `python -m benchmarks --help` tells what else is measured."""

from __future__ import annotations

import click

from benchmarks.agreement import agreement
from benchmarks.bought_together import bought_together
from benchmarks.personas import personas
from benchmarks.profile_step import profile_step
from benchmarks.propensity import propensity
from benchmarks.recommendation_cold import recommendation_cold
from benchmarks.recommendation_costs import recommendation_costs
from benchmarks.recommendation_replay import recommendation_replay
from benchmarks.recommendations import recommendations
from benchmarks.shop_segments import segments
from benchmarks.soak import soak
from benchmarks.worker import worker


class _Benchmarks(click.Group):
    """What does not begin with the name of a benchmark is about the worker."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["worker", *args])


@click.group(cls=_Benchmarks)
def main() -> None:
    """Measure Coterie. Without the name of a benchmark: `worker`, with the arguments given."""


for _command in (
    worker,
    profile_step,
    personas,
    segments,
    propensity,
    recommendations,
    recommendation_costs,
    recommendation_replay,
    recommendation_cold,
    bought_together,
    agreement,
    soak,
):
    main.add_command(_command)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
