"""Optimisers: their hyper-parameters.

First-order arithmetic stands in the engines, that of whole-batch steps in training/lbfgs.py and
training/levenberg_marquardt.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.update_rules import UpdateRule

if TYPE_CHECKING:
    import numpy.typing as npt


class Workspace:
    """Memory that is used again from step to step; nothing is lost with it but time."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}
        self.last: object = None  # what a method keeps of its last step, in a form of its own

    def array(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """The array of that name, of whatever content; made anew only if shape or dtype differ."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            self._arrays.pop(name, None)
            try:
                array = np.empty(shape, dtype)
            except (MemoryError, ValueError):  # ValueError: more than any array can have
                n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
                raise MemoryError(
                    f"{name} of the optimiser, {' x '.join(map(str, shape))} numbers, takes "
                    f"{n_bytes} bytes, more than can be had"
                ) from None
            self._arrays[name] = array
        return array


class WholeBatchState:
    """Everything an optimiser remembers between its steps.

    Attributes
    ----------
    arrays : dict of str to ndarray
        L-BFGS: the steps ``s0``, ``s1``, … and the changes of the gradient ``y0``, ``y1``, …, each
        (P,) and float64, the oldest first. No step writes into them: it puts others in their place.
    numbers : dict of str to float
        Levenberg–Marquardt: ``mu``.
    workspace : Workspace
        No part of the state: a copy and a restored state begin with an empty one.
    """

    def __init__(self, arrays: dict[str, Array], numbers: dict[str, float]) -> None:
        self.arrays = arrays
        self.numbers = numbers
        self.workspace = Workspace()

    def copy(self) -> WholeBatchState:
        """A state of its own; the arrays, which nobody writes into, are shared."""
        return WholeBatchState(dict(self.arrays), dict(self.numbers))


class Optimizer:
    """What every optimiser has: a name, a learning rate, and the rule by which an engine updates.

    A new one is a class here, in the table at the end, and a branch of the engines for its rule.
    """

    name: ClassVar[str]  # as `fit` takes it
    # The argument that says how long a step is.
    steps_set_by: ClassVar[str] = "learning_rate"
    learning_rate_may_be_zero: ClassVar[bool] = True

    learning_rate: float

    def __setattr__(self, name: str, value: object) -> None:
        # A network in training keeps its own copy of the numbers, and would not see a change.
        if name in vars(self):
            raise AttributeError(
                f"{name} cannot be assigned; make another {type(self).__name__}, or give "
                "learning_rate to fit or partial_fit"
            )
        super().__setattr__(name, value)

    @property
    def rule(self) -> UpdateRule | None:
        """What an engine does with a gradient; None where steps are no update by a gradient."""
        raise NotImplementedError

    def _numbers(self, *names: str) -> dict[str, float]:
        """These of its arguments; 1.0 and 0.0 for yes and no."""
        return {name: float(getattr(self, name)) for name in names}

    def goes_on(self, other: Optimizer) -> bool:
        """Whether the other's state serves this one: they differ in the learning rate at most."""
        mine, others = dict(vars(self)), dict(vars(other))
        del mine["learning_rate"], others["learning_rate"]
        return type(self) is type(other) and mine == others

    def arguments(self) -> dict[str, float]:
        """What makes another one like this."""
        return {
            name: value
            for name, value in vars(self).items()
            if name != "learning_rate" or self.steps_set_by == name
        }

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments().items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class SGD(Optimizer):
    """Steps downhill along the mean gradient g of a batch.

    Without momentum w ← w − η g. With it v ← μ v + g and w ← w − η v; Nesterov's form steps
    along g + μ v instead of v (the formulas of ``torch.optim.SGD``).

    Parameters
    ----------
    learning_rate : float
        η ≥ 0.
    momentum : float
        μ in [0, 1).
    nesterov : bool
        Needs momentum > 0.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    name = "sgd"

    @validation.names_keywords
    def __init__(
        self, learning_rate: float = 0.1, momentum: float = 0.0, nesterov: bool = False
    ) -> None:
        self.learning_rate = validation.non_negative("learning_rate", learning_rate)
        self.momentum = validation.fraction("momentum", momentum)
        self.nesterov = validation.flag("nesterov", nesterov)
        validation.nesterov_needs_momentum(self.nesterov, self.momentum)

    @property
    def rule(self) -> UpdateRule:
        if self.momentum == 0.0:
            return UpdateRule("sgd", {}, ())
        name = "nesterov" if self.nesterov else "momentum"
        return UpdateRule(name, self._numbers("momentum"), ("v",))


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), in the form of ``torch.optim.Adam``.

    m ← β₁ m + (1−β₁) g, v ← β₂ v + (1−β₂) g²,
    w ← w − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε).

    Parameters
    ----------
    learning_rate : float
        η ≥ 0.
    beta1, beta2 : float
        In [0, 1).
    epsilon : float
        ε > 0.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    name = "adam"

    @validation.names_keywords
    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = validation.non_negative("learning_rate", learning_rate)
        self.beta1 = validation.fraction("beta1", beta1)
        self.beta2 = validation.fraction("beta2", beta2)
        self.epsilon = validation.positive("epsilon", epsilon)

    @property
    def rule(self) -> UpdateRule:
        return UpdateRule("adam", self._numbers("beta1", "beta2", "epsilon"), ("m", "v"))


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as ``torch.optim.AdamW``.

    w ← (1 − η·weight_decay) w, then Adam's step; biases decay, too.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon : float
        As `Adam`'s.
    weight_decay : float
        ≥ 0.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    name = "adamw"

    @validation.names_keywords
    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon)
        self.weight_decay = validation.non_negative("weight_decay", weight_decay)

    @property
    def rule(self) -> UpdateRule:
        numbers = self._numbers("beta1", "beta2", "epsilon", "weight_decay")
        return UpdateRule("adamw", numbers, super().rule.slots)


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012), as ``torch.optim.RMSprop``.

    v ← α v + (1−α) g², w ← w − η g/(√v + ε); centred, √(v − m²) with m ← α m + (1−α) g; with
    momentum, u ← μ u + that step and w ← w − η u.

    Parameters
    ----------
    learning_rate : float
        η ≥ 0.
    alpha : float
        In [0, 1).
    epsilon : float
        ε > 0.
    momentum : float
        μ in [0, 1).
    centred : bool
        Divide by the spread instead of the size of the recent gradients. Where rounding takes
        v − m² below 0 it counts as 0 (PyTorch has NaN there).

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    name = "rmsprop"

    @validation.names_keywords
    def __init__(
        self,
        learning_rate: float = 0.01,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centred: bool = False,
    ) -> None:
        self.learning_rate = validation.non_negative("learning_rate", learning_rate)
        self.alpha = validation.fraction("alpha", alpha)
        self.epsilon = validation.positive("epsilon", epsilon)
        self.momentum = validation.fraction("momentum", momentum)
        self.centred = validation.flag("centred", centred)

    @property
    def rule(self) -> UpdateRule:
        numbers = self._numbers("alpha", "epsilon", "momentum", "centred")
        slots = ("v", *(("m",) if self.centred else ()), *(("u",) if self.momentum > 0 else ()))
        return UpdateRule("rmsprop", numbers, slots)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan & Singer 2011), as ``torch.optim.Adagrad``.

    s ← s + g², w ← w − η/(1 + (t−1)·learning_rate_decay) · g/(√s + ε).

    Parameters
    ----------
    learning_rate : float
        η ≥ 0.
    epsilon : float
        ε > 0.
    learning_rate_decay : float
        ≥ 0.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    name = "adagrad"

    @validation.names_keywords
    def __init__(
        self, learning_rate: float = 0.01, epsilon: float = 1e-10, learning_rate_decay: float = 0.0
    ) -> None:
        self.learning_rate = validation.non_negative("learning_rate", learning_rate)
        self.epsilon = validation.positive("epsilon", epsilon)
        self.learning_rate_decay = validation.non_negative(
            "learning_rate_decay", learning_rate_decay
        )

    @property
    def rule(self) -> UpdateRule:
        return UpdateRule("adagrad", self._numbers("epsilon", "learning_rate_decay"), ("s",))


class Rprop(Optimizer):
    """Resilient backpropagation (Riedmiller & Braun 1993) in the form iRprop⁺ (Igel & Hüsken 2003).

    Only the signs of the gradient count: each parameter has a step size of its own, which grows
    while the sign stays and shrinks when it changes. Made for whole batches: give ``fit`` a
    batch_size of the number of examples.

    Parameters
    ----------
    learning_rate : float
        The first size of every step, > 0, within ``least`` and ``most``; schedules play no part
        after it.
    shrink, grow : float
        Factors of a step's size: 0 < shrink < 1 ≤ grow.
    least, most : float
        Bounds of a step's size.
    takes_back : bool
        iRprop⁺: where the sign has changed and the cost (without l1 and l2) has grown, the last
        step is taken back.
        Without it this is iRprop⁻, ``torch.optim.Rprop``.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    name = "rprop"
    learning_rate_may_be_zero = False

    @validation.names_keywords
    def __init__(
        self,
        learning_rate: float = 0.01,
        shrink: float = 0.5,
        grow: float = 1.2,
        least: float = 1e-6,
        most: float = 50.0,
        takes_back: bool = True,
    ) -> None:
        self.learning_rate = validation.positive("learning_rate", learning_rate)
        self.shrink = validation.fraction("shrink", validation.positive("shrink", shrink))
        self.grow = validation.at_least("grow", grow, 1.0)
        self.least = validation.positive("least", least)
        self.most = validation.at_least("most", most, self.least)
        self.takes_back = validation.flag("takes_back", takes_back)

    @property
    def rule(self) -> UpdateRule:
        numbers = self._numbers("shrink", "grow", "least", "most", "takes_back")
        return UpdateRule("rprop", numbers, ("previous", "size", "change"), compares_costs=True)


class WholeBatch(Optimizer):
    """An optimiser whose every step looks at all examples: batch_size and shuffle play no part."""

    @property
    def rule(self) -> None:
        return None

    def state_numbers(self, arrays: dict[str, Array], numbers: object) -> dict[str, float] | None:
        """The numbers again, where these parts of a file may be a state that this has left."""
        raise NotImplementedError


class LBFGS(WholeBatch):
    """Limited-memory BFGS with a line search by the strong Wolfe conditions.

    (Nocedal & Wright 2006, *Numerical Optimization*, algorithms 7.4, 7.5, 3.5 and 3.6.) One epoch
    is one iteration, and mostly one evaluation of cost and gradient. The fit stops, "converged",
    when the gradient is small enough or no step that the network's numbers can tell from none makes
    the cost lower; in float32 that is sooner.

    Parameters
    ----------
    learning_rate : float
        The length tried first by each line search, > 0; 1 is Newton's. The first search of all, and
        any along the gradient itself, begins with min(1, ‖g‖) of it.
    memory : int
        Pairs of steps and gradient changes remembered, ≥ 1.
    gradient_tolerance : float
        The fit stops when no derivative is larger, ≥ 0: a number in the cost's units.
    line_search : int
        Most evaluations of cost and gradient in one search, ≥ 1.
    max_evaluations : int, optional
        Most of them in a fit, ≥ 1: it stops, "max_evaluations", within the step that takes the
        last one.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    name = "lbfgs"
    learning_rate_may_be_zero = False

    @validation.names_keywords
    def __init__(
        self,
        learning_rate: float = 1.0,
        memory: int = 10,
        gradient_tolerance: float = 1e-10,
        line_search: int = 25,
        max_evaluations: int | None = None,
    ) -> None:
        self.learning_rate = validation.positive("learning_rate", learning_rate)
        self.memory = validation.integer("memory", memory, 1)
        self.gradient_tolerance = validation.non_negative("gradient_tolerance", gradient_tolerance)
        self.line_search = validation.integer("line_search", line_search, 1)
        self.max_evaluations = (
            None
            if max_evaluations is None
            else validation.integer("max_evaluations", max_evaluations, 1)
        )

    def arguments(self) -> dict[str, float]:
        arguments = super().arguments()
        if self.max_evaluations is None:  # as files of versions that knew no limit have it
            del arguments["max_evaluations"]
        return arguments

    def state_numbers(self, arrays: dict[str, Array], numbers: object) -> dict[str, float] | None:
        pairs = [f"{letter}{i}" for i in range(len(arrays) // 2) for letter in "sy"]
        if list(arrays) != pairs or len(arrays) > 2 * self.memory:
            return None
        if self.max_evaluations is None:
            return {} if numbers == {} else None
        count = numbers.get("evaluations") if validation.is_mapping(numbers) else None
        if type(count) is not float or not count.is_integer() or numbers != {"evaluations": count}:
            return None
        return {"evaluations": count} if 1 <= count <= self.max_evaluations else None


class LevenbergMarquardt(WholeBatch):
    """Levenberg–Marquardt for sums of squares: steps −(JᵀJ + μI)⁻¹Jᵀr, μ adapted.

    For the costs quadratic, half_quadratic and mse, with one residual r = a − y for each example
    and output. A step that lowers the cost is taken and μ decreases, otherwise μ increases and the
    step is tried again (Marquardt 1963; Hagan & Menhaj 1994; the defaults are MATLAB's trainlm's).
    One epoch is one step.

    The equations are P×P or, where there are fewer residuals than parameters, as many as residuals:
    for networks of up to some thousands of parameters, or that many residuals. Sample weights count
    as repetitions of an example. The penalty l2 joins JᵀJ for the weights, without the biases.

    Parameters
    ----------
    mu : float
        The first μ, > 0.
    decrease, increase : float
        Factors of μ: 0 < decrease < 1 < increase.
    most_mu : float
        The fit stops, "mu reached its bound", when μ would exceed it; or it times the largest
        number on the diagonal of JᵀJ, where that is above 1, as of unscaled data.
    gradient_tolerance : float
        It stops, too, when the length of Jᵀr, a sum over the examples, is not above this, ≥ 0; and
        when a step changes no parameter's last digit. A number in the targets' units: where those
        are about 1e-8 a fit stops early; scale them to about 1, or give 0.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    name = "levenberg_marquardt"
    steps_set_by = "mu"

    @validation.names_keywords
    def __init__(
        self,
        mu: float = 1e-3,
        decrease: float = 0.1,
        increase: float = 10.0,
        most_mu: float = 1e10,
        gradient_tolerance: float = 1e-7,
    ) -> None:
        self.learning_rate = 1.0
        self.mu = validation.positive("mu", mu)
        self.decrease = validation.fraction("decrease", validation.positive("decrease", decrease))
        self.increase = validation.above("increase", increase, 1.0)
        self.most_mu = validation.at_least("most_mu", most_mu, self.mu)
        self.gradient_tolerance = validation.non_negative("gradient_tolerance", gradient_tolerance)

    def state_numbers(self, arrays: dict[str, Array], numbers: object) -> dict[str, float] | None:
        if arrays or not validation.is_mapping(numbers) or list(numbers) != ["mu"]:
            return None
        mu = numbers["mu"]
        return {"mu": mu} if type(mu) is float and 0 < mu < math.inf else None


# The names once more, for editors and type checkers: a test compares them with the table.
OptimizerName = Literal[
    "sgd", "adam", "adamw", "rmsprop", "adagrad", "rprop", "lbfgs", "levenberg_marquardt"
]
OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.name: kind
    for kind in (SGD, Adam, AdamW, RMSprop, Adagrad, Rprop, LBFGS, LevenbergMarquardt)
}


def resolve(optimizer: object, learning_rate: object) -> Optimizer:
    """The optimiser meant by a name or an object, with ``learning_rate`` in place of its own.

    Raises
    ------
    TypeError, ValueError
        Naming ``optimizer`` or ``learning_rate``.
    """
    chosen: Optimizer
    if validation.is_a(optimizer, Optimizer):
        chosen = optimizer
    else:
        words = tuple(OPTIMIZERS)
        kind = validation.choice("optimizer", optimizer, words, " or an optimiser object")
        chosen = OPTIMIZERS[kind]()
    if learning_rate is None:
        return chosen
    validation.learning_rate_applies(type(chosen).__name__, chosen.steps_set_by)
    rate = validation.non_negative("learning_rate", learning_rate)
    if not chosen.learning_rate_may_be_zero:
        validation.positive("learning_rate", rate)
    changed = type(chosen).__new__(type(chosen))
    vars(changed).update(vars(chosen), learning_rate=rate)
    return changed
