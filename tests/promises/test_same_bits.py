"""Guarantee 2: an example's bits do not depend on its batch, its place or the SIMD level with FMA;
and the same seed gives the same bits on every machine."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import (
    ACTIVATIONS,
    COSTS,
    FMA_LEVELS,
    LEVELS,
    Array,
    bits,
    both_dtypes,
    data,
    every_backend,
    every_fma_level,
    every_level,
    go_together,
    needs_two_fma_levels,
    output_at_level,
)

import cbackprop
from cbackprop import SGD, Activation, Adam, Network, functions
from cbackprop import backend as backends
from cbackprop.random_numbers import RandomNumbers

COMPILED = cbackprop.info()["backend"] == "compiled"

needs_compiled = pytest.mark.skipif(
    not COMPILED, reason="the compiled core is not built here; NumPy's products promise no bits"
)

BATCHES = (*range(1, 41), 127, 128, 129, 130, 255, 256, 257, 300)
WIDTHS = (*range(1, 41), 63, 64, 65, 127, 128, 129, 130)


def every_row(net: Network, X: Array, Y: Array) -> dict[str, Array]:
    """What belongs to one example each, (n, …)."""
    forward, back = net.forward(X), net.backward(X, Y)
    each = net.gradient(X, Y, per_example=True)
    rows = {"predict": net.predict(X), "per_example": each.vector, "costs": each.cost}
    for l in range(len(net.sizes)):
        rows[f"dC_da[{l}]"] = back.dC_da[l]
        if l > 0:
            rows[f"forward.z[{l}]"] = forward.z[l]
            rows[f"forward.a[{l}]"] = forward.a[l]
            rows[f"z[{l}]"], rows[f"a[{l}]"] = back.z[l], back.a[l]
            rows[f"delta[{l}]"], rows[f"da_dz[{l}]"] = back.delta[l], back.da_dz[l]
    rows["backward.cost"] = back.cost
    rows["cost"] = net.cost(X, Y, per_example=True)
    rows["norms"] = net.gradient_norms(X, Y)
    return rows


def assert_same_rows(rows: dict[str, Array], expected: dict[str, Array], index: Any) -> None:
    for name, value in rows.items():
        assert bits(value) == bits(expected[name][index]), name


# ---- in any batch, at any place ------------------------------------------------------------------


@needs_compiled
@both_dtypes
@pytest.mark.parametrize(
    ("sizes", "activation", "cost"),
    [
        ((5, 7, 6, 3), "sigmoid", "quadratic"),
        ((17, 33, 20), "tanh", "mse"),
        ((70, 130, 9), ["relu", "softmax"], "cross_entropy"),
        ((3, 16, 16), ["gelu", "softplus"], "poisson"),
    ],
)
def test_an_example_has_the_same_bits_in_every_batch(
    sizes: tuple[int, ...], activation: Any, cost: str, dtype: str
) -> None:
    net = Network(sizes, activation, cost, dtype=dtype, seed=2)
    n = max(BATCHES)
    X, Y = data(n, sizes, dtype)
    alone = [every_row(net, X[i : i + 1], Y[i : i + 1]) for i in range(n)]
    expected = {name: np.concatenate([row[name] for row in alone]) for name in alone[0]}
    for size in BATCHES:
        # From the front and from a place that moves: each example comes to stand at many places.
        for start in sorted({0, (7 * size) % (n - size + 1), n - size}):
            rows = slice(start, start + size)
            assert_same_rows(every_row(net, X[rows], Y[rows]), expected, rows)


@needs_compiled
@both_dtypes
def test_an_example_has_the_same_bits_at_every_place(dtype: str) -> None:
    net = Network((6, 11, 4), "sigmoid", dtype=dtype, seed=2)
    X, Y = data(300, (6, 4), dtype)
    x, y = data(1, (6, 4), dtype, seed=9)
    expected = every_row(net, x, y)
    for size in (*range(1, 41), 130):
        for place in range(size):
            batch_X, batch_Y = X[:size].copy(), Y[:size].copy()
            batch_X[place], batch_Y[place] = x[0], y[0]
            assert bits(net.predict(batch_X)[place]) == bits(expected["predict"][0])
            each = net.gradient(batch_X, batch_Y, per_example=True)
            assert bits(each.vector[place]) == bits(expected["per_example"][0])
            assert bits(each.cost[place]) == bits(expected["costs"][0])


@needs_compiled
@both_dtypes
def test_one_example_given_as_a_vector_has_the_bits_of_a_row(dtype: str) -> None:
    net = Network((6, 11, 4), "sigmoid", dtype=dtype, seed=2)
    X, Y = data(3, (6, 4), dtype)
    each = net.gradient(X, Y, per_example=True)
    back = net.backward(X, Y)
    for i in range(3):
        single = net.backward(X[i], Y[i])
        assert bits(net.predict(X[i])) == bits(back.a[-1][i])
        assert bits(single.delta[1]) == bits(back.delta[1][i])
        assert bits(single.dC_da[0]) == bits(back.dC_da[0][i])
        assert bits(net.gradient(X[i], Y[i], per_example=True)) == bits(each.vector[i])
        # The mean over one example divides by 1 and adds to nothing.
        assert bits(net.gradient(X[i], Y[i])) == bits(each.vector[i])
        assert bits(net.gradient(X[i : i + 1], Y[i : i + 1])) == bits(each.vector[i])


@needs_compiled
@both_dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_same_bits_for_every_activation_and_cost(activation: str, dtype: str) -> None:
    below = "tanh" if activation == "softmax" else activation
    for cost in COSTS:
        if not go_together(activation, cost):
            continue
        net = Network((5, 9, 7, 5), [below, below, activation], cost, dtype=dtype, seed=3)
        # Three exponentials, one in the other, stay finite.
        net.parameters = net.parameters / 4
        X, Y = data(37, (5, 5), dtype)
        expected = every_row(net, X, Y)
        for size in (1, 2, 5, 13, 36):
            for start in range(0, 37, size):
                rows = slice(start, min(start + size, 37))
                assert_same_rows(every_row(net, X[rows], Y[rows]), expected, rows)


@needs_compiled
@both_dtypes
@pytest.mark.parametrize("place", ["input", "hidden", "output"])
def test_same_bits_for_every_width(place: str, dtype: str) -> None:
    for width in WIDTHS:
        sizes = {"input": (width, 5, 3), "hidden": (4, width, 3), "output": (4, 5, width)}[place]
        net = Network(sizes, "tanh", dtype=dtype, seed=width)
        X, Y = data(30, sizes, dtype)
        expected = every_row(net, X, Y)
        for rows in (slice(0, 1), slice(29, 30), slice(3, 10), slice(10, 29), slice(0, 14)):
            assert_same_rows(every_row(net, X[rows], Y[rows]), expected, rows)


@needs_compiled
@both_dtypes
def test_a_neuron_has_the_same_bits_whatever_stands_beside_it(dtype: str) -> None:
    """Lanes: neuron j alone in its layer, and as one of many, at every place of a vector."""
    wide = Network((9, 40), "sigmoid", dtype=dtype, seed=6)
    X, Y = data(20, (9, 40), dtype)
    expected = wide.backward(X, Y)
    for j in range(40):
        narrow = Network((9, 1), "sigmoid", dtype=dtype, init="zeros")
        narrow.weights[0][...] = wide.weights[0][j]
        narrow.biases[0][...] = wide.biases[0][j]
        got = narrow.backward(X, Y[:, j : j + 1])
        assert bits(got.z[1]) == bits(expected.z[1][:, j])
        assert bits(got.a[1]) == bits(expected.a[1][:, j])
        assert bits(got.delta[1]) == bits(expected.delta[1][:, j])


@needs_compiled
@both_dtypes
def test_permuted_rows_give_permuted_bits(dtype: str) -> None:
    net = Network((8, 12, 5), ["silu", "softmax"], "cross_entropy", dtype=dtype, seed=1)
    X, Y = data(263, (8, 5), dtype)
    expected = every_row(net, X, Y)
    order = np.argsort(RandomNumbers(5).uniform(263))
    assert_same_rows(every_row(net, X[order], Y[order]), expected, order)
    back_to_front = slice(None, None, -1)
    assert_same_rows(every_row(net, X[::-1], Y[::-1]), expected, back_to_front)


# ---- in any memory -------------------------------------------------------------------------------


def in_other_memory(array: Array) -> dict[str, Any]:
    """The same numbers, held in other ways."""
    n, width = array.shape
    fortran = np.asfortranarray(array)
    strided = np.zeros((2 * n, 3 * width), array.dtype)[::2, 1::3]
    strided[...] = array
    read_only = array.copy()
    read_only.flags.writeable = False
    raw = np.zeros(array.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(array.dtype).reshape(array.shape)
    misaligned[...] = array
    assert not misaligned.flags.aligned
    backwards = array[::-1, ::-1].copy()[::-1, ::-1]
    assert backwards.strides[0] < 0
    column_gap = np.zeros((n, width + 1), array.dtype)[:, :width]
    column_gap[...] = array
    return {
        "Fortran order": fortran,
        "strided": strided,
        "read-only": read_only,
        "big-endian": array.astype(array.dtype.newbyteorder(">")),
        "misaligned": misaligned,
        "negative strides": backwards,
        "rows apart": column_gap,
        "lists": array.tolist(),
        "float64": array.astype(np.float64),
        "longdouble": array.astype(np.longdouble),
    }


def assert_same_calls(net: Network, X: Any, Y: Any, native_X: Array, native_Y: Array) -> None:
    assert_same_rows(every_row(net, X, Y), every_row(net, native_X, native_Y), slice(None))
    assert bits(net.gradient(X, Y)) == bits(net.gradient(native_X, native_Y))
    assert net.cost(X, Y) == net.cost(native_X, native_Y)
    one, two = net.copy(), net.copy()
    one.fit(X, Y, epochs=1, batch_size=7)
    two.fit(native_X, native_Y, epochs=1, batch_size=7)
    assert bits(one.parameters) == bits(two.parameters)
    one.partial_fit(X, Y)
    two.partial_fit(native_X, native_Y)
    assert bits(one.parameters) == bits(two.parameters)


@needs_compiled
@both_dtypes
@pytest.mark.parametrize("n", [1, 31, 140])
def test_same_bits_from_any_memory(n: int, dtype: str) -> None:
    net = Network((6, 9, 4), "sigmoid", dtype=dtype, seed=2)
    X, Y = data(n, (6, 4), dtype)
    # One thing after the other, and both at once.
    others_Y = in_other_memory(Y)
    for name, other_X in in_other_memory(X).items():
        assert_same_calls(net, other_X, Y, X, Y)
        assert_same_calls(net, other_X, others_Y[name], X, Y)


@needs_compiled
@both_dtypes
@pytest.mark.parametrize(
    "kind", ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "uint64", "bool"]
)
def test_same_bits_from_any_number_type(kind: str, dtype: str) -> None:
    net = Network((6, 9, 4), "sigmoid", dtype=dtype, seed=2)
    random = RandomNumbers(3)
    X = np.floor(3 * random.uniform(50 * 6)).reshape(50, 6).astype(kind)
    Y = np.floor(2 * random.uniform(50 * 4)).reshape(50, 4).astype(kind)
    assert_same_calls(net, X, Y, X.astype(dtype), Y.astype(dtype))


# ---- on every SIMD level -------------------------------------------------------------------------

TRAINING = """
import hashlib
import sys
import warnings
import numpy as np
import cbackprop
from cbackprop import Adam, Network
from cbackprop.random_numbers import RandomNumbers

