"""Refusals and texts that few people meet, beside the catalogue of bad input."""

from __future__ import annotations

import inspect
import io
import sys

import numpy as np
import pytest
from support import BACKENDS, output_of

from cbackprop import LBFGS, Activation, LevenbergMarquardt, Network, validation

X, Y = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(0, 1, 8).reshape(4, 2)


# ---- what of a Network is fixed ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "sizes", "activations", "cost_function", "dtype", "threads", "backend", "n_parameters",
        "weights", "biases",
    ],
)  # fmt: skip
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_engine_would_not_see(name, backend):
    net = Network([3, 4, 2], seed=0, backend=backend)
    before, predicted = getattr(net, name), net.predict(X)
    with pytest.raises(
        AttributeError, match=rf"^{name} cannot be assigned; write into weights\[i\]\[\.\.\.\] or"
    ):
        setattr(net, name, None)
    assert getattr(net, name) is before
    assert np.array_equal(net.predict(X), predicted)
    net.note = "anything else is the user's own"
    assert net.note.startswith("anything")


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_while_a_fit_is_running(backend):
    net = Network([3, 4, 2], seed=0, backend=backend)
    twin = net.copy()
    refused = []

    def replace(network, history):
        for call in (
            lambda: setattr(network, "parameters", np.zeros(network.n_parameters)),
            lambda: network.reset(1),
        ):
            with pytest.raises(
                RuntimeError, match=r"^a fit of this network is running; .*copy\(\)"
            ):
                call()
            refused.append(history.epochs)

    net.fit(X, Y, epochs=3, callbacks=replace)
    twin.fit(X, Y, epochs=3)
    assert refused == [1, 1, 2, 2, 3, 3]
    assert np.array_equal(net.parameters, twin.parameters)
    net.parameters = np.zeros(net.n_parameters)
    assert not net.parameters.any()


def test_the_class_can_be_inspected():
    """What stands in the class for a network's attributes raises in a network alone."""
    names = dict(inspect.getmembers(Network))
    assert {"sizes", "weights", "_engine", "fit"} <= set(names)
    with pytest.raises(RuntimeError, match=r"^this Network is not initialised"):
        Network.__new__(Network).weights  # noqa: B018


# ---- what is no array ----------------------------------------------------------------------------


class Failing:
    """Something that becomes no array."""

    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error


def test_no_memory_for_an_array_is_no_fault_of_its_kind():
    error = MemoryError("no room")
    with pytest.raises(MemoryError) as raised:
        Network([3, 2]).predict(Failing(error))
    assert raised.value is error


def test_numbers_that_no_float_holds():
    with pytest.raises(ValueError, match=r"^X has an integer too large for a float; expected"):
        Network([3, 2]).predict(Failing(OverflowError("int too large to convert to float")))


def test_results_with_more_numbers_than_an_array_can_have():
    most = validation.LARGEST_ARRAY
    validation.result_size("the Jacobian", most // 8, 8, "float64")
    with pytest.raises(
        ValueError,
        match=rf"^X has {most} examples: the Jacobian would have {2 * most} numbers; expected at "
        rf"most {most}$",
    ):
        validation.result_size("the Jacobian", most, 2, "float64")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_activation_of_the_user_that_returns_ragged_rows(backend):
    ragged = Activation(lambda z: [[1.0], [2.0, 3.0]], lambda z: np.ones_like(z), "ragged")
    net = Network([3, 2], activation=ragged, seed=0, backend=backend)
    with pytest.raises(ValueError, match=r"returned no array \(.*\); expected \(4, 2\)$"):
        net.predict(X)


# ---- numbers that are not finite -----------------------------------------------------------------


def test_a_nudge_after_which_the_cost_is_not_finite():
    net = Network([1, 1], activation="identity", seed=0)
    rule = net.chain_rule([1.0], [0.0])
    for term in (rule.weight(1, 0, 0), rule.bias(1, 0), rule.activation(1, 0)):
        with pytest.raises(
            FloatingPointError, match=r"^size is 1e\+200: the cost is not finite after such a nudge"
        ):
            term.nudge(1e200)
        assert term.nudge(1e-6).ratio == pytest.approx(term.value, rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer", [LBFGS(), LevenbergMarquardt()], ids=["lbfgs", "lm"])
def test_a_fit_to_the_whole_batch_that_cannot_begin(optimizer, backend):
    """Zeros go in and come out, so z and the cost are finite; the derivatives are not."""
    net = Network([1, 1, 1, 1], activation="identity", init="zeros", backend=backend)
    for W in net.weights:
        W[...] = 1e200
    before = net.parameters
    with pytest.raises(FloatingPointError, match=r"^training diverged in epoch 1: .*overflowed"):
        net.fit(np.zeros((3, 1)), np.ones((3, 1)), epochs=2, optimizer=optimizer)
    assert np.array_equal(net.parameters, before)


# ---- what is shown -------------------------------------------------------------------------------


def test_results_say_what_they_are():
    net = Network([3, 4, 2], seed=0)
    one, each = net.gradient(X, Y), net.gradient(X, Y, per_example=True)
    assert (len(one), len(each)) == (26, 4)
    assert repr(one) == f"<Gradient 3-4-2, P = 26, cost {one.cost:.6g}, norm {one.norm():.6g}>"
    assert repr(each) == "<Gradient of 4 examples, 3-4-2, P = 26>"
    shapes = "activations of shape (4, 3), (4, 4), (4, 2)>"
    assert repr(net.forward(X)) == f"<Forward, {shapes}"
    assert repr(net.backward(X, Y)) == f"<Backward, {shapes}"


class Breaking(io.StringIO):
    """A terminal whose other end goes away before the last line."""

    def isatty(self):
        return True

    def write(self, text):
        if text == "\n":
            raise OSError("gone")
        return super().write(text)


def test_a_terminal_that_goes_away_at_the_end_of_a_fit(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    terminal = Breaking()
    monkeypatch.setattr(sys, "stderr", terminal)
    history = Network([3, 2], seed=0).fit(X, Y, epochs=2, progress=True)
    assert history.epochs == 2
    assert "epoch 2/2" in terminal.getvalue()


def test_info_without_the_compiled_core():
    code = """
        import sys
        sys.modules["cbackprop.kernels._cpu"] = None
        from cbackprop.cli import main
        assert main(["info"]) == 0
        main(["demo", "--epochs", "1"])  # too few to pass
    """
    printed = output_of(code, options=("-W", "ignore"), keep_switches=False)
    lines = [line.split() for line in printed.splitlines()]
    assert ["simd", "level", "none"] in lines
    assert "The NumPy reference computes." in printed
