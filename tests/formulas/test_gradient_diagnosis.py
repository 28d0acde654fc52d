"""diagnose_gradient names the mistake that was planted, and none in a gradient that is right.

The gradients are a learner's: backpropagation written out here once more, in plain NumPy, with one
line of it wrong. Nothing of it comes from the package.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from support import DTYPES, ELEMENTWISE, PAIRS, both_dtypes, every_backend, state

from cbackprop import Activation, Cost, Network

MISTAKES = (
    "σ′ missing",
    "σ′ taken of a",
    "transposed",
    "not averaged",
    "factor 2 missing",
    "sign reversed",
    "bias forgotten",
    "order of the vector",
    "one path only",
    "the layer above's error",
)


# ---- a learner's backpropagation -----------------------------------------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


FUNCTIONS = {
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softplus": (lambda z: np.log(1 + np.exp(z)), sigmoid),
    "elu": (lambda z: np.where(z > 0, z, np.exp(z) - 1), lambda z: np.where(z > 0, 1, np.exp(z))),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
    "identity": (lambda z: z, np.ones_like),
}
SLOPES = {
    "quadratic": lambda a, y: 2 * (a - y),
    "half_quadratic": lambda a, y: a - y,
    "mse": lambda a, y: 2 * (a - y) / a.shape[1],
    "cross_entropy": lambda a, y: (1 - y) / (1 - a) - y / a,
}


class Plan(NamedTuple):
    """Which line is wrong, in which layers, and how."""

    mistake: str | None = None
    layers: tuple[int, ...] = ()
    variant: int = 0


def backpropagate(net, X, Y, plan=None, dtype="float64"):
    """dW and db of each layer, as somebody writes it who makes the mistake of the plan."""
    mistake, layers, variant = plan or Plan()
    W = [w.astype(dtype) for w in net.weights]
    b = [beta.astype(dtype) for beta in net.biases]
    X, Y = X.astype(dtype), Y.astype(dtype)
    L, n = len(W), len(X)
    names = net.activations
    a, z = [X], [X]
    for l in range(L):
        beta = 0 * b[l] if mistake == "bias forgotten" and variant == 1 else b[l]
        z.append(a[l] @ W[l].T + beta)
        a.append(FUNCTIONS[names[l]][0](z[l + 1]))
    dC_da = SLOPES[net.cost_function](a[L], Y)
    if mistake == "sign reversed" and variant == 0:
        dC_da = -dC_da
    if mistake == "factor 2 missing":
        dC_da = dC_da / 2
    dWs, dbs = [], []
    above = dC_da
    for l in range(L, 0, -1):
        here = l in layers
        slope = FUNCTIONS[names[l - 1]][1](z[l])
        if here and mistake == "σ′ missing":
            slope = np.ones_like(slope)
        if here and mistake == "σ′ taken of a":
            slope = FUNCTIONS[names[l - 1]][1](a[l])
        delta = dC_da * slope
        if here and mistake == "the layer above's error" and variant == 2:
            delta = above
        dW, db = delta.T @ a[l - 1] / n, delta.sum(axis=0) / n
        if mistake == "not averaged":
            dW, db = dW * (n if variant != 1 else 1), db * (n if variant != 2 else 1)
        if here and mistake == "transposed" and variant == 0:
            dW = dW.T
        if here and mistake == "bias forgotten" and variant == 0:
            db = np.zeros_like(db)
        dWs.insert(0, dW)
        dbs.insert(0, db)
        if l == 1:
            break
        passed, back = delta, W[l - 1]
        below = l - 1 in layers
        if below and mistake == "sign reversed" and variant == 1:
            passed = -passed
        if below and mistake == "transposed" and variant == 1:
            back = back.T
        if below and mistake == "the layer above's error" and variant == 0:
            passed = dC_da
        if below and mistake == "one path only":
            j = (0, back.shape[0] - 1, layers[0] % back.shape[0])[variant]
            dC_da = np.outer(passed[:, j], back[j])  # = in the place of +=
        elif below and mistake == "the layer above's error" and variant == 1:
            dC_da = delta
        else:
            dC_da = passed @ back
        above = delta
    return dWs, dbs


def flat(dWs, dbs, order=0, step=1):
    """One vector, in the documented order or another one."""
    pairs = list(zip(dWs, dbs, strict=True))[::step]
    parts = (
        lambda: [part.ravel() for pair in pairs for part in pair],
        lambda: [part.ravel() for pair in pairs for part in pair[::-1]],
        lambda: [w.ravel() for w, _ in pairs] + [b for _, b in pairs],
        lambda: [b for _, b in pairs] + [w.ravel() for w, _ in pairs],
        lambda: [np.column_stack((w, b)).ravel() for w, b in pairs],
        lambda: [np.column_stack((b, w)).ravel() for w, b in pairs],
        lambda: [part.ravel(order="F") for pair in pairs for part in pair],
    )
    return np.concatenate(parts[order]())


def random_network(random, backend="reference"):
    """A network with biases, and some examples."""
    L = int(random.integers(2, 5))
    hidden = random.integers(2, 7, L - 1)
    if random.random() < 0.3:
        hidden[:] = hidden[0]  # all alike: square matrices
    sizes = [int(n) for n in (random.integers(1, 6), *hidden, random.integers(1, 5))]
    kinds = ["sigmoid", "sigmoid", "tanh", "softplus", "elu"]
    names = [str(name) for name in random.choice(kinds, L)]
    cost = str(random.choice(list(SLOPES)))
    if cost == "cross_entropy":
        names[-1] = "sigmoid"
    seed = int(random.integers(10**6))
    net = Network(sizes, names, cost, init="lecun", seed=seed, backend=backend)
    n = int(random.integers(3, 12))
    return net, random.normal(size=(n, sizes[0])), random.uniform(size=(n, sizes[-1]))


def random_plan(random, net, mistake):
    """The mistake in one layer, or wherever it can be made; None where it cannot be in any."""
    L = len(net.weights)
    variants = {
        "transposed": 2,
        "not averaged": 3,
        "sign reversed": 2,
        "bias forgotten": 2,
        "one path only": 3,
        "the layer above's error": 3,
    }
    variant = int(random.integers(variants.get(mistake, 1)))
    where = list(range(1, L + 1))
    W = net.weights
    if mistake == "factor 2 missing" and net.cost_function not in ("quadratic", "mse"):
        return None
    square = [l for l in range(1, L) if W[l].shape[0] == W[l].shape[1]]
    if mistake == "transposed" and variant == 1:
        where = square
    if mistake == "sign reversed" and variant == 1:
        where = where[:-1]
    if mistake == "one path only":
        where = [l for l in range(1, L) if W[l].shape[0] > 1]
    if mistake == "the layer above's error":
        where = list(range(1, L)) if variant == 0 else square
    if not where:
        return None
    layers = tuple(where) if random.random() < 0.5 else (int(random.choice(where)),)
    return Plan(mistake, layers, variant)


def planted(random, mistake, dtype):
    """A network, examples and a gradient with this mistake in it, where it can be seen."""
    while True:
        net, X, Y = random_network(random)
        plan = random_plan(random, net, mistake)
        if plan is None:
            continue
        dWs, dbs = backpropagate(net, X, Y, plan, dtype)
        right = backpropagate(net, X, Y, None, dtype)
        shapes = [w.shape for w in dWs] == [w.shape for w in net.weights]
        if mistake == "order of the vector":
            order, step = int(random.integers(7)), int(random.choice((1, -1)))
            gradient = flat(dWs, dbs, order, step)
        elif random.random() < 0.5:
            gradient = flat(dWs, dbs)
        else:
            gradient = dWs, dbs
            if not shapes:
                return net, X, Y, gradient, plan
        vector = gradient if isinstance(gradient, np.ndarray) else flat(*gradient)
        seen = np.abs(vector - flat(*right)) > 1e-3 * np.abs(flat(*right)).max()
        if seen.any():
            return net, X, Y, gradient, plan


def confusion(count, dtype, seed):
    """For each mistake how often which explanations were found."""
    table = {}
    for mistake in MISTAKES:
        random = np.random.default_rng([seed, MISTAKES.index(mistake)])
        table[mistake] = Counter()
        for _ in range(count):
            net, X, Y, gradient, _ = planted(random, mistake, dtype)
            found = net.diagnose_gradient(X, Y, gradient)
            assert not found.agrees
            names = " or ".join(" + ".join(names) for names in found.explanations)
            table[mistake][names or "none known"] += 1
    return table


def right_share(mistake, found):
    """Of the explanations, those that name the planted mistake alone, or as one of two."""
    right = sum(count for names, count in found.items() if mistake in names.split(" or "))
    return right / sum(found.values())


@pytest.mark.parametrize(
    "count", [20, pytest.param(200, marks=pytest.mark.slow)], ids=lambda count: f"{count}-networks"
)
@both_dtypes
def test_planted_mistakes_are_named(count, dtype):
    table = confusion(count, dtype, seed=count)
    for mistake, found in table.items():
        print(f"{mistake}: {dict(found)}")
    shares = {mistake: right_share(mistake, found) for mistake, found in table.items()}
    assert min(shares.values()) >= 0.95, shares


def test_two_mistakes_at_a_time_are_both_named():
    random = np.random.default_rng(1)
    of_delta = [m for m in MISTAKES if m not in ("not averaged", "order of the vector")]
    found, tried = 0, 60
    for _ in range(tried):
        net, X, Y, gradient, plan = planted(random, str(random.choice(of_delta)), "float64")
        if isinstance(gradient, np.ndarray):
            expected, changed = {plan.mistake, "not averaged"}, len(X) * gradient
        else:
            dWs, dbs = gradient
            expected, changed = (
                {plan.mistake, "sign reversed"},
                ([-w for w in dWs], [-b for b in dbs]),
            )
        diagnosis = net.diagnose_gradient(X, Y, changed)
        found += any(set(names) == expected for names in diagnosis.explanations)
    # Not averaged and half of it is right with two examples; a sign reversed twice is none.
    assert found >= 0.9 * tried


# ---- gradients that are right --------------------------------------------------------------------


def random_library_network(seed, output, cost, dtype):
    """Any of the package's functions; saturated and trained ones among them."""
    random = np.random.default_rng(seed)
    L = int(random.integers(1, 5))
    sizes = [int(n) for n in random.integers(1, 7, L + 1)]
    sizes[-1] = max(sizes[-1], 2 if output == "softmax" else 1)
    hidden = [name for name in ELEMENTWISE if name != "exponential"]
    names = [*map(str, random.choice(hidden, L - 1)), output]
    init = str(random.choice(["auto", "standard_normal", "lecun", "zeros"]))
    net = Network(sizes, names, cost, seed=seed, dtype=dtype, init=init)
    n = int(random.integers(1, 20))
    X, Y = random.normal(size=(n, sizes[0])), random.uniform(size=(n, sizes[-1]))
    if random.random() < 0.3:
        net.fit(X, Y, epochs=100, optimizer="lbfgs")
    return net, X.astype(dtype), Y.astype(dtype)