def data(n, n_in, n_out, dtype, sparse):
    random = RandomNumbers(31)
    X = random.uniform(n * n_in).reshape(n, n_in)
    if sparse:
        X = np.where(X > 0.8, 5 * (X - 0.8), 0.0)
    else:
        X = 4 * X - 2
    Y = np.zeros((n, n_out))
    Y[np.arange(n), (random.uniform(n) * n_out).astype(int)] = 1
    return X.astype(dtype), Y.astype(dtype)

level = sys.argv[1]
assert cbackprop.info()["simd_level"] == level, cbackprop.info()
for dtype in ("float32", "float64"):
    nets = []
    X, Y = data(500, 784, 10, dtype, True)
    net = Network([784, 30, 10], dtype=dtype, seed=0)
    net.fit(X, Y, epochs=4, batch_size=10, learning_rate=1.5)
    nets.append(("784-30-10, 200 steps of SGD", net, X, Y))
    X, Y = data(320, 17, 6, dtype, False)
    net = Network([17, 64, 64, 6], "tanh", dtype=dtype, seed=0)
    net.fit(X, Y, epochs=10, batch_size=32, optimizer=Adam(0.003))
    nets.append(("17-64-64-6 tanh, 100 steps of Adam", net, X, Y))
    net = Network([17, 21, 6], ["gelu", "softmax"], "cross_entropy", dtype=dtype, seed=0)
    net.fit(X, Y, epochs=4, batch_size=150, optimizer="sgd", learning_rate=0.3)
    nets.append(("17-21-6 gelu softmax, batches of 150", net, X, Y))
    net = Network([17, 5, 6, 7, 6], ["silu", "selu", "softplus", "exponential"], "poisson",
                  dtype=dtype, seed=0)
    net.fit(X, Y, epochs=3, batch_size=16, learning_rate=0.01)
    nets.append(("17-5-6-7-6 silu selu softplus exponential, poisson", net, X, Y))
    for name, net, X, Y in nets:
        back = net.backward(X, Y)
        each = net.gradient(X[:40], Y[:40], per_example=True)
        for kind, array in (
            ("weights", net.parameters),
            ("predictions", net.predict(X)),
            ("delta", back.delta[1]),
            ("gradient", np.asarray(net.gradient(X, Y))),
            ("per-example gradients", each.vector),
            ("norms", net.gradient_norms(X, Y)),
            ("jacobian", net.jacobian(X[:20])),
            ("costs", back.cost),
        ):
            if len(sys.argv) > 2:
                np.save(f"{sys.argv[2]}/{dtype} {name} {kind}.npy", array)
            # Recorded with the low byte first.
            numbers = array.astype(array.dtype.newbyteorder("<"))
            print(dtype, name, kind, hashlib.sha256(numbers.tobytes()).hexdigest(), sep="|")
