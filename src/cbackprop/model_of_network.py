"""A network as files see it, until they see its Model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cbackprop.functions import Activation, Array, Cost
from cbackprop.optimizers import Optimizer
from cbackprop.random_numbers import RandomNumbers
from cbackprop.second_order import State

if TYPE_CHECKING:
    from cbackprop.network import Network


class ModelOfNetwork:
    """Names without underscores for what a network keeps."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.sizes: tuple[int, ...] = network.sizes
        self.activations: tuple[str | Activation, ...] = network.activations
        self.cost_function: str | Cost = network.cost_function
        self.dtype: np.dtype[Any] = network.dtype
        self.init: str = network._init
        self.threads: int = network.threads
        self.backend: str = network.backend
        self.weights: tuple[Array, ...] = network.weights
        self.biases: tuple[Array, ...] = network.biases
        self.random: RandomNumbers = network._random
        self.engine: Any = network._engine

    @property
    def optimizer(self) -> Optimizer | None:
        return self.network._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer | None) -> None:
        self.network._optimizer = optimizer

    @property
    def whole_batch_state(self) -> State | None:
        state: State | None = self.network._second_order
        return state

    @whole_batch_state.setter
    def whole_batch_state(self, state: State | None) -> None:
        self.network._second_order = state
