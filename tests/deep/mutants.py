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

# The tests that should see a fault in a module, the likeliest first, after those of its own name.
REFUSALS = ["scalars", "arrays", "network", "fitting", "looking", "own_functions", "overflows"]
PYTHON = {
    "update_rules": ["step_options", "optimizers"],
    "quantities": ["architecture", "overflows"],
    "random_numbers": ["step_options", "loop", "same_bits", "curvature"],
    "functions": ["network", "own_functions", "loop", "curvature"],
    "sums": ["all_examples", "sums_over_examples"],
    "nodes": ["sums", "all_examples", "levenberg_marquardt"],
    "layout": ["all_examples", "lesson", "curvature", "format", "chain_rule"],
    "validation/scalars": ["arrays", "optimizers", "format", "datasets"],
    "validation/arrays": ["curvature", "datasets"],
    "validation/network": ["arrays", "format", "curvature", "whole_batch"],
    "validation/fitting": ["plan", "arrays", "step_options", "optimizers", "curvature"],
    "validation/looking": ["arrays", "stepper", "lesson", "gradient_diagnosis"],
    "gradients": ["curvature", "lesson", "loop"],
    "paths": ["chain_rule"],
    "nudges": ["chain_rule"],
    "shards": [],
    "distributed": [],
    "streams/ahead": ["fit"],
    "streams/calls": [],
    "streams/choosing": ["streams/calls", "fit"],
    "streams/chunks": ["streams/calls", "fit"],
    "streams/rows": ["fit", "streams/calls", "row_sources"],
    "streams/sources": ["streams/calls", "fit", "row_sources"],
    "streams/stream": ["fit", "streams/calls", "training/chunks"],
    "validation/streams": ["streams/calls", "fit", "training/chunks"],
    "validation/keywords": ["arrays", "network"],
    "validation/words": ["network", "arrays"],
    "validation/names": ["named_tables", "arrays"],
    "neuron_names": ["chain_rule"],
    "sparse_rows": ["sparsity"],
    "scaling": ["standardise"],
    "classes": ["metrics", "datasets"],
    "tables/mixed": ["tables"],
    "tables/kinds": ["tables"],
    "training/stop_reasons": ["loop"],
    "training/sparsity": [],
    "training/standardised": ["standardise"],
    "training/fingerprint": ["checkpoints"],
    "datasets": [],
    "tables/columns": ["tables", "tables_in_the_wild"],
    "tables/numbers": ["tables_in_the_wild", "tables"],
    "tables/header": ["tables_in_the_wild", "tables"],
    "tables/csv_file": ["tables_in_the_wild", "tables"],
    "tables/arrays": ["tables"],
    "reference/ownership": [],
    "reference/calculus": ["lesson", "activations", "curvature", "optimizers"],
    "reference/curvature": ["gradient_check", "calculus"],
    "reference/engine": ["lesson", "curvature", "optimizers", "step_options", "calculus"],
    "optimizers": ["step_options", "format", *REFUSALS],
    "model": ["lesson", "curvature", "loop", "step_options", "ownership", "pickling", *REFUSALS],
    "chain_rule": ["lesson", "looking", "scalars"],
    "gradient_check": [],
    "gradient_diagnosis/mistakes": ["gradient_diagnosis"],
    "gradient_diagnosis/forms": ["gradient_diagnosis"],
    "gradient_diagnosis/errors": ["gradient_diagnosis"],
    "gradient_diagnosis/search": ["gradient_diagnosis"],
    "gradient_diagnosis/diagnosis": ["gradient_diagnosis"],
    "gradient_diagnosis/words": ["gradient_diagnosis"],
    "gradient_diagnosis/result": ["gradient_diagnosis"],
    "files/format": ["pickling", "checkpoint"],
    "files/model": ["format", "pickling", "checkpoint"],
    "files/checkpoint": ["pickling", "format"],
    "files/pickling": [],
    "training/plan": ["loop", "step_options", "checkpoint", *REFUSALS],
    "training/loop": ["plan", "step_options", "checkpoint", "optimizers", *REFUSALS],
    "schedules": ["step_options"],
    "training/history": ["loop", "checkpoint"],
    "training/metrics": ["loop", "fitting"],
    "training/progress": [],
    "training/whole_batch": ["all_examples", "lbfgs", "levenberg_marquardt", "checkpoint"],
    "training/lbfgs": ["whole_batch", "checkpoint", "published_runs"],
    "training/levenberg_marquardt": ["whole_batch", "checkpoint", "published_runs"],
    "training/second_order": [
        "lbfgs",
        "levenberg_marquardt",
        "whole_batch",
        "fitting",
        "checkpoint",
    ],
    "training/checkpoints": ["checkpoint"],
    "network": ["curvature", "loop", "step_options", "lesson", "pickling", "threads", *REFUSALS],
}
# Texts, pages, pictures and the way to a core are judged by eye, or by what tests print and show.
LEFT_OUT = re.compile(
    r"(.*/)?__(init|main)__|_version|backend|stepper|casadi|exports|"
    r"(cli|drawing|_pyinstaller|sklearn|torch|onnx|dask)/.*"  # whose tests need other libraries
)
KERNELS = (
    "math.pxd",
    *(
        path.name
        for path in sorted((ROOT / "src/cbackprop/kernels").glob("[a-z]*.pyx"))
        if path.name not in ("engine.pyx", "measure.pyx")  # a list; nothing of a network
    ),
)
KERNEL_TESTS = [
    "lesson", "engine/calls", "per_example", "optimizers", "curvature", "step_options", "same_bits",
    "calculus", "activations", "sums_over_examples", "threads", "ownership", "loop",
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
)  # fmt: skip