"""


def run_level(level: str, folder: Path | None = None) -> dict[str, str]:
    """SHA-256 of what each training leaves behind, from a process of its own at that level."""
    printed = output_at_level(level, TRAINING, *([str(folder)] if folder else [])).splitlines()
    lines = [line.rsplit("|", 1) for line in printed]
    assert len(lines) == 2 * 4 * 8
    return dict(lines)


run_level_once = functools.cache(run_level)


# The bits of the levels with FMA, from a first run; another compiler, system or machine must agree.
# A deliberate change of the arithmetic changes them.
EXPECTED = {
    "float32|784-30-10, 200 steps of SGD|weights": (
        "a56a49652e889a44d10d061b6c105e1ce8c12d0443597304200012ab4b33297e"
    ),
    "float32|784-30-10, 200 steps of SGD|predictions": (
        "2e96f7932ff67a172a80ddcd40efc8adb88d27c64d4bae6c172fea4ec5bdb8a6"
    ),
    "float32|17-64-64-6 tanh, 100 steps of Adam|weights": (
        "682b348d96c1216fbef5702b73403f6f9e6a0241d46cbf4c610b9c91ea26b6ba"
    ),
    "float32|17-64-64-6 tanh, 100 steps of Adam|predictions": (
        "b178810dd716cfc69e6dee28b65a2260af8fa1f12d1df90ff02c99d7a2642cc1"
    ),
    "float32|17-21-6 gelu softmax, batches of 150|weights": (
        "69c379a4806351e30f1502f1cc74f284bfe860943874b04e077bdf36f5be8b59"
    ),
    "float32|17-21-6 gelu softmax, batches of 150|predictions": (
        "53b943a001e4c0771ac79d8b999dbcefe00d3998e93a2e87db0b687d60de4378"
    ),
    "float32|17-5-6-7-6 silu selu softplus exponential, poisson|weights": (
        "ad6043614bfc1ddd18a781cd2e148fc17c2cffd5b46efd3d06cbae8f5e465707"
    ),
    "float32|17-5-6-7-6 silu selu softplus exponential, poisson|predictions": (
        "3d0a38701911f9466dc6fcbe7e9bf517700e3347d5a915a70aa06904d54e1685"
    ),
    "float64|784-30-10, 200 steps of SGD|weights": (
        "f3dcebe707ed20feb81839f31e14f9a607ba57cf34e248c5ef9e74c79a561f33"
    ),
    "float64|784-30-10, 200 steps of SGD|predictions": (
        "24aeb084da64a5183b10de5169c64c2be7a43ccc69940a1bf7fb7c72902604e0"
    ),
    "float64|17-64-64-6 tanh, 100 steps of Adam|weights": (
        "1621f34cd8d1a8224952e5f217e72094f12adcc7ebf2d97505d22b83a63d8e00"
    ),
    "float64|17-64-64-6 tanh, 100 steps of Adam|predictions": (
        "17f0e95c2a6f74717216f07f6bb859b9ab69b26204f06eaf99842a516e65428b"
    ),
    "float64|17-21-6 gelu softmax, batches of 150|weights": (
        "4f7a00035b0268ddc40349fd25293e07550023dcef5f2af3e54501772ea38712"
    ),
    "float64|17-21-6 gelu softmax, batches of 150|predictions": (
        "60ec5ec69dab4b7254e543148bfabd0295ce00d411bcc83499b73d46b452b153"
    ),
    "float64|17-5-6-7-6 silu selu softplus exponential, poisson|weights": (
        "24cb4ae741b351555f273b09c8413aab0ca48954d57723ef1448b7d257dce396"
    ),
    "float64|17-5-6-7-6 silu selu softplus exponential, poisson|predictions": (
        "0e671d34c6573b9f1102ba67147382c6e4adbfa66815e98e460e08ba3cda22cf"
    ),
}


@every_fma_level
def test_levels_with_fma_train_the_same_bits(level: str) -> None:
    hashes = run_level_once(level)
    for name, expected in EXPECTED.items():
        assert hashes[name] == expected, name
    assert hashes == run_level_once(FMA_LEVELS[0])


@pytest.mark.skipif(not FMA_LEVELS, reason="no level with fused multiply-adds is here")
@pytest.mark.parametrize("level", [level for level in LEVELS if level not in FMA_LEVELS])
def test_a_level_without_fma_agrees_within_rounding(level: str, tmp_path: Path) -> None:
    levels = (level, FMA_LEVELS[0])
    folders = [tmp_path / name for name in levels]
    hashes = []
    for name, folder in zip(levels, folders, strict=True):
        folder.mkdir()
        hashes.append(run_level(name, folder))
    assert hashes[0].keys() == hashes[1].keys()
    # Without FMA each multiply-add is rounded twice: the bits do differ.
    assert hashes[0] != hashes[1]
    for path in sorted(folders[0].iterdir()):
        one, two = np.load(path), np.load(folders[1] / path.name)
        u = np.finfo(one.dtype).eps / 2
        # 60 to 200 steps, each adding some u; 58u is the worst met.
        assert np.abs(one - two).max() <= 600 * u * np.abs(two).max(), path.name


# ---- long trainings ------------------------------------------------------------------------------

# The weights are looked at after so many steps that one number rounded otherwise anywhere shows.
LONG_TRAINING = """
import hashlib
import sys
import numpy as np
import cbackprop
from cbackprop import SGD, Adam, Network
from cbackprop.random_numbers import RandomNumbers

