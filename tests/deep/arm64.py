"""The package built from source and tested on arm64: in Debian, run by QEMU, or on this machine.

    tests/deep/arm64.py [--quick] [TESTS ...] [--systems FOLDER]

Other processors' bits are not rounded otherwise: the hashes of trained weights are those of x86-64.
"""

from chroots import System, check

SYSTEM = System(
    part="arm64",
    suite="trixie",
    machine="aarch64",
    architecture="arm64",
    # With QEMU's default, max, NumPy's own OpenBLAS multiplies wrongly.
    qemu_cpu="neoverse-n1",
    quick=(
        "tests/formulas/test_lesson.py",
        "tests/engine/test_simd_levels.py",
        "tests/promises/test_same_bits.py",
    ),
)

if __name__ == "__main__":
    check(SYSTEM, __doc__)
