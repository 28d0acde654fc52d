"""What is made for each example on its own: gradients, their norms, Jacobians of the outputs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cbackprop
from cbackprop import Network
from cbackprop.random_numbers import RandomNumbers

Array = np.ndarray[Any, np.dtype[Any]]

BACKENDS = ("compiled", "reference")
WIDTHS = (*range(1, 20), 31, 32, 33, 47, 64, 65, 130)

both_backends = pytest.mark.parametrize("backend", BACKENDS)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
needs_compiled = pytest.mark.skipif(
    cbackprop.info()["backend"] != "compiled", reason="the compiled core is not built here"
)


@pytest.fixture(autouse=True)
def _compiled_core_or_skip(request: pytest.FixtureRequest) -> None:
    if "backend" in request.fixturenames and request.getfixturevalue("backend") == "compiled":
        if cbackprop.info()["backend"] != "compiled":
            pytest.skip("the compiled core is not built here")


def data(n: int, sizes: tuple[int, ...], dtype: str) -> tuple[Array, Array]:
    random = RandomNumbers(5)
    X = random.normal(n * sizes[0]).reshape(n, sizes[0])
    Y = random.uniform(n * sizes[-1]).reshape(n, sizes[-1])
    return X.astype(dtype), Y.astype(dtype)


# ---- the rows of per-example gradients -----------------------------------------------------------


def products(net: Network, X: Array, Y: Array) -> Array:
    """a_k δ_j and δ_j from the backward pass, (n, P): one rounding each, so the bits are fixed."""
    back = net.backward(X, Y)
    parts: list[Array] = []
    for a, delta in zip(back.a[:-1], back.delta[1:], strict=True):
        parts += [(delta[:, :, np.newaxis] * a[:, np.newaxis, :]).reshape(len(X), -1), delta]
    return np.concatenate(parts, axis=1)


@both_dtypes
@both_backends
@pytest.mark.parametrize("n_in", WIDTHS)
def test_rows_are_the_products_wherever_out_lies(n_in: int, dtype: str, backend: str) -> None:
    """Each row starts somewhere between two vectors; nothing around the array is touched."""
    for n_out, n in itertools.product((1, 2, 3, 16, 17), (1, 2, 5)):
        net = Network((n_in, n_out, 2), dtype=dtype, backend=backend, seed=n_in)
        X, Y = data(n, net.sizes, dtype)
        expected = products(net, X, Y)
        for offset in range(17) if backend == "compiled" else (0, 3):
            block = np.full(expected.size + 64, 777, dtype)
            out = block[offset : offset + expected.size].reshape(expected.shape)
            assert net.gradient(X, Y, per_example=True, out=out).vector is out
            assert out.tobytes() == expected.tobytes()
            assert (block[:offset] == 777).all()
            assert (block[offset + expected.size :] == 777).all()


# More bytes than go through the caches, of layers wide and narrow, long and short; the offset puts
# the rows on every kind of boundary.
LARGE = """
import sys
import numpy as np
import cbackprop
from cbackprop import Network
from cbackprop.random_numbers import RandomNumbers

level = sys.argv[1]
assert cbackprop.info()["simd_level"] == level
for dtype, offset in (("float32", 0), ("float32", 5), ("float64", 3)):
    for sizes in ((203, 130, 3, 40), (15, 700, 16), (64, 130, 64), (16, 3000), (17, 1000)):
        net = Network(sizes, dtype=dtype, seed=1)
        P = net.n_parameters
        n = (33 << 20) // (P * np.dtype(dtype).itemsize) + 1
        random = RandomNumbers(2)
        X = random.normal(n * sizes[0]).reshape(n, sizes[0]).astype(dtype)
        Y = random.uniform(n * sizes[-1]).reshape(n, sizes[-1]).astype(dtype)
        block = np.full(n * P + 32, 777, dtype)
        out = block[offset : offset + n * P].reshape(n, P)
        net.gradient(X, Y, per_example=True, out=out)
        for i in (0, 1, 127, 128, n - 2, n - 1):
            i = min(i, n - 1)
            alone = net.gradient(X[i], Y[i], per_example=True).vector
            assert out[i].tobytes() == alone.tobytes(), (dtype, sizes, i)
        start = 0
        back = net.backward(X, Y)
        for a, delta in zip(back.a[:-1], back.delta[1:]):
            W = out[:, start : start + delta.shape[1] * a.shape[1]]
            W = W.reshape(n, delta.shape[1], a.shape[1])
            assert (W == delta[:, :, np.newaxis] * a[:, np.newaxis, :]).all(), (dtype, sizes)
            start += W[0].size
            assert (out[:, start : start + delta.shape[1]] == delta).all(), (dtype, sizes)
            start += delta.shape[1]
        assert (block[:offset] == 777).all() and (block[offset + n * P :] == 777).all()
print("right")
"""


def at_level(level: str, code: str, *arguments: str) -> str:
    """What the code prints in a process of its own at that SIMD level."""
    from cbackprop.kernels import _cpu

    if level not in _cpu.supported_levels():
        pytest.skip(f"this processor cannot run {level}")
    source = Path(cbackprop.__file__).resolve().parent.parent
    environment = dict(os.environ, CBACKPROP_SIMD=level, CBACKPROP_REQUIRE_EXT="1")
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(source), *filter(None, [environment.get("PYTHONPATH")])]
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, level, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@needs_compiled
@pytest.mark.parametrize("level", ["v2", "v3", "v4"])
def test_outputs_larger_than_the_caches(level: str) -> None:
    assert at_level(level, LARGE) == "right\n"


@both_dtypes
@both_backends
def test_a_product_that_overflows_is_found_among_those_that_do_not(
    dtype: str, backend: str
) -> None:
    """The largest a of one example and the largest delta of another do not meet."""
    large = float(np.finfo(dtype).max) / 4
    net = Network((2, 1), "identity", "half_quadratic", dtype=dtype, backend=backend, init="zeros")
    net.biases[0][...] = 8
    X = np.array([[large, 0.0], [1.0, 0.0], [0.5, 0.5]])
    Y = np.array([[7.5], [-1e5], [8.0]])
    G = net.gradient(X, Y, per_example=True).vector
    assert np.isfinite(G).all()
    assert G[0, 0] == large / 2
    Y[0] = -1e5
    with pytest.raises(FloatingPointError, match="of layer 1 is not finite"):
        net.gradient(X, Y, per_example=True)
