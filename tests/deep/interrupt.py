"""Ctrl-C at random moments of every long call: how soon it is heard, and what it leaves.

Another process sends SIGINT. A call that only looks leaves the network as it was, and the next call
has the bits of the first; training leaves what its last full batch (an iteration of a whole-batch
optimiser) made, found by doing the same steps with a twin, and goes on from there. The verdict is
about that; the time from the signal to the exception is a figure, beside an aim of 100 ms.

    PYTHONPATH=src python tests/deep/interrupt.py [--quick]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import signal
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cbackprop import SGD, Adam, Network, Rprop

AIM = 0.1  # seconds
HANG = 60.0
MOST_STEPS = 500_000  # that a twin does before it counts as lost
CHANCE = random.Random(8)


class Finding(Exception):
    """What must not be."""


def pressed(call: Callable[[], Any], seconds: float) -> float:
    """Repeats the call until SIGINT, sent after so many seconds, ends it; how long that took."""
    read, write = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        time.sleep(seconds)
        os.write(write, struct.pack("d", time.monotonic()))
        os.kill(parent, signal.SIGINT)
        os._exit(0)
    signal.alarm(int(HANG))
    try:
        while True:
            call()
    except KeyboardInterrupt:
        heard = time.monotonic()
    signal.alarm(0)
    os.waitpid(child, 0)
    sent: float = struct.unpack("d", os.read(read, 8))[0]
    os.close(read)
    os.close(write)
    return heard - sent


def data(n: int, n_in: int, n_out: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(1)
    X = generator.normal(size=(n, n_in))
    return X, np.abs(np.tanh(X[:, :n_out]))


def state(net: Network) -> tuple[Any, ...]:
    engine = net._engine
    return (
        engine.parameter_arrays()[2].tobytes(),
        tuple(slot.tobytes() for slot in engine.slots),
        engine.step_count,
        engine.is_fitting,
    )


# ---- calls that only look ------------------------------------------------------------------------


def vector_of(result: Any) -> bytes:
    first = result[0] if isinstance(result, tuple) else result
    return np.asarray(getattr(first, "delta", [first])[-1]).tobytes()


LOOKS: dict[str, Callable[[Network, Any, Any], Any]] = {
    "predict": lambda net, X, Y: net.predict(X),
    "cost": lambda net, X, Y: net.cost(X, Y),
    "backward": lambda net, X, Y: net.backward(X, Y),
    "gradient": lambda net, X, Y: net.gradient(X, Y),
    "per example": lambda net, X, Y: net.gradient(X[:50], Y[:50], per_example=True),
    "norms": lambda net, X, Y: net.gradient_norms(X, Y),
    "clipped": lambda net, X, Y: net.clipped_gradient(X, Y, 0.1),
    "Gram": lambda net, X, Y: net.gradient_gram(X, Y),
    "moments": lambda net, X, Y: net.gradient_moments(X, Y),
    "Jacobian": lambda net, X, Y: net.jacobian(X[:5]),
    "input Jacobian": lambda net, X, Y: net.input_jacobian(X),
    "vjp": lambda net, X, Y: net.vjp(X, Y),
    "jvp": lambda net, X, Y: net.jvp(X, np.ones(net.n_parameters)),
    "Hessian": lambda net, X, Y: net.hessian_vector_product(X, Y, np.ones(net.n_parameters)),
    "Gauss-Newton": lambda net, X, Y: net.gauss_newton_vector_product(
        X, Y, np.ones(net.n_parameters)
    ),
}


def looks(name: str, sizes: list[int], n: int, threads: int, times: int) -> float:
    call = LOOKS[name]
    net = Network(sizes, seed=2, threads=threads)
    X, Y = data(n, sizes[0], sizes[-1])
    expected, before = vector_of(call(net, X, Y)), state(net)
    worst = 0.0
    for _ in range(times):
        worst = max(worst, pressed(lambda: call(net, X, Y), CHANCE.uniform(0.005, 0.3)))
        if state(net) != before:
            raise Finding(f"an interrupted {name} has changed the network")
        if vector_of(call(net, X, Y)) != expected:
            raise Finding(f"after an interrupted {name} the next one has another result")
    return worst


# ---- training ------------------------------------------------------------------------------------


def endless_fit(X: Any, Y: Any, options: dict[str, Any], net: Network, **more: Any) -> Any:
    return net.fit(X, Y, **{"epochs": 10**9, "shuffle": False, **options, **more})


def fits(
    optimizer: Any, sizes: list[int], n: int, batch_size: int, times: int, options: dict[str, Any]
) -> float:
    """A fit that never ends, of batches in the order of the rows."""
    X, Y = data(n, sizes[0], sizes[-1])
    worst = 0.0
    for _ in range(times):
        net, twin = Network(sizes, seed=2), Network(sizes, seed=2)

        fit = functools.partial(
            endless_fit, X, Y, {"batch_size": batch_size, "optimizer": optimizer, **options}
        )
        worst = max(worst, pressed(functools.partial(fit, net), CHANCE.uniform(0.005, 0.3)))
        found = state(net)
        if optimizer in ("lbfgs", "levenberg_marquardt"):
            same = replayed_epochs(fit, twin, found[0])
        else:
            same = replayed_batches(twin, X, Y, optimizer, batch_size, options, found)
        if not same:
            raise Finding(f"an interrupted fit with {optimizer} left what no full batch made")
        fit(net, epochs=1)
        fit(twin, epochs=1)
        if state(net) != state(twin):
            raise Finding(f"after an interrupted fit with {optimizer} the next one differs")
    return worst


def replayed_epochs(fit: Callable[..., Any], twin: Network, parameters: bytes) -> bool:
    """Whether some number of iterations leaves these parameters; the twin has done them."""

    def there(*_: Any) -> bool:
        return bool(twin._engine.parameter_arrays()[2].tobytes() == parameters)

    if not there():
        fit(twin, epochs=MOST_STEPS, callbacks=there)
    return there()


def replayed_batches(
    twin: Network,
    X: Any,
    Y: Any,
    optimizer: Any,
    batch_size: int,
    options: dict[str, Any],
    found: tuple[Any, ...],
) -> bool:
    """Whether some number of batches leaves this state; the twin has done them."""
    for step in range(MOST_STEPS):
        if state(twin)[0] == found[0] and twin._engine.step_count == found[2]:
            return state(twin) == found or step == 0
        start = step * batch_size % len(X)
        stop = start + batch_size
        twin.partial_fit(
            X[start:stop], Y[start:stop], batch_size, optimizer=optimizer, options=options
        )
    return False


def partial_fits(sizes: list[int], n: int, times: int) -> float:
    """Steps of the quick way, one call each: some number of whole ones is done."""
    X, Y = data(n, sizes[0], sizes[-1])
    worst = 0.0
    for _ in range(times):
        net, twin = Network(sizes, seed=2), Network(sizes, seed=2)
        net.partial_fit(X, Y, n)
        twin.partial_fit(X, Y, n)
        worst = max(
            worst, pressed(functools.partial(net.partial_fit, X, Y, n), CHANCE.uniform(0.005, 0.1))
        )
        found = state(net)
        for _ in range(MOST_STEPS):
            if state(twin) == found:
                break
            twin.partial_fit(X, Y, n)
        else:
            raise Finding("interrupted partial_fits left what no number of them makes")
    return worst


# ---- all of it -----------------------------------------------------------------------------------

MIDDLE, WIDE, TINY = [100, 100, 10], [784, 1000, 10], [4, 5, 3]


def cases(times: int) -> dict[str, Callable[[], float]]:
    found: dict[str, Callable[[], float]] = {}
    for name in LOOKS:
        found[f"{name}, middle"] = lambda name=name: looks(name, MIDDLE, 3000, 1, times)
        found[f"{name}, wide"] = lambda name=name: looks(name, WIDE, 1000, 2, times)
    for optimizer in ("sgd", SGD(0.01, 0.9), SGD(0.01, 0.9, nesterov=True), "adam", "adamw",
                      "rmsprop", "adagrad", Rprop(1e-4)):  # fmt: skip
        found[f"fit {optimizer}, middle"] = lambda optimizer=optimizer: fits(
            optimizer, MIDDLE, 2000, 200, times, {}
        )
    found["fit adam, tiny"] = lambda: fits("adam", TINY, 600, 60, times, {})
    found["fit adam, wide"] = lambda: fits(Adam(), WIDE, 1024, 256, times, {})
    found["fit sgd, one huge batch"] = lambda: fits("sgd", WIDE, 8000, 8000, times, {})
    found["fit sgd, options"] = lambda: fits(
        "sgd", MIDDLE, 2000, 200, times, {"l2": 0.01, "max_norm": 1.0, "clip_norm": 0.5}
    )
    found["fit lbfgs"] = lambda: fits("lbfgs", MIDDLE, 5000, 1, times, {})
    found["fit levenberg_marquardt"] = lambda: fits(
        "levenberg_marquardt", [10, 20, 3], 400, 1, times, {}
    )
    found["fit levenberg_marquardt, larger"] = lambda: fits(
        "levenberg_marquardt", [30, 30, 3], 300, 1, times, {}
    )
    found["partial_fit, tiny"] = lambda: partial_fits(TINY, 6, times)
    found["partial_fit, wide"] = lambda: partial_fits(WIDE, 200, times)
    return found


def report(passed: bool | None, did: str, figure: str) -> int:
    print(json.dumps({"part": "interrupts", "did": did, "figure": figure, "passed": passed}))
    return 1 if passed is False else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="each call once, not five times")
    parser.add_argument("--only", help="cases whose name has this in it")
    arguments = parser.parse_args()
    if os.name != "posix":
        return report(None, "skipped: signals to a process are POSIX's", "")
    # A shell's background job passes on that SIGINT is ignored; a terminal does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    times = 1 if arguments.quick else 5
    latencies, problems = {}, []
    for name, case in cases(times).items():
        if arguments.only is not None and arguments.only not in name:
            continue
        start = time.monotonic()
        try:
            latencies[name] = case()
            print(
                f"{name:<50} {1e3 * latencies[name]:8.1f} ms  ({time.monotonic() - start:.1f} s)",
                flush=True,
            )
        except Finding as finding:
            problems.append(str(finding))
            print(problems[-1], flush=True)
    late = [name for name, seconds in latencies.items() if seconds > AIM]
    worst = max(latencies, key=lambda name: latencies[name])
    figure = (
        f"{times * len(latencies)} interrupts, the slowest heard after "
        f"{1e3 * latencies[worst]:.0f} ms ({worst}), {len(late)} of {len(latencies)} calls later "
        f"than {1e3 * AIM:.0f} ms; {len(problems)} wrong"
    )
    return report(not problems, "SIGINT at random moments of every long call", figure)


if __name__ == "__main__":
    raise SystemExit(main())
