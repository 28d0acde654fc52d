"""The eight promises of docs/guarantees.md, one short test or a few for each.

They show what each promise means; the long tests that look for its limits are named there, too.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time

import mpmath
import numpy as np
import oracle
import pytest
from support import (
    FMA_LEVELS,
    both_dtypes,
    data,
    needs_compiled,
    needs_two_fma_levels,
    output_of,
    run_code,
    state,
)

from cbackprop import SGD, Adam, ModelFileError, Network

CLOCK_LIMIT = 300  # seconds until a test that waits gives up


# ---- 1. Exact ------------------------------------------------------------------------------------


def test_exact_where_a_saturated_neuron_is_right_to_its_last_digits():
    """Sigmoid, cross-entropy, target 1: δ = −e^(−z)/(1 + e^(−z)), in the tail as in the middle."""
    net = Network([1, 1], cost="cross_entropy")
    net.parameters = [1.0, 0.0]
    for z in (-700.0, -40.0, -1.0, 0.0, 1.0, 40.0, 700.0):
        with mpmath.workdps(60):
            e = mpmath.exp(-mpmath.mpf(z))
            expected = -e / (1 + e)
            got = mpmath.mpf(float(net.backward([z], [1.0]).delta[1][0]))
            assert abs(got - expected) <= 4 * np.finfo(float).eps * abs(expected)


@both_dtypes
def test_exact_to_within_its_proven_bound_where_hidden_neurons_are_saturated(dtype):
    """Every derivative against hundreds of digits, in a network whose z reach to ±100."""
    X, Y = data(1, (3, 2), dtype)
    net = Network([3, 4, 2], dtype=dtype, seed=3)
    for W in net.weights:
        W *= 80
    reached = np.abs(np.concatenate([np.ravel(z) for z in net.forward(X).z[1:]]))
    assert reached.max() > 40
    weights, biases = ([np.asarray(v, float) for v in part] for part in (net.weights, net.biases))
    model = oracle.Model(weights, biases, ["sigmoid"] * 2, "quadratic")
    exact = [part.astype(float) for part in (X, Y)]
    truth = oracle.many_digit_derivatives(model, *exact, model.parameter_places)[1][0]
    bound, operations = oracle.error_bound(model, *(part[0] for part in exact))
    numbers = np.finfo(dtype)
    for place, got, right, limit in zip(
        model.parameter_places, net.gradient(X, Y).vector.tolist(), truth, bound, strict=True
    ):
        error = float(abs(mpmath.mpf(got) - right))
        assert error <= numbers.eps / 2 * limit + operations * float(numbers.smallest_subnormal), (
            place
        )


# ---- 2. Same bits --------------------------------------------------------------------------------


@needs_compiled
@both_dtypes
def test_same_bits_alone_in_any_batch_at_any_place_and_with_any_number_of_threads(dtype):
    X, Y = data(64, (150, 10), dtype)
    net = Network([150, 700, 10], ["tanh", "softmax"], "cross_entropy", dtype=dtype, seed=1)

    def rows(net, X, Y):
        each = net.gradient(X, Y, per_example=True).vector
        return [a.tobytes() + g.tobytes() for a, g in zip(net.predict(X), each, strict=True)]

    expected = rows(net, X, Y)
    assert [rows(net, X[i : i + 1], Y[i : i + 1])[0] for i in range(64)] == expected
    assert rows(net, X[::-1], Y[::-1]) == expected[::-1]
    assert rows(net, X[5:12], Y[5:12]) == expected[5:12]
    for threads in (2, 3):
        other = Network(
            net.sizes, net.activations, "cross_entropy", dtype=dtype, seed=1, threads=threads
        )
        assert rows(other, X, Y) == expected
        # Sums over examples run in one order, too.
        assert other.gradient(X, Y).vector.tobytes() == net.gradient(X, Y).vector.tobytes()


LEVEL = """
    import hashlib, sys
    import numpy as np
    import cbackprop
    random = np.random.default_rng(0)
    X, Y = random.normal(size=(50, 30)), random.random((50, 5))
    for dtype in ("float32", "float64"):
        net = cbackprop.Network([30, 21, 5], ["tanh", "sigmoid"], dtype=dtype, seed=0)
        net.fit(X, Y, epochs=5, batch_size=8)
        result = net.gradient(X, Y, per_example=True).vector
        print(hashlib.sha256(net.parameters.tobytes() + result.tobytes()).hexdigest())
