"""One way through the package: public call, validation, engine. Nothing imports upward."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

import pytest
from support import REPOSITORY, output_of

from cbackprop import backend, calculus, functions, reference

PACKAGE = REPOSITORY / "src" / "cbackprop"

# From the bottom up: a module may import from the rows above its own, never from its own or below.
LAYERS = (
    {"kernels", "random_numbers", "in_use"},
    {"functions"},
    {"drawing"},
    {"calculus", "gradients", "validation", "nudges", "paths"},
    {"curvature", "datasets"},
    {"reference", "tables"},
    {"backend", "optimizers", "gradient_check", "chain_rule", "schedules", "progress"},
    {"model_file", "second_order"},
    {"checkpoints"},
    {"pickling", "stepper", "training"},
    {"network"},
    {"__init__"},
    {"bench"},
    {"cli"},
    {"__main__"},
)
# Within the pictures likewise.
DRAWING_LAYERS = (
    {"symbols"},
    {"canvas", "choice", "formulas"},
    {"tree", "chain", "indices", "summary", "latex", "network", "curves"},
    {"html"},
    {"__init__"},
)
HEIGHT = {module: height for height, modules in enumerate(LAYERS) for module in modules}


def imported_modules(path: Path) -> set[str]:
    """The package's own modules that a file imports when it runs (not those for type checkers)."""
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        statement
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path.name} imports relatively"
            if node.module == "cbackprop":
                names |= {f"cbackprop.{alias.name}" for alias in node.names}
            else:
                names.add(node.module)
    modules = {name.split(".")[1] for name in names if name.startswith("cbackprop.")}
    # A public name, and not a module, comes from the package itself.
    return {module if module in HEIGHT else "__init__" for module in modules}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_imports_upward(path):
    assert path.stem in HEIGHT, f"{path.name} has no place in the architecture"
    for name in imported_modules(path):
        if path.stem == "network" and name == "__init__":  # __version__, read inside info()
            continue
        assert HEIGHT[name] < HEIGHT[path.stem], f"{path.stem} imports {name}"


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "drawing").glob("*.py")), ids=lambda path: path.stem
)
def test_nothing_in_drawing_imports_upward(path):
    heights = {module: i for i, modules in enumerate(DRAWING_LAYERS) for module in modules}
    assert path.stem in heights, f"drawing/{path.name} has no place in the architecture"
    for name in imported_modules(path) - {"drawing"}:
        assert HEIGHT[name] < HEIGHT["drawing"], f"drawing/{path.name} imports {name}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(
            "cbackprop.drawing"
        ):
            continue
        names = [alias.name for alias in node.names]
        for name in [node.module.split(".")[2]] if node.module.count(".") > 1 else names:
            below = heights[name] < heights[path.stem]
            # Names that are for type checkers only come from below, too.
            assert below, f"drawing/{path.name} imports {name}"


# The command line's own rows, from the bottom up.
CLI_LAYERS = (
    {"terminal", "options", "epochs", "scaling", "examples"},
    {"lesson", "training_examples", "info"},
    {"training_report"},
    {"demo", "train", "predict", "explain", "step", "check", "bench"},
    {"__init__"},
)
CLI_HEIGHT = {module: height for height, modules in enumerate(CLI_LAYERS) for module in modules}


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_nothing_imports_upward_in_the_command_line(path):
    assert path.stem in CLI_HEIGHT, f"{path.name} has no place in the command line"
    for name in imported_modules(path) - {"cli"}:
        assert HEIGHT[name] < HEIGHT["cli"], f"{path.stem} imports {name}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module == "cbackprop.cli":
            names = [alias.name for alias in node.names]
        elif node.module.startswith("cbackprop.cli."):
            names = [node.module.split(".")[2]]
        else:
            continue
        for name in names:
            assert CLI_HEIGHT[name] < CLI_HEIGHT[path.stem], f"{path.stem} imports {name}"


def raises(path: Path) -> list[tuple[int, str]]:
    """Line and exception of each raise in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.append((node.lineno, ast.unparse(node.exc.func)))
    return found


@pytest.mark.parametrize(
    "module",
    [
        "network",
        "training",
        "model_file",
        "checkpoints",
        "optimizers",
        "second_order",
        "chain_rule",
        "gradients",
        "stepper",
        "nudges",
        "paths",
    ],
)
def test_only_validation_judges_arguments(module):
    """The calls themselves raise neither TypeError nor ValueError about what they were given."""
    about_arguments = [
        (line, name)
        for line, name in raises(PACKAGE / f"{module}.py")
        if name in ("TypeError", "ValueError")
    ]
    assert about_arguments == []


def test_no_arithmetic_in_network():
    """network.py hands numbers on: no matrix product, no exp, no sum over an axis."""
    tree = ast.parse((PACKAGE / "network.py").read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.MatMult)]
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"np.dot", "np.exp", "np.einsum", "np.sum", "np.mean", "np.matmul"}


def test_import_brings_numpy_and_nothing_else():
    """Beside NumPy, importing the package loads the standard library and one small module."""
    code = (
        "import sys, numpy; before = set(sys.modules); import cbackprop; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    loaded = set(output_of(code, options=("-W", "ignore")).split())
    loaded = {name for name in loaded if "cython" not in name}  # made by extension modules
    assert loaded - set(sys.stdlib_module_names) <= {"cbackprop", "numpy"}
    assert not loaded & {"argparse", "gzip", "statistics", "decimal", "zipfile", "asyncio"}
    assert not loaded & {"json", "hashlib", "_hashlib", "secrets", "tempfile"}  # of model files


def test_pictures_are_imported_by_what_draws():
    """Neither the import nor a fit, nor a chain rule that is only printed, loads them."""
    code = """
        import sys
        from cbackprop import Network
        net = Network([2, 2], seed=0)
        rule = net.chain_rule([1, 2], [0, 1])
        print(net.fit([[1, 2]], [[0, 1]], epochs=1), rule.weight(1, 0, 0), rule)
        print(any("drawing" in name for name in sys.modules))
        rule.svg()
        print(any("drawing" in name for name in sys.modules))
    """
    printed = output_of(code, options=("-W", "ignore"))
    assert printed.split("\n")[-3:] == ["False", "True", ""]


def test_the_command_line_leaves_bench_to_its_command():
    code = "import sys, cbackprop.cli; print('cbackprop.bench' in sys.modules)"
    assert output_of(code, options=("-W", "ignore")) == "False\n"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_engine_has_the_interface_of_the_reference(dtype):
    """Same calls, same arguments in the same order, same names of functions."""
    if backend.simd_level() is None:
        pytest.skip("the compiled core is not built")
    kernels = backend.kernels(dtype)

    def calls(engine):
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(engine, callable)
            if not name.startswith("_")
        }

    compiled, specified = calls(kernels.Engine), calls(reference.Engine)
    del compiled["check_guards"]  # of the checked build; the reference has no memory of its own
    for helper in (
        "run_forward",
        "run_backward",
        "run_curvature",
        "output",
    ):  # the specification in parts
        del specified[helper]
    assert compiled == specified
    assert list(inspect.signature(kernels.shuffle).parameters) == list(
        inspect.signature(calculus.shuffle).parameters
    )
    assert tuple(kernels.ACTIVATIONS) == functions.ACTIVATIONS
    assert tuple(kernels.COSTS) == functions.COSTS