Mutant = tuple[str, str, int, str]  # file, mutated source, line, what


def tests_of(module: str, others: list[str]) -> list[str]:
    """Files of tests, each once: those of the module's own name, and the others."""
    own = sorted(ROOT.glob(f"tests/*/test_{Path(module).stem}.py"))
    paths = [path.relative_to(ROOT).as_posix() for path in own]
    return [*dict.fromkeys([*paths, *map(test_file, others)])]


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

    def tests_see_it(self, files: list[str]) -> bool:
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command = [sys.executable, "-m", "pytest", *options, *files]
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
    parser.add_argument("--only", help="one module or kernel, as validation/arrays or passes.pyx")
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
    sources = ROOT / "src/cbackprop"
    found = {p.relative_to(sources).with_suffix("").as_posix() for p in sources.rglob("*.py")}
    strangers = {name for name in found if not LEFT_OUT.fullmatch(name)} ^ set(PYTHON)
    assert not strangers, strangers
    tests = {name: tests_of(name, others) for name, others in PYTHON.items()}
    tests |= {name: tests_of(name, KERNEL_TESTS) for name in KERNELS}
    modules = [name for name in PYTHON if arguments.only in (None, name)]
    kernels = [name for name in KERNELS if arguments.only in (None, name)]
    faults = [fault for name in modules for fault in python_faults(name)]
    chosen = [
        (python_mutant(*fault), tests[fault[0]])
        for fault in drawn.sample(faults, min(arguments.python, len(faults)))
    ]
    swaps = [mutant for name in kernels for mutant in kernel_mutants(name)]
    chosen += [
        (mutant, tests[Path(mutant[0]).name])
        for mutant in drawn.sample(swaps, min(arguments.kernels, len(swaps)))
    ]
    seen = {"python": [0, 0], "kernels": [0, 0]}
    not_compiled = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(folder)
        for file in sorted({file for _, files in chosen for file in files}):
            assert not copy.tests_see_it([file]), f"{file} fails without a fault"
        for (path, mutated, line, what), files in chosen:
            place = copy.folder / path
            original = place.read_text(encoding="utf-8")
            place.write_text(mutated, encoding="utf-8")
            kind = "kernels" if "kernels" in path else "python"
            try:
                if kind == "kernels" and not copy.compile():
                    not_compiled += 1
                    continue
                killed = copy.tests_see_it(files)
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
