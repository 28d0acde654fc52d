"""One network's state, as training sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from cbackprop import backend
from cbackprop.functions import Activation, Array, Cost

if TYPE_CHECKING:
    from cbackprop.random_numbers import RandomNumbers
    from cbackprop.reference import Engine
    from cbackprop.training.optimizers import Optimizer
    from cbackprop.training.whole_batch import State


class Model(Protocol):
    """Interim: what training needs of the class that will have this name."""

    optimizer: Optimizer | None
    whole_batch_state: State | None

    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def activations(self) -> tuple[str | Activation, ...]: ...
    @property
    def cost_function(self) -> str | Cost: ...
    @property
    def dtype(self) -> np.dtype[np.floating]: ...
    @property
    def backend(self) -> str: ...
    @property
    def weights(self) -> tuple[Array, ...]: ...
    @property
    def biases(self) -> tuple[Array, ...]: ...
    @property
    def storage(self) -> Array: ...
    @property
    def random(self) -> RandomNumbers: ...
    @property
    def engine(self) -> Engine: ...

    def set_optimizer(self, optimizer: Optimizer) -> None:
        """Start this optimiser afresh."""

    def predict(self, X: Array) -> Array:
        """The outputs for examples that were judged before."""

    def mean_cost(self, X: Array, Y: Array) -> float:
        """The mean cost of examples and targets that were judged before."""


class Snapshot:
    """Everything a training call may change, as it was: to go back to, or to give to a copy."""

    def __init__(self, model: Model) -> None:
        engine = model.engine
        self.storage = model.storage.copy()
        self.slots = tuple(slot.copy() for slot in engine.slots)
        self.rule = (engine.rule_name, engine.hyper_parameters)  # Interim: engine.rule
        self.learning_rate = engine.learning_rate
        self.step_count = engine.step_count
        self.previous_cost = engine.previous_cost
        self.optimizer = model.optimizer
        state = model.whole_batch_state
        self.whole_batch_state = None if state is None else state.copy()
        self.random_state = model.random.state

    def restore(self, model: Model) -> None:
        """Write everything back, into the memory that ``weights`` and ``biases`` look at."""
        engine = model.engine
        model.storage[...] = self.storage
        if (engine.rule_name, engine.hyper_parameters) != self.rule:  # Interim: engine.rule
            engine.set_optimizer(*self.rule)
        for slot, saved in zip(engine.slots, self.slots, strict=True):
            slot[...] = saved
        engine.learning_rate = self.learning_rate
        engine.step_count = self.step_count
        engine.previous_cost = self.previous_cost
        model.optimizer = self.optimizer
        model.whole_batch_state = self.whole_batch_state
        model.random.state = self.random_state


def random_order(model: Model, n: int) -> Array:
    """A uniformly random order of 0 … n-1, from the network's own generator."""
    order = np.arange(n, dtype=np.int64)
    backend.shuffle(model.backend, model.dtype.name, order, model.random.words(n))
    return order