@both_dtypes
@pytest.mark.parametrize(
    "count", [60, pytest.param(1000, marks=pytest.mark.slow)], ids=lambda count: f"{count}-networks"
)
def test_a_right_gradient_is_never_accused(count, dtype):
    agreed = 0
    for seed in range(count):
        net, X, Y = random_library_network(seed, *PAIRS[seed % len(PAIRS)], dtype)
        gradient = net.gradient(X, Y)
        found = net.diagnose_gradient(X, Y, gradient)
        assert found.mistakes == (), f"{seed}: {found}"
        agreed += found.agrees
        assert found.agrees or dtype == "float32", f"{seed}: {found}"
        if dtype == "float64":
            rounded = net.diagnose_gradient(X, Y, gradient.vector.astype("float32"))
            assert rounded.agrees, f"{seed}: {rounded}"
    # Of converged networks single precision may leave no digit.
    assert agreed >= 0.99 * count


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_in_any_order_and_number_type_agree(dtype):
    random = np.random.default_rng(5)
    for _ in range(30):
        net, X, Y = random_network(random)
        parts = [
            backpropagate(net, x[None], y[None], None, dtype) for x, y in zip(X, Y, strict=True)
        ]
        total = np.zeros(net.n_parameters, dtype)
        for i in random.permutation(len(X)):
            total += flat(*parts[i])
        found = net.diagnose_gradient(X, Y, (total / np.asarray(len(X), dtype)).tolist())
        assert found.agrees, found
        assert ("single precision" in str(found)) == (dtype == "float32")