"""


@needs_two_fma_levels
def test_same_bits_on_every_simd_level_with_fma():
    trained = {output_of(LEVEL, CBACKPROP_SIMD=level, keep_switches=False) for level in FMA_LEVELS}
    assert len(trained) == 1


# ---- 3. A failed call changes nothing ------------------------------------------------------------


def fails(*arguments):
    raise ZeroDivisionError("mine")


FAILURES = {
    "a number that is none": lambda net, X, Y: net.fit(X, np.where(Y > 0.9, np.nan, Y)),
    "a shape that does not fit": lambda net, X, Y: net.partial_fit(X, Y[:, :2]),
    "an option that is none": lambda net, X, Y: net.fit(X, Y, optimizer=SGD(0.1), dropout=1.0),
    "a schedule that raises": lambda net, X, Y: net.fit(X, Y, optimizer="rprop", schedule=fails),
    "a metric that raises": lambda net, X, Y: net.fit(X, Y, optimizer="lbfgs", metrics=fails),
    "a step beyond the numbers": lambda net, X, Y: net.partial_fit(
        X, Y, batch_size=8, optimizer=SGD(1e308), options={"l2": 1e10}
    ),
    "a training that diverges": lambda net, X, Y: net.fit(
        X, Y, optimizer=SGD(1e308), l2=1e10, epochs=3
    ),
    "a file that is not there": lambda net, X, Y: net.fit(
        X, Y, checkpoint="no such folder/file", optimizer="adamw"
    ),
    "no memory": lambda net, X, Y: net.gradient_gram(
        *(np.lib.stride_tricks.as_strided(v, (2**50, v.shape[1]), (0, 8)) for v in (X, Y))
    ),
}


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_call_changes_nothing(failure, backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, Y = data(40, (6, 3))
    net = Network([6, 5, 3], seed=0, backend=backend)
    net.fit(X, Y, epochs=2, optimizer=Adam(0.01))
    before, arrays = state(net), (X.tobytes(), Y.tobytes())
    with pytest.raises(
        (ValueError, FloatingPointError, ZeroDivisionError, OSError, MemoryError)
    ) as caught:
        FAILURES[failure](net, X, Y)
    assert "\n" not in str(caught.value)
    assert state(net) == before
    assert (X.tobytes(), Y.tobytes()) == arrays
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_a_divergence_names_its_epoch_and_leaves_the_parameters_of_its_start(backend):
    X, Y = data(40, (6, 3))
    net = Network([6, 3], "identity", seed=0, backend=backend)
    completed = [state(net)]
    with pytest.raises(FloatingPointError) as caught:
        net.fit(
            X, Y, epochs=10_000, learning_rate=2.0,
            callbacks=lambda net, history: completed.append(state(net)),
        )  # fmt: skip
    # The first entry is the network before the fit.
    assert str(caught.value).startswith(f"training diverged in epoch {len(completed)}: ")
    assert len(completed) > 2
    assert state(net) == completed[-1]


# ---- 4. Nothing runs from a file -----------------------------------------------------------------

LOADED = """
    import sys
    import cbackprop
    cbackprop.Network.load(sys.argv[1])  # what is imported late is there now
    seen = []
    sys.addaudithook(lambda event, arguments: seen.append(event))
    net = cbackprop.Network.load(sys.argv[1])
    seen, done = list(seen), None
    print(*sorted(set(seen)))
"""


def test_nothing_runs_from_a_file_as_python_itself_reports(tmp_path):
    """Python announces what it does: a file is opened, and no code compiled, run or imported."""
    path = tmp_path / "net.safetensors"
    Network([6, 5, 3], ["relu", "softmax"], "cross_entropy", seed=0).save(path)
    seen = set(output_of(LOADED, str(path), keep_switches=False).split())
    assert "open" in seen
    harmless = ("open", "os.", "object.__", "ctypes.", "sys._getframe", "time.")
    assert {event for event in seen if not event.startswith(harmless)} == set()
    assert not seen & {"os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile"}


def test_nothing_runs_from_a_pickle_that_is_named_like_a_model(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it ran"),)

    path = tmp_path / "net.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelFileError):
        Network.load(path)
    assert not (tmp_path / "it ran").exists()


# ---- 5. Resume equals uninterrupted --------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rprop", "lbfgs"])
def test_resume_equals_uninterrupted(optimizer, tmp_path):
    X, Y = data(40, (6, 3))

    def fit(net, epochs, **more):
        options = {} if optimizer == "lbfgs" else {"dropout": 0.2, "batch_size": 7}
        return net.fit(
            X, Y, epochs=epochs, optimizer=optimizer, validation_fraction=0.2, **options, **more
        )

    whole = Network([6, 5, 3], seed=1)
    history = fit(whole, 9)
    file = tmp_path / "checkpoint"
    fit(Network([6, 5, 3], seed=1), 4, checkpoint=file)
    # Another network, another seed: everything comes from the file.
    resumed = Network([6, 5, 3], seed=2)
    again = fit(resumed, 9, checkpoint=file, resume=True)
    assert state(resumed) == state(whole)
    assert (again.cost, again.validation_cost) == (history.cost, history.validation_cost)


# ---- 6. Ctrl-C -----------------------------------------------------------------------------------

INTERRUPTED = """
    import os, signal, sys, threading, time
    import numpy as np
    from cbackprop import SGD, Network

    signal.signal(signal.SIGINT, signal.default_int_handler)
    random = np.random.default_rng(0)
    X, Y = random.normal(size=(3000, 300)), random.random((3000, 3))
    net = Network([300, 200, 3], seed=0)
    twin = net.copy()
    pressed = []

    def press():
        while net._engine.step_count == 0:
            time.sleep(0.01)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    try:
        net.fit(X, Y, epochs=10**9, batch_size=100, shuffle=False)
    except KeyboardInterrupt:
        waited = time.monotonic() - pressed[0]
    # So many whole batches, in turn, and nothing else.
    steps = net._engine.step_count
    for step in range(steps):
        rows = slice(step * 100 % 3000, step * 100 % 3000 + 100)
        twin.partial_fit(X[rows], Y[rows], batch_size=100)
    print(steps > 0, np.array_equal(net.parameters, twin.parameters), waited)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself are POSIX")
