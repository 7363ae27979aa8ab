"""Checkers of the exercises: ``checks.NAME(candidate)`` prints one line and returns a Result.

One file a notebook. A checker tests properties against independent references, names the mistake
when it knows it, gives partial credit, and never raises.
"""

from simclr_tut.checks._runner import Mistake, Result, checker
from simclr_tut.checks.nb00 import (
    colour_and_grey,
    kinds_of_learning,
    majority_baseline,
    rotation_pretext,
)
from simclr_tut.checks.nb01 import colour_matrix, contrast, grey_shortcut, small_crops, two_views
from simclr_tut.checks.nb02 import cifar_stem, deep_head, head_parameters, multiply_adds, work_at_20
from simclr_tut.checks.nb03 import (
    across_views,
    colder,
    logit_gradient,
    neighbouring_rows,
    room_to_fall,
    with_margin,
)
from simclr_tut.checks.nb04 import (
    cosine_to_a_floor,
    count_steps,
    enough_rows,
    hold_then_fall,
    rank_of,
    step_in_order,
)
from simclr_tut.checks.nb05 import (
    honest_top1,
    majority_knn,
    probe_by_hand,
    real_coverage,
    t_interval,
    vote_shares,
    whole_bank,
)
from simclr_tut.checks.nb06 import factor_r2, false_negative_share, lost_factor, plant_bits
from simclr_tut.checks.nb07 import diagnosis, half_precision, mended_loss, temperature_property
from simclr_tut.checks.nb08 import (
    momentum_update,
    queue_chance,
    queue_momentum,
    queue_update,
    variance_term,
)
from simclr_tut.checks.nb09 import cached_gradient, loss_of_all, scaled_rate, training_hours

__all__ = [
    "Mistake", "Result", "across_views", "cached_gradient", "checker", "cifar_stem", "colder",
    "colour_and_grey", "colour_matrix", "contrast", "cosine_to_a_floor", "count_steps",
    "deep_head", "diagnosis", "enough_rows", "factor_r2", "false_negative_share",
    "grey_shortcut", "half_precision", "head_parameters", "hold_then_fall", "honest_top1",
    "kinds_of_learning", "logit_gradient", "loss_of_all", "lost_factor", "majority_baseline",
    "majority_knn", "mended_loss", "momentum_update", "multiply_adds", "neighbouring_rows",
    "plant_bits", "probe_by_hand", "queue_chance", "queue_momentum", "queue_update", "rank_of",
    "real_coverage", "room_to_fall", "rotation_pretext", "scaled_rate", "small_crops",
    "step_in_order", "t_interval", "temperature_property", "training_hours", "two_views",
    "variance_term", "vote_shares", "whole_bank", "with_margin", "work_at_20",
]
