"""The personalize step: rank what the item shards answered into each shopper's list, and write the record for Redis.

In: scored batches and answer batches of one user shard, and the shop's popular items. A scored batch waits until every
item shard it asked has answered (they all do within the same epoch, so nothing waits across a snapshot). Out: one write
batch for each. It keeps of each shopper the list that stands in Redis (the next act is judged against it) and what was
last written of the scores; and for the rules of the lists what the shopper bought, and was shown in vain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson

from operators.cold_tier import ColdTier
from operators.contender import Challenger, Comparison, Contender
from operators.goods import Goods
from operators.held_items import HeldItems
from operators.kernels import redis_commands as commands
from operators.kernels.list_rules import Rules
from operators.kernels.list_types import Beside, Last, Lists, Shoppers
from operators.kernels.lists import add_hits, choose, find_ranks, keep
from operators.kernels.transition_commands import EntryTexts, write_transitions
from operators.list_maker import ListMaker, ListMemory
from operators.list_settings import LadderSettings, ListSettings, RuleSettings
from operators.list_tally import ListTally
from state.batches import (
    LIST_LENGTH,
    RECENT_ITEMS,
    AnswerBatch,
    ScoredBatch,
    WriteBatch,
)
from state.cold_store import ColdStore
from state.metrics import Metrics
from state.models import PopularModel
from state.names import Names
from state.redis_keys import Keys
from state.table import Table

ALWAYS = np.iinfo(np.int64).max
"""The version of an erasure: it is written whatever Redis holds."""

_SCRATCH = 48 * 1024  # a list of 20 items whose ids are 128 bytes of control characters still fits

LIST_ROW = np.dtype(
    [
        ("items", "u8", (LIST_LENGTH,)),
        ("rules", "u8"),
        ("segment", "i4"),  # what was last written
        ("margin", "f4"),
        ("purchase", "f4"),
        ("churn", "f4"),
        ("count", "u1"),
        ("rungs", "u8"),  # where each item came from, state.rungs.RUNGS
        # The last word: first chunks plus one of what the shopper bought, and was shown in vain (operators.held_items).
        ("bought", "i4"),
        ("shown", "i4"),
    ],
    align=True,
)


@dataclass(frozen=True, slots=True)
class PersonalizeSettings:
    """How lists are made and records written.

    `rescored_by`: a swept shopper is written again when the margin or a propensity moved by more than this;
    `transitions_max` bounds the stream of transitions.
    """

    ladder: LadderSettings = field(default_factory=LadderSettings)
    list_rules: RuleSettings = field(default_factory=RuleSettings)
    rescored_by: float = 0.02
    transitions_max: int = 100_000
    rules: tuple[str, ...] = ()


@dataclass(slots=True)
class _Waiting:
    scored: ScoredBatch
    answers: list[np.ndarray] = field(default_factory=list)


class Personalize:
    """One user shard's lists and records."""

    def __init__(
        self,
        shard: int,
        settings: PersonalizeSettings,
        metrics: Metrics,
        names: Names,
        keys: Keys,
        cold: ColdStore | None = None,
        memory: ListMemory | None = None,
        tally: ListTally | None = None,
        contenders: Sequence[Contender] = (),
        comparison: Comparison | None = None,
        goods: Goods | None = None,
    ) -> None:
        self.shard = shard
        self._cold = ColdTier(cold)
        self._held = HeldItems(settings.list_rules, goods or Goods(), metrics)
        self._contenders = contenders or (Contender(ListSettings()),)
        self._champion, *others = self._contenders
        self._challenger = Challenger(others[0], comparison or Comparison()) if others else None
        self.tables = {"lists": Table(LIST_ROW), "cold": self._cold.table, **self._held.tables}
        if self._challenger:
            self.tables["challenger"] = self._challenger.table
        self._settings = settings
        self._metrics = metrics
        self._names = names
        self._keys = keys
        self._waiting: dict[int, _Waiting] = {}
        self._early: dict[int, list[np.ndarray]] = {}
        self._lists = ListMaker(settings.ladder, memory)
        self.tally = ListTally() if tally is None else tally
        self._texts, self._bounds = keys.record_texts()
        self._rule_texts = commands.rule_texts(settings.rules)
        self._entry_texts = EntryTexts.of(keys.transitions, settings.transitions_max, settings.rules)
        self._entry_room = self._entry_texts.room
        self._scratch = np.empty(_SCRATCH, np.uint8)
        self._because = commands.rule_texts(commands.REASONS)
        self.judged = np.zeros(3)
        """Cases, hits and the sum of reciprocal ranks of this run."""

    def restored(self) -> None:
        """Nothing is derived from the tables but how far the cold tier reaches."""
        self._cold.restored()

    def before_snapshot(self) -> None:
        """Bring the cold tier to the disk."""
        self._cold.before_snapshot()

    def extra_state(self) -> bytes:
        """What a snapshot needs besides the tables: the popular items this shard last heard of, without those of
        categories, which are many and told again after a start, and the weights of the lists' parts that its process
        has learned."""
        learned = [contender.weights.state() for contender in self._contenders]
        popular = self._lists.popular
        told = (popular.version, popular.items, popular.scores, learned)
        return orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)

    def restore_extra(self, state: bytes) -> None:
        """Take up what `extra_state` gave."""
        version, items, scores, learned = orjson.loads(state)
        self._lists.popular = PopularModel(version, np.array(items, np.uint64), np.array(scores, np.float32))
        for contender, weights in zip(self._contenders, learned, strict=False):  # a challenger may be new, or gone
            contender.weights.take_up(weights)

    def process(self, values: list[ScoredBatch | AnswerBatch | PopularModel]) -> list[WriteBatch]:
        """Take values as they come; a write batch for each scored batch that is now complete, in their order."""
        for value in values:
            if isinstance(value, PopularModel):
                self._lists.popular = value
            elif isinstance(value, ScoredBatch):
                early = self._early.pop(value.profiles.sequence, [])
                self._waiting[value.profiles.sequence] = _Waiting(value, early)
            elif value.sequence in self._waiting:
                self._waiting[value.sequence].answers.append(value.rows)
            else:
                self._early.setdefault(value.sequence, []).append(value.rows)
        return self._complete()

    def finish(self) -> list[WriteBatch]:
        """Nothing is left to do: every batch was completed in its epoch."""
        return []

    def _complete(self) -> list[WriteBatch]:
        """Write what is complete, oldest first, and nothing past a batch that still waits: answers come from several
        processes, and a shopper's older record must not follow their newer one."""
        out = []
        while self._waiting:
            sequence, oldest = next(iter(self._waiting.items()))
            if len(oldest.answers) < oldest.scored.profiles.item_shards:
                break
            del self._waiting[sequence]
            out.append(self._write(oldest.scored, oldest.answers))
        return out

    def _write(self, scored: ScoredBatch, answers: list[np.ndarray]) -> WriteBatch:
        profiles, n = scored.profiles.rows, len(scored.profiles)
        table = self.tables["lists"]
        if n:
            table.extend(max(int(profiles["row"].max()) + 1 - table.size, 0))
            profiles = self._held.bring_back(self._cold, profiles, table)
            self._held.take(profiles, scored.profiles.marks, table)
        self._judge(scored, table)
        who, list_rows = np.empty(n, np.int32), np.empty(n, np.int32)
        recent, recent_n = np.empty((n, RECENT_ITEMS), np.uint64), np.empty(n, np.uint8)
        favourites, segments = np.empty(n, np.uint64), np.empty(n, np.int32)
        by, alive_ts = (
            self._settings.rescored_by,
            scored.profiles.watermark_ts - self._keys.inactivity_ttl_seconds * 1000,
        )
        n_who, n_lists = choose(
            profiles,
            scored.scores,
            table.rows,
            table.dirty,
            by,
            alive_ts,
            who,
            list_rows,
            recent,
            recent_n,
            favourites,
            segments,
        )
        who = who[:n_who]
        rules = self._held.rules(profiles, list_rows, n_lists, table)
        laid_out = self._lists.lay_out(
            answers,
            list_rows,
            recent[:n_lists],
            recent_n[:n_lists],
            favourites[:n_lists],
            segments[:n_lists],
            self._lists.contexts(profiles, list_rows),
        )
        lists = self._make(profiles["row"][list_rows >= 0], rules, *laid_out)
        batch = self._commands(scored, profiles, who, lists, list_rows)
        keep(profiles, scored.scores, table.rows, table.dirty, who, list_rows, lists.items, lists.counts, lists.rungs)
        self.tally.note_lists(lists.items, lists.counts, lists.rungs)
        if len(scored.profiles.left):
            self._held.send_away(self._cold, scored.profiles.left, table)
            if self._challenger:
                self._challenger.forget(scored.profiles.left[:, 1].astype(np.int32))
        return batch

    def _judge(self, scored: ScoredBatch, table: Table) -> None:
        acts, held, profiles = scored.profiles.acts, table.rows, scored.profiles.rows
        if self._challenger:
            self._challenger.make_room(table.size)
            self._challenger.forget(profiles["row"][(profiles["fresh"] != 0) | (profiles["erased"] != 0)])
        if len(acts) == 0:
            return
        rows, ranks = np.ascontiguousarray(profiles["row"]), np.empty(len(acts), np.int8)
        find_ranks(acts, rows, held["items"], held["count"], ranks)
        judged = ranks >= 0
        row_of_act = rows[acts["position"]]
        rungs = held["rungs"][row_of_act]
        add_hits(ranks, rungs, self.tally.hits, self.judged)
        self._lists.note_ranks(ranks, held["count"][row_of_act], rungs)
        self.tally.note_acts(acts)
        self._lists.note_acts(acts, profiles, scored.scores)
        turned_to = row_of_act[judged], acts["item"][judged]
        self._champion.weights.learn(self.shard, *turned_to)
        if self._challenger:
            self._challenger.judge(acts, rows, ranks)
            self._challenger.weights.learn(self.shard, *turned_to)

    def _make(self, rows: np.ndarray, rules: Rules, beside: Beside, last: Last, shoppers: Shoppers) -> Lists:
        """New lists of the shoppers `rows`, the champion's; the challenger's are only kept."""
        lists = self._lists.make(beside, last, shoppers, self._champion.weights.in_force, rules)
        remembered = self._lists.memory.remembered
        self._champion.weights.note(self.shard, rows, beside, last, remembered, lists)
        if self._challenger:
            others = self._lists.make(beside, last, shoppers, self._challenger.weights.in_force, rules)
            self._challenger.weights.note(self.shard, rows, beside, last, remembered, others)
            self._challenger.keep(rows, others)
        return lists

    def _commands(
        self,
        scored: ScoredBatch,
        profiles: np.ndarray,
        who: np.ndarray,
        lists: Lists,
        list_rows: np.ndarray,
    ) -> WriteBatch:
        n = len(who)
        if self._names.shared:
            self._names.refresh()
        directory = (self._names.slots, self._names.hashes, self._names.starts, self._names.arena)
        starts, per_user = np.zeros(n + 1, np.int64), np.zeros(n, np.int32)
        room = 2 * (commands.ROOM_MIN + _SCRATCH) + n * 1024
        while True:
            out = np.empty(room, np.uint8)
            written = commands.write_records(
                who,
                profiles,
                scored.profiles.ids,
                scored.scores,
                lists,
                list_rows,
                self._texts,
                self._bounds,
                self._rule_texts,
                directory,
                self._because,
                self._scratch,
                out,
                starts,
                per_user,
            )
            if written == n:
                break
            room *= 2
        return WriteBatch(
            users=profiles["user"][who],
            id_bytes=scored.profiles.ids,
            id_at=profiles["user_at"][who],
            id_len=profiles["user_len"][who],
            versions=np.where(profiles["erased"][who] == 1, ALWAYS, profiles["version"][who]),
            commands=out[: starts[n]],
            starts=starts,
            per_user=per_user,
            always=self._transition_commands(scored),
            always_n=len(scored.transitions),
            receipt=scored.profiles.receipt,
        )

    def _transition_commands(self, scored: ScoredBatch) -> bytes:
        changes = scored.transitions
        if len(changes) == 0:
            return b""
        out = np.empty(len(changes) * self._entry_room, np.uint8)
        rows, ids = scored.profiles.rows, scored.profiles.ids
        end = write_transitions(changes, rows, ids, self._entry_texts, self._scratch, out)
        return out[:end].tobytes()
