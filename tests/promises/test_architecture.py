"""One way through the package: public call, validation, model, engine. Nothing imports upward."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

import pytest
from support import REPOSITORY, output_of

from cbackprop import backend, functions, quantities
from cbackprop.reference import calculus
from cbackprop.reference import engine as reference

PACKAGE = REPOSITORY / "src" / "cbackprop"

# Every module, from the bottom up: it may import from the rows above its own, never from its own
# row or below. So there is no circle. What is imported inside a function counts, and so does what
# is imported for annotations alone.
ROWS = (
    "_version kernels quantities random_numbers update_rules neuron_names training.stop_reasons",
    "functions simd_levels",
    "sparse_rows scaling sums",
    "layout classes drawing.symbols drawing.shown",
    "drawing.canvas drawing.choice drawing.formulas drawing.page",
    "drawing.tree drawing.chain drawing.indices drawing.summary drawing.latex drawing.network "
    "drawing.curves",
    "drawing.html drawing validation.words",
    "validation.scalars",
    "validation.arrays",
    "validation.names",
    "validation.network validation.fitting validation.looking validation.keywords "
    "validation.streams",
    "validation",
    "shards",
    "nudges paths datasets tables.columns tables.kinds tables.numbers reference "
    "reference.ownership reference.calculus",
    "gradients reference.curvature optimizers tables.header tables.arrays tables.mixed",
    "reference.engine tables.csv_file",
    "tables",
    "backend",
    "nodes",
    "model",
    "gradient_diagnosis.mistakes",
    "chain_rule gradient_check files.format "
    "gradient_diagnosis.forms gradient_diagnosis.errors gradient_diagnosis.result",
    "gradient_diagnosis.search",
    "gradient_diagnosis.words",
    "gradient_diagnosis.diagnosis",
    "gradient_diagnosis",
    "files.model",
    "files.checkpoint",
    "files files.pickling training.history",
    "streams streams.ahead",
    "streams.sources",
    "streams.stream",
    "streams.chunks streams.rows streams.calls",
    "streams.choosing training.fingerprint",
    "schedules training.metrics training.progress training.whole_batch",
    "training.lbfgs training.levenberg_marquardt training.plan",
    "training.second_order training.checkpoints training.sparsity training.standardised",
    "training.loop",
    "training stepper",
    "network",
    "__init__ exports sklearn.library dask.library",
    "casadi distributed sklearn.parameters torch.library dask.tasks",
    "torch.activations torch.tensors dask.sources",
    "torch.conversion torch.function dask.examples",
    "torch dask.gradients dask.fitting dask.trainings",
    "dask",
    "sklearn.course",
    "sklearn.base",
    "sklearn.estimators",
    "sklearn.conversion",
    "sklearn",
    "onnx.library onnx.functions onnx.entries",
    "onnx.graph onnx.exporting",
    "onnx.layers",
    "onnx.loading",
    "onnx",
    "cli.terminal",
    "cli.options cli.epochs cli.workloads",
    "cli.about",
    "cli.examples cli.lesson cli.info",
    "cli.training_examples",
    "cli.training_report",
    "cli.demo cli.train cli.predict cli.explain cli.step cli.check cli.bench",
    "cli",
    "__main__ _pyinstaller _pyinstaller.hook-cbackprop",
)
HEIGHT = {module: height for height, row in enumerate(ROWS) for module in row.split()}


def module_name(path: Path) -> str:
    """A file's place in the rows: "training.loop"; a folder stands for its __init__."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(module: str) -> set[str]:
    """The package's own modules that a file names in any import of its."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "cbackprop":
                continue
            inside = name.removeprefix("cbackprop").removeprefix(".")
            while inside and inside not in MODULES:  # a name in a module, not a module
                inside = inside.rpartition(".")[0]
            found.add(inside or "__init__")
    return found


def test_every_module_has_its_row():
    assert set(MODULES) == set(HEIGHT)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_upward(module):
    upward = {name for name in imported(module) if HEIGHT[name] >= HEIGHT[module]}
    assert not upward, f"{module} imports {upward}"


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("drawing")])
def test_drawing_looks_at_protocols_only(module):
    """Pictures know what they show by drawing/shown.py, functions by their rows, names as texts."""
    strangers = {name for name in imported(module) if not name.startswith("drawing")}
    assert strangers <= {"functions", "neuron_names"}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_reaches_into_the_private_parts_of_another(module):
    """A name that begins with an underscore is used in the file that defines it, and nowhere else.

    In a class of its own: `self._x`. Of another object `x._y` only where this file defines `_y`.
    """
    tree = tree_of(module)
    defined = {
        node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
        ):
            defined.add(node.attr)

    # What a NamedTuple offers to everybody, and what notebooks call.
    public = {"_replace", "_asdict", "_fields", "_repr_html_"}

    def is_private(name: str) -> bool:
        return name.startswith("_") and not name.endswith("__") and name not in public

    reaches = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if ast.unparse(node.value) not in ("self", "cls") and node.attr not in defined:
                reaches.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            reaches += [alias.name for alias in node.names if is_private(alias.name)]
            if is_private((node.module or "").rpartition(".")[2]):
                assert node.module == "cbackprop._version"
    assert not reaches


def raises(path: Path) -> list[tuple[int, str]]:
    """Line and exception of each raise in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.append((node.lineno, ast.unparse(node.exc.func)))
    return found


