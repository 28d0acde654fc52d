"""From a gradient of somebody's own to what is wrong with it, in words."""

from __future__ import annotations

import numpy as np

from cbackprop import layout, validation
from cbackprop.functions import Array
from cbackprop.gradient_diagnosis.errors import Error, Errors
from cbackprop.gradient_diagnosis.forms import Form, readings
from cbackprop.gradient_diagnosis.mistakes import BIAS, Mistake
from cbackprop.gradient_diagnosis.result import GradientDiagnosis
from cbackprop.gradient_diagnosis.search import (
    MOST_MISTAKES,
    Rounding,
    Search,
    Ways,
    explanations,
    largest,
)
from cbackprop.gradient_diagnosis.words import Words
from cbackprop.model import Model
from cbackprop.random_numbers import RandomNumbers
from cbackprop.reference.engine import Backward, Engine, Forward

# Somebody may have computed in float32, whatever the network does and the arrays are now.
EPSILONS = (2.0**-52, 2.0**-23)
NEIGHBOURS = 4
# What is off by less than so many times the tolerance may be rounding of single precision after
# all: then only a mistake that explains every digit of double precision is named.
DOUBT = 16.0


def diagnose_gradient(model: Model, X: Array, Y: Array, given: Form) -> GradientDiagnosis:
    """Find the fewest known mistakes that explain it."""
    with model.engine.reading():
        parameters = layout.flat(model.weights, model.biases).astype(np.float64)
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    engine = _engine(model, parameters)
    values = engine.run_backward(X, Y)
    if not isinstance(values, Backward):
        validation.explain_not_finite(values, X, engine.weights, engine.biases)
        raise AssertionError  # that has raised
    found = readings(given, model.sizes)
    with np.errstate(all="ignore"):
        errors = Errors(engine, Forward(*values[:3]), Y)
        right = _right(errors)
        roundings = [_rounding(model, parameters, X, Y, right, epsilon) for epsilon in EPSILONS]
        words = Words(model, right, found[0], len(X))
        ways = [Ways(reading, errors, reading.mistakes) for reading in found]
        for rounding in roundings:
            if explanations(ways[:1], rounding, 0, 0):
                return words.agreement(rounding)
        if any(b.any() for b in engine.biases):
            forgetful = _engine(model, parameters)
            for b in forgetful.biases:
                b[...] = 0
            no_bias = Errors(forgetful, forgetful.run_forward(X), Y)
            said = "the forward pass leaves out b"
            ways += [
                Ways(reading, no_bias, (*reading.mistakes, Mistake(BIAS, 0, "", said)))
                for reading in found
            ]
        for rounding in roundings:
            some = explanations(ways, rounding, 1, MOST_MISTAKES)
            if some:
                return words.whole(some, rounding)
            if explanations(ways[:1], roundings[-1].times(DOUBT), 0, 0):
                return words.partial(Search(ways[0], roundings[-1], 0).partial(), roundings[-1])
        partial = [(r, Search(ways[0], r, MOST_MISTAKES).partial()) for r in roundings]
        rounding, explanation = min(partial, key=lambda pair: len(pair[1].unexplained))
        return words.partial(explanation, rounding)


def _engine(model: Model, parameters: Array) -> Engine:
    engine = Engine(model.sizes, model.activations, model.cost_function, "float64")
    engine.storage[...] = parameters
    return engine


def _right(errors: Errors) -> list[Error]:
    """From layer 1 up."""
    found: list[Error] = []
    for _ in errors.engine.weights:
        above = found[0] if found else None
        found.insert(0, next(errors.of(above, lambda mistakes: not mistakes)))
    return found


def _rounding(
    model: Model, parameters: Array, X: Array, Y: Array, right: list[Error], epsilon: float
) -> Rounding:
    """How far the gradient moves if parameters and examples have other last digits."""
    random = RandomNumbers(0)
    nearby = [[0.0, 0.0] for _ in right]
    for _ in range(NEIGHBOURS):
        changes = [
            4 * epsilon * (2 * random.uniform(array.size) - 1).reshape(array.shape)
            for array in (parameters, X)
        ]
        # Both ways: where a kink is near, it lies on one side.
        for sign in (1, -1):
            engine = _engine(model, parameters * (1 + sign * changes[0]))
            values = engine.run_backward(X * (1 + sign * changes[1]), Y)
            if not isinstance(values, Backward):
                continue
            for error, a_below, delta in zip(right, values.a[:-1], values.delta, strict=True):
                there = Error(error.layer, delta, delta, a_below, ())
                of_layer = nearby[error.layer - 1]
                of_layer[0] = max(of_layer[0], largest(there.weights - error.weights))
                of_layer[1] = max(of_layer[1], largest(there.biases - error.biases))
    return Rounding(epsilon, [(of_W, of_b) for of_W, of_b in nearby])
