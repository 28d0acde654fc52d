"""The tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer.

They see reads and writes outside an array or of memory given back, overflows of integers, shifts
too far and misaligned pointers. In this build what lies after the numbers of the engine's own
arrays is forbidden, too. Reports of processes that a test starts count.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from builds import (
    arguments,
    built_copy,
    compiler_library,
    environment,
    levels,
    run_tests,
    tell,
    test_file,
)

PART = "address_sanitizer"

# By what they can find: the kernels' calls first.
FILES = (
    "curvature",
    "per_example",
    "engine/calls",
    "whole_batch",
    "lbfgs",
    "levenberg_marquardt",
    "optimizers",
    "step_options",
    "plan",
    "history",
    "progress",
    "arrays",
    "network",
    "fitting",
    "looking",
    "own_functions",
    "ownership",
    "process",
    "same_bits",
    "calculus",
    "activations",
    "random_numbers",
    "lesson",
    "gradient_check",
    "loop",
    "schedules",
    "checkpoint",
    "format",
    "datasets",
    "threads",
)
# Wider vectors are other code in the kernels alone.
WIDE_FILES = (
    "curvature",
    "per_example",
    "engine/calls",
    "whole_batch",
    "lbfgs",
    "levenberg_marquardt",
    "optimizers",
    "step_options",
    "calculus",
    "activations",
)
QUICK_FILES = ("engine/calls",)

LEFT_OUT = (
    # The sanitizer keeps what is given back for a while: no peak of memory is the package's own.
    "curvature::test_norms_clipped_sums_and_moments_take_little_memory",
)

FOUND = re.compile(r"^.*(?:ERROR: AddressSanitizer|runtime error):.*$", re.MULTILINE)


def found_in(reports: Path) -> list[str]:
    """The sanitizers' reports; what they merely warn of, as of memory refused, is none."""
    texts = [file.read_text(errors="replace") for file in sorted(reports.iterdir())]
    return [text for text in texts if FOUND.search(text)]


def main() -> None:
    quick = arguments(__doc__).quick
    libraries = [compiler_library(name) for name in ("libasan.so", "libubsan.so")]
    if None in libraries:
        tell(PART, "", "skipped: GCC with libasan and libubsan is not installed", None)
    used = levels()[: 1 if quick else None]
    copy = built_copy("address", used[0] if quick else None, CBACKPROP_SANITIZE="address,undefined")
    n_files, n_passed, problems = 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        log = f"log_path={folder}/report"
        variables = {
            "LD_PRELOAD": " ".join(map(str, libraries)),
            # What the interpreter keeps to its end is no leak of ours. Some tests ask for more
            # memory than there is, which must be a MemoryError here, too.
            "ASAN_OPTIONS": f"detect_leaks=0:allocator_may_return_null=1:{log}",
            "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:{log}",
        }
        for place, level in enumerate(used):
            for name in QUICK_FILES if quick else WIDE_FILES if place else FILES:
                passed, problem = run_tests(
                    copy, test_file(name), environment(copy, level, **variables), LEFT_OUT
                )
                print(f"{level} {name}: {passed} passed {problem}", flush=True)
                n_files, n_passed = n_files + 1, n_passed + passed
                problems += [problem] if problem else []
        reports = found_in(Path(folder))
    for report in reports:
        print(report)
    tell(
        PART,
        f"{n_files} test files under ASan and UBSan on {' and '.join(used)}",
        f"{n_passed} tests passed, {len(reports)} reports, {len(problems)} files with failures",
        not reports and not problems and n_passed > 0,
    )


if __name__ == "__main__":
    main()
