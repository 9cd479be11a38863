"""The learn step: River models fed with samples beside the stream, publishing what they know as model versions.

The step itself, `step.Learner`, hands samples to the learner of one model: of the segments, a propensity, or what is
popular. A snapshot is a pickled dict of their plain state, and names no class of this package.
"""

from __future__ import annotations

from operators.learn.settings import LearnSettings
from operators.learn.step import MODELS, SAMPLED, Learner

__all__ = ["MODELS", "SAMPLED", "LearnSettings", "Learner"]
