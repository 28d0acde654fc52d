"""Small faults put into the code on purpose, one at a time: do the tests see them?

A random, repeatable sample. Python modules are changed by cosmic-ray's operators, kernels by the
table below, which swaps operators, comparisons and constants; of the kernels the float64 module of
one SIMD level is compiled anew for each fault. Survivors are printed with their line, to be judged:
some change nothing that can be seen (a bound that is only tighter, a constant of the stack's size).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from builds import test_file

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
CLOCK_LIMIT = 300  # seconds for the tests of one mutant: an endless loop is a fault that is seen
MEMORY_LIMIT = 8 << 30

# The tests that should see a fault in a module, the likeliest first.
PYTHON = {
    "validation": [
        "arrays",
        "network",
        "fitting",
        "scalars",
        "looking",
        "format",
        "curvature",
        "step_options",
        "datasets",
        "optimizers",
    ],
    "model_file": ["format", "pickling", "checkpoint"],
    "checkpoints": ["checkpoint", "pickling", "format"],
    "pickling": ["pickling"],
    "network": [
        "arrays",
        "network",
        "fitting",
        "own_functions",
        "curvature",
        "loop",
        "step_options",
        "lesson",
        "pickling",
        "threads",
    ],
    "training": [
        "loop",
        "plan",
        "history",
        "step_options",
        "checkpoint",
        "fitting",
        "looking",
        "optimizers",
    ],
    "optimizers": ["optimizers", "step_options", "scalars", "format"],
    "second_order": ["whole_batch", "lbfgs", "levenberg_marquardt", "checkpoint", "published_runs"],
    "calculus": ["lesson", "activations", "calculus", "curvature", "optimizers"],
    "curvature": ["curvature", "gradient_check", "calculus"],
    "reference": ["lesson", "curvature", "optimizers", "step_options", "calculus"],
    "random_numbers": ["random_numbers", "step_options", "loop", "same_bits", "curvature"],
    "chain_rule": ["chain_rule", "paths", "nudges", "lesson", "scalars"],
    "gradients": ["curvature", "lesson", "loop"],
    "functions": ["network", "own_functions", "loop", "curvature"],
    "gradient_check": ["gradient_check"],
    "datasets": ["datasets"],
    "schedules": ["schedules", "step_options"],
}
KERNELS = (
    "layers.pyx",
    "math.pxd",
    "passes.pyx",
    "steps.pyx",
    "updates.pyx",
    "tiny.pyx",
    "tile.pyx",
    "per_example.pyx",
    "derivatives.pyx",
    "pairs.pyx",
    "curvature.pyx",
    "random.pyx",
    "engine.pyx",
)
KERNEL_TESTS = [
    "lesson", "calls", "per_example", "optimizers", "curvature", "step_options", "same_bits",
    "calculus", "activations", "threads", "loop",
]  # fmt: skip
OPERATORS = re.compile(
    r"core/(ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|"
    r"IsNot_Is|Lt_Gt|Gt_Lt)|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|Mul_Add|"
    r"FloorDiv_Mul)|ReplaceUnaryOperator_Delete_(USub|Not)|AddNot|ReplaceTrueWithFalse|"
    r"ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd|ReplaceBreakWithContinue|"
    r"NumberReplacer|ZeroIterationForLoop)"
)
SWAPS = (
    (r" \+ ", " - "), (r" - ", " + "), (r" \* ", " + "), (r" / ", " * "), (r" // ", " * "),
    (r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "), (r" >= ", " > "), (r" == ", " != "),
    (r" != ", " == "), (r" and ", " or "), (r" or ", " and "), (r"\bnot (?!NULL)", ""),
    (r"\bTrue\b", "False"), (r"\bFalse\b", "True"), (r"\+= ", "-= "),
    (r"(?<=[ (\[,])0(?=[,)\] :])", "1"), (r"(?<=[ (\[,])1(?=[,)\] :])", "2"),
    (r"vec_add\(", "vec_sub("), (r"vec_sub\(", "vec_add("),
    (r"vec_mul\(", "vec_add("),
)  # fmt: skip


Mutant = tuple[str, str, int, str]  # file, mutated source, line, what


def python_faults(module: str) -> list[tuple[str, str, int]]:
    """(module, operator, occurrence) of every fault that could be put into a module."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import get_ast

    nodes, stack = [], [get_ast((ROOT / f"src/cbackprop/{module}.py").read_text(encoding="utf-8"))]
    while stack:
        nodes.append(stack.pop())
        stack.extend(getattr(nodes[-1], "children", ()))
    return [
        (module, name, occurrence)
        for name in sorted(filter(OPERATORS.fullmatch, plugins.operator_names()))
        for occurrence in range(
            sum(len(list(plugins.get_operator(name)().mutation_positions(node))) for node in nodes)
        )
    ]


def python_mutant(module: str, operator: str, occurrence: int) -> Mutant:
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    path = f"src/cbackprop/{module}.py"
    source = (ROOT / path).read_text(encoding="utf-8")
    mutated = mutate_code(source, plugins.get_operator(operator)(), occurrence)
    return path, mutated, *difference(source, mutated)


def kernel_mutants(name: str) -> list[Mutant]:
    """Every fault that could be put into a kernel: one swap in one line of code."""
    path = f"src/cbackprop/kernels/{name}"
    source = (ROOT / path).read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    mutants, in_text = [], False
    for i, line in enumerate(lines):
        quotes = line.count('"""')
        if quotes or in_text:
            in_text ^= quotes % 2 == 1
            continue
        code = line.split("#")[0]
        if not code.startswith(" ") or code.strip().startswith(
            ("cdef extern", "ctypedef", "raise")
        ):
            continue
        for pattern, put in SWAPS:
            for match in re.finditer(pattern, code):
                changed = line[: match.start()] + put + line[match.end() :]
                mutated = "".join([*lines[:i], changed, *lines[i + 1 :]])
                mutants.append((path, mutated, *difference(source, mutated)))
    return mutants