def test_nudges_agree():
    """Central differences have some ten digits."""
    net, X, Y = random_network(np.random.default_rng(6))
    parameters, nudged = net.parameters, []
    for step in 1e-6 * np.eye(net.n_parameters):
        costs = []
        for sign in (1, -1):
            net.parameters = parameters + sign * step
            costs.append(net.cost(X, Y))
        nudged.append((costs[0] - costs[1]) / 2e-6)
    net.parameters = parameters
    assert net.diagnose_gradient(X, Y, nudged).agrees


def test_terms_that_cancel_in_a_sum_leave_rounding():
    """Parameters of 0 have no other last digits that would show how much."""
    random = np.random.default_rng(7)
    net, change = Network([2, 1], init="zeros"), random.uniform(0, 0.5, 50)
    Y = 0.5 + np.concatenate((change, -random.permutation(change)))[:, np.newaxis]
    db = np.sum((1 - 2 * random.permutation(Y)) / 4) / 100
    assert abs(db - net.gradient(np.zeros((100, 2)), Y).biases[0][0]) > 0
    assert net.diagnose_gradient(np.zeros((100, 2)), Y, ([np.zeros((1, 2))], [[db]])).agrees


def test_an_output_that_single_precision_takes_for_its_target():
    """Of mae: in float32 a = y and the other two cancel, so that ∂C/∂b is 0; in float64 a < y."""
    for target in (0.3, 0.7):
        for side in (1, -1):
            net = Network([1, 1], "identity", "mae", dtype="float32", init="zeros")
            net.biases[0][...] = target
            y = float(net.biases[0][0]) * (1 + side * 2.0**-26)
            X, Y = np.zeros((3, 1)), np.array([[y], [1.0], [0.0]])
            twin = Network([1, 1], "identity", "mae", init="zeros")
            twin.parameters = net.parameters
            assert abs(twin.gradient(X, Y).biases[0][0]) == pytest.approx(1 / 3)
            assert net.gradient(X, Y).biases[0][0] == 0
            assert twin.diagnose_gradient(X, Y, net.gradient(X, Y)).agrees


