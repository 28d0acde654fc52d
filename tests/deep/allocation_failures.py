"""Every call of a Network when memory fails: at its first allocation, its second, … its last.

After each failure: the exception is a MemoryError; the network, the caller's arrays and the files
are as before, to the bit; the same call then works as if nothing had happened; nothing is leaked.

Two allocators fail on demand. ``failing_malloc.c``, compiled here and preloaded, stands in the
place of the C library's: every allocation of a call can fail, NumPy's and the core's included.
Where there is no C compiler, CPython's own ``_testcapi`` does it for Python's objects. A process of
its own with a bound on its address space (RLIMIT_AS) shows the system's refusal.

    PYTHONPATH=src python tests/deep/allocation_failures.py [--quick]

A full run takes about ten minutes.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import cbackprop
from cbackprop import (
    Activation,
    Cost,
    EarlyStopping,
    Gradient,
    Network,
    RMSprop,
    Rprop,
    schedules,
)
from cbackprop.files.format import read

HERE = Path(__file__).resolve().parent
BACKENDS = ["compiled", "reference"] if Network([1, 1]).backend == "compiled" else ["reference"]
QUICK = (
    "construct",
    "predict",
    "backward",
    "per_example",
    "fit adam",
    "partial_fit",
    "copy",
    "reset",
    "save",
)
REFERENCE = (
    *QUICK,
    "forward",
    "gradient",
    "norms",
    "gram",
    "moments",
    "hessian_vector",
    "fit rmsprop",
    "fit judged",
    "partial_fit as asked",
    "user's functions",
    "look inside",
    "load",
)
SIZES = [4, 5, 3]
CALL_LIMIT = 600  # seconds until a call's process counts as hung


# ---- the calls -----------------------------------------------------------------------------------


def data(n: int = 6) -> tuple[Any, Any]:
    generator = np.random.PCG64(7)
    raw = (generator.random_raw(n * 7) >> np.uint64(11)).astype(float) * 2.0**-53
    raw = raw.reshape(n, 7)
    return 4 * raw[:, :4].copy() - 2, raw[:, 4:].copy()


V = np.linspace(-1.0, 1.0, 43)
MINE = Activation(lambda z: z / (1 + z * z), lambda z: (1 - z * z) / (1 + z * z) ** 2, name="mine")
MY_COST = Cost(
    lambda a, y: ((a - y) ** 4).sum(axis=1), lambda a, y: 4 * (a - y) ** 3, name="fourth"
)


def with_fit(**options: Any) -> Callable[[Network, Any, Any], Any]:
    return lambda net, X, Y: net.fit(X, Y, **{"epochs": 2, "batch_size": 4, **options})


def terms(net: Network, X: Any, Y: Any) -> Any:
    rule = net.chain_rule(X[0], Y[0])
    return [
        *(str(term) for term in (rule.weight(1, 2, 3), rule.bias(2, 1), rule.activation(1, 4))),
        str(rule.activation(0, 0).nudge(0.01)),
    ]


def assign(net: Network, X: Any, Y: Any) -> None:
    net.parameters = V


def resume(net: Network, X: Any, Y: Any) -> Any:
    return net.fit(X, Y, epochs=3, batch_size=4, optimizer="adam", checkpoint=FILES["checkpoint"],
                   resume=True, early_stopping=EarlyStopping(5, monitor="cost"))  # fmt: skip


def fit_with_checkpoint(net: Network, X: Any, Y: Any) -> Any:
    return net.fit(X, Y, epochs=1, batch_size=4, optimizer="adam", checkpoint=FILES["written"],
                   early_stopping=EarlyStopping(5, monitor="cost"))  # fmt: skip


def look_inside(net: Network, X: Any, Y: Any) -> Any:
    """A call within a call: the inner one takes scratch of its own. After a failure all is free."""
    seen: list[Any] = []

    def value(z: Any) -> Any:
        if not seen:
            seen.append(None)
            seen[0] = mine.predict(X)
        return np.tanh(z)

    function = Activation(value, lambda z: 1 - np.tanh(z) ** 2, name="mine")
    mine = Network(SIZES, function, seed=3, backend=net.backend)
    try:
        return mine.gradient(X, Y), seen
    except MemoryError:
        mine.reset(3)
        raise


FILES: dict[str, str] = {}

CALLS: dict[str, Callable[[Network, Any, Any], Any]] = {
    "construct": lambda net, X, Y: Network(SIZES, seed=3, backend=net.backend),
    "construct as asked": lambda net, X, Y: Network(
        (4, 6, 3), ["relu", "softmax"], "cross_entropy", dtype=np.float32, init="lecun", seed=5,
        threads=2, backend=net.backend,
    ),
    "predict": lambda net, X, Y: net.predict(X),
    "predict lists": lambda net, X, Y: net.predict(X.tolist()),
    "predict one": lambda net, X, Y: net.predict(X[0]),
    "predict into out": lambda net, X, Y: net.predict(X[:, ::1].astype("f4"), np.zeros((6, 3))),
    "forward": lambda net, X, Y: net.forward(X),
    "backward": lambda net, X, Y: net.backward(X, Y),
    "cost": lambda net, X, Y: net.cost(X, Y),
    "costs": lambda net, X, Y: net.cost(X, Y, per_example=True),
    "cost weighted": lambda net, X, Y: net.cost(X, Y, sample_weight=[1, 2, 3, 4, 5, 6]),
    "gradient": lambda net, X, Y: net.gradient(X, Y),
    "gradient weighted": lambda net, X, Y: net.gradient(X, Y, sample_weight=[1, 2, 3, 4, 5, 6]),
    "per_example": lambda net, X, Y: net.gradient(X, Y, per_example=True),
    "gradient into out": lambda net, X, Y: net.gradient(X, Y, out=np.zeros(43)),
    "norm": lambda net, X, Y: net.gradient(X, Y, per_example=True).norm(),
    "norms": lambda net, X, Y: net.gradient_norms(X, Y),
    "clipped": lambda net, X, Y: net.clipped_gradient(X, Y, 0.1),
    "gram": lambda net, X, Y: net.gradient_gram(X, Y),
    "gram of two sets": lambda net, X, Y: net.gradient_gram(X, Y, X[:2], Y[:2]),
    "moments": lambda net, X, Y: net.gradient_moments(X, Y),
    "jacobian": lambda net, X, Y: net.jacobian(X),
    "input_gradient": lambda net, X, Y: net.input_gradient(X, Y),
    "input_jacobian": lambda net, X, Y: net.input_jacobian(X),
    "vjp": lambda net, X, Y: net.vjp(X, Y),
    "jvp": lambda net, X, Y: net.jvp(X, V, X),
    "hessian_vector": lambda net, X, Y: net.hessian_vector_product(X, Y, V),
    "gauss_newton_vector": lambda net, X, Y: net.gauss_newton_vector_product(X, Y, V),
    "chain_rule": terms,
    "check_gradient": lambda net, X, Y: str(
        Network([1, 1], seed=3, backend=net.backend).check_gradient(X[:1, :1], Y[:1, :1])
    ),
    "diagnose_gradient": lambda net, X, Y: str(net.diagnose_gradient(X, Y, V)),
    "score": lambda net, X, Y: net.score(X, Y),
    "score r2": lambda net, X, Y: net.score(X, Y, "r2"),
    "fit sgd": with_fit(),
    "fit momentum": with_fit(optimizer=cbackprop.SGD(0.1, 0.9)),
    "fit nesterov": with_fit(optimizer=cbackprop.SGD(0.1, 0.9, nesterov=True)),
    "fit adam": with_fit(optimizer="adam"),
    "fit adamw": with_fit(optimizer="adamw", shuffle=False),
    "fit rmsprop": with_fit(optimizer=RMSprop(0.01, 0.9, 1e-8, 0.5, True)),
    "fit adagrad": with_fit(optimizer="adagrad", shuffle=[5, 4, 3, 2, 1, 0]),
    "fit rprop": with_fit(optimizer=Rprop(0.01)),
    "fit lbfgs": with_fit(optimizer="lbfgs", epochs=4),
    "fit levenberg_marquardt": with_fit(optimizer="levenberg_marquardt"),
    "fit penalties": with_fit(l1=1e-3, l2=1e-2, max_norm=0.5, sample_weight=[1, 2, 3, 4, 5, 6]),
    "fit dropout": with_fit(dropout=0.4, class_weight="balanced"),
    "fit private": with_fit(clip_norm=0.1, noise_multiplier=0.5),
    "fit judged": with_fit(
        validation_fraction=0.3, metrics=("mse", "mae", "r2"), early_stopping=2,
        schedule=schedules.ReduceOnPlateau(0.1, 0),
    ),
    "fit with a checkpoint": fit_with_checkpoint,
    "fit resumed": resume,
    "partial_fit": lambda net, X, Y: net.partial_fit(X, Y),
    "partial_fit one": lambda net, X, Y: net.partial_fit(X[0], Y[0]),
    "partial_fit in batches": lambda net, X, Y: net.partial_fit(X, Y, batch_size=4),
    "partial_fit another": lambda net, X, Y: net.partial_fit(X, Y, optimizer="rmsprop"),
    "partial_fit lbfgs": lambda net, X, Y: net.partial_fit(X, Y, optimizer="lbfgs"),
    "partial_fit rate": lambda net, X, Y: net.partial_fit(X, Y, learning_rate=0.01),
    "partial_fit as asked": lambda net, X, Y: net.partial_fit(
        X.tolist(), Y.tolist(), sample_weight=range(1, 7), options={"dropout": 0.2, "l2": 0.1}
    ),
    "copy": lambda net, X, Y: net.copy(),
    "reset": lambda net, X, Y: net.reset(3),
    "parameters": lambda net, X, Y: net.parameters,
    "assign parameters": assign,
    "repr and summary": lambda net, X, Y: [repr(net), net.summary()],
    "save": lambda net, X, Y: net.save(FILES["written"]),
    "load": lambda net, X, Y: Network.load(FILES["model"], backend=net.backend).parameters,
    "load a checkpoint": lambda net, X, Y: Network.load(FILES["checkpoint"]).parameters,
    "user's functions": lambda net, X, Y: Network(
        SIZES, MINE, MY_COST, seed=3, backend=net.backend
    ).fit(X, Y, epochs=1),
    "look inside": look_inside,
}  # fmt: skip


@functools.cache
def base(backend: str) -> Network:
    """A network with moments, a step count and a generator that has been used."""
    net = Network(SIZES, seed=1, backend=backend)
    net.fit(*data(), epochs=1, batch_size=2, optimizer="adam")
    return net


def state(net: Network) -> Any:
    """All that a call could change, as bytes and text."""
    engine = net._engine
    second_order = net._model.whole_batch_state
    return (
        engine.parameter_arrays()[2].tobytes(),
        tuple(slot.tobytes() for slot in engine.slots),
        repr(
            (
                engine.step_count, engine.rule, engine.learning_rate,
                engine.previous_cost, net._model.optimizer,
                net._model.random.state,
            )
        ),
        None if second_order is None else bits((second_order.arrays, second_order.numbers)),
        engine.is_fitting,  # of a fit that is not over
    )  # fmt: skip


def bits(value: Any) -> Any:
    """What a call returned, in a form in which equal means: the same to the bit."""
    if isinstance(value, Network):
        return state(value)
    if isinstance(value, Gradient):
        return bits((value.vector, value.cost))
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (float, np.floating)):
        return float(value).hex()
    if isinstance(value, (list, tuple)):
        return [bits(entry) for entry in value]
    if isinstance(value, dict):
        return {key: bits(entry) for key, entry in value.items()}
    if isinstance(value, (str, int, type(None))):
        return value
    return {key: bits(entry) for key, entry in vars(value).items() if key != "seconds"}


def make_files(folder: str) -> None:
    FILES.update({name: os.path.join(folder, name) for name in ("model", "checkpoint", "written")})
    base("reference").save(FILES["model"])
    base("reference").copy().fit(*data(), epochs=1, batch_size=4, optimizer="adam",
                                 checkpoint=FILES["checkpoint"],
                                 early_stopping=EarlyStopping(5, monitor="cost"))  # fmt: skip


def file_contents() -> dict[str, Any]:
    """Of the whole folder: a file that was left behind is seen, too."""
    folder = Path(FILES["model"]).parent
    found = {entry.name: entry.read_bytes() for entry in sorted(folder.iterdir())}
    if b'"kind":"checkpoint"' in found["written"]:
        tensors, metadata = read(FILES["written"])
        # The seconds that the fit took are no two times the same.
        text = re.sub(rb'"seconds":[^,}]*', b"", tensors.pop("state").tobytes())
        found["written"] = bits((tensors, metadata, text.decode()))
    return found


# ---- allocators that fail ------------------------------------------------------------------------


class FailingMalloc:
    """The preloaded library: every allocation of this thread."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(None)
        self.begin, self.end = library.fail_allocations, library.end_failures
        self.begin.argtypes, self.begin.restype = [ctypes.c_long, ctypes.c_long], None
        self.end.restype = library.live_blocks.restype = ctypes.c_long
        self._live = library.live_blocks

    def run(self, n: int, call: Callable[[], Any]) -> tuple[str, Any]:
        """("failed", the exception), ("absorbed", the result) or ("over", the result)."""
        begin, end, result, error, count = self.begin, self.end, None, None, 0
        begin(n, n)
        try:
            result = call()
        except BaseException as raised:
            error = raised
        while True:
            try:
                count = end()
                break
            except MemoryError:  # asked for by this very call
                pass
        if error is not None:
            return "failed", error
        return ("absorbed" if count > n + 5 else "over"), result

    def live(self) -> int:
        return int(self._live())


