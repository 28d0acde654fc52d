"""Exact gradients and training of dense feed-forward networks on CPUs.

The calculus of backpropagation, compiled: ∂C/∂w_jk = ∂z_j/∂w_jk · ∂a_j/∂z_j · ∂C/∂a_j, summed over
paths and averaged over examples, with every factor open to inspection.
"""

__version__ = "0.1.0"

from cbackprop import datasets, schedules
from cbackprop.chain_rule import ChainRule
from cbackprop.functions import Activation, Cost
from cbackprop.gradients import Backward, Forward, Gradient
from cbackprop.model_file import ModelFileError
from cbackprop.network import Network, info
from cbackprop.training import EarlyStopping, History
from cbackprop.training.optimizers import (
    LBFGS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    LevenbergMarquardt,
    RMSprop,
    Rprop,
)

__all__ = [
    "LBFGS",
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Backward",
    "ChainRule",
    "Cost",
    "EarlyStopping",
    "Forward",
    "Gradient",
    "History",
    "LevenbergMarquardt",
    "ModelFileError",
    "Network",
    "RMSprop",
    "Rprop",
    "datasets",
    "info",
    "schedules",
]
