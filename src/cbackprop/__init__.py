"""Exact gradients and training of dense feed-forward networks on CPUs.

The calculus of backpropagation, compiled: ∂C/∂w_jk = ∂z_j/∂w_jk · ∂a_j/∂z_j · ∂C/∂a_j, summed over
paths and averaged over examples, with every factor open to inspection.
"""

__version__ = "0.1.0"

from cbackprop import datasets
from cbackprop.chain_rule import ChainRule
from cbackprop.functions import Activation, Cost
from cbackprop.gradients import Backward, Forward, Gradient
from cbackprop.network import Network, info
from cbackprop.optimizers import SGD, Adam
from cbackprop.training import History

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "Backward",
    "ChainRule",
    "Cost",
    "Forward",
    "Gradient",
    "History",
    "Network",
    "datasets",
    "info",
]
