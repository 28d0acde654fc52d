"""Pickles: what comes back is the network, to the bit, with all that training keeps; a state that
no network has is refused and nothing is made of it."""

from __future__ import annotations

import copy
import pickle
import textwrap
import threading

import numpy as np
import pytest
from support import both_dtypes, data, every_backend, run_python, state, with_every_kind

from cbackprop import (
    LBFGS,
    SGD,
    Activation,
    Adagrad,
    Adam,
    AdamW,
    Cost,
    EarlyStopping,
    LevenbergMarquardt,
    Network,
    RMSprop,
    Rprop,
)

OPTIMIZERS = with_every_kind(
    None,
    SGD(0.05),
    SGD(0.05, momentum=0.9, nesterov=True),
    Adam(0.01),
    AdamW(0.01),
    RMSprop(0.01, momentum=0.5, centred=True),
    Adagrad(0.05),
    Rprop(),
    LBFGS(),
    LBFGS(max_evaluations=50),
    LevenbergMarquardt(),
)


def trained(optimizer=Adam(0.01), backend="compiled", dtype="float64", **options):  # noqa: B008
    net = Network([3, 5, 2], seed=1, dtype=dtype, backend=backend, **options)
    if optimizer is not None:
        net.fit(*data(24, (3, 2)), epochs=3, batch_size=5, optimizer=optimizer)
    return net


def again(net, protocol=pickle.DEFAULT_PROTOCOL):
    return pickle.loads(pickle.dumps(net, protocol))


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_pickled_network_goes_on_bit_for_bit(optimizer, dtype, backend):
    net = trained(optimizer, backend, dtype)
    twin = again(net)
    assert type(twin) is Network
    assert repr(twin) == repr(net)
    assert state(twin) == state(net)
    for each in (net, twin):
        each.partial_fit(*data(24, (3, 2), seed=1), batch_size=7)
        # Shuffles and masks come from the generator.
        each.fit(*data(24, (3, 2), seed=2), epochs=2, dropout=0.3)
    assert state(twin) == state(net)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(protocol):
    net = trained(threads=3)
    twin = again(net, protocol)
    assert state(twin) == state(net)
    assert twin.threads == 3


def test_the_memory_is_its_own():
    net = trained()
    twin = again(net)
    before = net.parameters
    twin.weights[0][...] = 7.0
    twin.partial_fit(*data(24, (3, 2)))
    assert np.array_equal(net.parameters, before)
    assert np.shares_memory(twin.weights[0], twin._model.storage)


def test_parameters_that_are_not_finite_come_back():
    net = trained()
    net.weights[0][1, 2], net.biases[1][0] = np.nan, -np.inf
    assert again(net).parameters.tobytes() == net.parameters.tobytes()


def bent(z):
    return np.tanh(z) + 0.1 * z


def bent_derivative(z):
    return 1.1 - np.tanh(z) ** 2


def distance(a, y):
    return ((a - y) ** 4).sum(axis=1)


def distance_gradient(a, y):
    return 4 * (a - y) ** 3


def test_functions_of_ones_own_come_along():
    own = Activation(bent, bent_derivative)
    net = Network([3, 5, 4, 2], ["relu", own, own], Cost(distance, distance_gradient), seed=0)
    net.partial_fit(*data(24, (3, 2)))
    twin = again(net)
    assert [getattr(a, "name", a) for a in twin.activations] == ["relu", "bent", "bent"]
    for each in (net, twin):
        each.partial_fit(*data(24, (3, 2), seed=1))
    assert state(twin) == state(net)
    lambdas = Network([3, 2], Activation(lambda z: z, lambda z: z * 0 + 1))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(lambdas)


class Named(Network):
    """A subclass with something of its own, and other arguments."""

    def __init__(self, name):
        self.name = name
        super().__init__([3, 4, 2], seed=5)


def test_a_subclass_keeps_what_is_its_own():
    net = Named("first")
    net.partial_fit(*data(24, (3, 2)))
    net.notes = [net.name]
    for twin in (again(net), copy.copy(net), copy.deepcopy(net)):
        assert type(twin) is Named
        assert (twin.name, twin.notes) == ("first", ["first"])
        assert state(twin) == state(net)