def test_a_small_mistake_is_named_by_all_digits_of_double_precision():
    """Of softplus at z about 4: what is off by some 1e-4 may be rounding of single precision."""
    net = Network([2, 3], "softplus", seed=0)
    net.biases[0][...] = 4.0
    X, Y = 0.1 * np.eye(2), np.zeros((2, 3))
    gradient = flat(*backpropagate(net, X, Y, Plan("σ′ taken of a", (1,))))
    off = np.abs(gradient - net.gradient(X, Y).vector).max() / np.abs(gradient).max()
    assert 1e-4 < off < 1e-3
    assert net.diagnose_gradient(X, Y, gradient).mistakes == ("σ′ taken of a",)
    found = net.diagnose_gradient(X, Y, gradient.astype("float32"))
    assert (found.agrees, found.mistakes) == (False, ())


# ---- where a mistake cannot be seen --------------------------------------------------------------


def network(sizes=(3, 4, 4, 2), activation="sigmoid", cost="quadratic", n=6, **options):
    random = np.random.default_rng(2)
    net = Network(sizes, activation, cost, init="lecun", seed=3, **options)
    return net, random.normal(size=(n, sizes[0])), random.uniform(size=(n, sizes[-1]))


def test_of_one_example_the_sum_is_the_mean():
    net, X, Y = network(n=1)
    assert net.diagnose_gradient(X, Y, flat(*backpropagate(net, X, Y, Plan("not averaged")))).agrees
    assert net.diagnose_gradient(X[0], Y[0], net.gradient(X[0], Y[0])).agrees


