"""What surrounds a call: memory that runs out or grows, threads, forks, interpreters, the end,
signals, NumPy's error state, an optimising Python.

Each test has a process of its own, apart from those about data that changes, what was never made
and NumPy's error state. The workers of Network(threads=n): test_threads.py.
"""

from __future__ import annotations

import gc
import sys
import textwrap
import threading

import numpy as np
import pytest
from rejections import examples, network
from support import BACKENDS, HAS_COMPILED, every_backend, needs_fork, output_of

from cbackprop import SGD, Adagrad, Network, RMSprop, Rprop, schedules
from cbackprop import backend as backends

CLOCK_LIMIT = 300  # seconds until a test that waits gives up

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

    no_limit = resource.RLIM_INFINITY
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
        lambda: net.vjp(X, Y), lambda: net.jvp(X, v, X),
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
            least = pages()[0] * 4096
            resource.setrlimit(resource.RLIMIT_AS, (least + megabytes * 10**6, no_limit))
            try:
                call()
            except MemoryError:
                failed = True
            else:
                failed = False
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (no_limit, no_limit))
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
except (ImportError, UserWarning):  # NumPy 2.0 warns, and warnings are errors here
    print("refused")
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
    assert first in ("refused", "3")
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


# ---- Ctrl-C, NumPy's error state, -OO ------------------------------------------------------------