@needs_compiled
def test_ctrl_c_stops_a_fit_at_a_batch_boundary(record_property):
    some_steps, same, waited = output_of(INTERRUPTED, keep_switches=False).split()
    assert (some_steps, same) == ("True", "True")
    record_property("seconds", waited)
    # The promise is 0.1; a machine under load may be late.
    assert float(waited) < 5


# ---- 7. The GIL ----------------------------------------------------------------------------------


@needs_compiled
@pytest.mark.parametrize("call", ["forward", "gradient", "train"])
def test_the_gil_is_released_so_that_other_threads_go_on_during_a_call(call):
    """A thread counts; nothing but the core can let it, for Python itself would not take turns."""
    X, Y = data(5_000, (100, 10))
    net = Network([100, 120, 10], seed=0).partial_fit(X, Y)
    engine, a, vector = net._engine, np.empty((5_000, 10)), np.empty(net.n_parameters)
    # The core's own calls: what NumPy does around them releases the GIL, too.
    work = {
        "forward": lambda: engine.forward(X, [None, None], [None, a]),
        "gradient": lambda: engine.gradient(X, Y, None, 5_000.0, vector),
        "train": lambda: engine.train(X, Y, None, 5_000, None, None, 0),
    }[call]
    count, stop = 0, threading.Event()

    def counting():
        nonlocal count
        while not stop.is_set():
            count += 1
            time.sleep(0)

    thread = threading.Thread(target=counting)
    interval = sys.getswitchinterval()
    thread.start()
    try:
        sys.setswitchinterval(CLOCK_LIMIT)
        before, give_up = count, time.monotonic() + CLOCK_LIMIT / 3
        # One call is enough on an idle machine.
        while count - before < 100 and time.monotonic() < give_up:
            work()
        counted = count - before
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        thread.join(CLOCK_LIMIT)
    assert counted >= 100


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_threads_that_read_one_network_get_right_results(backend):
    X, Y = data(200, (6, 3))
    net = Network([6, 40, 3], seed=0, backend=backend)
    expected = net.gradient(X, Y).vector.tobytes()
    found = []

    def call():
        for _ in range(200):
            found.append(net.gradient(X, Y).vector.tobytes())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CLOCK_LIMIT)
    assert found == [expected] * 800


@pytest.mark.skipif(sys.platform != "linux", reason="libraries are listed in Linux's /proc")
@needs_compiled
def test_there_is_no_openmp_runtime():
    code = """
    import numpy as np
    from cbackprop import Network
    net = Network([300, 300, 3], seed=0, threads=2)
    net.fit(np.ones((500, 300)), np.ones((500, 3)), epochs=2)
    with open("/proc/self/maps") as file:
        libraries = {line.split()[-1].rsplit("/")[-1] for line in file if ".so" in line}
    assert any("_f64" in name for name in libraries), libraries
    print(*sorted(name for name in libraries if "omp" in name))
    """
    assert output_of(code, keep_switches=False).split() == []


# ---- 8. The compiled core ------------------------------------------------------------------------

WITHOUT_CORE = """
    import sys, warnings

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.startswith("cbackprop.kernels._"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Missing())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import cbackprop
        net = cbackprop.Network([2, 3, 1], seed=0)
        net.fit([[1.0, 2.0]], [[0.5]])
    for warning in caught:
        print(f"{warning.category.__name__}: {warning.message}")
    print(net.backend)
"""


def test_the_compiled_core_is_never_missing_silently():
    result = run_code(WITHOUT_CORE, keep_switches=False)
    assert (result.returncode, result.stderr) == (0, "")
    warning, backend = result.stdout.splitlines()
    assert warning.startswith("RuntimeWarning: the compiled core of cbackprop is missing")
    assert "slower" in warning
    assert "pip install" in warning
    assert backend == "reference"


def test_a_required_compiled_core_that_is_missing_is_an_import_error():
    result = run_code(WITHOUT_CORE, keep_switches=False, CBACKPROP_REQUIRE_EXT="1")
    assert result.returncode == 1
    assert "ImportError: the compiled core of cbackprop is missing" in result.stderr