def test_of_two_examples_half_of_the_sum_is_the_mean():
    net, X, Y = network(n=2)
    both = flat(*backpropagate(net, X, Y, Plan("not averaged")))
    assert net.diagnose_gradient(X, Y, both / 2).agrees
    assert net.diagnose_gradient(X, Y, both).mistakes == ("not averaged",)


@pytest.mark.parametrize("mistake", ["σ′ missing", "σ′ taken of a", "the layer above's error"])
def test_the_identity_has_no_slope_to_forget(mistake):
    net, X, Y = network((3, 4, 5, 2), "identity")
    wrong = backpropagate(net, X, Y, Plan(mistake, (1, 2, 3)))
    assert net.diagnose_gradient(X, Y, wrong).agrees


def test_relu_s_slope_at_a_is_the_one_at_z():
    net, X, Y = network(activation="relu")
    assert net.diagnose_gradient(
        X, Y, backpropagate(net, X, Y, Plan("σ′ taken of a", (1, 2)))
    ).agrees


@pytest.mark.parametrize("mistake", ["transposed", "one path only"])
def test_a_chain_of_single_neurons_has_one_path_and_numbers_for_matrices(mistake):
    net, X, Y = network((1, 1, 1, 1))
    assert net.diagnose_gradient(X, Y, backpropagate(net, X, Y, Plan(mistake, (1, 2, 3)))).agrees
    assert net.diagnose_gradient(X, Y, -net.gradient(X, Y)).mistakes == ("sign reversed",)


def test_a_dead_layer():
    net, X, Y = network((3, 4, 4, 2), "relu")
    net.biases[1][...] = -100.0
    assert net.diagnose_gradient(X, Y, net.gradient(X, Y)).agrees
    found = net.diagnose_gradient(X, Y, -net.gradient(X, Y))
    assert found.mistakes == ("sign reversed",)
    assert [layer.agrees for layer in found.layers] == [True, True, False]


def test_numbers_in_the_place_of_zeros():
    net, X, Y = network((3, 4, 4, 2), "relu")
    net.biases[1][...] = -100.0
    gradient = net.gradient(X, Y)
    gradient.biases[0][1] = 0.5
    found = net.diagnose_gradient(X, Y, gradient)
    assert found.layers[0].evidence == "weights agree; bias [1] is 0.5 where 0 is right"
    assert [layer.difference for layer in found.layers[:2]] == [np.inf, 0]
    gradient.vector[...] = 1e-30
    assert not net.diagnose_gradient(X, Y, gradient).explained


def test_zeros_in_the_place_of_a_gradient():
    net, X, Y = network()
    found = net.diagnose_gradient(X, Y, np.zeros(net.n_parameters))
    assert (found.agrees, found.mistakes, found.explained) == (False, (), False)
    assert "every ∂C/∂W is 0" in str(found)
    exact = net.diagnose_gradient(X, net.predict(X), np.zeros(net.n_parameters))
    assert exact.agrees


# ---- what is said --------------------------------------------------------------------------------


def test_what_no_mistake_explains_is_said_with_the_largest_difference():
    net, X, Y = network()
    gradient = net.gradient(X, Y)
    gradient.weights[0][2, 1] += 0.5
    found = net.diagnose_gradient(X, Y, gradient)
    assert (found.agrees, found.mistakes, found.explained) == (False, (), False)
    assert [layer.agrees for layer in found.layers] == [False, True, True]
    assert str(found).startswith("no known mistake explains layer 1\n")
    right = net.gradient(X, Y).weights[0][2, 1]
    expected = f"weight [2, 1] is {right + 0.5:.6g} where {right:.6g} is right; biases agree"
    assert found.layers[0].evidence == expected
    size = np.abs(net.gradient(X, Y).weights[0]).max()
    assert found.layers[0].difference == pytest.approx(0.5 / size)


