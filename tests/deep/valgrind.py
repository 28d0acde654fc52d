"""Every call of a Network under valgrind: numbers that nobody wrote must not be read.

Sanitizers do not see those. A result is written to a file, so that valgrind judges each of its
bytes; in the kernels it judges what a branch or an address depends on. Sizes are odd, so that rows
end inside vectors. The level is v3: valgrind knows no 512-bit vectors.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from builds import HANG_LIMIT, built_copy, environment, levels, tell

from cbackprop import functions

PART = "valgrind"
OURS = "cbackprop/kernels/"


# ---- the calls, in a process of their own under valgrind -----------------------------------------

ELEMENTWISE = [name for name, row in functions.ACTIVATIONS.items() if row.elementwise]
COSTS = [name for name, row in functions.COSTS.items() if row.outputs is None]  # of any outputs
# Of every kind of layer: one neuron, less than a vector, whole vectors and one more.
SIZES = ((1, 1), (5, 7, 3), (16, 8, 8, 1), (13, 17, 33, 2), (3, 66, 10))


def networks(quick: bool, dtype: str) -> Iterator[Any]:
    from cbackprop import Network

    for place, sizes in enumerate(SIZES[1:2] if quick else SIZES):
        hidden = ["tanh", "relu", "gelu"][place % 3]
        yield Network(sizes, hidden, COSTS[place % len(COSTS)], dtype=dtype, seed=1)
        layers = [hidden] * (len(sizes) - 2)
        if sizes[-1] > 1:
            yield Network(sizes, [*layers, "softmax"], "cross_entropy", dtype=dtype, seed=1)
    if quick:
        return
    for place, activation in enumerate(ELEMENTWISE):
        yield Network((5, 7, 3), activation, COSTS[place % len(COSTS)], dtype=dtype, seed=1)
    yield Network((5, 7, 3), "sigmoid", "cross_entropy", dtype=dtype, seed=1)
    yield Network((5, 7, 3), ["tanh", "exponential"], "poisson", dtype=dtype, seed=1)
    yield Network((5, 7, 3), "tanh", users_cost(), dtype=dtype, seed=1)
    yield Network((5, 7, 3), users_activation(), "quadratic", dtype=dtype, seed=1)


def users_cost() -> Any:
    from cbackprop import Cost

    return Cost(
        lambda a, y: ((a - y) ** 2).sum(axis=1),
        lambda a, y: 2 * (a - y),
        hessian_vector_product=lambda a, y, v: 2 * v,
    )


def users_activation() -> Any:
    from cbackprop import Activation

    return Activation(np.sin, np.cos, second_derivative=lambda z: -np.sin(z))


def judge(value: Any, file: int) -> None:
    """Write every number of a result, so that valgrind looks at it."""
    if value is None or isinstance(value, str):
        return
    if isinstance(value, (list, tuple)):
        for part in value:
            judge(part, file)
    elif hasattr(value, "delta"):  # Backward
        judge([value.z, value.a, value.da_dz, value.dC_da, value.delta, value.cost], file)
    elif hasattr(value, "z"):  # Forward
        judge([value.z, value.a], file)
    elif hasattr(value, "vector"):  # Gradient
        judge([value.vector, value.cost, value.norm()], file)
    else:
        os.write(file, np.ascontiguousarray(value).tobytes())


def results(net: Any, n: int) -> Iterator[Any]:
    """What every call that leaves the network as it is returns, for n examples."""
    random = np.random.default_rng(n)
    X = random.normal(size=(n, net.sizes[0])).astype(net.dtype)
    Y = random.dirichlet(np.ones(net.sizes[-1]), size=n).astype(net.dtype)
    v = random.normal(size=net.n_parameters)
    weight = random.uniform(0.5, 2, size=n)
    few = slice(0, min(n, 7))
    yield net.predict(X)
    yield net.predict(X[0])
    yield net.predict(X, out=np.empty((n, net.sizes[-1]), net.dtype))
    yield net.forward(X)
    yield net.backward(X, Y)
    yield net.cost(X, Y)
    yield net.cost(X, Y, per_example=True)
    yield net.cost(X, Y, sample_weight=weight)
    yield net.gradient(X, Y)
    yield net.gradient(X[0], Y[0])
    yield net.gradient(X, Y, sample_weight=weight)
    yield net.gradient(X, Y, per_example=True)
    out = np.empty((n, net.n_parameters), net.dtype)
    yield net.gradient(X, Y, per_example=True, out=out)
    yield net.gradient_norms(X, Y)
    yield net.clipped_gradient(X, Y, 0.1)
    yield net.gradient_gram(X, Y)
    yield net.gradient_gram(X, Y, X[few], Y[few])
    yield net.gradient_moments(X, Y)
    yield net.jacobian(X[few])
    yield net.input_gradient(X, Y)
    yield net.input_jacobian(X[few])
    yield net.vjp(X, Y)
    yield net.jvp(X, v, X)
    yield net.hessian_vector_product(X, Y, v)
    yield net.gauss_newton_vector_product(X, Y, v)
    yield net.chain_rule(X[0], Y[0]).weight(1, 0, 0).value
    yield net.score(X, Y, "mse")
    yield net.copy().parameters


def training(net: Any, n: int) -> Iterator[Any]:
    """The parameters, and what the optimiser keeps, after each kind of training."""
    import cbackprop as package

    random = np.random.default_rng(n)
    X = random.normal(size=(n, net.sizes[0])).astype(net.dtype)
    Y = random.dirichlet(np.ones(net.sizes[-1]), size=n).astype(net.dtype)
    optimizers = [
        package.SGD(0.01),
        package.SGD(0.01, momentum=0.9),
        package.SGD(0.01, momentum=0.9, nesterov=True),
        package.Adam(0.001),
        package.AdamW(0.001),
        package.RMSprop(0.001),
        package.RMSprop(0.001, momentum=0.5, centred=True),
        package.Adagrad(0.01),
    ]
    # These two look at the whole gradient at once.
    whole = [package.Rprop(), package.LBFGS()]
    if net.cost_function in ("quadratic", "half_quadratic", "mse"):
        whole.append(package.LevenbergMarquardt())
    options: list[dict[str, Any]] = [
        {"l1": 1e-4, "l2": 1e-3},
        {"dropout": 0.3},
        {"max_norm": 1.0},
        {"clip_norm": 0.5},
        {"clip_norm": 0.5, "noise_multiplier": 0.5},
        {"sample_weight": random.uniform(0.5, 2, size=n)},
        {"shuffle": False, "validation_fraction": 0.2 if n > 5 else 0.0},
    ]
    runs = [{"optimizer": optimizer, "batch_size": 5} for optimizer in optimizers]
    runs += [{"optimizer": optimizer, "batch_size": n} for optimizer in whole]
    runs += [{"optimizer": "sgd", "learning_rate": 1e-3, "batch_size": 5, **o} for o in options]
    for run in runs:
        twin = net.copy()
        try:
            history = twin.fit(X, Y, epochs=2, **run)
        except FloatingPointError:  # the way back to the start of the epoch is looked at, too
            yield twin.parameters
        else:
            yield [history.cost, twin.parameters, twin._engine.slots, twin.predict(X)]
    twin = net.copy()
    for i in range(min(n, 5)):  # the quick way
        twin.partial_fit(X[i], Y[i])
        yield twin.parameters
    for rows in (1, 2, n):
        twin.partial_fit(X[:rows], Y[:rows], batch_size=n)
        yield twin.parameters


def exercise(quick: bool) -> None:
    from cbackprop import Network

    # More than a block of 256 examples once, for a network of a few neurons.
    file = os.open(os.devnull, os.O_WRONLY)
    n_results = 0
    for dtype in ("float64", "float32"):
        for net in networks(quick, dtype):
            for n in (1, 6) if quick else (1, 6, 37):
                for result in results(net, n):
                    judge(result, file)
                    n_results += 1
            for result in training(net, 11):
                judge(result, file)
                n_results += 1
        for result in results(Network((3, 5, 2), dtype=dtype, seed=1), 259):
            judge(result, file)
            n_results += 1
        if not quick:  # products that two threads share
            wide = Network((70, 130, 3), "tanh", dtype=dtype, seed=1, threads=2)
            X = np.random.default_rng(0).normal(size=(256, 70)).astype(dtype)
            judge([wide.gradient(X, X[:, :3]), wide.predict(X)], file)
            n_results += 2
    print(f"{n_results} results", flush=True)


# ---- around valgrind -----------------------------------------------------------------------------


def objects(error: ElementTree.Element) -> list[str]:
    """Where the frames of its stacks lie: of where it was seen and where the bytes are from."""
    return [frame.findtext("obj", "") for frame in error.iter("frame")]


def is_leak(error: ElementTree.Element) -> bool:
    """Whether it is a block not given back at the end, as modules' are; XML output lists these."""
    return error.findtext("kind", "").startswith("Leak_")


