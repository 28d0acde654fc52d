"""What surrounds a call: memory that runs out or grows, threads, forks, interpreters, the end.

Each test has a process of its own, apart from those about data that changes and what was never
made. Signals during a call of the main thread and NumPy's error state: test_arrays.py; the
workers of Network(threads=n): test_threads.py.
"""

from __future__ import annotations

import gc
import sys
import textwrap
import threading

import numpy as np
import pytest
from support import HAS_COMPILED, every_backend, needs_fork, output_of

from cbackprop import Network
from cbackprop import backend as backends

CLOCK_LIMIT = 60  # seconds until a test that waits gives up

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")

START = """
import os, signal, sys, threading, time
import numpy as np
import cbackprop
from cbackprop import SGD, Network

backend = sys.argv[1]
random = np.random.default_rng(0)
X = random.normal(size=(400, 30))
Y = 1 / (1 + np.exp(-X[:, :3]))
net = Network([30, 40, 3], seed=0, backend=backend)
net.fit(X, Y, epochs=1, optimizer="adam")

def pages():
    with open("/proc/self/statm") as file:
        return [int(word) for word in file.read().split()]
"""


def python(code, backend="compiled", timeout=CLOCK_LIMIT):
    """What the code prints, after START, in a process of its own that ends well and quietly."""
    return output_of(
        START + textwrap.dedent(code),
        backend,
        options=("-W", "error"),
        timeout=timeout,
        keep_switches=False,
        # A daemon thread that ends inside a product of NumPy's can leave OpenBLAS waiting at exit.
        OPENBLAS_NUM_THREADS="1",
    ).split()


# ---- memory --------------------------------------------------------------------------------------


@on_linux
@every_backend
def test_without_memory_a_call_is_a_memory_error_and_changes_nothing(backend):
    code = """
    import resource

    X, Y = np.tile(X, (20, 1)), np.tile(Y, (20, 1))
    v = np.ones(net.n_parameters)
    calls = [
        lambda: net.predict(X), lambda: net.forward(X), lambda: net.backward(X, Y),
        lambda: net.cost(X, Y), lambda: net.gradient(X, Y), lambda: net.jacobian(X),
        lambda: net.gradient(X, Y, per_example=True), lambda: net.gradient_norms(X, Y),
        lambda: net.clipped_gradient(X, Y, 1.0), lambda: net.gradient_moments(X, Y),
        lambda: net.gradient_gram(X, Y), lambda: net.input_gradient(X, Y),
        lambda: net.input_jacobian(X), lambda: net.hessian_vector_product(X, Y, v),
        lambda: net.gauss_newton_vector_product(X, Y, v), lambda: net.predict(X.T.copy().T),
        lambda: Network([300, 3000, 300], backend=backend), net.copy,
        lambda: net.fit(X, Y, epochs=1, batch_size=8000, optimizer="lbfgs"),
        lambda: net.fit(X, Y, epochs=1, batch_size=8000, clip_norm=1.0),
        lambda: net.partial_fit(X, Y, 8000), lambda: net.fit(X, Y, epochs=1, dropout=0.5),
    ]
    refused = 0
    for call in calls:
        # From nothing at all to what the call needs, or 40 MB.
        for megabytes in (0, 1, 2, 4, 8, 16, 40):
            before = net.parameters, [slot.copy() for slot in net._engine.slots]
            resource.setrlimit(resource.RLIMIT_AS, (pages()[0] * 4096 + megabytes * 10**6, -1))
            try:
                call()
            except MemoryError:
                failed = True
            else:
                failed = False
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
            if not failed:
                break
            refused += 1
            assert np.array_equal(net.parameters, before[0])
            assert all(map(np.array_equal, net._engine.slots, before[1]))
    assert np.isfinite(net.gradient(X, Y).vector).all()
    print(refused)
    """
    (refused,) = python(code, backend)
    assert int(refused) > 15


@on_linux
def test_a_million_calls_take_no_more_memory():
    if not HAS_COMPILED:
        pytest.skip("the reference would take minutes")
    code = """
    small = Network([3, 4, 2], seed=0)
    x, y, wrong = X[0, :3].copy(), Y[0, :2].copy(), np.full(3, np.nan)
    out = np.empty(small.n_parameters)

    def calls(n):
        for _ in range(n):
            small.predict(x)
            small.partial_fit(x, y)
        for _ in range(n // 20):
            small.gradient(x, y)
            small.gradient(x, y, out=out)
            small.cost(x, y)
            try:
                small.predict(wrong)
            except ValueError:
                pass

    calls(50_000)
    before = pages()[1]
    calls(450_000)
    print((pages()[1] - before) * 4096)
    """
    (growth,) = python(code)
    assert int(growth) < 2**20


# ---- threads and processes -----------------------------------------------------------------------


