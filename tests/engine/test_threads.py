"""Network(threads=n): the same bits as on one thread, and a pool that stands forks, signals, other
threads and the end of the process."""

from __future__ import annotations

import ctypes
import ctypes.util
import pickle
import platform
import sys
import textwrap
import threading

import numpy as np
import pytest
from support import bits, both_dtypes, every_level, needs_fork, output_at_level, output_of

import cbackprop
from cbackprop import SGD, Adam, Network, Rprop
from cbackprop.backend import kernels

pytestmark = pytest.mark.skipif(
    cbackprop.info()["backend"] != "compiled", reason="the reference has no threads of its own"
)

CLOCK_LIMIT = 300

OPTIMIZERS = {
    "sgd": SGD(0.05),
    "momentum": SGD(0.01, momentum=0.9),
    "nesterov": SGD(0.01, momentum=0.9, nesterov=True),
    "adam": Adam(0.001),
}
# Widths beside whole vectors, whole cache lines and whole shares. With 256 examples or fewer each
# of the wide layers is shared (a million multiply-adds to each thread), the last one is not.
SIZES = ((150, 127, 65, 3), (100, 128, 129, 64, 10), (97, 192, 161, 5), (300, 513, 33))


def data(sizes, n, dtype, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, sizes[0])).astype(dtype)
    Y = random.dirichlet(np.ones(sizes[-1]), size=n).astype(dtype)
    return X, Y


def network(sizes, threads, dtype="float64", **options):
    activation = ["tanh", *["relu"] * (len(sizes) - 3), "softmax"]
    return Network(
        sizes, activation, "cross_entropy", dtype=dtype, seed=1, threads=threads, **options
    )


# ---- the same bits -------------------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_fit_has_the_same_bits_with_any_number_of_threads(sizes, optimizer, dtype):
    X, Y = data(sizes, 610, dtype)
    # 300: two blocks, of which the second is added and applied; 610: three.
    for batch_size, rows in ((1, 3), (30, 90), (128, 300), (200, 600), (256, 512), (300, 610),
                             (610, 610)):  # fmt: skip
        fits = []
        for threads in (1, 2, 3, 5):
            net = network(sizes, threads, dtype)
            for shuffle in (True, False):
                history = net.fit(
                    X[:rows], Y[:rows], epochs=1, batch_size=batch_size, optimizer=optimizer,
                    shuffle=shuffle,
                )  # fmt: skip
            slots = [bits(slot) for slot in net._engine.slots]
            fits.append((bits(net.parameters), slots, history.cost))
        assert all(fit == fits[0] for fit in fits[1:])


@both_dtypes
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_calls_have_the_same_bits_with_any_number_of_threads(sizes, dtype):
    X, Y = data(sizes, 300, dtype)
    for n in (1, 2, 37, 128, 255, 256, 257, 300):
        answers = []
        for threads in (1, 2, 3, 5):
            net = network(sizes, threads, dtype)
            back = net.backward(X[:n], Y[:n])
            arrays = [*back.z[1:], *back.a, *back.delta[1:], *back.dC_da]
            arrays += [net.predict(X[:n]), net.gradient(X[:n], Y[:n]).vector]
            weight = np.linspace(0, 2, n) + 0.5
            arrays += [net.gradient(X[:n], Y[:n], sample_weight=weight).vector]
            arrays += [net.gradient_norms(X[:n], Y[:n]), net.cost(X[:n], Y[:n], per_example=True)]
            arrays += [net.gradient(X[:4], Y[:4], per_example=True).vector]
            answers.append([bits(array) for array in arrays])
        assert all(answer == answers[0] for answer in answers[1:])


# Few neurons and many examples: threads share the examples, of which a sum is made by position.
NARROW = ((20, 30, 10), (5, 8, 3), (30, 60, 4))


