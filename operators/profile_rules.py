"""The rule segments of a shard's shoppers: asked of many at a time, kept in their rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.feature_plan import EVERY_CHANGE, FeaturePlan
from operators.kernels.feature_columns import room_for
from operators.kernels.rule_states import Rules, fill_absent, settle_all
from operators.kernels.rules import STACK_MAX
from operators.profile_settings import ProfileSettings
from operators.profile_store import ProfileStore
from operators.rules.ruleset import Ruleset
from operators.rules.sequence_programs import compile_sequences
from state.batches import TRANSITION
from state.profile_table import CELLS_A_CHUNK, RULES_MAX


@dataclass(frozen=True, slots=True)
class PlacedRules:
    """The rules of a shop, the place of each in a shopper's set of them, and the version of them all (0 to 255)."""

    ruleset: Ruleset
    places: tuple[int, ...]
    version: int = 0

    @classmethod
    def none(cls) -> PlacedRules:
        """A shop without rules."""
        return cls(Ruleset.of({}), ())

    @property
    def mask(self) -> int:
        """The bits of all of them."""
        return sum(1 << place for place in self.places)


class ProfileRules:
    """Asks the rules of rows of a ProfileStore; without rules it does nothing."""

    def __init__(self, placed: PlacedRules, settings: ProfileSettings) -> None:
        rules = placed.ruleset
        self.count = len(rules.names)
        self._ruleset = rules
        self._plan = plan = FeaturePlan(rules.numbers, rules.texts, settings)
        compared = {name: (EVERY_CHANGE,) if of is None else of for name, of in rules.thresholds.items()}
        self.view = Rules(
            plan=plan.arrays,
            thresholds=plan.thresholds(compared),
            code=rules.programs.code,
            constants=rules.programs.constants,
            hashes=rules.programs.hashes,
            absents=rules.absents,
            places=np.array(placed.places, np.int64),
            hold_ms=rules.hold_ms,
            version=placed.version,
            members=np.zeros(RULES_MAX, np.int64),
            sequences=compile_sequences(rules.rules),
            numbers=np.zeros(len(rules.numbers)),
            texts=np.zeros(len(rules.texts), np.uint64),
            points=np.zeros(len(rules.scores)),
            values=np.zeros(STACK_MAX),
            truths=np.zeros(STACK_MAX, np.int64),
            room=room_for(plan.arrays),
        )
        steps = len(self.view.sequences.kinds)
        self.chunks_a_row = 1 + -(-steps // CELLS_A_CHUNK) if steps else 0
        """Chunks of cells that one EVENT row may begin."""

    def of(self, store: ProfileStore) -> Rules:
        """What kernels take, with the store's own counts of members."""
        return self.view._replace(members=store.shard.rows["members"][0])

    def settle(self, store: ProfileStore, who: np.ndarray) -> np.ndarray:
        """Ask the rules of the shoppers of rows `who` (int32[n]), at positions 0 to n, as of their newest events; what
        changed, as TRANSITION rows. When time may change more is noted in their rows."""
        n = len(who)
        if n == 0 or self.count == 0:
            return np.empty(0, TRANSITION)
        profiles, sessions, slabs = store.slab("profiles"), store.slab("sessions"), store.slabs(rule_states=n)
        as_of = store.profiles.rows["event_ts"][who]
        numbers, texts = self._plan.columns(profiles, sessions, slabs, who, as_of)
        fill_absent(numbers, self.view.absents)
        true, points = np.zeros((n, self.count), np.uint8), np.empty((n, len(self._ruleset.scores)))
        self._ruleset.evaluate(numbers, texts, true, points)
        crossing = self._plan.crossings(profiles, sessions, slabs, who, as_of, self.view.thresholds)
        changes = np.empty(n * self.count, TRANSITION)
        n_changes = settle_all(profiles, slabs, self.of(store), who, as_of, true, crossing, changes, 0)
        store.settle()
        return changes[:n_changes]