def digits(dtype):
    # As MNIST's: 19 % of the numbers are not 0.
    random = RandomNumbers(52)
    pixels = random.uniform(1000 * 784).reshape(1000, 784)
    X = np.where(pixels > 0.81, (pixels - 0.81) / 0.19, 0.0)
    assert 0.18 < np.mean(X > 0) < 0.2
    Y = np.zeros((1000, 10))
    Y[np.arange(1000), (10 * random.uniform(1000)).astype(int)] = 1
    return X.astype(dtype), Y.astype(dtype)

def measurements(dtype):
    random = RandomNumbers(53)
    X = 4 * random.uniform(640 * 17).reshape(640, 17) - 2
    Y = random.uniform(640 * 6).reshape(640, 6)
    return X.astype(dtype), Y.astype(dtype)

level = sys.argv[1]
assert cbackprop.info()["simd_level"] == level, cbackprop.info()
print("fused_multiply_add", cbackprop.info()["fused_multiply_add"], sep="|")
for dtype in ("float32", "float64"):
    for name, sizes, activation, cost, (X, Y), batch_size, epochs, optimizer in (
        ("784-30-10, 1,000 steps of SGD", (784, 30, 10), "sigmoid", "quadratic",
         digits(dtype), 10, 10, SGD(1.5)),
        ("17-64-64-6, 200 steps of Adam", (17, 64, 64, 6), ["tanh", "tanh", "identity"], "mse",
         measurements(dtype), 64, 20, Adam()),
    ):
        whole, steps, shuffled = (
            Network(sizes, activation, cost, dtype=dtype, seed=0) for _ in range(3)
        )
        whole.fit(X, Y, epochs=epochs, batch_size=batch_size, optimizer=optimizer, shuffle=False)
        shuffled.fit(X, Y, epochs=epochs, batch_size=batch_size, optimizer=optimizer)
        for step in range(epochs * len(X) // batch_size):
            first = step * batch_size % len(X)
            rows = slice(first, first + batch_size)
            if step == 0:
                steps.partial_fit(X[rows], Y[rows], batch_size=batch_size, optimizer=optimizer)
            else:
                steps.partial_fit(X[rows], Y[rows], batch_size=batch_size)
        for way, net in (("fit", whole), ("partial_fit", steps), ("shuffled fit", shuffled)):
            # Recorded with the low byte first.
            numbers = net.parameters.astype(net.parameters.dtype.newbyteorder("<"))
            print(dtype, name, way, hashlib.sha256(numbers.tobytes()).hexdigest(), sep="|")
"""

SGD_NAME = "784-30-10, 1,000 steps of SGD"
ADAM_NAME = "17-64-64-6, 200 steps of Adam"

# As EXPECTED.
EXPECTED_LONG = {
    "float32|784-30-10, 1,000 steps of SGD|fit": (
        "38dd902e034f59eb07e0dd610f5cf23dd504067d95f019ad0a6a09e7c2c23819"
    ),
    "float32|784-30-10, 1,000 steps of SGD|shuffled fit": (
        "4429e5589680c104fdeb41745ea713e106a2cac914301733af748099526d208d"
    ),
    "float32|17-64-64-6, 200 steps of Adam|fit": (
        "d0a870f16125df6693c90ed2442052e4d9b9432ca112fc7c572d261e25ad9b91"
    ),
    "float32|17-64-64-6, 200 steps of Adam|shuffled fit": (
        "93adba01fd6a273d22f38139e83f5c52db0d04a84b28d1665db2ba10d0adffb7"
    ),
    "float64|784-30-10, 1,000 steps of SGD|fit": (
        "8a49f95b498dc2009ce2e0eac561f1377edfd6aad50581358dfd39decf751ef0"
    ),
    "float64|784-30-10, 1,000 steps of SGD|shuffled fit": (
        "ac0373fed7525aeaf013f971752245dc1b8c709f4aba7f6ab27bd6fd1725b6fe"
    ),
    "float64|17-64-64-6, 200 steps of Adam|fit": (
        "9028e61e8c656522be82859470227eb090a2b3cd0dbdad4450198bb7f8d810d2"
    ),
    "float64|17-64-64-6, 200 steps of Adam|shuffled fit": (
        "e44b4b6023210cb2df6b31ed8e0d00dfdbb3d836fbd5d336cd3e7d9fe0c0204a"
    ),
}


@functools.cache
def run_long_training(level: str) -> dict[str, str]:
    return dict(line.rsplit("|", 1) for line in output_at_level(level, LONG_TRAINING).splitlines())


@needs_compiled
@both_dtypes
@pytest.mark.parametrize("name", [SGD_NAME, ADAM_NAME])
@every_level
def test_a_long_training_ends_in_the_recorded_bits(level: str, name: str, dtype: str) -> None:
    hashes = run_long_training(level)
    assert hashes[f"{dtype}|{name}|partial_fit"] == hashes[f"{dtype}|{name}|fit"]
    assert hashes[f"{dtype}|{name}|shuffled fit"] != hashes[f"{dtype}|{name}|fit"]
    if hashes["fused_multiply_add"] != "True":
        pytest.skip(f"{level} has no fused multiply-add here: its bits are its own")
    for way in ("fit", "shuffled fit"):
        assert hashes[f"{dtype}|{name}|{way}"] == EXPECTED_LONG[f"{dtype}|{name}|{way}"], way


@needs_two_fma_levels
def test_levels_with_fma_end_a_long_training_in_the_same_bits() -> None:
    best, *others = FMA_LEVELS
    for level in others:
        assert run_long_training(level) == run_long_training(best), level


# ---- the tiny network ----------------------------------------------------------------------------

# Where every layer, the input too, fits one vector, plain gradient descent has a path of its own.
# On v4 a vector holds 16 numbers of float32 or 8 of float64, on v3 half as many: these networks are
# tiny on v4 alone.
TINY = """
import hashlib
import sys
import cbackprop
from cbackprop import SGD, Network
from cbackprop import backend
from cbackprop.random_numbers import RandomNumbers

level = sys.argv[1]
assert cbackprop.info()["simd_level"] == level, cbackprop.info()
lanes = {"v3": (8, 4), "v4": (16, 8)}[level]
assert lanes == (backend.kernels("float32").lanes, backend.kernels("float64").lanes)
for pair in sys.argv[2].split():
    activation, cost = pair.split(":")
    for dtype, sizes in (
        ("float32", (10, 10, 10)), ("float32", (9, 16, 13, 11)), ("float32", (2, 12, 1)),
        ("float64", (5, 6, 7, 8)), ("float64", (8, 5)), ("float64", (2, 6, 1)),
    ):
        random = RandomNumbers(71)
        X = random.normal(43 * sizes[0]).reshape(43, sizes[0]).astype(dtype)
        Y = random.uniform(43 * sizes[-1]).reshape(43, sizes[-1]).astype(dtype)
        for batch_size in (1, 2, 3, 7, 40):
            for shuffle in (False, True):
                net = Network(sizes, activation, cost, dtype=dtype, seed=3)
                net.parameters = net.parameters / 4
                history = net.fit(X, Y, epochs=2, batch_size=batch_size, learning_rate=0.02,
                                  shuffle=shuffle)
                for i in range(0, 43, batch_size):
                    rows = slice(i, i + batch_size)
                    net.partial_fit(X[rows], Y[rows], batch_size=batch_size)
                digest = hashlib.sha256(net.parameters.tobytes() + repr(history.cost).encode())
                print(pair, dtype, sizes, batch_size, shuffle, digest.hexdigest(), sep="|")
"""

TINY_PAIRS = [
    (activation, cost)
    for activation in ACTIVATIONS
    for cost in COSTS
    if activation != "softmax" and go_together(activation, cost)
]


@pytest.mark.skipif(not {"v3", "v4"} <= set(LEVELS), reason="v3 and v4 are not both here")
def test_a_network_that_is_tiny_on_v4_alone_has_the_bits_of_v3() -> None:
    pairs = " ".join(":".join(pair) for pair in TINY_PAIRS)
    general, tiny = (output_at_level(level, TINY, pairs).splitlines() for level in ("v3", "v4"))
    assert len(tiny) == len(set(tiny)) == len(TINY_PAIRS) * 6 * 5 * 2
    assert tiny == general


def tiny_and_general(
    sizes: tuple[int, ...], activation: Any, cost: str, dtype: str, parameters: Array
) -> tuple[Network, Network, Callable[[Array], Array]]:
    """A network, one with more inputs than fit a vector, and what makes an X for it from the first.

    The inputs added are 0: fused multiply-adds of 0 leave every number of the others as it is, and
    their own weights stay as they are.
    """
    n_in = 17
    assert n_in > backends.kernels(dtype).lanes
    net = Network(sizes, activation, cost, dtype=dtype, init="zeros", seed=5)
    general = Network((n_in, *sizes[1:]), activation, cost, dtype=dtype, init="zeros", seed=5)
    net.parameters = parameters
    for i, W in enumerate(net.weights):
        general.weights[i][...] = 0.5
        general.weights[i][:, : W.shape[1]] = W
        general.biases[i][...] = net.biases[i]

    def widened(X: Array) -> Array:
        wide = np.zeros((len(X), n_in), X.dtype)
        wide[:, : sizes[0]] = X
        return wide

    return net, general, widened


def assert_same_networks(net: Network, general: Network) -> None:
    """The same bits, and the weights that only the second has are as tiny_and_general left them."""
    for one, two in zip(
        (*net.weights, *net.biases), (*general.weights, *general.biases), strict=True
    ):
        both = two[:, : one.shape[1]] if one.ndim == 2 else two
        assert bits(both) == bits(one)
    assert np.all(general.weights[0][:, net.sizes[0] :] == 0.5)


def tiny_sizes(dtype: str) -> list[tuple[int, ...]]:
    """Networks as wide as a vector of the level in use, and narrower ones."""
    lanes = backends.kernels(dtype).lanes
    less = max(lanes - 1, 1)
    half = max(lanes // 2, 1)
    return [(lanes, lanes, lanes), (less, lanes, half, less), (half, 1), (1, half, 1)]


@needs_compiled
@both_dtypes
@pytest.mark.parametrize(("activation", "cost"), TINY_PAIRS)
def test_a_tiny_network_has_the_bits_of_the_general_path(
    activation: str, cost: str, dtype: str
) -> None:
    moved = False
    for sizes in tiny_sizes(dtype):
        X, Y = data(43, sizes, dtype)
        start = Network(sizes, activation, cost, dtype=dtype, seed=3).parameters / 4
        for batch_size in (1, 2, 3, 7, 40):
            for shuffle in (False, True):
                net, general, widened = tiny_and_general(sizes, activation, cost, dtype, start)
                options = {"epochs": 2, "batch_size": batch_size, "shuffle": shuffle}
                history = net.fit(X, Y, learning_rate=0.02, **options)
                expected = general.fit(widened(X), Y, learning_rate=0.02, **options)
                assert history.cost == expected.cost
                assert_same_networks(net, general)
                for i in range(0, 43, batch_size):
                    rows = slice(i, i + batch_size)
                    net.partial_fit(X[rows], Y[rows], batch_size=batch_size)
                    general.partial_fit(widened(X[rows]), Y[rows], batch_size=batch_size)
                assert_same_networks(net, general)
                moved |= bits(net.parameters) != bits(start)
    # Not all of them in every network: the narrow ones of relu may have nothing to learn.
    assert moved


@needs_compiled
@both_dtypes
def test_a_tiny_network_goes_on_from_parameters_that_were_written_into(dtype: str) -> None:
    """Its second form of the weights follows the first, whoever changed that."""
    sizes = tiny_sizes(dtype)[0]
    X, Y = data(20, sizes, dtype)
    start = Network(sizes, "tanh", dtype=dtype, seed=3).parameters
    net, general, widened = tiny_and_general(sizes, "tanh", "quadratic", dtype, start)
    for network, inputs in ((net, X), (general, widened(X))):
        network.partial_fit(inputs, Y)
        network.weights[1][...] *= 3
        network.partial_fit(inputs, Y)
        network.fit(inputs, Y, epochs=1, batch_size=3, optimizer=SGD(0.1, 0.9))
        network.fit(inputs, Y, epochs=1, batch_size=3)
        network.weights[1][0, 0] = 0.25
        network.partial_fit(inputs[:1], Y[:1])
        network.partial_fit(inputs[0], Y[0])
        # More examples than are held at once: the general path, in both.
        network.partial_fit(np.tile(inputs, (20, 1)), np.tile(Y, (20, 1)), batch_size=300)
        network.partial_fit(inputs, Y, batch_size=7)
    assert_same_networks(net, general)


def failing_step(name: str, dtype: str) -> dict[str, Any]:
    """The weights of a 2-2-1 network, x, y and the learning rate whose step overflows there first.

    A row of zeros goes through the same network well, and with a target of 0 moves nothing.
    """
    top = float(np.finfo(dtype).max)
    step: dict[str, Any] = {
        "activation": "identity",
        "W1": np.ones((2, 2)),
        "W2": np.ones((1, 2)),
        "x": [1.0, 1.0],
        "y": [0.0],
        "learning_rate": 0.01,
    }
    step |= {
        "z of layer 1": {"W1": np.full((2, 2), 0.75 * top), "W2": np.zeros((1, 2))},
        "z of layer 2": {"W2": np.full((1, 2), 0.75 * top)},
        "a of layer 1": {
            "activation": ["exponential", "identity"],
            "W1": np.full((2, 2), 500.0),
            "W2": np.zeros((1, 2)),
        },
        "a of layer 2": {
            "activation": ["identity", "selu"],
            "W2": np.full((1, 2), 0.245 * top),
        },
        "delta of layer 2": {"W2": np.full((1, 2), top**0.5)},
        "delta of layer 1": {
            "W1": np.zeros((2, 2)),
            "W2": np.full((1, 2), 0.25 * top),
            "y": [-8.0],
        },
        "the parameters": {"y": [-100.0], "learning_rate": 0.75 * top},
    }[name]
    return step


FAILING_STEPS = (
    "z of layer 1",
    "z of layer 2",
    "a of layer 1",
    "a of layer 2",
    "delta of layer 2",
    "delta of layer 1",
    "the parameters",
)


@needs_compiled
@both_dtypes
@pytest.mark.parametrize(("n", "place"), [(1, 0), (3, 2), (40, 0), (40, 17), (40, 39)])
@pytest.mark.parametrize("name", FAILING_STEPS)
def test_a_step_that_fails_in_a_tiny_network_is_that_of_the_general_path(
    name: str, n: int, place: int, dtype: str
) -> None:
    step = failing_step(name, dtype)
    X, Y = np.zeros((n, 2), dtype), np.zeros((n, 1), dtype)
    parameters = np.concatenate([step["W1"].ravel(), [0, 0], step["W2"].ravel(), [0]])
    net, general, widened = tiny_and_general(
        (2, 2, 1), step["activation"], "quadratic", dtype, parameters
    )
    rate = step["learning_rate"]
    messages = []
    for network, inputs in ((net, X), (general, widened(X))):
        # A step that goes well first, which sets the rule: targets are met, so nothing moves.
        network.partial_fit(inputs, Y, batch_size=n, learning_rate=rate)
        assert bits(network.predict(inputs)) == bits(Y)
        before = network.copy()
        bad_inputs, targets = inputs.copy(), Y.copy()
        bad_inputs[place, :2], targets[place] = step["x"], step["y"]
        calls: list[Callable[..., Any]] = [
            functools.partial(network.partial_fit, bad_inputs, targets),
            functools.partial(network.partial_fit, bad_inputs.tolist(), targets.tolist()),
            functools.partial(network.fit, bad_inputs, targets, learning_rate=rate),
        ]
        for call in calls:
            with pytest.raises(FloatingPointError) as failure:
                call(batch_size=n)
            messages.append(str(failure.value))
            assert f": {name} overflowed; " in messages[-1]
            assert bits(network.parameters) == bits(before.parameters)
        for twin in (network, before):
            twin.parameters = np.full(twin.n_parameters, 0.25)
            twin.partial_fit(inputs[:1], 0 * Y[:1] + 1, learning_rate=0.5)
            twin.partial_fit(inputs[:1], 0 * Y[:1] + 1)
        assert bits(network.parameters) == bits(before.parameters)
    assert messages[:3] == messages[3:]
    assert messages[0] == messages[1]


@needs_compiled
@both_dtypes
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 40])
def test_a_tiny_network_that_diverges_in_the_middle_of_a_fit(
    batch_size: int, shuffle: bool, dtype: str
) -> None:
    sizes = tiny_sizes(dtype)[1]
    X, Y = data(41, sizes, dtype)
    start = Network(sizes, "identity", dtype=dtype, seed=3).parameters / 4
    net, general, widened = tiny_and_general(sizes, "identity", "quadratic", dtype, start)
    seen: list[list[bytes]] = []
    messages = []
    for network, inputs in ((net, X), (general, widened(X))):
        epochs = [bits(network.parameters)]
        rate = 0.01
        # Fits that go well, each with a larger learning rate, until one does not.
        while len(messages) == len(seen):
            try:
                network.fit(
                    inputs, Y, epochs=3, batch_size=batch_size, learning_rate=rate, shuffle=shuffle,
                    callbacks=lambda net, history, epochs=epochs: epochs.append(
                        bits(net.parameters)
                    ),
                )  # fmt: skip
            except FloatingPointError as failure:
                messages.append(str(failure))
            rate *= 1.25
        assert len(epochs) > 4
        assert bits(network.parameters) == epochs[-1]
        seen.append(epochs)
    assert messages[0] == messages[1]
    assert len(seen[0]) == len(seen[1])
    assert_same_networks(net, general)


# ---- the same seed -------------------------------------------------------------------------------

# SHA-256 of the initial parameters of a 7-6-5-4 network, little-endian float64, for seed 0.
INITIAL = {
    ("auto", "sigmoid"): "a4202acea97d7293950c8714d1833f3ec76ed8c35d4db8c7f211bcecf7be6170",
    ("auto", "relu"): "7f8c64bcfb869ce8dffc98841f6ab24dba9dd88d8f920b44e8d95b6dab001ec0",
    ("glorot", "sigmoid"): "a4202acea97d7293950c8714d1833f3ec76ed8c35d4db8c7f211bcecf7be6170",
    ("glorot", "relu"): "a4202acea97d7293950c8714d1833f3ec76ed8c35d4db8c7f211bcecf7be6170",
    ("he", "sigmoid"): "7f8c64bcfb869ce8dffc98841f6ab24dba9dd88d8f920b44e8d95b6dab001ec0",
    ("he", "relu"): "7f8c64bcfb869ce8dffc98841f6ab24dba9dd88d8f920b44e8d95b6dab001ec0",
    ("lecun", "sigmoid"): "a75000e4321f25d25e464d1aa9420535aa9fdbeea98eb5c1789eb66945bdac72",
    ("lecun", "relu"): "a75000e4321f25d25e464d1aa9420535aa9fdbeea98eb5c1789eb66945bdac72",
    (
        "standard_normal",
        "sigmoid",
    ): "5b114316d0a0e37ef40059390259c1b18269274e8d3c2991b3057aa59e1fa73a",
    ("standard_normal", "relu"): "5b114316d0a0e37ef40059390259c1b18269274e8d3c2991b3057aa59e1fa73a",
    ("zeros", "sigmoid"): "ab9ac8d62fd064748c921e6bd4c123f5cc8910a384d1804bec33ffe27da27c4c",
    ("zeros", "relu"): "ab9ac8d62fd064748c921e6bd4c123f5cc8910a384d1804bec33ffe27da27c4c",
}


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("init", functions.INITS)
def test_seed_0_gives_these_parameters_everywhere(init: str, activation: str, backend: str) -> None:
    for dtype in ("float64", "float32"):
        net = Network((7, 6, 5, 4), activation, init=init, seed=0, dtype=dtype, backend=backend)
        same = Network((7, 6, 5, 4), activation, init=init, seed=0, backend=backend)
        # float32 parameters are the float64 ones, rounded.
        assert bits(net.parameters) == bits(same.parameters.astype(dtype))
    digest = hashlib.sha256(same.parameters.astype("<f8").tobytes()).hexdigest()
    assert digest == INITIAL[init, activation]
    assert bits(same.copy().reset(0).parameters) == bits(same.parameters)
    other = Network((7, 6, 5, 4), activation, init=init, seed=1, backend=backend)
    assert (bits(other.parameters) == bits(same.parameters)) == (init == "zeros")


OPTIMIZERS = {
    "sgd": SGD(0.5),
    "momentum": SGD(0.1, momentum=0.9),
    "nesterov": SGD(0.1, momentum=0.9, nesterov=True),
    "adam": Adam(0.01),
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


@every_backend
@every_optimizer
@both_dtypes
def test_the_same_fit_twice_gives_the_same_bits(optimizer: Any, dtype: str, backend: str) -> None:
    X, Y = data(201, (6, 3), dtype)
    nets = [Network((6, 10, 3), seed=8, dtype=dtype, backend=backend) for _ in range(2)]
    costs = [net.fit(X, Y, epochs=3, batch_size=20, optimizer=optimizer).cost for net in nets]
    assert bits(nets[0].parameters) == bits(nets[1].parameters)
    assert costs[0] == costs[1]
    # The generator went on: a second fit shuffles anew, and alike in both.
    again = [net.fit(X, Y, epochs=1, batch_size=20, optimizer=optimizer).cost for net in nets]
    assert again[0] == again[1]
    assert bits(nets[0].parameters) == bits(nets[1].parameters)


@every_backend
@every_optimizer
@both_dtypes
@pytest.mark.parametrize("batch_size", [1, 5, 32, 130, 300])
def test_partial_fit_over_batches_is_fit_without_shuffling(
    batch_size: int, optimizer: Any, dtype: str, backend: str
) -> None:
    X, Y = data(203, (6, 3), dtype)
    whole, one_pass, pieces = (
        Network((6, 10, 3), seed=8, dtype=dtype, backend=backend) for _ in range(3)
    )
    whole.fit(X, Y, epochs=2, batch_size=batch_size, optimizer=optimizer, shuffle=False)
    for _ in range(2):
        one_pass.partial_fit(X, Y, batch_size=batch_size, optimizer=optimizer)
        for start in range(0, 203, batch_size):
            rows = slice(start, start + batch_size)
            pieces.partial_fit(X[rows], Y[rows], batch_size=batch_size, optimizer=optimizer)
    assert bits(one_pass.parameters) == bits(whole.parameters)
    assert bits(pieces.parameters) == bits(whole.parameters)


@needs_compiled
@every_optimizer
@both_dtypes
@pytest.mark.parametrize("n", [1, 3, 32])
def test_the_quick_way_of_partial_fit_has_the_bits_of_the_slow_one(
    n: int, optimizer: Any, dtype: str
) -> None:
    X, Y = data(n, (6, 3), dtype)
    nets = [Network((6, 10, 3), seed=8, dtype=dtype) for _ in range(4)]
    for net in nets:
        net.partial_fit(X, Y, optimizer=optimizer)
    for _ in range(5):
        nets[0].partial_fit(X, Y)
        nets[1].partial_fit(X.tolist(), Y.tolist())
        nets[2].partial_fit(X, Y, batch_size=32, optimizer=optimizer)
        nets[3].partial_fit(np.asfortranarray(X)[::-1][::-1], Y)
        if n == 1:
            nets[0].partial_fit(X[0], Y[0])
            nets[1].partial_fit(X[0].tolist(), Y[0].tolist())
            nets[2].partial_fit(X[0], Y[0], optimizer=optimizer)
            nets[3].partial_fit(X, Y)
    for net in nets[1:]:
        assert bits(net.parameters) == bits(nets[0].parameters)


@every_backend
@every_optimizer
@both_dtypes
def test_a_copy_goes_on_with_the_same_bits(optimizer: Any, dtype: str, backend: str) -> None:
    X, Y = data(77, (6, 3), dtype)
    net = Network((6, 10, 3), seed=8, dtype=dtype, backend=backend)
    net.fit(X, Y, epochs=2, batch_size=16, optimizer=optimizer)
    twin = net.copy()
    for network in (net, twin):
        network.partial_fit(X, Y)
        network.partial_fit(X[3], Y[3])
        network.fit(X, Y, epochs=2, batch_size=16, optimizer=optimizer)
    assert bits(net.parameters) == bits(twin.parameters)
    before = bits(net.parameters)
    twin.partial_fit(X, Y)
    assert bits(net.parameters) == before


@needs_compiled
@both_dtypes
def test_a_gradient_has_the_same_bits_however_it_was_reached(dtype: str) -> None:
    """The sum over examples is a fixed tree: other calls before it change nothing."""
    X, Y = data(16500, (3, 2), dtype)
    for n in (1, 100, 256, 257, 1000, 16384, 16385, 16500):
        fresh = Network((3, 4, 2), seed=8, dtype=dtype).gradient(X[:n], Y[:n])
        used = Network((3, 4, 2), seed=8, dtype=dtype)
        used.gradient(X, Y)
        used.predict(X[:5])
        used.gradient(X[:7], Y[:7], per_example=True)
        again = used.gradient(X[:n], Y[:n])
        assert bits(again) == bits(fresh)
        assert again.cost == fresh.cost
        # Weights of 1 multiply by 1.
        weighted = used.gradient(X[:n], Y[:n], sample_weight=np.ones(n))
        assert bits(weighted) == bits(fresh)


@needs_compiled
def test_an_activation_of_the_users_has_the_same_bits_at_every_place() -> None:
    """With a function that is itself exact: NumPy's sin is not the same in every lane."""
    square = Activation(lambda z: z * z, lambda z: 2 * z, "square")
    net = Network((5, 9, 3), square, seed=3)
    X, Y = data(140, (5, 3), "float64")
    expected = every_row(net, X, Y)
    for rows in (slice(0, 1), slice(139, 140), slice(5, 12), slice(100, 140)):
        assert_same_rows(every_row(net, X[rows], Y[rows]), expected, rows)
