"""Which core answers, at which SIMD level, and what is said where it is missing."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys

import pytest
from support import HAS_COMPILED, LEVELS, REPOSITORY, output_of, posix_only, run_code

import cbackprop
from cbackprop import backend, simd_levels

needs_a_level = pytest.mark.skipif(not LEVELS, reason="no level of the compiled core is here")


@pytest.fixture
def build(monkeypatch):
    """Have an installation with these levels, on a processor that runs those."""
    for name in ("CBACKPROP_SIMD", "CBACKPROP_REQUIRE_EXT"):
        monkeypatch.delenv(name, raising=False)

    def is_to_have(built, runs):
        cpu = importlib.import_module("cbackprop.kernels._cpu")
        monkeypatch.setattr(cpu, "supported_levels", lambda: runs)
        monkeypatch.setattr(simd_levels, "is_built", lambda level: level in built)

    return is_to_have


ALL_OF_X86 = ("v4", "v3", "v2", "generic")


@needs_a_level
@pytest.mark.parametrize(
    ("built", "runs", "level", "why"),
    [
        (("v4", "v3", "v2"), ALL_OF_X86, "v4", "the best that this processor runs of v4, v3, v2"),
        (
            ("v4", "v3", "v2"),
            ("v2", "generic"),
            "v2",
            "the best that this processor runs of v4, v3, v2",
        ),
        (("neon",), ("neon", "generic"), "neon", "the best that this processor runs of neon"),
        (("generic",), ("generic",), "generic", "the best that this processor runs of generic"),
    ],
)
def test_the_best_level_of_those_that_are_built(build, built, runs, level, why):
    build(built, runs)
    assert simd_levels.choose() == (level, why, "nothing")


@needs_a_level
def test_a_better_level_that_is_not_built(build):
    build(("v2",), ALL_OF_X86)
    level, _, faster = simd_levels.choose()
    assert level == "v2"
    assert re.match(r"v4, to be built by .*python\S* -m pip install .*--no-cache-dir ", faster)


@needs_a_level
def test_a_level_asked_for(build, monkeypatch):
    build(("v4", "v3", "v2"), ALL_OF_X86)
    monkeypatch.setenv("CBACKPROP_SIMD", "v3")
    asked = "CBACKPROP_SIMD asks for it"
    assert simd_levels.choose() == ("v3", asked, "v4, without CBACKPROP_SIMD")
    monkeypatch.setenv("CBACKPROP_SIMD", "v4")
    assert simd_levels.choose() == ("v4", asked, "nothing")
    monkeypatch.setenv("CBACKPROP_SIMD", "v2")
    assert simd_levels.choose() == ("v2", asked, "v4, without CBACKPROP_SIMD")


@needs_a_level
@pytest.mark.parametrize(("built", "has"), [((), "none"), (("v3", "v2"), "v3, v2")])
def test_a_level_asked_for_that_is_not_built(build, monkeypatch, built, has):
    build(built, ALL_OF_X86)
    monkeypatch.setenv("CBACKPROP_SIMD", "generic")
    with pytest.raises(
        RuntimeError,
        match=rf"^CBACKPROP_SIMD is 'generic', which this installation was not .*; it has {has}$",
    ):
        simd_levels.choose()


@needs_a_level
def test_a_processor_below_the_baseline_is_told_of_the_level_that_it_runs(build, monkeypatch):
    build(("v4", "v3", "v2"), ("generic",))
    command = r"\S+ -m pip .*, with CBACKPROP_LEVELS=generic in the environment"  # on Windows
    if os.name == "posix":
        command = r"CBACKPROP_LEVELS=generic \S+ -m pip "
    said = (
        r"is missing \(this processor runs none of its levels v4, v3, v2\).*"
        rf"; where there is a C compiler, it is built by {command}"
    )
    with pytest.warns(RuntimeWarning, match=said):
        level, why, faster = simd_levels.choose()
    assert level is None
    assert why == "this processor runs none of its levels v4, v3, v2"
    assert "CBACKPROP_LEVELS=generic" in faster
    monkeypatch.setenv("CBACKPROP_REQUIRE_EXT", "1")
    with pytest.raises(ImportError, match="this processor runs none of its levels v4, v3, v2"):
        simd_levels.choose()


RELEASE = f"--no-binary cbackprop cbackprop=={cbackprop.__version__}"


@posix_only  # Windows quotes otherwise: below
@pytest.mark.parametrize(
    ("told", "source"),
    [
        ('{"dir_info": {}, "url": "file:///home/of/it"}', "file:///home/of/it"),
        ('{"archive_info": {}, "url":"file:///cbackprop-1.tar.gz"}', "file:///cbackprop-1.tar.gz"),
        (
            '{"url": "https://host/it.git", "vcs_info": {"commit_id": "1f", "vcs": "git"}}',
            "git+https://host/it.git@1f",
        ),
        # A wheel without the core would be the same wheel again.
        ('{"url": "file:///cbackprop-1-py3-none-any.whl"}', RELEASE),
        ('{"url": "https://host/a.tar.gz?a=1&b=2"}', "'https://host/a.tar.gz?a=1&b=2'"),
        (None, RELEASE),
        ("", RELEASE),
    ],
)
def test_what_is_to_be_installed_again_is_what_was_installed(tmp_path, monkeypatch, told, source):
    monkeypatch.setattr(simd_levels, "__file__", str(tmp_path / "cbackprop" / "simd_levels.py"))
    information = tmp_path / f"cbackprop-{cbackprop.__version__}.dist-info"
    information.mkdir()
    if told is not None:
        (information / "direct_url.json").write_text(told, encoding="utf-8")
    monkeypatch.setattr(sys, "executable", "/a place/python")
    command = (
        "'/a place/python' -m pip install --force-reinstall --no-deps --no-cache-dir " + source
    )
    assert simd_levels.how_to_build() == f"by {command}"
    assert simd_levels.how_to_build("A=1 ") == f"by A=1 {command}"
    monkeypatch.setenv("CBACKPROP_PURE", "1")
    assert simd_levels.how_to_build() == f"by CBACKPROP_PURE=0 {command}"


def test_windows_takes_no_variable_before_a_command(tmp_path, monkeypatch):
    monkeypatch.setattr(simd_levels, "__file__", str(tmp_path / "cbackprop" / "simd_levels.py"))
    (tmp_path / f"cbackprop-{cbackprop.__version__}.dist-info").mkdir()
    monkeypatch.setattr(sys, "executable", r"C:\a place\python.exe")
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        plain, generic = simd_levels.how_to_build(), simd_levels.how_to_build("A=1 ")
    command = (
        r'by "C:\a place\python.exe" -m pip install --force-reinstall --no-deps --no-cache-dir '
        + RELEASE
    )
    assert plain == command
    assert generic == f"{command}, with A=1 in the environment"


def test_a_checkout_is_to_be_installed_as_one(tmp_path, monkeypatch):
    package = tmp_path / "src" / "cbackprop" / "simd_levels.py"
    monkeypatch.setattr(simd_levels, "__file__", str(package))
    assert simd_levels.how_to_build() == "in a Python of its own, to be put into this program"
    (tmp_path / "setup.py").touch()
    assert simd_levels.how_to_build().endswith(f"--no-cache-dir -e {tmp_path}")


@needs_a_level
def test_an_installation_without_any_level(build):
    build((), ALL_OF_X86)
    with pytest.warns(RuntimeWarning, match=r"is missing \(it has no level\)"):
        assert simd_levels.choose().level is None


def test_a_core_that_cannot_be_loaded_says_why(monkeypatch):
    def supported_levels():
        raise ImportError("undefined symbol: of_another_python")

    monkeypatch.setattr(simd_levels, "supported_levels", supported_levels)
    monkeypatch.setenv("CBACKPROP_REQUIRE_EXT", "0")
    with pytest.warns(RuntimeWarning, match=r"is missing \(undefined symbol: of_another_python\)"):
        level, why, _ = simd_levels.choose()
    assert (level, why) == (None, "undefined symbol: of_another_python")


@pytest.mark.parametrize("value", ["v9", "avx2"])
def test_an_unknown_level_is_one_without_a_core_too(monkeypatch, value):
    monkeypatch.setenv("CBACKPROP_SIMD", value)
    monkeypatch.setattr(simd_levels, "supported_levels", None)  # not asked
    with pytest.raises(RuntimeError, match=f"^CBACKPROP_SIMD is '{value}'; expected one of 'v4'"):
        simd_levels.choose()


@needs_a_level
def test_info_tells_of_a_module_that_cannot_be_loaded(monkeypatch):
    def kernels(dtype):
        raise ImportError("file too short")

    monkeypatch.setattr(backend, "kernels", kernels)
    facts = backend.info()
    assert facts["why_this_level"] == "file too short"
    assert facts["faster_here"].startswith("the core, built anew by ")
    assert facts["vector_bytes"] is None


def test_a_level_is_built_for_both_number_types(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name.endswith("_f32") or None)
    assert not simd_levels.is_built("v3")


@needs_a_level
@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="of Linux")
def test_the_processor_runs_what_the_system_says_of_it():
    if cbackprop.info()["checked_build"]:
        pytest.skip("it lowers v4 to AVX2")
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        flags = re.search(r"^flags\s*: (.*)$", file.read(), re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    needed = {
        "v2": "ssse3 sse4_1 sse4_2 popcnt",
        "v3": "ssse3 sse4_1 sse4_2 popcnt avx2 fma bmi1 bmi2",
        "v4": "ssse3 sse4_1 sse4_2 popcnt avx2 fma bmi1 bmi2 avx512f avx512bw avx512vl avx512dq "
        "avx512cd",
    }
    runs = {level for level, features in needed.items() if has.issuperset(features.split())}
    if platform.machine() == "aarch64":
        runs = {"neon"}
    assert set(simd_levels.supported_levels()) == {*runs, "generic"}


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="of Linux")
def test_cpuid_says_on_windows_what_the_compiler_s_own_question_says_here(tmp_path):
    """Also of other processors, where QEMU plays them."""
    compiler = shutil.which("cc")
    if not compiler or platform.machine() != "x86_64":
        pytest.skip("there is no C compiler, or this is not x86-64")
    program = tmp_path / "asks.c"
    program.write_text(
        '#include <stdio.h>\n#include "processor.h"\nint main(void)\n'
        '{ for (int level = 2; level < 5; level++) printf("%d", cbackprop_supports(level) != 0); }',
        encoding="utf-8",
    )
    for name, macros in (("here", []), ("windows", ["-D_MSC_VER=1930"])):
        include = f"-I{REPOSITORY / 'src' / 'cbackprop' / 'kernels'}"
        subprocess.run(
            [compiler, *macros, include, str(program), "-o", str(tmp_path / name)],
            check=True,
        )
    processors = [[]]
    if emulator := shutil.which("qemu-x86_64-static"):
        models = ["core2duo", "Nehalem", "Nehalem,-popcnt", "SandyBridge", "Haswell"]
        models += [f"Haswell,-{feature}" for feature in ("avx2", "fma", "bmi1", "bmi2", "xsave")]
        processors += [[emulator, "-cpu", model] for model in models]
    for command in processors:
        answers = {
            subprocess.run([*command, tmp_path / name], capture_output=True, check=True).stdout
            for name in ("here", "windows")
        }
        assert len(answers) == 1, command


def test_a_missing_core_is_told_without_a_slow_import():
    """importlib.metadata and json would take longer than the whole package."""
    code = (
        BLOCKED
        + """
    import numpy
    before = set(sys.modules)
    import cbackprop
    print(*sorted({"json", "importlib.metadata", "zlib"} & (set(sys.modules) - before)))
    """
    )
    assert output_of(code, options=("-W", "ignore"), keep_switches=False) == "\n"


def test_info():
    facts = cbackprop.info()
    assert list(facts) == [
        "version",
        "platform",
        "python",
        "numpy",
        "backend",
        "simd_level",
        "why_this_level",
        "faster_here",
        "vector_bytes",
        "fused_multiply_add",
        "compiler",
        "checked_build",
    ]
    printed = output_of("from cbackprop.cli import main; main(['info', '--json'])")
    assert json.loads(printed) == facts
    if HAS_COMPILED:
        assert re.match(r"(GCC|MSVC|clang) \d", facts["compiler"])


def test_info_without_the_compiled_core():
    code = """
        import sys
        sys.modules["cbackprop.kernels._cpu"] = None
        from cbackprop.cli import main
        assert main(["info"]) == 0
        main(["demo", "--epochs", "1"])  # too few to pass
    """
    printed = output_of(code, options=("-W", "ignore"), keep_switches=False)
    lines = [line.split() for line in printed.splitlines()]
    assert ["simd", "level", "none"] in lines
    assert ["compiler", "none"] in lines
    why = "this installation has no compiled module for this Python"
    assert f"why this level      {why}\n" in printed
    assert "faster here         the compiled core; where there is a C compiler, it is bu" in printed
    assert "The NumPy reference computes." in printed


IMPORT = """
    import cbackprop