class FailingPython:
    """CPython's own test hook: objects and memory of Python's, and not NumPy's numbers."""

    def __init__(self) -> None:
        import _testcapi

        self._api = _testcapi

    def run(self, n: int, call: Callable[[], Any]) -> tuple[str, Any]:
        begin, end, after = self._api.set_nomemory, self._api.remove_mem_hooks, n + 1
        result = error = None
        over, kept = False, [None] * 64
        begin(n, after)
        try:
            result = call()
        except BaseException as raised:
            error = raised
        if error is None:
            try:
                # Still to come, if the call has had all the memory that it asked for.
                for i in range(64):
                    kept[i] = [i]
            except MemoryError:
                over = True
        end()
        if error is not None:
            return "failed", error
        return ("over" if over else "absorbed"), result

    def live(self) -> int:
        return sys.getallocatedblocks()


# ---- one call under every failure ----------------------------------------------------------------

# Where others make something else of a lack of memory: CPython's locks, NumPy's reductions and
# isfinite, OpenSSL's digests. Nothing has changed then, and the next call works.
FOREIGN = (
    (RuntimeError, "can't allocate lock"),
    (SystemError, "error return without exception set"),
    (SystemError, "returned NULL without setting an exception"),
    (SystemError, "returned a result with an exception set"),
    (ValueError, "[digital envelope routines]"),
)


