"""The newest Python and compiler that Debian has, the newest NumPy that PyPI has.

    tests/deep/newer_python.py [--quick] [TESTS ...] [--systems FOLDER]

What they deprecate is an error in the tests, long before a user sees it.
"""

from chroots import System, check

SYSTEM = System(
    part="newer_python",
    suite="testing",
    # Without the two files that take two thirds of the time.
    quick=(
        "tests/formulas",
        "tests/refusals",
        "--ignore=tests/formulas/test_curvature.py",
        "--ignore=tests/formulas/test_gradient_check.py",
    ),
    collect=True,
)

if __name__ == "__main__":
    check(SYSTEM, __doc__)