def test_a_known_mistake_beside_an_unknown_one():
    net, X, Y = network()
    dWs, dbs = backpropagate(net, X, Y, Plan("bias forgotten", (3,)))
    dWs[0][0] += 0.25
    found = net.diagnose_gradient(X, Y, (dWs, dbs))
    assert found.mistakes == ("bias forgotten",)
    assert not found.explained
    assert str(found).startswith(
        "mistakes: bias forgotten in layer 3; no known mistake explains layer 1\n"
    )


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_named(number):
    net, X, Y = network()
    gradient = net.gradient(X, Y)
    gradient.biases[1][3] = number
    found = net.diagnose_gradient(X, Y, gradient)
    assert (found.agrees, found.mistakes) == (False, ())
    assert found.layers[1].evidence == f"weights agree; bias [3] is {number:g}"


@pytest.mark.parametrize(
    ("options", "factor", "said"),
    [
        ({}, 0.75, "times 0.75"),
        ({"n": 4}, 1 / 4, "divided by 4, the number of examples, once more"),
        ({"cost": "mse"}, 2, "mse is a mean over the 2 outputs"),
        ({"cost": "half_quadratic"}, 2, "half_quadratic has no factor 2"),
        ({"cost": "half_quadratic"}, 0.5, "times 0.5"),
    ],
)
def test_another_constant_factor_is_said(options, factor, said):
    net, X, Y = network(**options)
    found = net.diagnose_gradient(X, Y, factor * net.gradient(X, Y))
    assert found.mistakes == ()
    assert any(said in line for line in found.evidence), found


def test_half_of_one_layer_is_no_missing_factor_2():
    net, X, Y = network()
    gradient = net.gradient(X, Y)
    gradient.weights[1][...] /= 2
    gradient.biases[1][...] /= 2
    found = net.diagnose_gradient(X, Y, gradient)
    assert found.mistakes == ()
    assert str(found).startswith("no known mistake explains layer 2\n")


def test_mistakes_and_their_places():
    net, X, Y = network()
    for plan, expected in (
        (Plan("σ′ missing", (2,)), "mistake: σ′ missing in layer 2"),
        (Plan("σ′ missing", (1, 2)), "mistake: σ′ missing in layers 1 and 2"),
        (Plan("σ′ missing", (1, 2, 3)), "mistake: σ′ missing"),
        (Plan("not averaged", (), 2), "mistake: not averaged in the weights"),
        (Plan("one path only", (1,)), "mistake: one path only in layer 1"),
    ):
        found = net.diagnose_gradient(X, Y, backpropagate(net, X, Y, plan))
        assert str(found).split("\n")[0] == expected
        assert repr(found) == f"<GradientDiagnosis, {expected}>"
        assert max(map(len, str(found).split("\n"))) <= 76
    wrong = backpropagate(net, X, Y, Plan("bias forgotten", (1,)))
    assert "bias forgotten in layer 1" in str(net.diagnose_gradient(X, Y, wrong))
    half = [[w / 2 for w in part] for part in wrong]
    assert set(net.diagnose_gradient(X, Y, half).mistakes) == {"bias forgotten", "factor 2 missing"}
    found = net.diagnose_gradient(X, Y, backpropagate(net, X, Y, Plan("σ′ missing", (2,))))
    assert all(layer.difference < 1e-12 for layer in found.layers)
    assert [layer.mistakes for layer in found.layers] == [(), ("σ′ missing",), ()]
    assert [layer.evidence for layer in found.layers] == [
        "follows from the layers above",
        "σ′ missing: δ is ∂C/∂a, without σ′(z)",
        "agrees",
    ]
    assert found.rows()[1][:3] == ("2", "NO", "σ′ missing")


def test_what_two_mistakes_make_alike_is_named_by_both():
    net, X, Y = network()
    dWs, dbs = backpropagate(net, X, Y)
    found = net.diagnose_gradient(X, Y, flat(dWs, dbs, order=6))
    assert set(found.explanations) == {("order of the vector",), ("transposed",)}
    assert " or " in str(found).split("\n")[0]
    # As matrices they are transposed and nothing else.
    found = net.diagnose_gradient(X, Y, ([w.T for w in dWs], dbs))
    assert found.explanations == (("transposed",),)


