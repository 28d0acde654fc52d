"""Gradients and fits on a Dask cluster: the bits of the call in memory, whatever the workers do."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import bits, data, run_code, state

from cbackprop import SGD, Activation, EarlyStopping, Network, schedules

pytest.importorskip("distributed")
import cloudpickle
import dask
import dask.array as da
from distributed import Client, LocalCluster

import cbackprop.dask
from cbackprop.dask import fit, gradient
from cbackprop.dask import map as map_trainings

# The workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SIZES = (5, 7, 3)
N = 3000
X, Y = data(N, SIZES)
EXACT = (512, 1024)  # rows of a chunk
ODD = 700
CHUNK = "chunk 0 ends before row 700, which is no multiple of cbackprop.EXAMPLES_PER_GROUP"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    settings = {
        # That long after a worker was lost a LocalCluster gives it up for good where it is not
        # there at that very moment, such as because it was killed again.
        "distributed.deploy.lost-worker-timeout": "1 hour",
        "distributed.scheduler.no-workers-timeout": "60 s",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: Any) -> Iterator[Any]:
    with Client(cluster) as client:
        yield client


@pytest.fixture
def net() -> Network:
    return Network(SIZES, "tanh", seed=1)


@pytest.fixture(params=[1, 2, 3])
def counted_client(cluster: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Of a cluster of so many workers."""
    cluster.scale(request.param)
    with Client(cluster) as client:
        while len(client.scheduler_info()["workers"]) != request.param:
            time.sleep(0.05)
        yield client
    cluster.scale(2)


def rows(start: int, stop: int) -> tuple[Any, Any]:
    return X[start:stop], Y[start:stop]


def functions(length: int) -> list[Any]:
    return [functools.partial(rows, i, min(i + length, N)) for i in range(0, N, length)]