@every_backend
def test_what_another_thread_writes_into_the_data_is_no_crash(backend):
    """The result is the caller's affair; the parameters are numbers, and the next call works."""
    random = np.random.default_rng(0)
    X, Y = random.normal(size=(500, 8)), random.random((500, 2))
    net = Network([8, 6, 2], seed=0, backend=backend)
    stop = threading.Event()

    def scribble():
        own = np.random.default_rng(1)
        while not stop.is_set():
            row = own.integers(500)
            X[row], Y[row] = own.normal(size=8), own.random(2)

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        for _ in range(5):
            net.fit(X, Y, epochs=4)
            assert np.isfinite(net.gradient(X, Y, per_example=True).vector).all()
    finally:
        stop.set()
        thread.join(CLOCK_LIMIT)
    assert np.isfinite(net.parameters).all()
    assert net.gradient(X, Y).vector.tobytes() == net.copy().gradient(X, Y).vector.tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself are POSIX")
@every_backend
def test_ctrl_c_belongs_to_the_main_thread_while_another_one_fits(backend):
    code = """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    epochs = []
    go_on = threading.Event()

    def callback(net, history):
        epochs.append(history.epochs)
        return go_on.is_set()

    thread = threading.Thread(
        target=lambda: net.fit(X, Y, epochs=10**9, callbacks=callback), daemon=True
    )
    thread.start()
    while not epochs:
        time.sleep(0.001)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
    except KeyboardInterrupt:
        print("interrupted")
    # The fit goes on, to the end that it is told.
    seen = len(epochs)
    while len(epochs) < seen + 2:
        time.sleep(0.001)
    go_on.set()
    thread.join(30)
    print(thread.is_alive(), net.predict(X[:2]).shape == (2, 3))
    """
    assert python(code, backend) == ["interrupted", "False", "True"]


@needs_fork
@every_backend
def test_a_forked_child_fits_on_with_the_same_bits(backend):
    code = """
    twin = net.copy()
    child = os.fork()
    if child == 0:
        twin.fit(X, Y, epochs=2)
        sys.stdout.write(twin.parameters.tobytes().hex() + chr(10))
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    net.fit(X, Y, epochs=2)
    print(net.parameters.tobytes().hex())
    """
    in_child, in_parent = python(code, backend)
    assert in_child == in_parent


@every_backend
@pytest.mark.parametrize(
    "work", ["net.fit(X, Y, epochs=10**9)", "[net.gradient(X, Y) for _ in range(10**9)]"]
)
def test_a_process_ends_though_a_daemon_thread_is_at_work(work, backend):
    code = f"""
    thread = threading.Thread(target=lambda: {work}, daemon=True)
    thread.start()
    time.sleep(0.1)
    print(thread.is_alive())
    """
    assert python(code, backend) == ["True"]


# ---- other interpreters, and what was never made -------------------------------------------------

IN_ANOTHER = """
import sys
sys.argv = ["", "compiled"]
try:
    from cbackprop import Network
except ImportError:
    print("ImportError")
else:
    print(Network([2, 3, 1], seed=0).fit([[1.0, 2.0]], [[0.5]], epochs=3).epochs)
"""


def test_a_second_interpreter_works_or_is_refused_cleanly():
    """NumPy's core loads once in a process: whichever interpreter comes second has ImportError."""
    module = "_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters"
    pytest.importorskip(module)
    code = f"""
    import {module} as interpreters
    other = interpreters.create()
    failure = interpreters.run_string(other, {IN_ANOTHER!r})
    assert failure is None, failure
    interpreters.destroy(other)
    print(Network([2, 3, 1], seed=0).fit([[1.0, 2.0]], [[0.5]], epochs=4).epochs)
    """
    first, second = python(code)
    assert first in ("ImportError", "3")
    assert second == "4"


@every_backend
def test_what_was_never_made_is_freed_in_silence(backend):
    """An exception in a destructor would reach sys.unraisablehook."""
    dtype_and_more = ("quadratic", "float64", 1)
    with pytest.MonkeyPatch.context() as patch:
        unraisable = []
        patch.setattr(sys, "unraisablehook", unraisable.append)
        Network.__new__(Network)
        for arguments in (
            {"sizes": [4, 0]},
            {"sizes": [10**7, 10**8]},  # 8 PB
            {"sizes": [4, 3], "cost": "x"},
            {"sizes": [4, 3], "threads": 0},
        ):
            with pytest.raises((ValueError, MemoryError)):
                Network(**arguments, backend=backend)
        if backend == "compiled":
            kind = backends.kernels("float64").Engine
            for wrong in ((), ((4, 3),), ((4, 3), ("no such",), *dtype_and_more), (None,) * 5):
                with pytest.raises((TypeError, KeyError)):
                    kind(*wrong)
            with pytest.raises(TypeError):
                kind.__new__(kind)
        gc.collect()
        assert unraisable == []
