"""Activations as ONNX has them: a row for each, which `export` writes and `load` looks for.

Operators are composed of others where onnxruntime has none in float64, or one that loses digits:
without overflow, and without a difference of two numbers that are nearly the same.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

from cbackprop.reference.calculus import LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE


class Operation(NamedTuple):
    """An operator on z, on numbers and on the results of other operators."""

    operator: str
    inputs: tuple[Formula, ...]


Formula: TypeAlias = "Operation | float | Literal['z']"


class Row(NamedTuple):
    """σ(z) as operators."""

    float32: Formula
    float64: Formula | None  # None: onnxruntime has nothing that it could be made of
    others: tuple[Formula, ...] = ()  # what other programs write, in either number type


def of(operator: str, *inputs: Formula) -> Operation:
    """An operator's result."""
    return Operation(operator, inputs)


z: Literal["z"] = "z"
_BELOW, _ABOVE = of("Min", z, 0.0), of("Max", z, 0.0)
_E = of("Exp", of("Neg", of("Abs", z)))  # e^{−|z|}
# onnxruntime's own takes 1 − 1/(1 + e^{z}) below 0 in float64, which has no digits there, and has
# an absolute error of 1e-7 in float32: too large where z multiplies it.
_SIGMOID = of("Div", of("Exp", _BELOW), of("Add", _E, 1.0))
# e^{z} − 1 = tanh(z/2) (e^{z} + 1) below 0, and 0 above. Elu and Selu take the difference.
_EXPM1 = of("Mul", of("Tanh", of("Mul", _BELOW, 0.5)), of("Add", of("Exp", _BELOW), 1.0))
# ln(1 + e) = e · ln(u)/(u − 1) of u = 1 + e as it was rounded (Kahan; Goldberg 1991, theorem 4).
_U = of("Add", _E, 1.0)
_LOG1P = of(
    "Where",
    of("Equal", _U, 1.0),
    _E,
    of("Mul", _E, of("Div", of("Log", _U), of("Sub", _U, 1.0))),
)
# 1 + erf(z/√2), which is 2Φ(z).
_TWO_PHI = tuple(
    of("Add", of("Erf", part), 1.0)
    for part in (of("Div", z, math.sqrt(2.0)), of("Mul", z, math.sqrt(0.5)))
)

_SILU = of("Mul", z, _SIGMOID)
_ELU = of("Add", _ABOVE, _EXPM1)
_SELU = of("Mul", of("Add", _ABOVE, of("Mul", _EXPM1, SELU_ALPHA)), SELU_SCALE)

FUNCTIONS: dict[str, Row] = {
    "sigmoid": Row(
        of("Sigmoid", z),
        _SIGMOID,
        (of("Div", 1.0, of("Add", of("Exp", of("Neg", z)), 1.0)),),
    ),
    "tanh": Row(of("Tanh", z), of("Tanh", z)),
    "relu": Row(of("Relu", z), of("Relu", z), (_ABOVE,)),
    "leaky_relu": Row(of("LeakyRelu", z), of("Max", z, of("Mul", z, LEAKY_SLOPE))),
    "elu": Row(_ELU, _ELU, (of("Elu", z),)),
    "selu": Row(_SELU, _SELU, (of("Selu", z),)),
    "gelu": Row(
        of("Mul", of("Mul", z, 0.5), _TWO_PHI[0]),  # an operator of its own came with opset 20
        None,
        (
            of("Gelu", z),
            of("Mul", of("Mul", z, 0.5), _TWO_PHI[1]),
            *(of("Mul", of("Mul", z, phi), 0.5) for phi in _TWO_PHI),
            *(of("Mul", z, of("Mul", phi, 0.5)) for phi in _TWO_PHI),
        ),
    ),
    "silu": Row(_SILU, _SILU, (of("Mul", z, of("Sigmoid", z)), of("Swish", z))),
    "softplus": Row(
        of("Softplus", z),
        of("Add", _ABOVE, _LOG1P),
        # PyTorch's, and the textbook's.
        (
            of("Where", of("Greater", z, 20.0), z, of("Softplus", z)),
            of("Log", of("Add", of("Exp", z), 1.0)),
        ),
    ),
    "softsign": Row(of("Softsign", z), of("Div", z, of("Add", of("Abs", z), 1.0))),
    "exponential": Row(of("Exp", z), of("Exp", z)),
    "identity": Row(z, z),
    "softmax": Row(of("Softmax", z), of("Softmax", z)),
}


def formulas(row: Row) -> list[Formula]:
    """All that a row's function may be written as."""
    return [formula for formula in (row.float32, row.float64, *row.others) if formula is not None]
