"""Which SIMD level is chosen where some are not built; the rest needs an import of its own."""

from __future__ import annotations

import pytest

from cbackprop import backend

if backend.simd_level() is None:
    pytest.skip("the compiled core is not built", allow_module_level=True)


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
