"""The package built from source and tested on s390x, whose numbers begin with their high byte.

    tests/deep/s390x.py [--quick] [TESTS ...] [--systems FOLDER]

In Debian, run by QEMU, or on this machine.
"""

from chroots import COMPILER, System, check

SYSTEM = System(
    part="s390x",
    suite="testing",
    machine="s390x",
    architecture="s390x",
    # PyPI has no wheels of NumPy for it, and to build that one under QEMU takes hours.
    debian_numpy=True,
    packages=(*COMPILER, "cython3", "python3-numpy", "python3-setuptools"),
    quick=(
        "tests/formulas/test_lesson.py",
        "tests/engine/test_simd_levels.py",
        "tests/files/test_format.py",
        "tests/files/test_model.py",
    ),
)

if __name__ == "__main__":
    check(SYSTEM, __doc__)