def is_foreign(error: BaseException) -> bool:
    return any(isinstance(error, kind) and text in str(error) for kind, text in FOREIGN)


def in_another_thread(function: Callable[[], Any]) -> Any:
    """Its result there, where a network that was left to this thread is refused."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def stored(call: Callable[..., Any], net: Network, X: Any, Y: Any) -> Any:
    """The call's result, its effect on the network and the files it leaves, all as bits."""
    Path(FILES["written"]).write_bytes(b"old")
    return bits(call(net, X, Y)), state(net), file_contents()


def allowed(name: str, net: Network, X: Any, Y: Any) -> tuple[list[Any], list[Any]]:
    """The states and the files that a failed call may leave: those before it, and in fit those of
    an epoch's end, too."""
    states, files = [state(net)], []

    def note(network: Network, history: Any) -> None:
        states.append((*state(network)[:-1], 0))
        files.append(file_contents())

    call, subject = CALLS[name], net.copy()
    Path(FILES["written"]).write_bytes(b"old")
    files.append(file_contents())
    if name.startswith("fit"):
        fit = subject.fit
        subject.fit = lambda *arguments, **options: fit(*arguments, **options, callbacks=note)
    call(subject, X, Y)
    states.append(state(subject))
    return states if name.startswith("fit") else states[:1], [*files, file_contents()]