def test_what_a_deep_copy_shares():
    """As of every object: nothing that can change, and what is met twice is copied once."""
    net = Named("first")
    net.notes = ["one"]
    net.itself, net.twice = net, [net.notes]
    for twin in (again(net), copy.deepcopy(net)):
        assert twin.notes is not net.notes
        assert twin.itself is twin
        assert twin.twice[0] is twin.notes
    flat = copy.copy(net)
    assert flat.notes is net.notes
    assert flat.itself is net
    pair = copy.deepcopy([net, net])
    assert pair[0] is pair[1]
    held = {"net": net}
    net.holder = held
    assert (twin := copy.deepcopy(held))["net"].holder is twin


def test_a_pickle_in_a_list_beside_its_own_twin():
    """Pickle keeps who is who."""
    net = trained()
    first, second = pickle.loads(pickle.dumps([net, net]))
    assert first is second


def test_a_network_that_is_not_initialised_has_no_state():
    with pytest.raises(RuntimeError, match="not initialised"):
        pickle.dumps(Network.__new__(Network))


@every_backend
def test_within_a_fit(backend):
    """From a callback the state between two epochs; from another thread nothing."""
    net = trained(None, backend)
    pickles, errors = [], []

    def keep(network, history):
        pickles.append(pickle.dumps(network))

        def other():
            try:
                pickle.dumps(network)
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    net.fit(*data(24, (3, 2)), epochs=2, optimizer="adam", callbacks=keep)
    assert state(pickle.loads(pickles[1])) == state(net)
    assert state(pickle.loads(pickles[0])) != state(net)
    assert len(errors) == 2
    assert all("another thread" in error for error in errors)


def test_what_calls_return_can_be_pickled():
    net = trained()
    X, Y = data(24, (3, 2))
    history = net.fit(X, Y, epochs=2)
    for value in (
        history,
        net.gradient(X, Y),
        net.gradient(X, Y, per_example=True),
        net.forward(X),
        net.backward(X, Y),
        net.check_gradient(X[:2], Y[:2]),
        net.diagnose_gradient(X, Y, net.gradient(X, Y)),
        EarlyStopping(3),
        *[optimizer for optimizer in OPTIMIZERS if optimizer is not None],
    ):
        twin = again(value)
        assert repr(twin) == repr(value)
    assert again(history).cost == history.cost
    assert np.array_equal(again(net.gradient(X, Y)).vector, net.gradient(X, Y).vector)
    with pytest.raises(AttributeError, match="cannot be assigned"):
        again(Adam()).beta1 = 0.5


# ---- states that are none ------------------------------------------------------------------------


def other_machine(state):
    state["tensors"] = {
        name: tensor.astype(tensor.dtype.newbyteorder())
        for name, tensor in state["tensors"].items()
    }


def test_a_state_of_the_other_byte_order():
    net = trained()
    pickled = net.__getstate__()
    other_machine(pickled)
    twin = Network.__new__(Network)
    twin.__setstate__(pickled)
    assert state(twin) == state(net)


def put(entry, key, value):
    def change(state):
        state[entry][key] = value

    return change


def whole(entry, value):
    def change(state):
        state[entry] = value

    return change


def missing(entry, key):
    def change(state):
        del state[entry][key]

    return change


