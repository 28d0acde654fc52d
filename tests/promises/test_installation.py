"""What setup.py asks of a compiler, and what it says where there is none that will do."""

from __future__ import annotations

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import REPOSITORY, SOURCE, needs_compiled, posix_only

from cbackprop import simd_levels

pytest.importorskip("setuptools", "77", reason="setup.py needs setuptools 77 or newer")

pytestmark = posix_only  # under MSVC the compiler is setuptools' own affair


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """setup.py as a module, as if none of its switches were set."""
    for name in [name for name in os.environ if name.startswith(("CBACKPROP_", "ARCHFLAGS"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(REPOSITORY)
    spec = importlib.util.spec_from_file_location("cbackprop_setup", REPOSITORY / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiler_that(setup: ModuleType, folder: Path, refuses: str) -> Any:
    """A compiler that has something against programs and flags with this in them, and no other."""
    script = folder / "compiler.py"
    script.write_text(
        "import sys\n"
        f"refused = {refuses!r}\n"
        "texts = sys.argv[1:] + [open(a).read() for a in sys.argv[1:] if a.endswith('.c')]\n"
        "if any(refused in text for text in texts):\n"
        "    sys.exit(f'no {refused}')\n"
        "open(sys.argv[-1], 'w').close()\n",
        encoding="utf-8",
    )
    return setup.Compiler([sys.executable, str(script)])


@pytest.mark.parametrize(
    ("refuses", "reason"),
    [
        ("<math.h>", "compiles no program:\nno <math.h>"),
        ("<Python.h>", "the headers of this Python are not found:\nno <Python.h>"),
    ],
)
def test_a_compiler_without_headers(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str, reason: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name != "dnf" else None)
    compiler = compiler_that(setup, tmp_path, refuses)
    with pytest.raises(SystemExit) as told:
        setup.look_at(compiler, setup.extension_modules())
    message = str(told.value)
    assert message.startswith("\nThe compiled core of cbackprop cannot be built:\n")
    assert reason in message
    assert "    apt-get install gcc libc6-dev" in message
    assert "dnf" not in message  # which this system does not have
    assert "CBACKPROP_PURE=1" in message


def test_a_compiler_that_cannot_build_a_level(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "linux-x86_64")
    compiler = compiler_that(setup, tmp_path, "-mavx2")
    with pytest.raises(SystemExit, match="does not compile the level v3:\nno -mavx2") as told:
        setup.look_at(compiler, setup.extension_modules())
    assert "Take another one, GCC 11 or clang 14 or newer" in str(told.value)


def test_flags_of_another_compiler_s_optimisations_are_left_out(
    setup: ModuleType, tmp_path: Path
) -> None:
    modules = setup.extension_modules()
    before = [module.extra_compile_args[:] for module in modules]
    assert all("-fno-split-loops" in flags for flags in before)
    setup.look_at(compiler_that(setup, tmp_path, "-fno-split-loops"), modules)
    for module, flags in zip(modules, before, strict=True):
        assert module.extra_compile_args == [f for f in flags if f != "-fno-split-loops"]


def test_a_flag_that_promises_bits_is_never_left_out(setup: ModuleType, tmp_path: Path) -> None:
    compiler = compiler_that(setup, tmp_path, "-ffp-contract=off")
    with pytest.raises(SystemExit, match="no -ffp-contract=off"):
        setup.look_at(compiler, setup.extension_modules())


def test_without_a_compiler_nothing_is_translated(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        copy.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, copy)
    compiled = shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY / "src", copy / "src", ignore=compiled)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("CBACKPROP_")}
    run = subprocess.run(
        [sys.executable, "setup.py", "build_ext"],
        cwd=copy,
        env={**kept, "CC": "no-such-compiler"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 1
    assert "there is no C compiler, 'no-such-compiler' is not found" in run.stderr
    assert not [*copy.rglob("*.c")]


@pytest.mark.parametrize(
    ("platform", "archflags", "names"),
    [
        ("linux-x86_64", "", ["v2", "v3", "v4"]),
        ("linux-aarch64", "", ["neon"]),
        ("linux-s390x", "", ["generic"]),
        ("linux-i686", "", ["generic"]),
        ("macosx-14.0-arm64", "", ["neon"]),
        ("macosx-10.13-x86_64", "", ["v2", "v3", "v4"]),
        ("macosx-11.0-universal2", "", ["v2", "v3", "v4", "neon"]),
        ("macosx-11.0-universal2", "-arch arm64", ["neon"]),
    ],
)
def test_levels_of_a_platform(
    setup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    archflags: str,
    names: list[str],
) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: platform)
    monkeypatch.setenv("ARCHFLAGS", archflags)
    levels = {name: flags for name, flags, _ in setup.levels()}
    assert list(levels) == names
    if "v3" in levels:
        half = ["-Xarch_x86_64"] if platform.endswith("universal2") else []
        at = levels["v3"].index("-mavx2")
        assert levels["v3"][at - len(half) : at] == half
        assert levels["v3"].count("-Xarch_x86_64") == len(half) * len(setup.V3)


def test_levels_that_are_asked_for(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "linux-x86_64")
    monkeypatch.setattr(setup, "ASKED_LEVELS", "generic,v3")
    levels = {name: flags for name, flags, _ in setup.levels()}
    assert list(levels) == ["generic", "v3"]
    assert levels["generic"] == ["-march=x86-64"]  # not the compiler's own default
    monkeypatch.setattr(setup, "ASKED_LEVELS", "v3,neon")
    with pytest.raises(SystemExit, match=r"^CBACKPROP_LEVELS is 'v3,neon'; expected some of "):
        setup.levels()


@pytest.mark.parametrize("platform", ["linux-x86_64", "linux-aarch64"])
def test_neither_32_bits_nor_msvc_has_a_level_of_64_bits(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: platform)
    with monkeypatch.context() as narrow:
        narrow.setattr(sys, "maxsize", 2**31 - 1)
        assert [name for name, _, _ in setup.levels()] == ["generic"]
    monkeypatch.setattr(setup, "MSVC", True)
    assert [name for name, _, _ in setup.levels()] == ["generic"]


def test_a_flag_that_is_warned_of_is_unknown(setup: ModuleType, tmp_path: Path) -> None:
    """By -Werror; not where flags of the user's own make it warn of every program."""
    script = tmp_path / "compiler.py"
    program = (
        "import sys\nopen(sys.argv[-1], 'w').close()\n"
        "sys.exit('-Werror' in sys.argv and {} in sys.argv)\n"
    )
    compiler = setup.Compiler([sys.executable, str(script)])
    script.write_text(program.format("'-fno-one'"), encoding="utf-8")
    assert compiler.unknown(["-fno-one", "-fno-other"]) == {"-fno-one"}
    script.write_text(program.format("'-Werror'"), encoding="utf-8")
    assert compiler.unknown(["-fno-one", "-fno-other"]) == set()


@pytest.mark.parametrize("has_headers", [True, False])
def test_headers_are_to_be_installed_where_they_are_missing(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_headers: bool
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "apt-get" else None)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    if has_headers:
        (tmp_path / "Python.h").touch()
    packages = "gcc libc6-dev" if has_headers else f"gcc libc6-dev python{setup.VERSION}-dev"
    assert f"\n    apt-get install {packages}\n" in str(setup.cannot_be_built("…"))


def test_vectors_narrower_than_a_level_s_are_refused(setup: ModuleType) -> None:
    """What a compiler would do that takes the flags and does nothing about them."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("there is no C compiler")
    level, _, vector_bytes = setup.levels()[0]
    narrow = setup.Compiler([compiler, "-DCBACKPROP_VECTOR_BYTES=8"])
    with pytest.raises(SystemExit, match=f"the level {level}:(.|\n)*vectors of {vector_bytes} by"):
        setup.look_at(narrow, setup.extension_modules())


def test_a_compiler_that_makes_nothing_compiles_nothing(setup: ModuleType) -> None:
    assert setup.Compiler([sys.executable, "-c", ""]).refuses("int x;\n") == "it makes no object"


def test_what_the_environment_asks_of_the_compiler_is_named(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "OTHERS", {"CC": "gcc-99", "CFLAGS": "-m32"})
    said = str(setup.cannot_be_built("…"))
    assert "\nThe environment says CC='gcc-99', CFLAGS='-m32': without, or with oth" in said


@pytest.mark.parametrize("more", ["-mfma", "-mavx"])
def test_a_level_has_no_more_than_it_promises(setup: ModuleType, more: str) -> None:
    compiler = shutil.which("cc")
    if not compiler or "v2" not in {name for name, _, _ in setup.levels()}:
        pytest.skip("there is no C compiler, or no level v2")
    with pytest.raises(SystemExit, match=r"the level v2:(.|\n)*CFLAGS ask for more than"):
        setup.look_at(setup.Compiler([compiler, more]), setup.extension_modules())
    # What is meant for the machine as a whole makes way.
    setup.look_at(setup.Compiler([compiler, "-march=native"]), setup.extension_modules())


def test_parts_of_fast_math_are_undone(setup: ModuleType) -> None:
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("there is no C compiler")
    program = """
        #if __FAST_MATH__ || __FINITE_MATH_ONLY__ || __RECIPROCAL_MATH__ || __ASSOCIATIVE_MATH__
        #error "fast"
        #endif
        int x;
    """
    flags, link_flags, _ = setup.compiler_flags()
    for own in ("-Ofast", "-ffast-math", "-funsafe-math-optimizations", "-ffinite-math-only"):
        user = setup.Compiler([compiler, own])
        unknown = user.unknown(flags)
        assert user.refuses(program, *(flag for flag in flags if flag not in unknown)) == ""
        if sys.platform == "linux":
            linked = [compiler, own, "-shared", "-###", "x.o", *link_flags]
            run = subprocess.run(linked, capture_output=True, encoding="utf-8", check=False)
            assert "crtfastmath" not in run.stderr


def test_objects_of_other_switches_lie_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = set()
    switches_of = ({}, {"CBACKPROP_LEVELS": "v3,v4"}, {"CBACKPROP_PURE": "1"}, {"CC": "clang"})
    for switches in switches_of:
        with monkeypatch.context() as environment:
            for name in ("CBACKPROP_LEVELS", "CBACKPROP_PURE", "CC"):
                environment.delenv(name, raising=False)
            for name, value in switches.items():
                environment.setenv(name, value)
            folders.add(runpy.run_path(str(REPOSITORY / "setup.py"), run_name="setup")["BUILD"])
    assert len(folders) == 4


@needs_compiled
def test_every_level_of_this_platform_is_installed(setup: ModuleType) -> None:
    if not any(path.endswith(".dist-info") for path in os.listdir(SOURCE)):
        pytest.skip("the package is not installed but used from a checkout")
    built = {level for level in simd_levels.LEVELS if simd_levels.is_built(level)}
    assert built == {name for name, _, _ in setup.levels()}


def test_the_compiler_is_named_as_cc_has_it(setup: ModuleType) -> None:
    assert setup.Compiler(["ccache", "gcc", "-O3", "-fPIC"]).name == "ccache gcc"
