"""First-order optimisers: their hyper-parameters. Their arithmetic stands in the kernels."""

from __future__ import annotations

from typing import Any

from cbackprop import validation


class Optimizer:
    """What every optimiser has: a learning rate, and the name and numbers of its update rule."""

    learning_rate: float

    def __setattr__(self, name: str, value: Any) -> None:
        # A network in training keeps its own copy of the numbers, and would not see a change.
        if name in vars(self):
            raise AttributeError(
                f"{name} cannot be assigned; make another {type(self).__name__}, or give "
                "learning_rate to fit or partial_fit"
            )
        super().__setattr__(name, value)

    @property
    def rule(self) -> str:
        """The kernels' name of the update."""
        raise NotImplementedError

    @property
    def hyper_parameters(self) -> tuple[float, ...]:
        """What that update takes beside the learning rate."""
        raise NotImplementedError

    def _shown(self) -> dict[str, Any]:
        return dict(vars(self))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._shown().items())
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

    def __init__(
        self, learning_rate: float = 0.1, momentum: float = 0.0, nesterov: bool = False
    ) -> None:
        self.learning_rate = validation.non_negative("learning_rate", learning_rate)
        self.momentum = validation.fraction("momentum", momentum)
        self.nesterov = validation.flag("nesterov", nesterov)
        validation.nesterov_needs_momentum(self.nesterov, self.momentum)

    @property
    def rule(self) -> str:
        if self.momentum == 0.0:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"

    @property
    def hyper_parameters(self) -> tuple[float, ...]:
        return () if self.momentum == 0.0 else (self.momentum,)


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
    def rule(self) -> str:
        return "adam"

    @property
    def hyper_parameters(self) -> tuple[float, ...]:
        return (self.beta1, self.beta2, self.epsilon)


def resolve(optimizer: Any, learning_rate: Any) -> Optimizer:
    """The optimiser meant by a name or an object, with ``learning_rate`` in place of its own.

    Raises
    ------
    TypeError, ValueError
        Naming ``optimizer`` or ``learning_rate``.
    """
    if isinstance(optimizer, Optimizer):
        if learning_rate is None:
            return optimizer
        rate = validation.non_negative("learning_rate", learning_rate)
        changed = type(optimizer).__new__(type(optimizer))
        vars(changed).update(vars(optimizer), learning_rate=rate)
        return changed
    kinds: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}
    kind = kinds[validation.choice("optimizer", optimizer, tuple(kinds), " or an optimiser object")]
    return kind() if learning_rate is None else kind(learning_rate)