class Subject:
    """One call on one network; what is right for it, and what it may leave when it fails."""

    def __init__(self, name: str, backend: str) -> None:
        self.call, self.net = CALLS[name], base(backend)
        self.X, self.Y = data()
        self.arguments = self.X.tobytes(), self.Y.tobytes()
        self.before = state(self.net)
        for _ in range(2):  # once more with everything imported and cached
            self.expected = stored(self.call, self.net.copy(), self.X, self.Y)
        self.states, self.files = allowed(name, self.net, self.X, self.Y)

    def run(self, n: int, injector: Any) -> tuple[str, Any, Network]:
        net = self.net.copy()
        call, X, Y = self.call, self.X, self.Y
        Path(FILES["written"]).write_bytes(b"old")
        return *injector.run(n, lambda: call(net, X, Y)), net

    def problem(self, outcome: str, value: Any, net: Network) -> str | None:
        """What is wrong after a call under failure, None for nothing."""
        if (self.X.tobytes(), self.Y.tobytes()) != self.arguments:
            return "it has changed its arguments"
        if outcome != "failed":
            found = bits(value), state(net), file_contents()
            return None if found == self.expected else f"{outcome}, with another result"
        what = f"{type(value).__name__} ({value}) {where(value)}"
        if not isinstance(value, MemoryError) and not is_foreign(value):
            return what
        now = state(net)
        if now not in self.states:
            return f"{what}: it has changed the network"
        if file_contents() not in self.files:
            return f"{what}: it has left the files {file_contents()}"
        try:
            twin = net.copy()
            after = in_another_thread(lambda: stored(self.call, net, self.X, self.Y))
            expected = self.expected
            if now != self.before:  # at the end of an epoch
                expected = stored(self.call, twin, self.X, self.Y)
        except Exception as error:
            return f"{what}: the next call raises {type(error).__name__} ({error})"
        return None if after == expected else f"{what}: the next call has another result"

    def leaks(self, n: int, injector: Any) -> bool:
        """Whether each of three failures at this place leaves blocks behind."""
        for _ in range(3):
            before = injector.live()
            self.run(n, injector)
            gc.collect()
            if injector.live() <= before:
                return False
        return True


