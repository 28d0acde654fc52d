"""Which tile of the product kernel a number falls in, and what stands beside it, is not seen."""

from __future__ import annotations

from support import every_level, output_at_level

CODE = """
import sys
import numpy as np
from cbackprop import Network, info

assert info()["simd_level"] == sys.argv[1]
random = np.random.default_rng(0)
MOST, N_0, N_L = 131, 5, 9

def net_of(w, dtype):
    # Of the hidden layer's neurons the first w. With W1 = 0 and b1 = 0 its a is 0: what lies
    # above, and the delta that comes back, is the same for every w.
    net = Network([N_0, w, N_L], "identity", dtype=dtype)
    for layer, (W, b) in enumerate(((0, 0), (W2[:, :w], b2))):
        net.weights[layer][...], net.biases[layer][...] = W, b
    return net

def same(part, whole, what):
    message = f"{what} of {dtype}, width {w}, n {n}"
    np.testing.assert_array_equal(part, whole, err_msg=message)

W1, W2 = random.normal(size=(MOST, N_0)), random.normal(size=(N_L, MOST))
b1, b2 = random.normal(size=MOST), random.normal(size=N_L)
for dtype in ("float32", "float64"):
    X, Y = (random.normal(size=(29, m)).astype(dtype) for m in (N_0, N_L))
    Z = Network([N_0, MOST], "identity", dtype=dtype)
    Z.weights[0][...], Z.biases[0][...] = W1, b1
    all_z = Z.predict(X)
    all_deltas = net_of(MOST, dtype)
    for n in (1, 3, 29):
        gradient = all_deltas.gradient(X[:n], Y[:n])
        deltas = all_deltas.backward(X[:n], Y[:n]).delta[1]
        assert gradient.weights[0].all() and deltas.all()
        for w in range(1, MOST):
            narrow = Network([N_0, w], "identity", dtype=dtype)
            narrow.weights[0][...], narrow.biases[0][...] = W1[:w], b1[:w]
            same(narrow.predict(X[:n]), all_z[:n, :w], "z")
            net = net_of(w, dtype)
            same(net.backward(X[:n], Y[:n]).delta[1], deltas[:, :w], "delta")
            same(net.gradient(X[:n], Y[:n]).weights[0], gradient.weights[0][:w], "dC/dw")
print("ok")
"""


@every_level
def test_a_neuron_has_the_same_bits_beside_any_others(level):
    assert output_at_level(level, CODE) == "ok\n"