@both_dtypes
@pytest.mark.parametrize("sizes", NARROW, ids=str)
def test_calls_on_many_examples_have_the_same_bits_with_any_number_of_threads(sizes, dtype):
    X, Y = data(sizes, 5000, dtype)
    v = np.random.default_rng(1).normal(size=network(sizes, 1).n_parameters)
    for n in (257, 700, 1100, 2048, 5000):
        x, y, weight = X[:n], Y[:n], np.linspace(0, 2, n) + 0.5
        answers = []
        for threads in (1, 2, 3, 5, 8):
            net = network(sizes, threads, dtype)
            back = net.backward(x, y)
            arrays = [*back.z[1:], *back.a, *back.delta[1:], *back.dC_da]
            arrays += [net.predict(x), net.cost(x, y, per_example=True), np.array(net.cost(x, y))]
            arrays += [np.array(net.cost(x, y, sample_weight=weight)), net.gradient_norms(x, y)]
            arrays += [net.gradient(x, y).vector, net.clipped_gradient(x, y, 0.1).vector]
            arrays += [net.gradient(x, y, sample_weight=weight).vector, net.input_jacobian(x)]
            arrays += [moment.vector for moment in net.gradient_moments(x, y)]
            arrays += [net.vjp(x, y)[0].vector, net.vjp(x, y)[1], net.jvp(x, v, x)]
            arrays += [
                net.hessian_vector_product(x, y, v),
                net.gauss_newton_vector_product(x, y, v),
            ]
            if n < 2000:
                arrays += [net.gradient(x, y, per_example=True).vector, net.jacobian(x)]
            answers.append([bits(array) for array in arrays])
        assert all(answer == answers[0] for answer in answers[1:]), n


@both_dtypes
@pytest.mark.parametrize("sizes", NARROW[:2], ids=str)
def test_fits_of_large_batches_have_the_same_bits_with_any_number_of_threads(sizes, dtype):
    X, Y = data(sizes, 3000, dtype)
    weight = np.linspace(0, 2, 3000)
    fits = []
    for threads in (1, 2, 3, 5, 8):
        net = network(sizes, threads, dtype)
        costs = []
        for options in (
            {"batch_size": 3000, "optimizer": Adam(0.01)},
            {"batch_size": 700, "dropout": 0.2, "l2": 0.01},
            {"batch_size": 1000, "sample_weight": weight, "clip_gradient_norm": 0.1},
            {"batch_size": 800, "clip_norm": 0.5, "noise_multiplier": 0.1},
            {"batch_size": 3000, "optimizer": Rprop()},
            {"batch_size": 600, "frozen": (1,)},
        ):
            costs.append(net.fit(X, Y, epochs=2, **options).cost)
        fits.append((bits(net.parameters), costs))
    assert all(fit == fits[0] for fit in fits[1:])


@both_dtypes
@pytest.mark.parametrize("leaves", [1, 2, 3, 4, 5, 7, 8, 13])
@pytest.mark.parametrize("rest", [0, 64])
def test_gradients_of_leaves_are_added_as_a_binary_counter_adds(leaves, rest, dtype):
    """Leaves of powers of two: then their sums are their means times that number, to the bit."""
    size = cbackprop.EXAMPLES_PER_GROUP
    X, Y = data(NARROW[0], leaves * size + rest, dtype)
    net = network(NARROW[0], 3, dtype)
    waiting = []
    for start in range(0, len(X), size):
        x, y = X[start : start + size], Y[start : start + size]
        level, total = 0, net.gradient(x, y).vector * len(x)
        while waiting and waiting[-1][0] == level:
            level, total = level + 1, waiting.pop()[1] + total
        waiting.append((level, total))
    total = waiting.pop()[1]
    while waiting:
        total = waiting.pop()[1] + total
    expected = total / np.dtype(dtype).type(len(X))
    assert bits(net.gradient(X, Y).vector) == bits(expected)


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8])
def test_the_failure_of_the_first_example_is_told(threads):
    """Of an early one in layer 2, though others fail sooner, in layer 1, and beside it."""
    X, Y = data((20, 30, 10), 3000, "float64")
    net = Network((20, 30, 10), "tanh", seed=1, threads=threads)
    net.weights[0][...] = 0
    net.weights[0][:, 0] = 1
    net.weights[0][:, 1] = 1e300
    net.weights[1][...] = 1e307
    X[:, :2] = 0
    assert np.isfinite(net.cost(X, Y))
    X[1000, 0] = 5  # z of layer 2 is more than a number
    X[1300::40, 1] = 1e10  # in no block of 256 with that one
    for call in (net.forward, lambda X: net.cost(X, Y)):
        with pytest.raises(FloatingPointError, match="layer 2"):
            call(X)


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8])
def test_a_failure_among_many_examples_leaves_the_network_as_it_was(threads):
    X, Y = data(NARROW[0], 3000, "float64")
    net = network(NARROW[0], threads)
    expected = net.gradient(X, Y).vector
    net.weights[0][0] = 1e300
    X[2500:, 0] = 1e10  # z of layer 1 overflows in the last leaves
    for call in (net.gradient, net.cost, net.gradient_norms, net.gradient_moments):
        with pytest.raises(FloatingPointError, match="layer 1"):
            call(X, Y)
    net.weights[0][0] = network(NARROW[0], 1).weights[0][0]
    X, Y = data(NARROW[0], 3000, "float64")
    assert bits(net.gradient(X, Y).vector) == bits(expected)


