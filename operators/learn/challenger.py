"""The challenger of a propensity: any River classifier, made from settings."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Hashable
from typing import Any

import numpy as np
from river import base, linear_model, optim

from operators.learn.settings import LearnSettings
from state.features import PROPENSITY_INPUTS

TRIAL_SAMPLES = 256
"""So many random samples a challenger has to learn from before it is taken."""


def make_challenger(settings: LearnSettings) -> base.Classifier | None:
    """The classifier that the settings name, None for none; ValueError says what is wrong with them."""
    path = settings.challenger
    if not path:
        return None
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(
            f'learn.challenger: found no "{path}"; give a dotted path such as "river.tree.HoeffdingTreeClassifier", '
            'or "" for none'
        ) from None
    if not (isinstance(found, type) and issubclass(found, base.Classifier)):
        raise ValueError(
            f'learn.challenger: "{path}" is no river.base.Classifier; give one such as '
            '"river.tree.HoeffdingTreeClassifier"'
        )
    if found.predict_proba_one is base.Classifier.predict_proba_one:
        raise ValueError(
            f'learn.challenger: "{path}" tells no probabilities; give one that does, such as '
            '"river.tree.HoeffdingTreeClassifier"'
        )
    known = inspect.signature(found).parameters
    params = {"seed": settings.seed} if "seed" in known else {}
    params = {**params, **settings.challenger_params}
    try:
        challenger = found(**params)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"learn.challenger_params: {path} was not made: {error}; it takes {', '.join(known)}"
        ) from None
    try:
        told = _tried(found(**params))
    except Exception as error:  # whatever a class of River does not expect
        text = f"cannot learn with these: {type(error).__name__}: {error}"
        raise ValueError(f"learn.challenger_params: {path} {text}; it takes {', '.join(known)}") from None
    if not told:
        raise ValueError(
            f"learn.challenger_params: {path} predicts nothing after {TRIAL_SAMPLES} samples; it takes"
            f" {', '.join(known)}"
        )
    return challenger


def _tried(challenger: base.Classifier) -> dict[Any, float]:
    """What it says after samples such as it will see: standardised, below 0 as above, some 0, of both outcomes."""
    rng = np.random.default_rng(0)
    for sample in rng.normal(size=(TRIAL_SAMPLES, len(PROPENSITY_INPUTS))) * (rng.random(len(PROPENSITY_INPUTS)) < 0.9):
        inputs: dict[Hashable, float] = dict(zip(PROPENSITY_INPUTS, sample.tolist(), strict=True))
        challenger.predict_proba_one(inputs)
        challenger.learn_one(inputs, bool(sample.sum() > 0))
    return challenger.predict_proba_one(inputs)


def configuration(settings: LearnSettings) -> tuple[Any, ...]:
    """What a saved challenger was made with: if that changes, a new one is made."""
    params = tuple(sorted((name, repr(value)) for name, value in settings.challenger_params.items()))
    return (settings.challenger, params)


def is_linear(challenger: base.Classifier | None) -> bool:
    """Can shards apply it as weights and an intercept?"""
    return isinstance(challenger, linear_model.LogisticRegression) and isinstance(challenger.loss, optim.losses.Log)
