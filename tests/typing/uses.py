"""Uses that a type checker must accept, and the types it must find. Read by it, never run."""

from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

from cbackprop import (
    LBFGS,
    Activation,
    Adam,
    ChainRule,
    Cost,
    EarlyStopping,
    Gradient,
    History,
    Network,
    datasets,
    schedules,
)

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

X, labels = datasets.load_digits()
Y = datasets.one_hot(labels, 10)
names = datasets.classes(["b", "a"])
assert_type(names, tuple[str, ...])
datasets.one_hot(["b", "a"], names)

# Names as literals, one for all layers or one a layer; functions of one's own among them.
net = Network([64, 30, 10], seed=0)
Network((64, 30, 10), "tanh", "mse", dtype=np.float32, threads=2)
Network(np.array([64, 10]), ["softmax"], "cross_entropy", dtype="float32", init="lecun")
square = Activation(lambda z: z * z, lambda z: 2 * z, "square")
own = Cost(lambda a, y: ((a - y) ** 2).sum(axis=1), lambda a, y: 2 * (a - y))
Network([2, 3, 1], [square, "sigmoid"], own, backend="reference")

assert_type(net.predict(X), Floats)
assert_type(net.predict([0.0] * 64), Floats)
assert_type(net.cost(X, Y), float)
assert_type(net.cost(X, Y, sample_weight=[1.0] * len(X)), float)
assert_type(net.cost(X, Y, per_example=True), Floats)
assert_type(net.cost(X, Y, per_example=len(X) > 3), float | Floats)
assert_type(net.gradient(X, Y), Gradient)
assert_type(net.gradient(X, Y, per_example=True).vector, Floats)
of_layers: tuple[Floats, ...] = net.gradient(X, Y).weights
assert_type(net.gradient(X, Y).biases[0], Floats)
assert_type(net.gradient_norms(X, Y), Floats)
assert_type(net.gradient_gram(X, Y, X[:5], Y[:5]), Floats)
assert_type(net.gradient_moments(X, Y), tuple[Gradient, Gradient])
assert_type(net.jacobian(X), Floats)
assert_type(net.hessian_vector_product(X, Y, net.gradient(X, Y)), Floats)
of_layers = net.weights
net.weights[0] *= 0.5
net.biases[1] -= 0.1 * net.gradient(X, Y).biases[1]
assert_type(net.parameters, Floats)
net.parameters = np.zeros(net.n_parameters)
net.parameters = [0.0] * net.n_parameters
as_array: npt.NDArray[Any] = np.asarray(net.gradient(X, Y))


g, h = net.gradient(X, Y), net.gradient(X[:9], Y[:9])
assert_type((2 * g - h / 3) * 0.5, Gradient)
assert_type(-g, Gradient)
assert_type(np.float64(0.1) * g + g, Gradient)
mean_gradient: Gradient = sum([h, h], g) / 3
net.parameters = net.parameters - 0.1 * g
g += h

rule = net.chain_rule(X[0], Y[0])
assert_type(rule, ChainRule)
assert_type(rule.weight(2, 3, 7).value, float)
rule.weight(2, 3, 7).svg("chain", theme="dark")


def accuracy_of_three(predictions: Floats, targets: Floats) -> float:
    return float((predictions.argmax(axis=1) == targets.argmax(axis=1)).mean())


def stop_soon(network: Network, history: History) -> bool:
    return history.epochs > 3 and network.n_parameters > 0


history = net.fit(
    X,
    Y,
    epochs=2,
    optimizer=Adam(0.01),
    validation_data=(X, Y),
    metrics=["accuracy", accuracy_of_three],
    early_stopping=EarlyStopping(3, monitor="accuracy"),
    schedule=schedules.StepDecay(10),
    callbacks=[stop_soon],
    class_weight="balanced",
)
assert_type(history, History)
assert_type(history.cost, list[float])
net.fit(X, Y, standardise=True)
if net.scales is not None and net.scales.outputs is not None:
    assert_type(net.scales.inputs.apply(X), np.ndarray[Any, np.dtype[Any]])
    print(net.scales.inputs.mean, net.scales.outputs.deviation)
net.fit(X, Y, optimizer="lbfgs", shuffle=False, early_stopping=2)
net.fit(X, Y, optimizer=LBFGS(memory=5), class_weight={0: 2.0, 1: 1.0})
net.fit(X, Y, shuffle=lambda epoch: np.arange(len(X)), schedule=lambda epoch, rate: rate / 2)
assert_type(net.partial_fit(X[0], Y[0]).partial_fit(X, Y, options={"l2": 1e-4}), Network)
assert_type(net.score(X, Y, "r2"), float)
assert_type(net.check_gradient(X[:2], Y[:2]).passed, bool)
assert_type(net.diagnose_gradient(X, Y, net.gradient(X, Y)).agrees, bool)
assert_type(net.diagnose_gradient(X, Y, (net.weights, net.biases)).mistakes, tuple[str, ...])


class Named(Network):
    name: str = "digits"


assert_type(Named.load("digits.model"), Named)
assert_type(Named([2, 1]).copy(), Named)
