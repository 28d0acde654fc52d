"""Which core answers, at which SIMD level, and what is said where it is missing."""

from __future__ import annotations

import re

import pytest
from support import HAS_COMPILED, output_of, run_code

from cbackprop import backend

needs_a_level = pytest.mark.skipif(
    backend.simd_level() is None, reason="no level of the compiled core runs here"
)


@needs_a_level
def test_a_level_asked_for_that_is_not_built(monkeypatch):
    # Every processor runs the generic level.
    monkeypatch.setenv("CBACKPROP_SIMD", "generic")
    monkeypatch.setattr(backend, "_is_built", lambda level: False)
    with pytest.raises(
        RuntimeError,
        match=r"^CBACKPROP_SIMD is 'generic', which this installation was not .*; it has none$",
    ):
        backend._find_level()
    monkeypatch.setattr(backend, "_is_built", lambda level: level == "generic")
    assert backend._find_level() == "generic"


@needs_a_level
def test_the_best_level_of_those_that_are_built(monkeypatch):
    monkeypatch.delenv("CBACKPROP_SIMD", raising=False)
    monkeypatch.setattr(backend, "_is_built", lambda level: True)
    best = backend._find_level()
    monkeypatch.setattr(backend, "_is_built", lambda level: level != best)
    if best == "generic":
        with pytest.warns(RuntimeWarning, match="no module of cbackprop.kernels fits"):
            assert backend._find_level() is None
    else:
        assert backend._find_level() not in (best, None)


@needs_a_level
def test_no_level_that_runs_here_is_built(monkeypatch):
    monkeypatch.delenv("CBACKPROP_SIMD", raising=False)
    monkeypatch.delenv("CBACKPROP_REQUIRE_EXT", raising=False)
    monkeypatch.setattr(backend, "_is_built", lambda level: False)
    with pytest.warns(
        RuntimeWarning,
        match=r"is missing \(no module of cbackprop\.kernels fits this processor\)",
    ):
        assert backend._find_level() is None
    monkeypatch.setenv("CBACKPROP_REQUIRE_EXT", "1")
    with pytest.raises(ImportError, match=r"no module of cbackprop\.kernels fits this processor"):
        backend._find_level()


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
        f"RuntimeError: CBACKPROP_SIMD is {value!r}; expected one of 'v2', 'v3', 'v4', 'generic'"
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


@pytest.mark.skipif(not HAS_COMPILED, reason="the compiled core is not built")
def test_a_lesser_processor_gets_the_baseline():
    from cbackprop.kernels import _cpu

    if "v2" not in _cpu.supported_levels():
        pytest.skip("this processor has no level v2")
    lines = output_of(LESSER + PROBE, keep_switches=False).splitlines()
    assert lines == ["compiled v2", "[]"]