def difference(source: str, mutated: str) -> tuple[int, str]:
    for number, (old, new) in enumerate(
        zip(source.splitlines(), mutated.splitlines(), strict=False), start=1
    ):
        if old != new:
            return number, f"{old.strip()}  ->  {new.strip()}"
    return 0, "?"


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    os.nice(5)


class Copy:
    """The project in a folder of its own, built in place."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder) / "project"
        shutil.copytree(
            ROOT,
            self.folder,
            ignore=shutil.ignore_patterns(
                ".git", ".venv", "build", "*.so", "__pycache__", ".*_cache"
            ),
        )
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder / "src"),
            "CBACKPROP_SIMD": "v3",
            "CBACKPROP_REQUIRE_EXT": "1",
            "CBACKPROP_MNIST": str(self.folder / "none"),
        }
        subprocess.run(
            [sys.executable, "setup.py", "build_ext", "--inplace"],
            cwd=self.folder,
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.module = next(self.folder.glob("src/cbackprop/kernels/_v3_f64*.so"))
        self.good = self.module.read_bytes()

    def compile(self) -> bool:
        """The float64 module of v3 anew, quickly; whether it compiles."""
        import numpy

        kernels = self.folder / "src/cbackprop/kernels"
        c_file = self.folder / "_v3_f64.c"
        flags = "-O1 -fPIC -shared -w -fno-math-errno -fno-trapping-math -ffp-contract=off -pthread"
        flags += " -mssse3 -msse4.1 -msse4.2 -mpopcnt -mavx2 -mfma -mbmi -mbmi2"
        directives = "cdivision=True,boundscheck=False,wraparound=False,initializedcheck=False"
        directives += ",binding=False"
        for command in (
            [sys.executable, "-m", "cython", "-3", "-X", directives, "--module-name",
             "cbackprop.kernels._v3_f64", "-I", "src", str(kernels / "_v3_f64.pyx"), "-o",
             str(c_file)],
            ["cc", *flags.split(), "-DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION",
             f"-I{kernels}", f"-I{numpy.get_include()}", f"-I{sysconfig.get_paths()['include']}",
             str(c_file), "-o", str(self.module), "-lm"],
        ):  # fmt: skip
            run = subprocess.run(
                command, cwd=self.folder, env=self.environment, capture_output=True, check=False
            )
            if run.returncode:
                return False
        return True

    def tests_see_it(self, tests: list[str]) -> bool:
        files = [test_file(name) for name in tests]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
        try:
            run = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=CLOCK_LIMIT,
                preexec_fn=limited,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
        return run.returncode != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a dozen faults")
    parser.add_argument("--python", type=int, default=150, help="faults in Python modules")
    parser.add_argument("--kernels", type=int, default=60, help="faults in kernels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one module or kernel, as validation or passes.pyx")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.python, arguments.kernels = 8, 4
    try:
        import cosmic_ray  # noqa: F401
    except ImportError:
        print(json.dumps({"part": "mutants", "did": "", "figure": "skipped: cosmic-ray is not "
                          "installed", "passed": None}))  # fmt: skip
        return 0
    drawn = random.Random(arguments.seed)
    modules = [name for name in PYTHON if arguments.only in (None, name)]
    kernels = [name for name in KERNELS if arguments.only in (None, name)]
    faults = [fault for name in modules for fault in python_faults(name)]
    chosen = [
        (python_mutant(*fault), PYTHON[fault[0]])
        for fault in drawn.sample(faults, min(arguments.python, len(faults)))
    ]
    swaps = [mutant for name in kernels for mutant in kernel_mutants(name)]
    chosen += [
        (mutant, KERNEL_TESTS) for mutant in drawn.sample(swaps, min(arguments.kernels, len(swaps)))
    ]
    seen = {"python": [0, 0], "kernels": [0, 0]}
    not_compiled = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(folder)
        for name in {test for tests in (*PYTHON.values(), KERNEL_TESTS) for test in tests}:
            assert (copy.folder / test_file(name)).exists(), name
        for (path, mutated, line, what), tests in chosen:
            place = copy.folder / path
            original = place.read_text(encoding="utf-8")
            place.write_text(mutated, encoding="utf-8")
            kind = "kernels" if "kernels" in path else "python"
            try:
                if kind == "kernels" and not copy.compile():
                    not_compiled += 1
                    continue
                killed = copy.tests_see_it(tests)
            finally:
                place.write_text(original, encoding="utf-8")
                copy.module.write_bytes(copy.good)
            seen[kind][0] += killed
            seen[kind][1] += 1
            word = "seen" if killed else "SURVIVED"
            print(f"{word:<8} {path.removeprefix('src/cbackprop/')}:{line}: {what}", flush=True)
    figure = ", ".join(f"{name} {killed} of {count}" for name, (killed, count) in seen.items())
    print(
        json.dumps(
            {
                "part": "mutants",
                "did": "faults put in, tests run until one fails",
                "figure": f"seen: {figure}; {not_compiled} did not compile",
                "passed": all(killed >= 0.8 * count for killed, count in seen.values()),
            }
        )
    )
    return 0 if all(killed >= 0.8 * count for killed, count in seen.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