def test_the_group_of_examples_is_the_kernels_leaf():
    assert kernels("float64").examples_per_leaf == cbackprop.EXAMPLES_PER_GROUP


def test_auto_is_as_many_threads_as_the_process_may_use():
    net = network(NARROW[0], "auto")
    assert net.threads == "auto"
    assert pickle.loads(pickle.dumps(net)).threads == net.copy().threads == "auto"
    X, Y = data(NARROW[0], 3000, "float64")
    assert bits(net.gradient(X, Y).vector) == bits(network(NARROW[0], 1).gradient(X, Y).vector)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "gelu", "identity", "selu"])
@both_dtypes
def test_shared_activations_have_the_same_bits(name, dtype):
    """Layers so wide behind so few inputs that the activation is most of the work."""
    X, Y = data((2, 3), 256, dtype)
    answers = []
    for threads in (1, 2, 3, 5):
        net = Network((2, 2000, 3), name, dtype=dtype, seed=1, threads=threads)
        net.parameters = net.parameters / 30
        back = net.backward(X, Y)
        net.fit(X, Y, epochs=1, batch_size=256, learning_rate=1e-4)
        arrays = [back.a[1], back.da_dz[1], back.delta[1], net.predict(X), net.parameters]
        answers.append([bits(array) for array in arrays])
    assert all(answer == answers[0] for answer in answers[1:])


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("row", [0, 60, 128, 255])
def test_what_is_not_finite_is_found_in_every_part(row, threads):
    X, Y = data((2, 3), 256, "float64")
    net = Network((2, 2000, 3), ["tanh", "identity"], seed=1, threads=threads)
    before = net.parameters
    # tanh makes infinite z finite again: only who looks at this part of z sees it.
    bad_X = X.copy()
    bad_X[row, 0] = np.inf
    with pytest.raises(ValueError, match=rf"X has inf at \[{row}, 0\]"):
        net.predict(bad_X)
    with pytest.raises((ValueError, FloatingPointError)):
        net.fit(bad_X, Y, epochs=1, batch_size=256)
    assert bits(net.parameters) == bits(before)
    # A finite delta at the output, infinite where it is passed back.
    net.weights[1][...] = 1e3
    bad_Y = Y.copy()
    bad_Y[row] = 1e307
    with np.errstate(over="ignore"), pytest.raises((ValueError, FloatingPointError)):
        net.backward(X, bad_Y)


LEVEL = """
    import hashlib, sys
    import numpy as np
    from cbackprop import Adam, Network

    random = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        X = random.normal(size=(300, 150)).astype(dtype)
        Y = random.uniform(size=(300, 9)).astype(dtype)
        hashes = set()
        for threads in (1, 2, 3):
            net = Network((150, 129, 72, 9), "tanh", dtype=dtype, seed=1, threads=threads)
            for batch_size in (128, 300):
                net.fit(X, Y, epochs=1, batch_size=batch_size, optimizer=Adam(0.001))
            net.fit(X, Y, epochs=1, batch_size=200, learning_rate=0.1)
            parts = (net.parameters, net.predict(X), net.gradient(X, Y).vector)
            hashes.add(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
        assert len(hashes) == 1
    print("ok")
"""