def under_failures(name: str, backend: str, injector: Any, leaks: bool) -> dict[str, Any]:
    report: dict[str, Any] = {"failed": 0, "absorbed": 0, "foreign": 0, "findings": []}
    subject = Subject(name, backend)
    gc.collect()
    gc.freeze()
    gc.disable()
    outcome, n = "", 0
    while outcome != "over":
        outcome, value, net = subject.run(n, injector)
        problem = subject.problem(outcome, value, net)
        if outcome != "over":
            report[outcome] += 1
        report["foreign"] += outcome == "failed" and not isinstance(value, MemoryError)
        value = net = None
        if problem is None and leaks and subject.leaks(n, injector):
            problem = "it leaks"
        if problem is not None:
            report["findings"].append(f"allocation {n}: {problem}")
        n += 1
    return report


def where(error: BaseException) -> str:
    """The innermost lines that the exception went through."""
    places = []
    traceback = error.__traceback__
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        places.append(f"{os.path.basename(path)}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return "at " + " < ".join(reversed(places[-4:]))


# ---- processes -----------------------------------------------------------------------------------


def in_a_fork(function: Callable[[], Any]) -> Any:
    """What the function returns in a process of its own; a text for one that dies or hangs."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(CALL_LIMIT)
        # Generators of others that are closed when memory fails.
        sys.unraisablehook = lambda unraisable: None
        try:
            answer = json.dumps(function())
        except BaseException as error:
            import traceback

            traceback.print_exc()
            answer = json.dumps(f"{type(error).__name__}: {error}")
        with open(write, "wb") as pipe:
            pipe.write(answer.encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        text = pipe.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(text) if text else f"died with status {status}"


def inside(injector: str, names: list[str], backends: list[str], leaks: bool) -> None:
    """The child with the failing allocator: one line of JSON for each call and backend."""
    allocator = FailingMalloc() if injector == "malloc" else FailingPython()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    for backend in backends:
        for name in names:
            with tempfile.TemporaryDirectory(dir=memory) as folder:
                make_files(folder)
                base(backend)
                start = time.monotonic()
                work = functools.partial(under_failures, name, backend, allocator, leaks)
                report = in_a_fork(work)
                if isinstance(report, str):
                    report = {"failed": 0, "absorbed": 0, "foreign": 0, "findings": [report]}
                report["seconds"] = round(time.monotonic() - start, 2)
                print(json.dumps({"call": name, "backend": backend, **report}), flush=True)


def injectors() -> list[str]:
    """Those to be had here."""
    found = []
    if sys.platform == "linux" and shutil.which("cc") and hasattr(os, "fork"):
        found.append("malloc")
    try:
        import _testcapi  # noqa: F401

        found.append("python")
    except ImportError:
        pass
    return found


def run(injector: str, names: list[str], backends: list[str], leaks: bool) -> list[dict[str, Any]]:
    """The reports of all calls, from a fresh interpreter with that allocator."""
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        if injector == "malloc":
            library = os.path.join(folder, "failing_malloc.so")
            source = str(HERE / "failing_malloc.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
            environment |= {"LD_PRELOAD": library, "PYTHONMALLOC": "malloc"}
        command = [sys.executable, __file__, "--inside", "--injector", injector]
        command += ["--backends", *backends, "--calls", *names, *(["--leaks"] if leaks else [])]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        reports = []
        for line in process.stdout:
            reports.append(json.loads(line))
            show(reports[-1])
        process.wait(CALL_LIMIT)
    if process.returncode != 0 or len(reports) != len(names) * len(backends):
        reports.append({"call": "?", "backend": "?", "failed": 0, "absorbed": 0, "foreign": 0,
                        "findings": [f"the process ended with {process.returncode}"]})  # fmt: skip
    return reports


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['backend']:<10} {report['call']:<24} {report['failed']:>6} failures, "
        f"{report['foreign']} foreign, {report['absorbed']} absorbed, {report.get('seconds', 0)} s",
        flush=True,
    )
    for finding in report["findings"][:20]:
        print(f"    {finding}", flush=True)
    if len(report["findings"]) > 20:
        print(f"    … {len(report['findings'])} in all")


# ---- the system's refusal ------------------------------------------------------------------------

BOUNDED = """
import resource
import numpy as np
from cbackprop import Network

X, Y = np.ones((4000, 200)), np.full((4000, 10), 0.5)
net = Network([200, 300, 10], seed=1)
small = X[:20], Y[:20]
expected = net.gradient(*small).vector.tobytes()
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
refused = 0
calls = [
    lambda: Network([5000, 5000]),
    lambda: Network([200, 5000, 5000, 10]),
    lambda: net.gradient(X, Y, per_example=True),
    lambda: net.jacobian(X),
    lambda: net.input_jacobian(np.ones((20000, 200))),
    lambda: net.gradient_gram(X, Y),
    lambda: net.fit(X, Y, epochs=1, optimizer="levenberg_marquardt"),
    lambda: net.backward(np.ones((12000, 200)), np.full((12000, 10), 0.5)),
]
before = net.parameters.tobytes()
for _ in range(3):
    for call in calls:
        try:
            call()
        except MemoryError:
            refused += 1
        assert net.parameters.tobytes() == before
        assert net.gradient(*small).vector.tobytes() == expected
assert refused == 3 * len(calls), refused
net.fit(*small, epochs=2)
print(refused)
"""


def bounded() -> tuple[int, str | None]:
    """How many calls were refused under RLIMIT_AS, and what went wrong."""
    result = subprocess.run(
        [sys.executable, "-c", BOUNDED],
        capture_output=True,
        text=True,
        timeout=CALL_LIMIT,
        check=False,
    )
    if result.returncode != 0:
        return 0, f"under RLIMIT_AS: {result.returncode}, {result.stderr.strip()[-500:]}"
    return int(result.stdout), None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few calls, a minute")
    parser.add_argument("--injector", choices=["malloc", "python"], help="this one alone")
    parser.add_argument(
        "--calls", nargs="+", choices=list(CALLS), help="these alone, not RLIMIT_AS"
    )
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, help="these alone")
    parser.add_argument("--leaks", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments.injector, arguments.calls, arguments.backends, arguments.leaks)
        return 0
    available = injectors()
    if arguments.injector is not None:
        available = [name for name in available if name == arguments.injector]
    if not available:
        report(None, "skipped: neither a C compiler and glibc nor _testcapi", "")
        return 0
    reports = []
    for injector in available[:1] if arguments.quick else available:
        # NumPy's numbers and the core's are the first one's alone, and the second is for where it
        # cannot be had.
        short = arguments.quick or injector != available[0]
        for backend in arguments.backends or BACKENDS:
            names = arguments.calls or (
                QUICK if short else list(CALLS) if backend == "compiled" else REFERENCE
            )
            reports += run(injector, list(names), [backend], not short)
    refused, problem = 0, None
    if sys.platform == "linux" and not arguments.calls:
        refused, problem = bounded()
    if problem is not None:
        print(problem)
    counts = {key: sum(r[key] for r in reports) for key in ("failed", "foreign", "absorbed")}
    bad = sum(bool(r["findings"]) for r in reports) + (problem is not None)
    figure = (
        f"{counts['failed']} allocations failed in {len(reports)} calls, {bad} of them wrong; "
        f"{counts['foreign']} with another library's exception, {counts['absorbed']} made good by "
        f"it; {refused} refusals under RLIMIT_AS"
    )
    report(not bad, f"every allocation of every call fails once ({', '.join(available)})", figure)
    return 1 if bad else 0


def report(passed: bool | None, did: str, figure: str) -> None:
    print(
        json.dumps({"part": "allocation failures", "did": did, "figure": figure, "passed": passed})
    )


if __name__ == "__main__":
    raise SystemExit(main())