# ---- softmax, cross-entropy, functions of the user's ---------------------------------------------


def test_softmax_and_cross_entropy():
    net, X, Y = network((3, 4, 3), ["tanh", "softmax"], "cross_entropy")
    Y = Y / Y.sum(axis=1, keepdims=True)
    back = net.backward(X, Y)
    a = back.a[2]
    for delta, expected in (
        (a - Y, ()),
        ((a - Y) * a * (1 - a), ("σ′ twice",)),
        (-Y / a, ("σ′ missing",)),
        (-Y * (1 - a), ("one path only",)),
    ):
        below = (delta @ net.weights[1]) * back.da_dz[1]
        dWs = [below.T @ X / 6, delta.T @ back.a[1] / 6]
        found = net.diagnose_gradient(X, Y, (dWs, [below.mean(axis=0), delta.mean(axis=0)]))
        assert found.mistakes == expected


def test_functions_of_the_user_s():
    sine = Activation(np.sin, np.cos)
    fourth = Cost(lambda a, y: ((a - y) ** 4).sum(axis=1), lambda a, y: 4 * (a - y) ** 3)
    net, X, Y = network(activation=[sine, "tanh", sine], cost=fourth)
    assert net.diagnose_gradient(X, Y, net.gradient(X, Y)).agrees
    back = net.backward(X, Y)
    dC_da, deltas = back.dC_da[3], []
    for l in (3, 2, 1):
        deltas.insert(0, dC_da * (np.cos(back.a[l]) if l != 2 else back.da_dz[l]))
        dC_da = deltas[0] @ net.weights[l - 1]
    dWs = [delta.T @ a / len(X) for delta, a in zip(deltas, back.a[:-1], strict=True)]
    found = net.diagnose_gradient(X, Y, (dWs, [delta.mean(axis=0) for delta in deltas]))
    assert found.mistakes == ("σ′ taken of a",)
    assert "in layers 1 and 3" in str(found)


# ---- what is taken, and what is refused ----------------------------------------------------------


def test_every_form_of_a_right_gradient():
    net, X, Y = network()
    gradient = net.gradient(X, Y)
    weights, biases = list(gradient.weights), list(gradient.biases)
    objects = np.empty(3, object), np.empty(3, object)
    for l in range(3):
        objects[0][l], objects[1][l] = weights[l], biases[l]
    for given in (
        gradient,
        gradient.vector,
        gradient.vector.tolist(),
        (gradient.weights, gradient.biases),
        [weights, biases],
        (weights, [b[:, np.newaxis] for b in biases]),
        (weights, [b[np.newaxis] for b in biases]),
        ([W.tolist() for W in weights], [b.tolist() for b in biases]),
        objects,
    ):
        assert net.diagnose_gradient(X, Y, given).agrees
    found = net.diagnose_gradient(X, Y, (weights[::-1], biases[::-1]))
    assert found.mistakes == ("order of the vector",)
    found = net.diagnose_gradient(X, Y, np.concatenate([W.ravel() for W in weights]))
    assert found.mistakes == ("bias forgotten",)
    assert "the vector has 36 numbers: of the weights alone" in found.evidence


def test_one_layer_that_stands_transposed_is_no_order():
    net, X, Y = network()
    found = net.diagnose_gradient(X, Y, flat(*backpropagate(net, X, Y, Plan("transposed", (1,)))))
    assert found.explanations == (("transposed",),)
    assert "in layer 1" in str(found)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("step", [1, -1])
def test_orders_of_a_vector(order, step):
    net, X, Y = network()
    found = net.diagnose_gradient(X, Y, flat(*backpropagate(net, X, Y), order, step))
    assert found.mistakes == (() if order == 0 and step == 1 else ("order of the vector",))


W34, W44, W24 = np.zeros((4, 3)), np.zeros((4, 4)), np.zeros((2, 4))
B = [np.zeros(4), np.zeros(4), np.zeros(2)]
EXPECTED = r"expected \(46,\), or \(weights, biases\), two lists with an array for each layer$"


