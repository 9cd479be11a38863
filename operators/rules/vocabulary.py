"""The names that rules may use: which are numbers, which are text, and what to tell whoever uses another one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Literal

from operators.rules.errors import RuleError
from state.features import Feature, catalogue

Kind = Literal["number", "share", "text", "attribute"]

ATTRIBUTE = "attribute_"
SCORE = "score_"
_DIMENSIONS = ("device", "channel", "country")


class Vocabulary:
    """Every name of a shop: its catalogue of features, its patterns, and the scores of its own rules.

    `custom_names` and `context_names` are what the shop declares, `scores` the segments that have a score.
    """

    def __init__(
        self, custom_names: Iterable[str] = (), context_names: Iterable[str] = (), scores: Iterable[str] = ()
    ) -> None:
        contexts = tuple(context_names)
        self.features = catalogue(tuple(custom_names), contexts)
        for name in scores:
            told = f"points of the score of segments.{name}"
            self.features[SCORE + name] = Feature(SCORE + name, "points", "", told, "rules")
        dimensions = (*_DIMENSIONS, *(f"context_{name}" for name in contexts))
        self._share = re.compile(f"(?:{'|'.join(map(re.escape, dimensions))})_(.+)_share", re.DOTALL)

    def feature(self, name: str) -> Feature:
        """The feature of a name that `kind` has found to be one; of a pattern, made up for this name."""
        known = self.features.get(name)
        if known is not None:
            return known
        unit = "value" if name.startswith(ATTRIBUTE) else "share"
        return Feature(name, unit, "", name, "")

    def kind(self, name: str, place: str) -> Kind:
        """What a name is: "share" is a number that is 0 where a shopper has none.

        Raises RuleError that tells the nearest name, and for a list (session_sequence), which nothing compares with.
        """
        if name.startswith(ATTRIBUTE) and len(name) > len(ATTRIBUTE):
            return "attribute"
        if name == "session_sequence":
            raise RuleError(place, '"session_sequence" is a list of items; use a feature that is a number or text')
        if name == "price_level":
            told = "hangs on what all shoppers look at; use mean_price_viewed"
            raise RuleError(place, f'"price_level" {told}')
        if name in self.features:
            return "text" if name.startswith("favourite_") else "number"
        if self._share.fullmatch(name):
            return "share"
        raise RuleError(place, f'unknown feature "{name}"{self._hint(name)} (coterie features lists them)')

    def _hint(self, name: str) -> str:
        if name.startswith(SCORE):
            scores = ", ".join(known for known in self.features if known.startswith(SCORE))
            return f"; there is {scores}" if scores else "; no segment has a score"
        declared = {"custom_": "events.custom_names", "context_": "events.context_names"}
        setting = next(
            (s for prefix, s in declared.items() if name.removeprefix("favourite_").startswith(prefix)), None
        )
        cutoff = 0.9 if setting else 0.6  # names of one pattern are all alike
        close = did_you_mean(name, self.features, cutoff)
        if close:
            return close
        return f"; is it declared in {setting}?" if setting else ""


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a sentence about an unknown name: the known one most like it, however it is capitalised; or ""."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=cutoff)
    return f'; did you mean "{close[0]}"?' if close else ""
