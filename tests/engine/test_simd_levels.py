"""Every SIMD level that runs here against the reference, on networks whose layers fit one vector.

Levels without fused multiply-adds promise no bits, and run in few other tests.
"""

from __future__ import annotations

from support import every_level, output_at_level

CODE = """
import sys
import numpy as np
from cbackprop import SGD, Network, Rprop, info

assert info()["simd_level"] == sys.argv[1]
random = np.random.default_rng(0)
for dtype, close in (("float64", 1e-13), ("float32", 1e-5)):
    for sizes in ((2, 2, 1), (2, 1, 2), (1, 2, 2, 1), (3, 2, 3), (5, 6, 4)):
        X = random.normal(size=(20, sizes[0]))
        Y = random.uniform(0.1, 0.9, size=(20, sizes[-1]))
        for activation in ("sigmoid", "tanh", "relu", "softplus"):
            one, other = (
                Network(sizes, [activation] * (len(sizes) - 2) + ["sigmoid"], seed=1, dtype=dtype,
                        backend=backend)
                for backend in ("compiled", "reference")
            )
            for name, options in (
                ("fit", {"batch_size": 4, "optimizer": SGD(0.1), "epochs": 3}),
                ("fit", {"batch_size": 1, "optimizer": SGD(0.1), "epochs": 1}),
                ("fit", {"batch_size": 20, "optimizer": Rprop(0.01), "epochs": 3}),
            ):
                for net in (one, other):
                    getattr(net, name)(X, Y, shuffle=False, **options)
                np.testing.assert_allclose(
                    one.parameters, other.parameters, rtol=0, atol=close,
                    err_msg=f"{dtype} {sizes} {activation} {options}",
                )
            np.testing.assert_allclose(
                one.gradient(X, Y).vector, other.gradient(X, Y).vector, rtol=0, atol=close
            )
print("ok")
"""


@every_level
def test_networks_of_one_vector(level):
    assert output_at_level(level, CODE) == "ok\n"
