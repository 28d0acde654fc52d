"""Whether every docstring that docs/reference/ shows is complete, by numpydoc's rules and ours.

    python tools/check_docstrings.py

Prints what is wrong, and ends with status 1 if anything is. It judges the sources beside it,
compiled or not, and needs numpydoc: `pip install -e ".[docs]"`.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from types import FunctionType
from typing import Any

from numpydoc.docscrape import get_doc_object
from numpydoc.validate import ERROR_MSGS, validate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
os.environ.pop("CBACKPROP_REQUIRE_EXT", None)  # docstrings need no compiled core
with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    import cbackprop

REFERENCE = ROOT / "docs/reference/index.rst"
TEMPLATE = ROOT / "docs/_templates/autosummary/class.rst"

# Every rule of numpydoc's but these:
LEFT_OUT = {
    "ES01",  # one line is enough where it says all
    "EX01",  # the examples are the pages of docs/ and examples/, which the tests run
    "PR08",  # descriptions begin with symbols: η ≥ 0, n_0
    "SA01",  # see also: what is related, and not something everywhere
    "SS02",  # summaries begin with formulas: a = σ(z)
    "SS05",  # summaries name what comes back: "Its" and "This" are no verbs
}

# Nobody makes these: their classes say what they hold, not what their constructors take.
RETURNED = "What the calls return"

# What cannot fail, whatever it is given; everything else says what it raises.
NEVER_RAISES = {
    "ModelFileError",
    "datasets.Shards",
    "Gradient.norm",
    "Gradient.weights",
    "Gradient.biases",
    "Network.history",
    "Network.scales",
    "Network.summary",
    "chain_rule.ActivationTerm.latex",
    "chain_rule.BiasTerm.latex",
    "chain_rule.Nudges.errors",
    "chain_rule.Nudges.rows",
    "chain_rule.Path.dC_da",
    "chain_rule.Path.da_dz",
    "chain_rule.WeightTerm.latex",
    "datasets.load_digits",
    "gradient_check.GradientCheck.rows",
    "gradient_diagnosis.GradientDiagnosis.rows",
    "info",
    "schedules.Constant",
}


def reference() -> Iterator[tuple[str, str]]:
    """The heading and the name of each entry of the reference."""
    heading = before = ""
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if line.startswith("---"):
            heading = before
        elif entry := re.fullmatch(r"   (\w+(?:\.\w+)*)", line):
            yield heading, entry.group(1)
        before = line


def not_shown() -> set[str]:
    """The members that the template leaves out of the reference: what the package itself calls."""
    listed = re.search(r":exclude-members: (.*)", TEMPLATE.read_text(encoding="utf-8"))
    return set(listed.group(1).split(", ")) if listed else set()


def members(owner: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class has from the package, also by inheritance."""
    for name in dir(owner):
        # Where one is without a docstring, that of the class above is shown, if there is one.
        defined = [vars(c)[name] for c in owner.__mro__ if name in vars(c) and ours(c)]
        kinds = (FunctionType, classmethod, staticmethod, property)
        if not name.startswith("_") and defined and isinstance(defined[0], kinds):
            member = next((d for d in defined if d.__doc__), defined[0])
            yield name, getattr(member, "__func__", member)


def ours(owner: type) -> bool:
    return owner.__module__.split(".")[0] == "cbackprop"


def of_numpydoc(thing: Any, returned: bool) -> Iterator[str]:
    for code, message in validate(get_doc_object(thing))["errors"]:
        if code not in LEFT_OUT and not (returned and code == "PR01"):
            yield f"{code} {message}"


def of_raises(name: str, thing: Any, doc: Any) -> Iterator[str]:
    """Whether what may raise says so, and names what its own lines raise."""
    entries = doc["Raises"]
    stated = {kind.strip() for entry in entries for kind in entry.type.split(",")}
    if not entries and name not in NEVER_RAISES:
        yield "no Raises section, and not among NEVER_RAISES"
    if entries and name in NEVER_RAISES:
        yield "has a Raises section and is among NEVER_RAISES"
    if not all("".join(entry.desc).strip() for entry in entries):
        yield "an entry of Raises says not when"
    functions = [thing]
    if isinstance(thing, type):
        functions = [vars(thing)["__init__"]] if "__init__" in vars(thing) else []
    elif isinstance(thing, property):
        functions = [f for f in (thing.fget, thing.fset) if f]
    for function in functions:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                kind = ast.unparse(node.exc.func)
                if kind not in stated:
                    yield f"raises {kind}, which its Raises section does not name"


def of_shapes(doc: Any) -> Iterator[str]:
    """Whether every array that goes in or comes out has its shape beside it."""
    for section in ("Parameters", "Attributes", "Returns"):
        for entry in doc[section]:
            text = " ".join([entry.type, *entry.desc])
            is_array = re.search(r"ndarray|array.like", entry.type)
            if is_array and not re.search(r"\((n|P|\d)|\bshape\b|As (in|of) ", text):
                yield f"{section}: {entry.name or entry.type} is an array without a shape"


def findings() -> Iterator[str]:
    hidden = not_shown()
    seen, found = set(), set()
    for heading, entry in reference():
        thing = resolve_name(f"cbackprop.{entry}")
        things = [(entry, thing, heading == RETURNED)]
        if isinstance(thing, type):
            found |= {name for name, _ in members(thing)}
            things += [
                (f"{entry}.{name}", member, False)
                for name, member in members(thing)
                if name not in hidden
            ]
        for name, member, returned in things:
            seen.add(name)
            doc = get_doc_object(member)
            wrong = [*of_numpydoc(member, returned), *of_shapes(doc)]
            if not returned:
                wrong += of_raises(name, member, doc)
            elif not doc["Attributes"]:
                wrong.append("has no Attributes section")
            yield from (f"{name}: {message}" for message in wrong)
    modules = {"": cbackprop, "datasets.": cbackprop.datasets}
    public = {f"{prefix}{name}" for prefix, module in modules.items() for name in module.__all__}
    yield from (
        f"{name}: not in the reference"
        for name in sorted(public - seen - {"EXAMPLES_PER_GROUP", "datasets", "schedules"})
    )
    yield from (
        f"{name}: in NEVER_RAISES, but not in the reference" for name in sorted(NEVER_RAISES - seen)
    )
    yield from (
        f"{name}: left out by the template, but no member" for name in sorted(hidden - found)
    )
    yield from (f"{code}: no rule of numpydoc's" for code in sorted(LEFT_OUT - set(ERROR_MSGS)))


if __name__ == "__main__":
    wrong = [*findings()]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)
