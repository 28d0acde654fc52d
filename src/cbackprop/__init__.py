"""Exact gradients and training of dense feed-forward networks on CPUs.

The calculus of backpropagation, compiled: ∂C/∂w_jk = ∂z_j/∂w_jk · ∂a_j/∂z_j · ∂C/∂a_j, summed over
paths and averaged over examples, with every factor open to inspection.
"""

from typing import TYPE_CHECKING

from cbackprop import datasets, schedules
from cbackprop._version import __version__ as __version__
from cbackprop.backend import info
from cbackprop.files.format import ModelFileError
from cbackprop.functions import Activation, Cost
from cbackprop.gradients import Backward, Forward, Gradient
from cbackprop.network import Network
from cbackprop.optimizers import (
    LBFGS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    LevenbergMarquardt,
    RMSprop,
    Rprop,
)
from cbackprop.sums import EXAMPLES_PER_GROUP
from cbackprop.training import EarlyStopping, History

if TYPE_CHECKING:
    from cbackprop.chain_rule import ChainRule

__all__ = [
    "EXAMPLES_PER_GROUP",
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


def __getattr__(name: str) -> object:
    """What few programs need, imported when it is asked for (PEP 562)."""
    from importlib import import_module

    if name in ("chain_rule", "gradient_check", "gradient_diagnosis"):
        return import_module(f"cbackprop.{name}")
    if name == "ChainRule":
        return import_module("cbackprop.chain_rule").ChainRule
    raise AttributeError(f"module 'cbackprop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