@every_level
def test_the_same_bits_on_every_level(level):
    assert output_at_level(level, LEVEL) == "ok\n"


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not sys.platform.startswith("linux"),
    reason="the rounding modes' numbers are x86's, the library's name Linux's",
)
def test_workers_round_as_their_caller_does():
    X, _ = data((150, 3), 256, "float64")
    library = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
    upward, nearest = 0x800, 0
    answers = {}
    for threads in (1, 2):
        net = Network((150, 192, 3), "relu", seed=1, threads=threads)
        net.predict(X)  # the workers are there before the mode changes
        for mode in (upward, nearest):
            try:
                assert library.fesetround(mode) == 0
                answers[threads, mode] = bits(net.predict(X))
            finally:
                library.fesetround(nearest)
    assert answers[2, nearest] == answers[1, nearest]
    assert answers[2, upward] == answers[1, upward] != answers[1, nearest]


# ---- the limit -----------------------------------------------------------------------------------


def test_threads_is_kept():
    net = Network((4, 3), threads=3)
    assert net.threads == 3
    assert net.copy().threads == 3
    assert Network((4, 3)).threads == 1
    assert Network((4, 3), threads=10**6).threads == 64
    assert Network((4, 3), threads=2, backend="reference").threads == 2


def test_the_most_threads_there_are():
    X, Y = data((300, 10), 256, "float32")
    nets = [network((300, 2050, 10), threads, "float32") for threads in (1, 64)]
    for net in nets:
        net.fit(X, Y, epochs=2, batch_size=256, optimizer=Adam(0.001))
    assert bits(nets[0].parameters) == bits(nets[1].parameters)


THREADS_OF_THE_PROCESS = """
    import os
    import numpy as np
    from cbackprop import Network

    def count():
        return len(os.listdir("/proc/self/task"))

    before = count()
    X, Y = np.ones((256, 200)), np.ones((256, 3))
    small = Network((5, 4, 3), seed=0, threads=8)
    small.fit(X[:, :5], Y, epochs=2)
    one = Network((200, 200, 3), seed=0)
    one.fit(X, Y, epochs=2)
    assert count() == before, "no thread before it is needed"
    three = Network((200, 200, 3), seed=0, threads=3)
    for _ in range(3):
        three.fit(X, Y, epochs=1, batch_size=256)
        assert count() == before + 2
    print("ok")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts threads in /proc/self/task")
def test_threads_start_when_needed_and_no_more_than_asked_for():
    assert output_of(THREADS_OF_THE_PROCESS) == "ok\n"


# ---- other threads, forks, the end, Ctrl-C -------------------------------------------------------


def test_two_python_threads_each_fit_their_own_network():
    sizes = (150, 128, 65, 3)
    X, Y = data(sizes, 512, "float64")
    together = {}

    def work(seed, threads):
        net = Network(sizes, "tanh", seed=seed, threads=threads)
        net.fit(X, Y, epochs=6, batch_size=128, optimizer=Adam(0.001))
        return bits(net.parameters)

    callers = [
        threading.Thread(target=lambda s=seed: together.__setitem__(s, work(s, 2)), daemon=True)
        for seed in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(CLOCK_LIMIT)
    assert together == {seed: work(seed, 1) for seed in range(4)}


START = """
    import os, signal, sys, threading, time, warnings
    import numpy as np
    from cbackprop import Adam, Network

    X = np.random.default_rng(0).normal(size=(512, 200))
    Y = X[:, :3] * 0.1
    net = Network((200, 200, 3), "tanh", seed=0, threads=2)

    def fit(net):
        net.fit(X, Y, epochs=2, batch_size=256, optimizer=Adam(0.001))
        return net.parameters

    # Python 3.12 warns of forks beside threads; these are meant.
    warnings.simplefilter("ignore", DeprecationWarning)

    def fork(child):
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            try:
                child()
                os._exit(0)
            except BaseException as error:
                print("child:", error, file=sys.stderr, flush=True)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