# What stands on the network as other programs' part in it: each is imported by who uses it.
PLACES = ("sklearn", "torch", "onnx", "casadi", "dask", "distributed")
# Whoever else has to say no: formats, functions of the user's and other libraries' conventions are
# judged where they are met.
JUDGES = (
    "validation",
    "functions",
    "files",
    "datasets",
    "shards",
    "tables",
    "exports",
    "cli",
    *PLACES,
)


@pytest.mark.parametrize(
    "module", [module for module in MODULES if module.split(".")[0] not in JUDGES]
)
def test_only_validation_judges_arguments(module):
    """The calls themselves raise neither TypeError nor ValueError about what they were given."""
    about_arguments = [
        (line, name)
        for line, name in raises(MODULES[module])
        if name in ("TypeError", "ValueError")
    ]
    assert about_arguments == []


@pytest.mark.parametrize(
    "module", [module for module in MODULES if module.split(".")[0] in ("cli", *PLACES)]
)
def test_nothing_of_the_package_imports_what_stands_above_the_network(module):
    """Those are imported by who uses them."""
    room = module.split(".")[0]
    below = [name for name in MODULES if name.split(".")[0] not in (room, "__main__")]
    assert not [name for name in below if module in imported(name)]


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


def test_the_command_line_leaves_workloads_to_bench():
    code = "import sys, cbackprop.cli; print('cbackprop.cli.workloads' in sys.modules)"
    assert output_of(code, options=("-W", "ignore")) == "False\n"


@pytest.mark.parametrize("quantity", sorted(quantities.WORDS))
def test_words_of_a_quantity(quantity):
    """A call, a step or both can fail for it; where it cannot, nothing is made up."""
    words = quantities.WORDS[quantity]
    assert words.call or words.step
    for text, told in ((words.call, quantities.in_call), (words.step, quantities.in_step)):
        if text is None:
            with pytest.raises(NotImplementedError, match=f"no words for '{quantity}'"):
                told(quantity, 0)
        else:
            assert told(quantity, 0) == text
            assert told(quantity, 3) == f"{text} of layer 3"


def test_unknown_quantities_have_no_words():
    for told in (quantities.in_call, quantities.in_step):
        with pytest.raises(KeyError):
            told("momentum", 1)


def test_every_quantity_of_an_engine_has_words():
    if backend.simd_level() is None:
        pytest.skip("the compiled core is not built")
    assert set(backend.kernels("float64").QUANTITIES) <= set(quantities.WORDS)


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
        "cost_parts",
    ):  # the specification in parts
        del specified[helper]
    assert compiled == specified
    assert list(inspect.signature(kernels.shuffle).parameters) == list(
        inspect.signature(calculus.shuffle).parameters
    )
    assert tuple(kernels.ACTIVATIONS) == tuple(functions.ACTIVATIONS)
    assert tuple(kernels.COSTS) == tuple(functions.COSTS)
