"""Checkers of the exercises: ``checks.NAME(candidate)`` prints one line and returns a Result.

One file a notebook. A checker tests properties against independent references, names the mistake
when it knows it, gives partial credit, and never raises.
"""

from simclr_tut.checks._runner import Mistake, Result, checker
from simclr_tut.checks.nb00 import kinds_of_learning, majority_baseline, rotation_pretext
from simclr_tut.checks.nb01 import contrast, small_crops, two_views
from simclr_tut.checks.nb02 import cifar_stem, head_parameters, multiply_adds
from simclr_tut.checks.nb03 import across_views, logit_gradient, room_to_fall
from simclr_tut.checks.nb04 import hold_then_fall, rank_of, step_in_order
from simclr_tut.checks.nb05 import honest_top1, majority_knn, t_interval
from simclr_tut.checks.nb06 import factor_r2, false_negative_share, lost_factor, plant_bits
from simclr_tut.checks.nb07 import diagnosis, mended_loss, temperature_property
from simclr_tut.checks.nb09 import cached_gradient, loss_of_all, scaled_rate, training_hours

__all__ = [
    "Mistake", "Result", "across_views", "cached_gradient", "checker", "cifar_stem",
    "contrast", "diagnosis", "factor_r2", "false_negative_share", "head_parameters",
    "hold_then_fall", "honest_top1", "kinds_of_learning", "logit_gradient", "loss_of_all",
    "lost_factor", "majority_baseline", "majority_knn", "mended_loss", "multiply_adds",
    "plant_bits", "rank_of", "room_to_fall", "rotation_pretext", "scaled_rate", "small_crops",
    "step_in_order", "t_interval", "temperature_property", "training_hours", "two_views",
]