"""


@needs_fork
def test_a_forked_child_starts_its_own_workers():
    code = """
    fit(net)
    expected = fit(net.copy())

    def child(depth=2):
        assert np.array_equal(fit(net.copy()), expected)
        if os.path.isdir("/proc/self/task"):
            assert len(os.listdir("/proc/self/task")) == 2
        if depth > 1:
            fork(lambda: child(depth - 1))
        assert np.array_equal(fit(net.copy()), expected)

    for _ in range(20):
        fork(child)
        assert np.array_equal(fit(net.copy()), expected)
    print("ok")
    """
    assert output_of(START + code) == "ok\n"


@needs_fork
def test_a_child_forked_while_the_workers_are_busy():
    code = """
    expected = fit(net.copy())
    stop = False
    other = net.copy()

    def keep_busy():
        while not stop:
            fit(other)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    for _ in range(20):
        fork(lambda: np.testing.assert_array_equal(fit(net.copy()), expected))
    stop = True
    thread.join()
    assert np.array_equal(fit(net.copy()), expected)
    print("ok")
    """
    assert output_of(START + code) == "ok\n"


@pytest.mark.parametrize(
    "end",
    [
        "",  # sleeping workers
        "fit(net)",  # workers that may still spin
        "os._exit(0)",
        "sys.exit(0)",
        "threading.Thread(target=lambda: [fit(net) for _ in range(9999)], daemon=True).start(); "
        "time.sleep(0.2)",
    ],
)
def test_a_process_ends_whatever_its_workers_do(end):
    code = f"{START}\n    fit(net); time.sleep(0.05); print('ok', flush=True); {end}"
    assert output_of(code) == "ok\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself are POSIX")
def test_ctrl_c_during_a_fit_on_two_threads():
    code = """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for call in (
        lambda: net.fit(X, Y, epochs=10**6, batch_size=256, shuffle=False, optimizer="adam"),
        lambda: [net.gradient(X, Y) for _ in range(10**6)],
        lambda: [net.predict(X) for _ in range(10**6)],
    ):
        pressed = []

        def press():
            pressed.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(0.15, press)
        timer.start()
        try:
            call()
        except KeyboardInterrupt:
            assert time.monotonic() - pressed[-1] < 2
        else:
            raise AssertionError("no KeyboardInterrupt")
        timer.join()
        # The parameters are those of a full batch, and everything goes on.
        twin, alone = net.copy(), Network((200, 200, 3), "tanh", seed=0)
        alone.parameters = net.parameters
        assert np.array_equal(net.predict(X), alone.predict(X))
        assert np.array_equal(fit(net), fit(twin))
    print("ok")
    """
    assert output_of(START + code) == "ok\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits are Linux's")
def test_no_thread_can_be_started():
    """The caller does all parts itself: each thread would want more memory than there may be."""
    limits = """
    import os, resource, sys

    # A new thread's stack is as large as the limit that its process began with.
    for limit, size in ((resource.RLIMIT_STACK, 1 << 40), (resource.RLIMIT_AS, 1 << 36)):
        resource.setrlimit(limit, (size, resource.getrlimit(limit)[1]))
    os.execv(sys.executable, [sys.executable, "-c", CODE])
    """
    code = """
    try:
        threading.Thread(target=print).start()
        raise AssertionError("a thread could be started")
    except RuntimeError:
        pass
    expected = fit(Network((200, 200, 3), "tanh", seed=0, threads=1))
    for threads in (2, 5):
        net = Network((200, 200, 3), "tanh", seed=0, threads=threads)
        assert np.array_equal(fit(net), expected)
    assert len(os.listdir("/proc/self/task")) == 1
    print("ok")
    """
    code = f"CODE = {textwrap.dedent(START + code)!r}\n{textwrap.dedent(limits)}"
    assert output_of(code, OPENBLAS_NUM_THREADS="1") == "ok\n"
