"""When memory fails: MemoryError, nothing has changed. `deep/allocation_failures.py` in short."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import BACKENDS, TESTS, run_python

import cbackprop
from cbackprop import Network, model

SCRIPT = TESTS / "deep" / "allocation_failures.py"
SHORT = {
    "compiled": [
        "construct",
        "predict",
        "backward",
        "per_example",
        "fit adam",
        "partial_fit",
        "reset",
    ],
    "reference": ["predict", "partial_fit", "reset"],
}


@pytest.mark.skipif(
    bool(cbackprop.info()["checked_build"]),
    reason="what the checked build looks at after each call takes memory itself",
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_allocation_of_a_call_may_fail(backend: str) -> None:
    result = run_python(
        str(SCRIPT), "--quick", "--backends", backend, "--calls", *SHORT[backend], timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    verdict = json.loads(result.stdout.splitlines()[-1])
    if verdict["passed"] is None:
        pytest.skip(verdict["did"].removeprefix("skipped: "))
    assert verdict["passed"], result.stdout


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("call", ["reset", "parameters"])
def test_parameters_are_replaced_as_a_whole(
    call: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory fails between the first layer and the second."""
    net = Network([4, 5, 3], seed=1, backend=backend)
    net.partial_fit([[1.0, 2.0, 3.0, 4.0]], [[0.0, 1.0, 0.0]], optimizer="adam")
    before, generator = net.parameters, net._model.random.state
    slots = [slot.tobytes() for slot in net._engine.slots]

    class Failing:
        """Parts of which the second cannot be had."""

        def __init__(self, parts: Any) -> None:
            self.parts = iter(parts)

        def __iter__(self) -> Any:
            yield next(self.parts)
            raise MemoryError

    if call == "reset":
        drawn = iter([model.initial_parameters(4, 5, "sigmoid", "auto", net.copy()._model.random)])

        def draw(*arguments: Any) -> Any:
            try:
                return next(drawn)
            except StopIteration:
                raise MemoryError from None

        monkeypatch.setattr(model, "initial_parameters", draw)
        with pytest.raises(MemoryError):
            net.reset(5)
    else:
        write = model.layout.write
        monkeypatch.setattr(
            model.layout, "write", lambda vector, W, b: write(vector, Failing(W), Failing(b))
        )
        with pytest.raises(MemoryError):
            net.parameters = before + 1
    monkeypatch.undo()
    assert net.parameters.tobytes() == before.tobytes()
    assert net._model.random.state == generator
    assert [slot.tobytes() for slot in net._engine.slots] == slots
    assert net._engine.rule.name == "adam"
