"""A network in CasADi's symbols, for controllers and other optimisation problems.

Needs CasADi 3.6.5 or newer, which `import cbackprop` does not look for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from cbackprop import validation
from cbackprop.exports import named_layers
from cbackprop.network import Network
from cbackprop.reference.calculus import LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE

try:
    ca: Any = import_module("casadi")
except ImportError as error:
    raise ImportError(
        f"cbackprop.casadi needs CasADi 3.6.5 or newer ({error}): "
        "pip install 'casadi>=3.6.5', or cbackprop with its extra: 'cbackprop[casadi]'"
    ) from error

Symbols = Any  # of CasADi, which has no types: a column of MX

# CasADi differentiates what is written, and evaluates both sides of if_else. So no side overflows
# for any z, no difference cancels in a derivative, and at 0 each is the package's own: CasADi has
# fmax(0, z)′ = ½ there, and |z|′ = 0, with which σ′(0) would be 0.


def _size(z: Symbols) -> Symbols:
    """|z|, which rises at 0."""
    return ca.if_else(z < 0, -z, z)


def _sigmoid(z: Symbols) -> Symbols:
    e = ca.exp(-_size(z))
    return ca.if_else(z < 0, e, 1) / (1 + e)


def _tanh(z: Symbols) -> Symbols:
    e_minus_one = ca.expm1(-2 * _size(z))
    return ca.if_else(z < 0, 1, -1) * e_minus_one / (2 + e_minus_one)


def _relu(z: Symbols) -> Symbols:
    return z * (z > 0)


def _elu(z: Symbols, alpha: float = 1.0) -> Symbols:
    return _relu(z) + alpha * ca.expm1(z * (z <= 0))


def _softsign(z: Symbols) -> Symbols:
    total = 1 + ca.fabs(z)
    return ca.if_else(ca.fabs(z) < 1, z / total, ca.sign(z) * (1 - 1 / total))


def _softmax(z: Symbols) -> Symbols:
    e = ca.exp(z - ca.mmax(z))
    return e / ca.sum1(e)


# σ(z) of each activation, from a layer's z (n_l, 1).
FORMULAS: dict[str, Callable[[Symbols], Symbols]] = {
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "relu": _relu,
    "leaky_relu": lambda z: z * ca.if_else(z > 0, 1, LEAKY_SLOPE),
    "elu": _elu,
    "selu": lambda z: SELU_SCALE * _elu(z, SELU_ALPHA),
    "gelu": lambda z: z * (1 + ca.erf(z * math.sqrt(0.5))) / 2,
    "silu": lambda z: z * _sigmoid(z),
    "softplus": lambda z: ca.if_else(z < 0, 0, z) + ca.log1p(ca.exp(-_size(z))),
    "softsign": _softsign,
    "exponential": ca.exp,
    "identity": lambda z: z,
    "softmax": _softmax,
}


def function(net: Network, name: str = "network") -> Any:  # a casadi.Function: no types
    """A network as a function of CasADi, with derivatives of every order that it takes.

    Parameters
    ----------
    net : Network
        Its parameters are copied, as float64: what it learns later does not change the function.
    name : str, optional
        What CasADi calls the function, also in C code that it generates.

    Returns
    -------
    casadi.Function
        From a column ``x`` (n_0, 1) to a column ``a`` (n_L, 1), the activations of the last layer.
        It is made of matrix symbols (MX); its ``expand()`` is the same of single numbers (SX).

    Raises
    ------
    TypeError
        If ``net`` is no Network, or ``name`` no string.
    RuntimeError
        If another thread is changing ``net``.
    ValueError
        For an activation of your own, and for a name that CasADi does not take.

    Notes
    -----
    The derivatives are those of the package at kinks, too: relu′(0) = 0. Nobody looks for overflow,
    of which `Network.predict` would tell by FloatingPointError. CasADi has erf, but not 1 − erf:
    below z = −6 gelu and its derivatives are right to 1e-16, not to a share of themselves.

    Examples
    --------
    >>> from cbackprop import Network, casadi
    >>> net = Network([3, 16, 2], ["tanh", "identity"], seed=0)
    >>> casadi.function(net)
    Function(network:(x[3])->(a[2]) MXFunction)
    """
    layers = named_layers("net", net)
    x = a = ca.MX.sym("x", net.sizes[0])
    for W, b, activation in layers:
        # Also of a float32 network: CasADi has no other numbers than float64.
        z = ca.mtimes(ca.MX(W.astype(np.float64)), a) + ca.MX(b.astype(np.float64))
        a = FORMULAS[activation](z)
    return ca.Function(_judged(name), [x], [a], ["x"], ["a"])


def _judged(name: object) -> str:
    if not isinstance(name, str):
        raise validation.wrong_type("name", name, "a string")
    if not ca.Function.check_name(name):
        raise ValueError(
            f"name is {name!r}; expected a letter, then letters, digits and single underscores, "
            "and none of CasADi's own words (null, jac, hess)"
        )
    return name