WEIGHT = "layers.1.weight"
SLOT = "optimizer.slots.0"
HOSTILE = {
    "no entry": (lambda state: state.pop("metadata"), TypeError, "^state is"),
    "another entry": (lambda state: state.update(more=1), TypeError, "^state is"),
    "tensors None": (whole("tensors", None), TypeError, "^tensors of state is None"),
    "metadata list": (whole("metadata", []), TypeError, "^metadata of state is"),
    "own list": (whole("own_activations", []), TypeError, "^own_activations of state is"),
    "attributes None": (whole("attributes", None), TypeError, "^attributes of state is None"),
    "attributes of the network's": (put("attributes", "_engine", 1), ValueError, "_engine"),
    "attributes by number": (put("attributes", 3, 1), ValueError, "3"),
    "a text that is none": (put("metadata", "sizes", [3, 2]), TypeError, "^metadata of state"),
    "a list for an array": (put("tensors", WEIGHT, [[1.0]]), TypeError, "^tensors of state has"),
    "object array": (
        put("tensors", WEIGHT, np.full((5, 3), None)),
        ValueError,
        "shape .* and dtype object",
    ),
    "a weight too short": (put("tensors", WEIGHT, np.zeros((5, 2))), ValueError, r"\(5, 2\)"),
    "a weight in float32": (put("tensors", WEIGHT, np.zeros((5, 3), "f4")), ValueError, "float32"),
    "no weight": (missing("tensors", WEIGHT), ValueError, "in the place of"),
    "a slot too long": (put("tensors", SLOT, np.zeros(33)), ValueError, r"\(33,\)"),
    "no slot": (missing("tensors", SLOT), ValueError, "slots"),
    "other sizes": (put("metadata", "sizes", "[3,6,2]"), ValueError, r"expected \(6, 3\)"),
    "sizes of terabytes": (put("metadata", "sizes", "[3,1000000000,2]"), ValueError, "expected"),
    "an unknown activation": (
        put("metadata", "activations", '["sigmoid","os.system"]'),
        ValueError,
        "os.system",
    ),
    "an unknown dtype": (put("metadata", "dtype", "object"), ValueError, "dtype"),
    "a model's kind": (put("metadata", "kind", "model"), ValueError, "expected"),
    "a rule of another optimiser": (
        put("metadata", "update", '{"rule":"sgd","hyper_parameters":[]}'),
        ValueError,
        "update",
    ),
    "a generator that is none": (put("metadata", "generator", "{}"), ValueError, "generator"),
    "threads 0": (whole("threads", 0), ValueError, "^threads is 0"),
    "threads of text": (whole("threads", "2"), TypeError, "^threads is '2'"),
    "an unknown backend": (whole("backend", "gpu"), ValueError, "^backend is 'gpu'"),
    "an activation that is none": (
        whole("own_activations", {0: print}),
        TypeError,
        "expected Activations",
    ),
    "an activation for no layer": (
        whole("own_activations", {2: Activation(bent, bent_derivative)}),
        ValueError,
        "expected 0 to 1",
    ),
    "a cost that is none": (whole("own_cost", 3), TypeError, "^cost is"),
}


@pytest.mark.parametrize(("change", "error", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_state_that_no_network_has(change, error, message):
    state = trained().__getstate__()
    change(state)
    net = Network.__new__(Network)
    with pytest.raises(error, match=message):
        net.__setstate__(state)
    assert vars(net) == {}
    for value in (None, 3, [], "state"):
        with pytest.raises(TypeError, match=r"^state is"):
            net.__setstate__(value)


@pytest.mark.parametrize(
    ("optimizer", "change", "message"),
    [
        (LBFGS(), put("tensors", "extra.second_order.s0", np.zeros(3)), "expected 32 finite"),
        (LBFGS(), missing("tensors", "extra.second_order.s0"), "expected"),
        (Adam(), put("tensors", "extra.second_order.s0", np.zeros(32)), "expected"),
    ],
)
def test_a_second_order_state_that_is_none(optimizer, change, message):
    state = trained(optimizer).__getstate__()
    text = state["tensors"].pop("state")
    change(state)
    state["tensors"]["state"] = text  # it stands last
    with pytest.raises(ValueError, match=message):
        Network.__new__(Network).__setstate__(state)


def test_a_network_that_is_there_already_is_not_overwritten():
    net = trained()
    before = state(net)
    with pytest.raises(AttributeError, match="cannot be assigned"):
        net.__setstate__(Network([2, 1]).__getstate__())
    assert state(net) == before


# ---- processes -----------------------------------------------------------------------------------

WORKERS = """
    import multiprocessing, sys
    import numpy as np
    from cbackprop import Network

    X = np.random.default_rng(0).normal(size=(40, 3))
    Y = X[:, :2] ** 2

    def work(net):
        net.fit(X, Y, epochs=3, batch_size=8)
        return net

    if __name__ == "__main__":
        nets = [Network([3, 6, 2], seed=s).partial_fit(X, Y, optimizer="adam") for s in range(4)]
        with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
            results = pool.map_async(work, nets).get(timeout=60)
        for net, result in zip(nets, results):
            assert result.parameters.tobytes() == work(net).parameters.tobytes()
        print("ok")
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_take_and_give_networks(method, tmp_path):
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    script = tmp_path / "workers.py"
    script.write_text(textwrap.dedent(WORKERS))
    run = run_python(str(script), method)
    assert (run.returncode, run.stdout) == (0, "ok\n"), run.stderr
