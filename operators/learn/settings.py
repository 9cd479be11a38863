"""How models learn: the settings of the learn step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How models learn and how often they publish.

    The clusterer finds `micro_clusters`; those are grouped into segments, as many as lie best apart, from
    `segments_min` (where so many do) to `segments`.
    `clusterer` is the dotted path of a `river.base.Clusterer`, `clusterer_params` what it is made with (where it knows
    the names, `n_clusters`, `half_life`, `warm_up` and `seed` come from the other settings). What a propensity learned
    weighs half after `half_life_samples`; its intercept goes by gradient descent at `learning_rate`; its figures cover
    the last `auc_window_samples`; at most `waiting_samples_max` of its samples wait for those that were decided before
    them. `challenger` is the dotted path of a `river.base.Classifier` that is held against it ("": none),
    `challenger_params` what that is made with. At most
    `samples_per_call_max` samples are learned from in one call, the others are left out evenly and counted.
    `popular_half_life_days` is that of the item shards' popularity, `categories_max` the categories it is told of.
    """

    clusterer: str = "operators.decayed_kmeans.DecayedKMeans"
    clusterer_params: dict[str, Any] = field(default_factory=dict)
    micro_clusters: int = 24
    segments_min: int = 4
    segments: int = 12
    half_life_samples: int = 20_000
    first_segments_samples: int = 128
    first_propensity_samples: int = 64
    publish_every_samples: int = 256
    samples_per_call_max: int = 16_384
    learning_rate: float = 0.01
    auc_window_samples: int = 5_000
    waiting_samples_max: int = 16_384
    challenger: str = ""
    challenger_params: dict[str, Any] = field(default_factory=dict)
    popular_n: int = 100
    popular_half_life_days: float = 3.0
    categories_max: int = 1000
    seed: int = 7
