"""Learning-rate schedules: the rate of each epoch, from its number and the optimiser's own rate.

The public path of what stands in training/schedules.py.
"""

from cbackprop.training.schedules import (
    Constant,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
)

__all__ = [
    "Constant",
    "CosineDecay",
    "ExponentialDecay",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
]
