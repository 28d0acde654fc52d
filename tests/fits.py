"""Networks, data and options of fits that several test files look at."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import support
from support import BACKENDS, with_every_kind

from cbackprop import SGD, Adagrad, Adam, AdamW, Network, RMSprop, Rprop
from cbackprop.random_numbers import words_at
from cbackprop.training import progress
from cbackprop.update_rules import StepOptions

OPTIMIZERS = with_every_kind(
    SGD(0.3), SGD(0.1, 0.9), SGD(0.1, 0.9, True), Adam(0.02), AdamW(0.02), RMSprop(0.01),
    RMSprop(0.01, momentum=0.5, centred=True), Adagrad(0.1), Rprop(0.02), whole_batch=False,
)  # fmt: skip
EVERYTHING: dict[str, Any] = {
    "l1": 0.002, "l2": 0.05, "dropout": 0.25, "max_norm": 0.9, "clip_norm": 0.3,
    "noise_multiplier": 0.4,
}  # fmt: skip


def everything(optimizer):
    """EVERYTHING that the optimiser takes: no noise where it compares costs, which have none."""
    if isinstance(optimizer, Rprop):
        return {name: value for name, value in EVERYTHING.items() if name != "noise_multiplier"}
    return EVERYTHING


def one_pass(net, X, Y, **arguments):
    """partial_fit with arguments as fit takes them."""
    options = {name: arguments.pop(name) for name in StepOptions._fields if name in arguments}
    return net.partial_fit(X, Y, **arguments, options=options or None)


def data(n=24, n_in=4, n_out=3, dtype="float64"):
    return support.data(n, (n_in, n_out), dtype, seed=6)


def network(backend, sizes=(4, 6, 5, 3), **options):
    return Network(list(sizes), seed=5, backend=backend, **options)


def step_taken(net, X, Y, **options):
    """What one step of gradient descent at rate 1 subtracts: the gradient that it used."""
    before = net.parameters
    one_pass(net, X, Y, batch_size=len(X), optimizer=SGD(1.0), **options)
    return before - net.parameters


def next_key(net):
    """The word that the next pass with dropout or noise draws."""
    return int(net.copy()._model.random.words(1)[0])


def masks(key, widths, rows, p):
    """1/(1 − p) for the hidden neurons that stay and 0 for the others, layer by layer: neuron j of
    layer l of row i has word i·(all neurons) + (those of the layers before) + j."""
    result, before = [], 0
    for width in widths[:-1]:
        places = np.array(
            [[i * sum(widths) + before + j for j in range(width)] for i in rows], dtype=np.uint64
        )
        upper = words_at(key, places) >> np.uint64(32)
        result.append(np.where(upper >= p * 2**32, 1 / (1 - p), 0.0))
        before += width
    return result


def rows(net):
    return [W.astype(np.longdouble) for W in net.weights]


def scripted(values):
    """A metric whose values are given."""
    left = list(values)

    def metric(predictions, targets):
        return left.pop(0)

    return metric


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Seconds that pass by so many at each look."""

    def __init__(self, step):
        self.step, self.now = step, 0.0

    def monotonic(self):
        self.now += self.step
        return self.now


def shown(monkeypatch, stream, step=0.0, epochs=5, **options):
    """What a fit wrote to stderr, the clock going on by ``step`` at each look."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "time", Clock(step))
    monkeypatch.setitem(sys.modules, "tqdm", options.pop("tqdm", None))
    X, Y = data()
    history = network(BACKENDS[0]).fit(X, Y, epochs=epochs, **options)
    monkeypatch.undo()
    return history