def is_ours(error: ElementTree.Element) -> bool:
    # A result with bytes that nobody wrote is seen where it is handed to the system.
    kind = error.findtext("kind", "")
    return kind == "SyscallParam" or any(OURS in name for name in objects(error))


def shown(error: ElementTree.Element) -> str:
    what = error.findtext("what") or error.findtext("xwhat/text") or error.findtext("kind", "")
    lines = [what]
    for part in error:
        if part.tag == "auxwhat":
            lines.append(part.text or "")
        for frame in part.iter("frame") if part.tag == "stack" else ():
            place = frame.findtext("fn") or frame.findtext("obj", "?")
            lines.append(f"    {place} {frame.findtext('file', '')}:{frame.findtext('line', '')}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short form: does the check work?")
    parser.add_argument("--exercise", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.exercise:
        exercise(options.quick)
        return
    if shutil.which("valgrind") is None:
        tell(PART, "", "skipped: valgrind is not installed", None)
    level = levels()[0]
    copy = built_copy("valgrind", level, CBACKPROP_DEBUG="1")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = ["valgrind", "--tool=memcheck", "--xml=yes", f"--xml-file={report}"]
        command += ["--track-origins=yes", "--num-callers=30"]
        command += [sys.executable, __file__, "--exercise", *(["--quick"] if options.quick else [])]
        variables = environment(copy, level, PYTHONDONTWRITEBYTECODE="1", PYTHONHASHSEED="0")
        process = subprocess.run(
            command,
            env=variables,
            stdout=subprocess.PIPE,
            text=True,
            timeout=HANG_LIMIT,
            check=False,
        )
        if process.returncode != 0:
            tell(PART, "the calls ended early", f"exit status {process.returncode}", False)
        errors = [e for e in ElementTree.parse(report).getroot().iter("error") if not is_leak(e)]
    ours = [error for error in errors if is_ours(error)]
    for error in ours:
        print(shown(error), flush=True)
    tell(
        PART,
        f"every call under memcheck on {level}, both dtypes",
        f"{process.stdout.strip()}, {len(ours)} errors of ours, {len(errors) - len(ours)} of the "
        "interpreter's and NumPy's",
        not ours,
    )


if __name__ == "__main__":
    main()
