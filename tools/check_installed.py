"""Whether what is installed is what a release promises: the compiled core, and every SIMD level.

    python tools/check_installed.py

A checkout of the package does not count. Each level that this processor runs computes a gradient.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig

from cbackprop import __file__ as where
from cbackprop import simd_levels

X86_64 = ("v4", "v3", "v2")
LEVELS = {"x86_64": X86_64, "AMD64": X86_64, "aarch64": ("neon",), "arm64": ("neon",)}

GRADIENT = """\
import sys
from cbackprop import Network, info
about = info()
assert about["simd_level"] == sys.argv[1], about
assert not about["checked_build"], about
for dtype in ("float32", "float64"):
    net = Network([3, 20, 2], "tanh", dtype=dtype, seed=0)
    assert net.backend == "compiled"
    assert net.check_gradient([[1, 2, 3]], [[0, 1]]).passed
print(sys.argv[1], about["compiler"], about["python"], about["platform"], sep=", ")
"""


def check() -> None:
    """Ends in what is wrong; prints a line for each level."""
    installed = sysconfig.get_path("platlib")
    if not os.path.realpath(where).startswith(os.path.realpath(installed) + os.sep):
        raise SystemExit(f"cbackprop is imported from {where}; expected it in {installed}")
    expected = LEVELS[platform.machine()]
    built = tuple(level for level in simd_levels.LEVELS if simd_levels.is_built(level))
    if built != expected:
        raise SystemExit(f"the levels {built} are built; expected {expected}")
    for level in expected:
        if level not in simd_levels.supported_levels():
            print(f"{level}: not by this processor")
            continue
        environment = {**os.environ, "CBACKPROP_SIMD": level, "CBACKPROP_REQUIRE_EXT": "1"}
        subprocess.run([sys.executable, "-c", GRADIENT, level], env=environment, check=True)


if __name__ == "__main__":
    check()
