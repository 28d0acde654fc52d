"""What training asks of an engine, by name: the rule of its updates, and what a step does besides.

Both engines read the numbers by their names, never by their places.
"""

from __future__ import annotations

from typing import NamedTuple


class UpdateRule(NamedTuple):
    """How a gradient changes the parameters.

    Attributes
    ----------
    name : str
        Which formula: one of those in `reference.calculus.take_step`.
    hyper_parameters : dict of str to float
        What the rule takes besides the learning rate; 1.0 and 0.0 for yes and no.
    slots : tuple of str
        What it remembers from step to step: arrays laid out as the parameters are.
    compares_costs : bool
        Whether a step depends on the cost having grown since the one before.
    """

    name: str
    hyper_parameters: dict[str, float]
    slots: tuple[str, ...]
    compares_costs: bool = False


class StepOptions(NamedTuple):
    """What a step does besides its rule; 0, False or () for what is not wanted.

    Attributes
    ----------
    l1, l2 : float
        Of the penalty l1 Σ|w| + (l2/2) Σw².
    dropout : float
        The probability with which a hidden activation is left out.
    max_norm : float
        The greatest length of a neuron's incoming weights after the step.
    clip_norm : float
        The greatest length of an example's gradient.
    noise_multiplier : float
        Standard deviation of the noise on the sum of a lot's gradients, in clip_norm. Sum and noise
        are divided by the batch size asked for, whatever number of rows a lot has.
    clip_gradient_norm : float
        The greatest length of a batch's mean gradient, before penalties.
    frozen : tuple of int
        Layers, from 1 and in order, that keep their parameters and their slots.
    missing_targets : bool
        Whether NaN among the targets stands for one that is not there, and adds nothing to the
        cost.
    """

    l1: float = 0.0
    l2: float = 0.0
    dropout: float = 0.0
    max_norm: float = 0.0
    clip_norm: float = 0.0
    noise_multiplier: float = 0.0
    clip_gradient_norm: float = 0.0
    frozen: tuple[int, ...] = ()
    missing_targets: bool = False

    @property
    def is_random(self) -> bool:
        """Whether a step draws random numbers."""
        return self.dropout > 0 or self.noise_multiplier > 0

    @property
    def has_penalty(self) -> bool:
        """Whether the cost has a penalty on the weights."""
        return self.l1 > 0 or self.l2 > 0

    @property
    def text(self) -> str:
        """All of it in one line, by which a checkpoint knows it again.

        What came after the first six stands there only where it is asked for: older checkpoints
        have no word of it.
        """
        values: list[object] = list(self)
        while len(values) > 6 and not values[-1]:
            values.pop()
        return repr(tuple(values))