@pytest.mark.parametrize(
    ("given", "error", "pattern"),
    [
        (None, TypeError, r"gradient is None; expected an array of numbers"),
        ("right", TypeError, r"gradient is 'right' \(str\); expected an array of numbers"),
        ({"W1": W34}, TypeError, r"gradient is \{.*; expected an array of numbers"),
        (np.full(46, "0.1"), TypeError, r"gradient has dtype <U3; expected real numbers, not text"),
        (np.zeros(46, complex), TypeError, r"gradient has dtype complex128; expected real numbers"),
        (np.zeros(45), ValueError, r"gradient has shape \(45,\); " + EXPECTED),
        (np.zeros((6, 46)), ValueError, r"gradient has shape \(6, 46\); " + EXPECTED),
        (0.0, ValueError, r"gradient has shape \(\); " + EXPECTED),
        ([W34, B[0], W44, B[1]], ValueError, r"gradient is a list of 4 arrays; " + EXPECTED),
        ([[1.0, 2.0], 3.0], ValueError, r"gradient is a list of 2 arrays; " + EXPECTED),
        ([np.zeros(46)], ValueError, r"gradient is a list of 1 array; " + EXPECTED),
        (
            ([W34, W44], B),
            ValueError,
            r"gradient\[0\] has 2 arrays; expected 3, one for each layer",
        ),
        (([W34, W44, W24], B[:1]), ValueError, r"gradient\[1\] has 1 array; expected 3, one for"),
        (
            ([W34, W34, W24], B),
            ValueError,
            r"gradient\[0\]\[1\] has shape \(4, 3\); expected \(4, 4\) because sizes is "
            r"\[3, 4, 4, 2\]$",
        ),
        (
            ([W34, W44, W24], [B[0], B[0], B[0]]),
            ValueError,
            r"gradient\[1\]\[2\] has shape \(4,\); expected \(2,\) because sizes is",
        ),
        (([W34, W44, None], B), TypeError, r"gradient\[0\]\[2\] is None; expected an array"),
        (
            ([W34, [[1.0], [1.0, 2.0]], W24], B),
            ValueError,
            r"gradient\[0\]\[1\] is \[\[1\.0\], \[1\.0, 2\.0\]\]; expected a rectangular array",
        ),
    ],
)
def test_what_is_no_gradient_is_refused(given, error, pattern):
    net, X, Y = network()
    with pytest.raises(error, match=f"^{pattern}"):
        net.diagnose_gradient(X, Y, given)


def test_examples_are_judged_as_elsewhere():
    net, X, Y = network()
    gradient = net.gradient(X, Y)
    with pytest.raises(ValueError, match=r"^X has 0 examples; expected at least 1 for a gradient"):
        net.diagnose_gradient(X[:0], Y[:0], gradient)
    with pytest.raises(ValueError, match=r"^Y has 5 rows and X has 6"):
        net.diagnose_gradient(X, Y[:5], gradient)
    with pytest.raises(ValueError, match=r"^X has nan at \[0, 0\]"):
        net.diagnose_gradient(np.full_like(X, np.nan), Y, gradient)
    steep = Network([1, 1], "exponential", seed=0)
    with pytest.raises(FloatingPointError, match=r"overflowed float64"):
        steep.diagnose_gradient([[-1e5], [1e5]], [[0.0], [0.0]], np.zeros(2))


@every_backend
def test_nothing_changes_and_backends_say_the_same(backend):
    net, X, Y = network(backend=backend)
    net.partial_fit(X, Y, optimizer="adam")
    gradient = net.gradient(X, Y)
    wrong = (list(gradient.weights), [np.zeros_like(b) for b in gradient.biases])
    before, given = state(net), gradient.vector.tobytes()
    found = net.diagnose_gradient(X, Y, wrong)
    assert state(net) == before
    assert gradient.vector.tobytes() == given
    assert found.mistakes == ("bias forgotten",)
    assert "bias forgotten" in found._repr_html_()
    twin = network(backend="reference")[0]
    twin.parameters = net.parameters
    assert str(found) == str(twin.diagnose_gradient(X, Y, wrong))