"""

PROBE = """
    import warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import cbackprop
        from cbackprop import Network
        net = Network([2, 3, 1], seed=0)
        Network([2, 3, 1], backend="compiled").predict([[1.0, 2.0]])
        net.fit([[1.0, 2.0]], [[0.5]])
    print(net.backend, cbackprop.info()["simd_level"])
    print([(w.category.__name__, str(w.message), w.filename) for w in caught])
"""

BLOCKED = """
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.startswith("cbackprop.kernels._"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Blocker())
"""

# A processor that runs no more than the baseline, whatever runs the test.
LESSER = """
    import sys, types
    cpu = types.ModuleType("cbackprop.kernels._cpu")
    cpu.supported_levels = lambda: ("v2", "generic")
    sys.modules["cbackprop.kernels._cpu"] = cpu
"""


def test_without_the_compiled_core_the_reference_and_one_warning():
    lines = output_of(BLOCKED + PROBE, keep_switches=False).splitlines()
    assert lines[0] == "reference None"
    (only,) = eval(lines[1])
    assert only[0] == "RuntimeWarning"
    assert re.match("the compiled core of cbackprop is missing .* pip install", only[1])
    assert only[2] == "<string>"  # where the package is imported, not a line of its own


@pytest.mark.parametrize("value", ["1", "yes"])
def test_a_required_compiled_core_that_is_missing(value):
    result = run_code(BLOCKED + IMPORT, keep_switches=False, CBACKPROP_REQUIRE_EXT=value)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert re.match("ImportError: the compiled core of cbackprop is missing .*REQUIRE_EXT", last)


def test_a_compiled_core_that_is_there_gives_no_warning():
    if not HAS_COMPILED:
        pytest.skip("the compiled core is not built")
    lines = output_of(PROBE, keep_switches=False, CBACKPROP_REQUIRE_EXT="1").splitlines()
    assert lines[0].startswith("compiled ")
    assert lines[1] == "[]"


@pytest.mark.skipif(not HAS_COMPILED, reason="the compiled core is not built")
@pytest.mark.parametrize("value", ["v9", "avx2", "V3", " v2", "none"])
def test_an_unknown_simd_level(value):
    result = run_code(IMPORT, keep_switches=False, CBACKPROP_SIMD=value)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last == (
        f"RuntimeError: CBACKPROP_SIMD is {value!r}; expected one of 'v4', 'v3', 'v2', 'neon', "
        "'generic'"
    )


@pytest.mark.skipif(not HAS_COMPILED, reason="the compiled core is not built")
@pytest.mark.parametrize("level", ["v3", "v4"])
def test_a_simd_level_beyond_the_processor(level):
    result = run_code(LESSER + IMPORT, keep_switches=False, CBACKPROP_SIMD=level)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last == (
        f"RuntimeError: CBACKPROP_SIMD is {level!r}, which this processor cannot run; it can run "
        "v2, generic"
    )


@pytest.mark.skipif("v2" not in LEVELS, reason="the level v2 is not here")
def test_a_lesser_processor_gets_the_baseline():
    lines = output_of(LESSER + PROBE, keep_switches=False).splitlines()
    assert lines == ["compiled v2", "[]"]
