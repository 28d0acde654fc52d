"""At which SIMD level the compiled core computes here, why, and what would be faster.

Environment
-----------
CBACKPROP_SIMD
    One of LEVELS in place of the best one.
CBACKPROP_REQUIRE_EXT
    ``1``: a missing compiled core is an ImportError instead of a warning.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import warnings
from typing import NamedTuple

from cbackprop._version import __version__

# The best first. v2 to v4 are those of x86-64, neon is arm64's; generic is whatever the compiler
# makes of plain C, and is built where none of the others is, or by CBACKPROP_LEVELS.
LEVELS = ("v4", "v3", "v2", "neon", "generic")
SUFFIXES = {"float32": "f32", "float64": "f64"}


class Choice(NamedTuple):
    """What was found at import.

    Parameters
    ----------
    level : str or None
        Of LEVELS; None without a compiled core.
    why : str
        The reason for it.
    faster : str
        What would be, on this processor.
    """

    level: str | None
    why: str
    faster: str


def choose() -> Choice:
    """The level to use. Asked once, at import; without one there is a warning, or an ImportError.

    Raises
    ------
    RuntimeError
        CBACKPROP_SIMD names none, or one that cannot be used here.
    ImportError
        There is no compiled core, and CBACKPROP_REQUIRE_EXT is set.
    """
    asked = os.environ.get("CBACKPROP_SIMD", "")
    if asked and asked not in LEVELS:
        raise RuntimeError(
            f"CBACKPROP_SIMD is {asked!r}; expected one of {', '.join(map(repr, LEVELS))}"
        )
    try:
        supported = supported_levels()
    except ModuleNotFoundError as error:
        return _missing("this installation has no compiled module for this Python", "", error)
    except ImportError as error:
        return _missing(f"{error}", "", error)
    built = tuple(level for level in LEVELS if is_built(level))
    usable = [level for level in built if level in supported]
    if asked:
        _check_asked(asked, supported, built)
        better = usable[: usable.index(asked)]
        faster = f"{better[0]}, without CBACKPROP_SIMD" if better else "nothing"
        return Choice(asked, "CBACKPROP_SIMD asks for it", faster)
    if not usable:
        if not built:
            return _missing("it has no level", "")
        reason = f"this processor runs none of its levels {', '.join(built)}"
        return _missing(reason, "CBACKPROP_LEVELS=generic ")
    best = usable[0]
    why = f"the best that this processor runs of {', '.join(built)}"
    missed = [level for level in supported if LEVELS.index(level) < LEVELS.index(best)]
    faster = f"{missed[0]}, to be built {how_to_build()}" if missed else "nothing"
    return Choice(best, why, faster)


def supported_levels() -> tuple[str, ...]:
    """Those that this processor runs, built or not; an ImportError without the compiled core."""
    levels: tuple[str, ...] = importlib.import_module("cbackprop.kernels._cpu").supported_levels()
    return levels


def module_name(level: str | None, dtype: str) -> str:
    """The compiled module of a level and a number type."""
    return f"cbackprop.kernels._{level}_{SUFFIXES[dtype]}"


def is_built(level: str) -> bool:
    """Whether this installation has a level's modules, for both number types."""
    return all(importlib.util.find_spec(module_name(level, dtype)) for dtype in SUFFIXES)


def how_to_build(environment: str = "") -> str:
    """How to have the core built anew, by whoever has a compiler."""
    source = _source(os.path.dirname(os.path.dirname(__file__)))
    if source is None:
        return "in a Python of its own, to be put into this program"
    if os.environ.get("CBACKPROP_PURE", "") not in ("", "0"):
        environment += "CBACKPROP_PURE=0 "
    # Without --no-cache-dir pip may install the very wheel again.
    options = ["--force-reinstall", "--no-deps", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "install", *options, *source]
    # Imported only here: few have to be told.
    if os.name == "nt":
        import subprocess

        # Neither cmd nor PowerShell takes a variable before a command.
        within = f", with {environment.strip()} in the environment" if environment else ""
        return f"by {subprocess.list2cmdline(command)}{within}"
    import shlex

    return f"by {environment}{shlex.join(command)}"


def _source(folder: str) -> list[str] | None:
    """What pip is told to install, for the package in this folder; None where pip did not.

    As pip has written it down (PEP 610). By hand: importlib.metadata and json take longer to
    import than all of this package.
    """
    information = f"{folder}/cbackprop-{__version__}.dist-info"
    if not os.path.isdir(information):
        checkout = os.path.dirname(folder)
        return ["-e", checkout] if os.path.exists(f"{checkout}/setup.py") else None
    text = ""
    if os.path.isfile(f"{information}/direct_url.json"):
        with open(f"{information}/direct_url.json", encoding="utf-8", errors="replace") as file:
            text = file.read()
    told: dict[str, str] = dict(re.findall(r'"(url|vcs|commit_id)" *: *"([^"]*)"', text))
    if "url" not in told or told["url"].endswith(".whl"):
        return ["--no-binary", "cbackprop", f"cbackprop=={__version__}"]
    if told.keys() >= {"vcs", "commit_id"}:
        return [f"{told['vcs']}+{told['url']}@{told['commit_id']}"]
    return [told["url"]]


def _check_asked(asked: str, supported: tuple[str, ...], built: tuple[str, ...]) -> None:
    if asked not in supported:
        raise RuntimeError(
            f"CBACKPROP_SIMD is {asked!r}, which this processor cannot run; it can run "
            f"{', '.join(supported)}"
        )
    if asked not in built:
        raise RuntimeError(
            f"CBACKPROP_SIMD is {asked!r}, which this installation was not built with; it has "
            f"{', '.join(built) or 'none'}"
        )


def _missing(reason: str, environment: str, error: ImportError | None = None) -> Choice:
    """No level: said once, and in the way that CBACKPROP_REQUIRE_EXT asks for."""
    build = f"where there is a C compiler, it is built {how_to_build(environment)}"
    if os.environ.get("CBACKPROP_REQUIRE_EXT", "") not in ("", "0"):
        raise ImportError(
            f"the compiled core of cbackprop is missing ({reason}) and CBACKPROP_REQUIRE_EXT is "
            f"set; {build}"
        ) from error
    warnings.warn(
        f"the compiled core of cbackprop is missing ({reason}): the NumPy reference computes in "
        "its place, correct but tens of times slower and without the promise of the same bits in "
        f"every batch; {build}",
        RuntimeWarning,
        stacklevel=5,  # the user's import: above this module, backend and the package itself
    )
    return Choice(None, reason, f"the compiled core; {build}")