def ends_first(marker: Path, times: int, load: Any) -> Any:
    """A function that loads, and by SIGKILL ends the process in which it runs the first times."""

    def load_or_end() -> Any:
        for i in range(times):
            try:
                os.close(os.open(f"{marker}{i}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return load()

    return load_or_end


def same(result: Any, expected: Any) -> None:
    assert bits(result.vector) == bits(expected.vector)
    assert result.cost == expected.cost


# ---- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", EXACT)
def test_gradient_has_the_bits_of_the_call_in_memory(client, length, dtype):
    net = Network(SIZES, "tanh", seed=1, dtype=dtype, threads=2)
    same(gradient(client, net, functions(length), exact=True), net.gradient(X, Y))


def test_every_form_of_chunks_means_the_same(client, net, tmp_path):
    expected = net.gradient(X, Y)
    pairs = [f() for f in functions(1024)]
    lazily = [dask.delayed(f)() for f in functions(1024)]
    apart = [(dask.delayed(x), dask.delayed(y)) for x, y in pairs]
    files, archives = [], []
    for i, (x, y) in enumerate(pairs):
        np.save(tmp_path / f"X{i}.npy", x)
        np.save(tmp_path / f"Y{i}.npy", y)
        np.savez(tmp_path / f"{i}.npz", X=x, Y=y)
        files.append((tmp_path / f"X{i}.npy", str(tmp_path / f"Y{i}.npy")))
        archives.append(tmp_path / f"{i}.npz")
    columns = da.from_array(X, chunks=(1024, 2)), da.from_array(Y, chunks=(1024, 1))
    unknown = [part[part.sum(axis=1) > -1e9] for part in columns]  # whose lengths Dask cannot tell
    for chunks in (functions(1024), lazily, apart, files, archives, columns, unknown):
        same(gradient(client, net, chunks, exact=True), expected)


def test_a_large_network_is_sent_without_a_warning_of_dask(client):
    sizes = (700, 2000, 3)  # 11 MB of parameters
    net = Network(sizes, seed=1)

    def few():
        return data(9, sizes)

    same(gradient(client, net, [few]), net.gradient(*few()))


def test_other_chunks_give_what_depends_on_the_chunks_alone(cluster, net):
    results = []
    for n_workers in (1, 2):
        with Client(cluster) as client:
            cluster.scale(n_workers)
            while len(client.scheduler_info()["workers"]) != n_workers:
                time.sleep(0.01)
            with pytest.warns(UserWarning, match=CHUNK) as warned:
                results.append(gradient(client, net, functions(ODD)))
        assert len(warned) == 1
        assert warned[0].filename == __file__
    same(*results)
    expected = net.gradient(X, Y)
    np.testing.assert_allclose(results[0].vector, expected.vector, rtol=0, atol=1e-14)


def test_exact_refuses_them(client, net):
    with pytest.raises(ValueError, match=f"^{CHUNK} .*because exact is True$"):
        gradient(client, net, functions(ODD), exact=True)
    reference = Network(SIZES, backend="reference")
    with pytest.raises(ValueError, match=r"^exact is True and backend of net is 'reference'"):
        gradient(client, reference, functions(512), exact=True)
    found = gradient(client, reference, functions(512)).vector
    np.testing.assert_allclose(found, reference.gradient(X, Y).vector, rtol=0, atol=1e-14)


def test_chunks_without_rows_and_a_last_one_of_any_length(client, net):
    empty = functools.partial(rows, 0, 0)
    chunks = [empty, *functions(1024)[:2], empty, functions(1024)[2], empty]
    same(gradient(client, net, chunks, exact=True), net.gradient(X, Y))


@pytest.mark.parametrize("length", [1024, ODD])
def test_gradient_after_workers_were_killed(client, net, length, tmp_path):
    """While they load, and, having loaded, when the step begins: the chunk is read again."""
    chunks = functions(length)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = gradient(client, net, chunks)
        chunks[1] = ends_first(tmp_path / "loading", 2, chunks[1])
        same(gradient(client, net, chunks), expected)
        own = Activation(ends_in_a_step(tmp_path / "step"), lambda z: 1 - np.tanh(z) ** 2)
        twin = Network(SIZES, [own, "tanh"], seed=1)
        same(gradient(client, twin, functions(length)), gradient(client, twin, functions(length)))
    assert len(list(tmp_path.iterdir())) == 4


def ends_in_a_step(marker: Path) -> Any:
    return lambda z: ends_first(marker, 2, functools.partial(np.tanh, z))()


# ---- refusals ------------------------------------------------------------------------------------


def test_a_chunk_that_changes_is_seen(client, net, tmp_path):
    def changes():
        x, y = rows(512, 1024)
        return x + len(list(tmp_path.iterdir())), y

    own = Activation(ends_in_a_step(tmp_path / "step"), lambda z: 1 - np.tanh(z) ** 2)
    twin = Network(SIZES, [own, "tanh"], seed=1)
    with pytest.raises(ValueError, match=r"chunk 0 is another one now .* of 512 rows"):
        gradient(client, twin, [changes])


def raises():
    raise OSError("no such tape")


def narrow():
    return X[:512, :4], Y[:512]


def single():
    return X[:512].astype("float32"), Y[:512]


def nans():
    return np.full_like(X[:512], np.nan), Y[:512]


@pytest.mark.parametrize(
    ("entry", "kind", "message"),
    [
        (raises, RuntimeError, "^chunk 1 failed: OSError: no such tape$"),
        (narrow, ValueError, r"^in chunk 1: X has shape \(512, 4\); expected \(n, 5\)"),
        (single, TypeError, "^in chunk 1: X has dtype float32; expected float64 as in chunk 0$"),
        (nans, ValueError, r"^in chunk 1: X has nan at \[0, 0\]"),
        (lambda: 3, TypeError, r"^in chunk 1: what came is 3 \(int\); expected a pair \(X, Y\)$"),
        (("X.npy", "Y.npy"), RuntimeError, "^chunk 1 failed: FileNotFoundError: .*X.npy"),
        (dask.delayed(raises)(), RuntimeError, "^chunk 1 failed: OSError: no such tape$"),
        ((X, Y), TypeError, r"^chunks\[1\] is \(array.*expected a function without arguments"),
        ("X.npy", TypeError, r"^chunks\[1\] is 'X.npy' \(str\); expected"),
        (sys.stdout.write, TypeError, r"^chunks\[1\] is .*which does not pickle"),
    ],
)  # fmt: skip
def test_a_chunk_that_is_none(client, net, entry, kind, message):
    before = net.parameters
    with pytest.raises(kind, match=message):
        gradient(client, net, [functions(512)[0], entry])
    np.testing.assert_array_equal(net.parameters, before)


def test_no_chunks(client, net):
    with pytest.raises(ValueError, match=r"^chunks is empty"):
        gradient(client, net, [])
    with pytest.raises(ValueError, match="no examples in any chunk"):
        gradient(client, net, [functools.partial(rows, 0, 0)])
    with pytest.raises(TypeError, match=r"^chunks is .* \(generator\); expected a pair \(X, Y\)"):
        gradient(client, net, (f for f in functions(512)))
    whole = da.from_array(X, chunks=(512, -1))
    with pytest.raises(ValueError, match=r"expected the same: Y.rechunk\(\{0: X.chunks\[0\]\}\)"):
        gradient(client, net, (whole, da.from_array(Y, chunks=(1024, -1))))
    with pytest.raises(ValueError, match=r"^Y of chunks has shape \(3000,\)"):
        gradient(client, net, (whole, da.from_array(Y[:, 0], chunks=512)))


def test_no_client(cluster, net):
    closed = Client(cluster)
    closed.close()
    for call in (
        lambda client: gradient(client, net, functions(512)),
        lambda client: map_trainings(client, []),
    ):
        with pytest.raises(ValueError, match=r"^client is closed"):
            call(closed)
        with pytest.raises(TypeError, match=r"^client is None .*expected a distributed.Client"):
            call(None)


def test_an_overflow_names_the_chunk_and_says_what_the_call_in_memory_says(client, net):
    net = Network(SIZES, "exponential", seed=1)
    large = X.copy()
    large[1030] = 1e6

    def second():
        return large[1024:2048], Y[1024:2048]

    chunks = [functions(1024)[0], second]
    with pytest.raises(FloatingPointError) as in_memory:
        net.gradient(large[:2048], Y[:2048])
    with pytest.raises(FloatingPointError) as on_cluster:
        gradient(client, net, chunks)
    assert str(on_cluster.value) == f"in chunk 1: {in_memory.value}"
    net.weights[0][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^weights\[0\] of layer 1 has nan at"):
        gradient(client, net, chunks)


def test_a_function_of_the_users_own_that_does_not_pickle(client):
    own = Activation(sys.stdout.write, np.cos)
    with pytest.raises(TypeError, match=r"^activation of layer 1 of net is .* does not pickle"):
        gradient(client, Network(SIZES, [own, "tanh"]), functions(1024))


def test_another_version_on_the_workers(client, net, monkeypatch):
    monkeypatch.setattr(cbackprop.backend, "__version__", "0.0.7")
    message = "has cbackprop .* and the compiled core with .*; expected 0.0.7 and"
    with pytest.raises(RuntimeError, match=f"^the worker tcp://.* {message}"):
        gradient(client, net, functions(1024))
    with pytest.raises(RuntimeError, match=message):
        map_trainings(client, [raises])


def test_a_chunk_too_much_for_every_worker(client, net, tmp_path):
    chunks = [ends_first(tmp_path / "always", 99, raises)]
    message = r"^chunk 0 ended every worker that took it, 4 in all"
    with pytest.raises(RuntimeError, match=message):
        gradient(client, net, chunks)


# ---- fits ----------------------------------------------------------------------------------------

# Each with its options, and how many steps.
METHODS = {
    "sgd": {"optimizer": SGD(0.5, momentum=0.9), "epochs": 10},
    "adam": {"optimizer": "adam", "batch_size": 1024, "epochs": 4, "l2": 1e-3},
    "lbfgs": {"optimizer": "lbfgs", "epochs": 6},
    "levenberg_marquardt": {"optimizer": "levenberg_marquardt", "epochs": 6, "l2": 1e-3},
}
of_odd_chunks: dict[str, bytes] = {}


def relu(z: Any) -> Any:
    return np.maximum(z, 0)


def step_function(z: Any) -> Any:
    return (z > 0).astype(z.dtype)


def in_memory(net: Network, **options: Any) -> Any:
    return net.fit(X, Y, shuffle=False, **{"batch_size": N, **options})


@pytest.mark.parametrize("method", METHODS)
def test_fit_has_the_bits_of_the_one_in_memory(counted_client, method):
    options, expected = METHODS[method], Network(SIZES, "tanh", seed=1)
    history = in_memory(expected, **options)
    for length in EXACT:
        net = Network(SIZES, "tanh", seed=1)
        found = fit(counted_client, net, functions(length), exact=True, **options)
        assert state(net) == state(expected)
        assert (found.cost, found.stop_reason) == (history.cost, history.stop_reason)
        assert net.history is found
    net = Network(SIZES, "tanh", seed=1)
    with pytest.warns(UserWarning, match=CHUNK) as warned:
        fit(counted_client, net, functions(ODD), **options)
    assert [warning.filename for warning in warned] == [__file__]
    assert bits(net.parameters) == of_odd_chunks.setdefault(method, bits(net.parameters))
    np.testing.assert_allclose(net.parameters, expected.parameters, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_fit_whose_workers_are_killed_in_the_middle_of_a_step(client, method, tmp_path):
    options, plain = METHODS[method], Activation(relu, step_function)
    expected = Network(SIZES, [plain, "tanh"], seed=1)
    in_memory(expected, **options)
    calls_that_end = (10, 20)

    def relu_or_end(z: Any) -> Any:
        call = next(i for i in range(9999) if is_new(tmp_path / str(i)))
        if call in calls_that_end:
            os.kill(os.getpid(), signal.SIGKILL)
        return relu(z)

    net = Network(SIZES, [Activation(relu_or_end, step_function), "tanh"], seed=1)
    fit(client, net, functions(512), **options)
    assert len(list(tmp_path.iterdir())) > 40
    assert bits(net.parameters) == bits(expected.parameters)


def is_new(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@pytest.mark.parametrize("method", METHODS)
def test_fit_goes_on_after_its_client_was_killed(cluster, client, method, tmp_path):
    options = METHODS[method]
    expected = Network(SIZES, "tanh", seed=1)
    in_memory(expected, **options)
    files = []
    for i, load in enumerate(functions(1024)):
        np.savez(tmp_path / f"{i}.npz", **dict(zip("XY", load(), strict=True)))
        files.append(str(tmp_path / f"{i}.npz"))
    code = """
        import os, signal, sys
        from distributed import Client
        from cbackprop import SGD, Network
        from cbackprop.dask import fit

        def end(net, history):
            if history.epochs == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        fit(Client(sys.argv[1]), Network((5, 7, 3), "tanh", seed=1), sys.argv[4:],
            checkpoint=sys.argv[2], callbacks=[end], **eval(sys.argv[3]))
    """
    path = str(tmp_path / "checkpoint")
    killed = run_code(code, cluster.scheduler_address, path, repr(options), *files)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    net = Network(SIZES, "tanh", seed=1)
    history = fit(client, net, files, checkpoint=path, resume=True, exact=True, **options)
    assert history.epochs == options["epochs"]
    assert state(net) == state(expected)
    other = [*files[:2], functools.partial(rows, 0, 952)]
    with pytest.raises(ValueError, match=r"^resume: X, Y, .* is not that of the checkpoint"):
        fit(client, net, other, checkpoint=path, resume=True, **options)


def test_fit_with_everything_that_goes_with_sums(client):
    missing = Y.copy()
    missing[::7, 1] = np.nan
    seen: list[Any] = []

    def options(**others: Any) -> Any:
        return dict(
            optimizer="rprop", epochs=6, batch_size=1024, l1=1e-4, max_norm=2.0, frozen=[1],
            clip_gradient_norm=0.1, missing_targets=True, validation_data=(X[:500], Y[:500]),
            metrics=["mse"], early_stopping=EarlyStopping(3), schedule=schedules.StepDecay(2),
            callbacks=[lambda net, history: seen.append((net, history.epochs))], **others,
        )  # fmt: skip

    expected, net = (Network(SIZES, "tanh", seed=1) for _ in range(2))
    history = expected.fit(X, missing, shuffle=False, **options())

    def chunk(start):
        return X[start : start + 512], missing[start : start + 512]

    chunks = [functools.partial(chunk, start) for start in range(0, N, 512)]
    found = fit(client, net, chunks, exact=True, **options())
    assert state(net) == state(expected)
    assert found.cost == history.cost
    assert found.validation_cost == history.validation_cost
    assert found.metrics == history.metrics
    assert seen[-1] == (net, found.epochs)


def test_fit_warns_once_of_targets_out_of_reach(client):
    def large(start):
        return X[start : start + 512], 5 * Y[start : start + 512]

    with pytest.warns(UserWarning, match=r"^in chunk 0: Y has .*cannot be reached") as warned:
        fit(client, Network(SIZES), [functools.partial(large, 512 * i) for i in range(2)], epochs=2)
    assert [warning.filename for warning in warned] == [__file__]


def test_fit_on_tables_takes_their_names(client):
    pandas = pytest.importorskip("pandas")

    def table(start, columns="abcde"):
        frame = pandas.DataFrame(X[start : start + 512], columns=list(columns))
        return frame, pandas.DataFrame(Y[start : start + 512], columns=["p", "q", "r"])

    net = Network(SIZES)
    fit(client, net, [functools.partial(table, 0), functools.partial(table, 512)], epochs=1)
    assert (net.feature_names, net.class_names) == (tuple("abcde"), tuple("pqr"))
    chunks = [functools.partial(table, 0), functools.partial(table, 512, "abced")]
    with pytest.raises(ValueError, match=r"^in chunk 1: X has the columns .* as in chunk 0$"):
        fit(client, Network(SIZES), chunks)


def test_fit_refuses_what_is_no_sum_and_what_does_not_fit(client, net):
    before, chunks = state(net), functions(1024)
    with pytest.raises(ValueError, match=r"^batch_size is 100; expected a multiple of cbackprop"):
        fit(client, net, chunks, batch_size=100)
    with pytest.raises(ValueError, match=r"^metrics is .*expected validation_data"):
        fit(client, net, chunks, metrics=["mse"])
    with pytest.raises(TypeError, match="dropout"):
        fit(client, net, chunks, dropout=0.5)
    with pytest.raises(RuntimeError, match=r"^chunk 3 failed: OSError: no such tape$"):
        fit(client, net, [*chunks, raises])
    assert state(net) == before
    scaled = Network(SIZES)
    scaled.fit(X, Y, epochs=1, standardise=True)
    with pytest.raises(ValueError, match=r"^net keeps scales, .*; expected one without"):
        fit(client, scaled, chunks)


def test_fit_that_diverges_says_what_the_one_in_memory_says(client):
    messages, states = [], []
    for call in (in_memory, functools.partial(fit, client)):
        net = Network(SIZES, "exponential", seed=1)
        others = () if call is in_memory else (functions(1024),)
        with pytest.raises(FloatingPointError) as raised:
            call(net, *others, learning_rate=1e3, epochs=9)
        messages.append(str(raised.value))
        states.append(state(net))
    assert messages[0] == messages[1]
    assert states[0] == states[1]


# ---- many trainings ------------------------------------------------------------------------------


def trained(seed: int, inputs: Any, targets: Any) -> Network:
    net = Network(SIZES, seed=seed)
    net.fit(inputs, targets, epochs=2)
    return net


def test_trainings_come_back_as_if_each_had_run_alone(client, tmp_path):
    shared = client.submit(np.asarray, X)
    trainings = [functools.partial(trained, seed, shared, Y) for seed in range(5)]
    trainings[1] = ends_first(tmp_path / "in", 2, functools.partial(trained, 1, X, Y))
    nets = map_trainings(client, trainings)
    for seed, net in enumerate(nets):
        alone = trained(seed, X, Y)
        assert bits(net.parameters) == bits(alone.parameters)
        assert net.history.cost == alone.history.cost
        more = [one.fit(X[:64], Y[:64], epochs=1).cost for one in (net, alone)]
        assert more[0] == more[1]
    assert map_trainings(client, [lambda: {"seed": 3}]) == [{"seed": 3}]
    assert map_trainings(client, []) == []


def test_a_training_that_fails_is_named(client):
    trainings = [functools.partial(trained, 0, X, Y), raises]
    message = r"^trainings\[1\] failed: OSError: no such tape$"
    with pytest.raises(RuntimeError, match=message) as raised:
        map_trainings(client, trainings)
    assert isinstance(raised.value.__cause__, OSError)
    with pytest.raises(TypeError, match=r"^trainings\[1\] is 3 \(int\); expected a function"):
        map_trainings(client, [trainings[0], 3])
    with pytest.raises(TypeError, match=r"^trainings\[0\] is .*which does not pickle"):
        map_trainings(client, [sys.stdout.write])
    with pytest.raises(TypeError, match=r"^trainings\[0\] does not pickle"):
        map_trainings(client, [functools.partial(print, sys.stdout)])
    with pytest.raises(TypeError, match=r"^trainings is .*; expected a list of functions"):
        map_trainings(client, iter(trainings))


def returns(*arguments, **keywords):
    return arguments, keywords


def test_keywords_of_a_training_are_its_own(client):
    """Also those that a client's submit has, too."""
    trainings = [functools.partial(returns, s, key="k", retries=s, pure=1) for s in (1, 2)]
    expected = [((s,), {"key": "k", "retries": s, "pure": 1}) for s in (1, 2)]
    assert map_trainings(client, trainings) == expected


def test_two_delayed_chunks(client, net):
    """Two of them are not a pair of Dask arrays, whatever attributes they have."""
    X, Y = data(2048, SIZES)
    halves = [dask.delayed(lambda k=k: (X[k : k + 1024], Y[k : k + 1024]))() for k in (0, 1024)]
    assert bits(gradient(client, net, halves).vector) == bits(net.gradient(X, Y).vector)


def test_loaders_may_fill_their_arrays_again(client, net):
    X, Y = data(2048, SIZES)
    memory = np.empty((1024, SIZES[0]))

    def half(k):
        memory[...] = X[k : k + 1024]
        return memory, Y[k : k + 1024]

    chunks = [functools.partial(half, k) for k in (0, 1024)]
    assert bits(gradient(client, net, chunks).vector) == bits(net.gradient(X, Y).vector)


def test_a_chunk_without_rows_has_no_types(client, net):
    X, Y = data(512, SIZES)
    nothing = np.empty((0, SIZES[0]), np.float32), np.empty((0, SIZES[-1]), np.float32)
    chunks = [lambda: nothing, lambda: (X, Y)]
    assert bits(gradient(client, net, chunks).vector) == bits(net.gradient(X, Y).vector)