INTERRUPTED = """
    import os, signal, threading, time
    import numpy as np
    from cbackprop import SGD, Adam, Network, Rprop

    # A shell's background job passes on that SIGINT is ignored; a terminal does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    backend, optimizer, options = {backend!r}, {optimizer}, {options}
    # Batches of some milliseconds, far more of them than there is time for.
    n, rows, width = {n}, 200, {width}
    X = np.random.default_rng(0).normal(size=(n, width))
    Y = X[:, :3] * 0.1
    net = Network([width, width, 3], seed=0, backend=backend, activation="tanh")
    twin = net.copy()
    pressed = []

    def press(ready):
        while not ready():
            time.sleep(0.01)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def interrupted(call, ready=lambda: True):
        timer = threading.Timer(0.15, press, (ready,))
        timer.start()
        try:
            call()
        except KeyboardInterrupt:
            seconds = time.monotonic() - pressed[-1]
            assert seconds < 2, seconds
            return
        finally:
            timer.join()
        raise AssertionError("no KeyboardInterrupt")

    # A gradient changes nothing.
    before = net.parameters
    interrupted(lambda: [net.gradient(X, Y) for _ in range(10000)])
    assert np.array_equal(net.parameters, before)

    # fit keeps the last full batch: what so many steps of partial_fit give.
    interrupted(
        lambda: net.fit(
            X, Y, epochs=100000, batch_size=rows, shuffle=False, optimizer=optimizer, **options
        ),
        # However slow the machine is, there is a full batch to keep.
        lambda: net._engine.step_count > 0,
    )
    steps = 0
    while not np.array_equal(net.parameters, twin.parameters):
        start = steps * rows % n
        twin.partial_fit(
            X[start : start + rows], Y[start : start + rows], batch_size=rows, optimizer=optimizer,
            options=options,
        )
        steps += 1
        assert steps < 100000
    assert steps > 0
    assert net._engine.step_count == twin._engine.step_count
    assert net._engine.previous_cost == twin._engine.previous_cost
    assert all(np.array_equal(*pair) for pair in zip(net._engine.slots, twin._engine.slots))
    assert net.fit(X[:400], Y[:400], epochs=1).epochs == 1
    assert net.predict(X[:3]).shape == (3, 3)
    print("ok")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself are POSIX")
@pytest.mark.parametrize(
    ("backend", "optimizer", "options"),
    [(backend, "SGD(0.001)", "{}") for backend in BACKENDS]
    + [("compiled", o, "{}") for o in ("SGD(0.001, 0.9)", "Adam()") if HAS_COMPILED]
    + [(b, "Rprop(1e-4)", "dict(l2=0.01, max_norm=1.0, clip_norm=0.5)") for b in BACKENDS],
)
def test_ctrl_c_keeps_the_last_full_batch(backend, optimizer, options):
    n, width = (4000, 300) if backend == "compiled" else (4000, 100)
    code = INTERRUPTED.format(
        backend=backend, optimizer=optimizer, options=options, n=n, width=width
    )
    assert output_of(code, keep_switches=False) == "ok\n"


def test_validation_does_not_rest_on_assertions():
    code = """
        import numpy as np
        from cbackprop import SGD, Network
        assert False, "assertions are still on"
        net = Network([4, 5, 3], seed=0)
        X, Y = np.zeros((2, 4)), np.zeros((2, 3))
        calls = [
            lambda: Network([4, 0]), lambda: Network([4, True]), lambda: SGD(-1.0),
            lambda: net.predict(None), lambda: net.predict(X[:, :3]), lambda: net.fit(X, Y[:1]),
            lambda: net.fit(X, Y + np.nan), lambda: net.gradient(X, Y, out=np.zeros(7)),
            lambda: net.predict(X, out=X[:, :3]), lambda: net.fit(X, Y, epochs=-1),
            lambda: net.chain_rule(X[0], Y[0]).weight(1, 5, 0), lambda: net.predict(X, out=X),
        ]
        for call in calls:
            try:
                call()
            except (TypeError, ValueError) as error:
                print(type(error).__name__)
        print(net.check_gradient(X, Y).passed)
    """
    printed = output_of(code, options=("-OO", "-W", "error"), keep_switches=False).split()
    assert len(printed) == 13
    assert printed[-1] == "True"


QUIET = {
    "predict": lambda net, X, Y: net.predict(X),
    "forward": lambda net, X, Y: net.forward(X),
    "backward": lambda net, X, Y: net.backward(X, Y),
    "cost": lambda net, X, Y: net.cost(X, Y, sample_weight=np.full(6, 1e-30)),
    "gradient": lambda net, X, Y: net.gradient(X, Y),
    "weighted gradient": lambda net, X, Y: net.gradient(X, Y, sample_weight=np.full(6, 1e-30)),
    "gradient per example": lambda net, X, Y: net.gradient(X, Y, per_example=True),
    "norm": lambda net, X, Y: net.gradient(X, Y).norm(),
    "norms": lambda net, X, Y: net.gradient_norms(X, Y),
    "jacobian": lambda net, X, Y: net.jacobian(X),
    "clipped gradient": lambda net, X, Y: net.clipped_gradient(X, Y, 1e-30),
    "inner products": lambda net, X, Y: net.gradient_gram(X, Y),
    "inner products of two sets": lambda net, X, Y: net.gradient_gram(X, Y, X * 1e-9, Y),
    "moments": lambda net, X, Y: net.gradient_moments(X, Y),
    "input gradient": lambda net, X, Y: net.input_gradient(X, Y),
    "input Jacobian": lambda net, X, Y: net.input_jacobian(X),
    "vjp": lambda net, X, Y: net.vjp(X, Y),
    "jvp": lambda net, X, Y: net.jvp(X, np.full(43, 1e-30), X),
    "Hessian": lambda net, X, Y: net.hessian_vector_product(X, Y, np.full(43, 1e-30)),
    "Gauss-Newton": lambda net, X, Y: net.gauss_newton_vector_product(X, Y, np.full(43, 1e-30)),
    "check_gradient": lambda net, X, Y: net.check_gradient(X[:1], Y[:1]),
    "diagnose_gradient": lambda net, X, Y: net.diagnose_gradient(X, Y, np.full(43, 1e-30)),
    "nudge": lambda net, X, Y: net.chain_rule(X[0], Y[0]).activation(0, 0).nudge(1e-30),
    "fit": lambda net, X, Y: net.fit(X, Y, epochs=2, optimizer="adam", validation_data=(X, Y)),
    "fit with momentum": lambda net, X, Y: net.fit(X, Y, epochs=2, optimizer=SGD(1e-30, 0.5)),
    "fit with every rule": lambda net, X, Y: [
        net.fit(X, Y, epochs=3, batch_size=4, optimizer=optimizer)
        for optimizer in (
            "adamw",
            "rmsprop",
            RMSprop(0.01, 0.9, 1e-8, 0.5, True),
            "adagrad",
            Adagrad(0.1, 1e-10, 0.1),
            "rprop",
            Rprop(0.01, takes_back=False),
        )
    ],
    "fit with every option": lambda net, X, Y: net.fit(
        X,
        np.eye(3)[[0, 1, 2, 0, 1, 2]],
        epochs=3,
        batch_size=4,
        l1=1e-3,
        l2=1e-2,
        dropout=0.4,
        max_norm=0.5,
        clip_norm=1e-2,
        clip_gradient_norm=1e-3,
        frozen=(1,),
        sample_weight=np.full(6, 1e-30),
        class_weight="balanced",
        validation_fraction=0.3,
        metrics=("mse", "mae", "r2", "accuracy"),
        early_stopping=2,
        schedule=schedules.ReduceOnPlateau(0.1, 0),
    ),
    "private fit": lambda net, X, Y: net.fit(
        X, Y, epochs=2, batch_size=4, dropout=0.4, clip_norm=1e-2, noise_multiplier=1e-3
    ),
    "fit with norms at the ends": lambda net, X, Y: [
        net.copy().fit(X, Y, epochs=2, max_norm=size, clip_norm=size) for size in (1e-30, 1e30)
    ],
    "partial_fit": lambda net, X, Y: net.partial_fit(X, Y).partial_fit(X[0], Y[0]),
    "reset": lambda net, X, Y: net.copy().reset(3),
    "score": lambda net, X, Y: net.score(X, Y),
}


@every_backend
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("call", list(QUIET))
def test_numpys_error_state_makes_no_errors_of_its_own(call, dtype, backend):
    X, Y = examples()
    # Small enough for gradients to underflow in float32, and saturated enough for exp to.
    with np.errstate(all="raise"):
        for inputs in (X, X * 1e-25, X * 300, X * 0):
            for init in ("auto", "lecun", "standard_normal", "zeros"):
                QUIET[call](network(backend, dtype=dtype, init=init), inputs, Y)


@every_backend
def test_numpys_error_state_is_left_as_it_was(backend):
    X, Y = examples()
    with np.errstate(over="raise", under="warn", invalid="ignore", divide="call"):
        before = np.geterr()
        net = network(backend)
        net.fit(X, Y, epochs=1)
        with pytest.raises(ValueError, match=r"^X has nan"):
            net.predict(X * np.nan)
        assert np.geterr() == before
