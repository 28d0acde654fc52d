"""What setup.py asks of a compiler, and what it says where there is none that will do."""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from support import REPOSITORY, SOURCE, needs_compiled, posix_only

from cbackprop import simd_levels

setuptools = pytest.importorskip("setuptools", "77", reason="setup.py needs setuptools 77 or newer")
PlatformError = importlib.import_module("setuptools.errors").PlatformError

pytestmark = posix_only  # what setup.py does on Windows is tested elsewhere, too


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


@pytest.mark.parametrize("platform", ["linux-x86_64", "linux-aarch64", "win-amd64"])
def test_32_bits_have_no_level_of_64_bits(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: platform)
    monkeypatch.setattr(setup, "clang_cl", lambda: "clang-cl")
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert [name for name, _, _ in setup.levels()] == ["generic"]


# ---- Windows -------------------------------------------------------------------------------------


class VisualStudio:
    """What setuptools' class of MSVC has that setup.py looks at."""

    compiler_type = "msvc"
    include_dirs: ClassVar[list[str]] = []

    def __init__(self, missing: str = "") -> None:
        self.initialized = False
        self.missing = missing
        self.cc = "cl.exe"
        self.compile_options = ["/nologo", "/O2", "/GL", "/MD"]

    def initialize(self) -> None:
        if self.missing:
            raise PlatformError(self.missing)
        self.initialized = True


@pytest.fixture
def windows(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """setup.py on Windows, with clang-cl."""
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "win-amd64")
    monkeypatch.setattr(setup, "clang_cl", lambda: "/LLVM/clang-cl")
    return setup


def build_on_windows(
    setup: ModuleType, compiler: VisualStudio, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """What it warns of."""
    warned: list[str] = []
    command = setup.BuildExtensions(setuptools.Distribution())
    monkeypatch.setattr(command, "warn", warned.append)
    command.compiler, command.extensions = compiler, setup.extension_modules()
    command.take_visual_studio()
    return warned


@pytest.mark.parametrize(
    ("platform", "names"), [("win-amd64", ["v2", "v3", "v4"]), ("win-arm64", ["neon"])]
)
def test_on_windows_clang_cl_builds_the_levels_and_msvc_none(
    windows: ModuleType, monkeypatch: pytest.MonkeyPatch, platform: str, names: list[str]
) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: platform)
    assert [name for name, _, _ in windows.levels()] == names
    modules = windows.extension_modules()
    for module in modules:
        assert all(flag.startswith("/clang:-") for flag in module.extra_compile_args)
        assert {"/clang:-O3", "/clang:-ffp-contract=off"} <= {*module.extra_compile_args}
        # Windows unwinds by tables.
        assert "/clang:-fno-asynchronous-unwind-tables" not in module.extra_compile_args
        assert (module.extra_link_args, module.libraries) == ([], [])
    monkeypatch.setattr(windows, "clang_cl", lambda: None)
    assert [name for name, _, _ in windows.levels()] == ["generic"]
    for module in windows.extension_modules():
        assert module.extra_compile_args == ["/O2", "/fp:precise"]


def test_clang_cl_takes_the_place_of_msvc(
    windows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def look_at(compiler: Any, modules: object) -> None:
        asked.append(compiler.command)

    monkeypatch.setattr(windows, "look_at", look_at)
    monkeypatch.setattr(VisualStudio, "include_dirs", ["of Visual Studio"])
    compiler = VisualStudio()
    assert build_on_windows(windows, compiler, monkeypatch) == []
    options = ["--target=x86_64-pc-windows-msvc", "/nologo", "/O2", "/MD", "/imsvcof Visual Studio"]
    assert (compiler.cc, compiler.compile_options) == ("/LLVM/clang-cl", options)
    assert asked == [["/LLVM/clang-cl", *options]]
    assert VisualStudio.include_dirs == []  # setuptools would have them come before clang's own


def test_msvc_alone_builds_and_says_that_it_is_slow(
    windows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "clang_cl", lambda: None)
    compiler = VisualStudio()
    (warning,) = build_on_windows(windows, compiler, monkeypatch)
    assert "several times slower than that of clang-cl" in warning
    assert (compiler.cc, compiler.compile_options[2]) == ("cl.exe", "/GL")


def test_objects_of_msvc_do_not_serve_clang_cl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the other way round, where one is installed after the other has built."""
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "win-amd64")
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED", "CBACKPROP_LEVELS"):
        monkeypatch.delenv(name, raising=False)

    def build() -> str:
        folder: str = runpy.run_path(str(REPOSITORY / "setup.py"), run_name="setup")["BUILD"]
        return folder

    by_msvc = build()
    (tmp_path / "clang-cl").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "clang-cl").chmod(0o755)
    assert build() != by_msvc


def test_without_visual_studio_nothing_is_built(
    windows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"Visual C\+\+ 14\.0 is required") as told:
        build_on_windows(windows, VisualStudio("Visual C++ 14.0 is required"), monkeypatch)
    assert "visual-cpp-build-tools/, with C++ and its Clang tools\n" in str(told.value)
    other = VisualStudio()
    monkeypatch.setattr(other, "compiler_type", "mingw32")
    with pytest.raises(SystemExit, match="is told to take the compiler 'mingw32'"):
        build_on_windows(windows, other, monkeypatch)


def test_where_clang_cl_is_found(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(path: str, text: str = "") -> str:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
        file.chmod(0o755)
        return str(file)

    def found(**environment: str) -> str | None:
        monkeypatch.setattr(setup, "OTHERS", environment)
        setup.clang_cl.cache_clear()
        path: str | None = setup.clang_cl()
        return path

    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("ProgramW6432", str(tmp_path / "programs"))
    monkeypatch.setenv("ProgramFiles(x86)", str(tmp_path / "programs of 32 bits"))
    assert found() is None
    installer = "programs of 32 bits/Microsoft Visual Studio/Installer"
    vswhere = program(f"{installer}/vswhere")  # which finds nothing
    assert found() is None
    studio = r"C:\VS\VC\Tools\Llvm\x64\bin\clang-cl.exe"
    Path(vswhere).write_text(f"#!/bin/sh\nprintf '%s\\n' '{studio}' another\n", encoding="utf-8")
    assert found() == studio
    llvm = program("programs/LLVM/bin/clang-cl")
    assert found() == llvm
    on_path = program("path/clang-cl")
    assert found() == on_path
    own = program("elsewhere/clang-cl-19")
    assert found(CC=own) == own
    assert found(CC="cl") is None
    assert found(CC=r"C:\VC\CL.exe".replace("\\", "/")) is None
    with pytest.raises(SystemExit, match="CC is 'clang-cl-99', which is not found"):
        found(CC="clang-cl-99")
    assert found(CC="gcc") == on_path  # setuptools takes no such compiler on Windows either


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
