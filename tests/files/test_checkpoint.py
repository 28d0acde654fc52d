"""What a checkpoint holds, and all that is refused in one whose checksum is right."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_files as model_file
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_files import (
    DATA,
    VERSIONS,
    compact,
    every_version,
    golden_network,
    golden_training,
    is_written,
    kept_by_another_thread,
    metadata,
    only_files,
    padded,
    put,
    raw_file,
    same_bits,
    small,
    small_checkpoint,
    state_with_padding,
    taken_apart,
    with_checksum,
)
from support import both_dtypes, every_backend, with_every_kind

import cbackprop
from cbackprop import ModelFileError, Network, optimizers
from cbackprop.random_numbers import RandomNumbers


@both_dtypes
@every_backend
@every_version
def test_the_checkpoint_of_every_version(
    path: Path, version: str, dtype: str, backend: str
) -> None:
    kept = DATA / f"checkpoint{version}_{dtype}.safetensors"
    expected = golden_network(dtype, backend=backend, **VERSIONS[version])
    expected_extra, expected_state = golden_training(expected)
    model_file.write_checkpoint(path, expected, expected_extra, expected_state)
    assert (path.read_bytes() == kept.read_bytes()) == is_written(version)
    # A schedule's last rate belongs to the fit that it was for: what goes on has the optimiser's.
    expected._engine.learning_rate = 0.05
    net = golden_network(dtype, backend=backend, **VERSIONS[version]).reset(1)
    extra, state = model_file.read_checkpoint(kept, net)
    assert state == expected_state
    assert list(extra) == list(expected_extra)
    for name, tensor in expected_extra.items():
        assert extra[name].tobytes() == tensor.tobytes()
        assert extra[name].dtype == tensor.dtype
    assert state_with_padding(net) == state_with_padding(expected)
    read = Network.load(kept, backend=backend)
    assert same_bits(read, expected)
    assert read._model.about == expected._model.about
    assert repr(read._model.optimizer) == repr(expected._model.optimizer)
    assert read._model.random.state == expected._model.random.state


RULES = with_every_kind(
    None,
    optimizers.SGD(0.5),
    optimizers.SGD(0.5, momentum=0.9),
    optimizers.SGD(0.5, momentum=0.9, nesterov=True),
    optimizers.Adam(0.01, beta1=0.8),
    optimizers.AdamW(0.01, weight_decay=0.1),
    optimizers.RMSprop(0.01),
    optimizers.RMSprop(0.01, momentum=0.5, centred=True),
    optimizers.Adagrad(0.1, learning_rate_decay=0.01),
    optimizers.Rprop(0.02),
    optimizers.LBFGS(memory=3),
    optimizers.LevenbergMarquardt(mu=0.5),
)


def trained(net: Network, passes: int) -> None:
    chance = RandomNumbers(8)
    X = chance.normal(12 * net.sizes[0]).reshape(12, -1).astype(net.dtype)
    Y = chance.uniform(12 * net.sizes[-1]).reshape(12, -1).astype(net.dtype)
    for _ in range(passes):
        failure, _ = net._engine.train(X, Y, None, 5, None, None, 0)
        assert failure is None


@both_dtypes
@every_backend
@pytest.mark.parametrize("optimizer", RULES, ids=repr)
def test_a_restored_training_goes_on_as_it_would_have(
    path: Path, optimizer: optimizers.Optimizer | None, dtype: str, backend: str
) -> None:
    net = Network([5, 17, 3], dtype=dtype, seed=1, backend=backend)
    first_order = optimizer is not None and not isinstance(optimizer, optimizers.WholeBatch)
    net._model.optimizer = optimizer
    if first_order:
        net._model.set_optimizer(optimizer)
        trained(net, 3)
        net._engine.learning_rate /= 3  # as a schedule would
    net._model.random.words(5)
    state = {"epoch": 3, "cost": [0.5, 0.25]}
    model_file.write_checkpoint(path, net, {"order": np.arange(12)}, state)
    if optimizer is not None:
        # What goes on has the optimiser's own rate: the schedule's was its fit's.
        net._engine.learning_rate = optimizer.learning_rate
    twin = Network([5, 17, 3], dtype=dtype, seed=2, backend=backend)
    twin._model.set_optimizer(optimizers.Adam(0.5))
    trained(twin, 1)
    extra, read = model_file.read_checkpoint(path, twin)
    assert read == state
    assert list(extra) == ["order"]
    assert extra["order"].tolist() == list(range(12))
    assert state_with_padding(twin) == state_with_padding(net)
    if first_order:
        trained(net, 2)
        trained(twin, 2)
        assert state_with_padding(twin) == state_with_padding(net)
    assert (net._model.random.words(9) == twin._model.random.words(9)).all()


@both_dtypes
@every_backend
def test_slots_have_the_order_of_the_parameters(path: Path, dtype: str, backend: str) -> None:
    """W⁽¹⁾, b⁽¹⁾, …, each W row by row, whatever the engine's own layout is."""
    net = Network([3, 17, 2], dtype=dtype, seed=1, backend=backend)
    net._model.set_optimizer(optimizers.SGD(1.0, momentum=0.5))
    # The first velocity is the gradient, and the step from 0 is its negative.
    net.parameters = np.zeros(net.n_parameters)
    x, y = np.array([1.0, 2.0, 3.0]), np.array([0.75, 0.25])
    net.weights[1][...] = np.arange(34).reshape(2, 17) / 64
    gradient = net.gradient(x, y).vector
    failure, _ = net._engine.train(
        x.reshape(1, 3).astype(dtype), y.reshape(1, 2).astype(dtype), None, 1, None, None, 0
    )
    assert failure is None
    assert np.unique(gradient).size > 40
    model_file.write_checkpoint(path, net, {}, {})
    tensors, _ = model_file.read(path)
    assert tensors["optimizer.slots.0"].tobytes() == gradient.tobytes()


@both_dtypes
def test_a_checkpoint_passes_from_backend_to_backend(path: Path, dtype: str) -> None:
    if cbackprop.info()["backend"] != "compiled":
        pytest.skip("the compiled core is not built here")
    net = Network([5, 17, 3], dtype=dtype, seed=1)
    net._model.set_optimizer(optimizers.Rprop())
    trained(net, 2)
    model_file.write_checkpoint(path, net, {}, {"epoch": 2})
    contents = path.read_bytes()
    twin = Network([5, 17, 3], dtype=dtype, backend="reference")
    model_file.read_checkpoint(path, twin)
    model_file.write_checkpoint(path, twin, {}, {"epoch": 2})
    assert path.read_bytes() == contents


def test_a_checkpoint_opens_as_a_model(path: Path) -> None:
    path.write_bytes(small_checkpoint())
    net = Network.load(path)
    assert same_bits(net, Network([1, 1], dtype="float32", seed=2))
    assert repr(net._model.optimizer) == repr(optimizers.SGD(momentum=0.5))
    assert net._engine.rule == optimizers.SGD(momentum=0.5).rule


def test_a_model_is_no_checkpoint(path: Path) -> None:
    net = small()
    net.save(path)
    before = state_with_padding(net)
    with pytest.raises(ModelFileError, match="kind is 'model'; expected 'checkpoint'"):
        model_file.read_checkpoint(path, net)
    assert state_with_padding(net) == before


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("sizes", Network([3, 4, 2], ["tanh", "softmax"], "cross_entropy", dtype="float32")),
        ("activations", Network([3, 2, 2], ["relu", "softmax"], "cross_entropy", dtype="float32")),
        ("cost", Network([3, 2, 2], ["tanh", "softmax"], dtype="float32")),
        ("dtype", Network([3, 2, 2], ["tanh", "softmax"], "cross_entropy")),
        ("init", small(init="zeros")),
    ],
)
def test_a_checkpoint_of_another_network(path: Path, field: str, other: Network) -> None:
    model_file.write_checkpoint(path, small(), {}, {})
    before = state_with_padding(other)
    with pytest.raises(ModelFileError, match=f"its {field} is .*; expected .*, as the network's"):
        model_file.read_checkpoint(path, other)
    assert state_with_padding(other) == before


@every_backend
def test_a_failed_read_changes_nothing(path: Path, backend: str) -> None:
    path.write_bytes(small_checkpoint())
    contents = path.read_bytes()
    net = Network([1, 1], dtype="float32", seed=5, backend=backend)
    net._model.set_optimizer(optimizers.Adam())
    trained(net, 1)
    before = state_with_padding(net)
    chance = random.Random(2)
    for _ in range(200):
        damaged = bytearray(contents)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        put(path, bytes(damaged))
        with pytest.raises(ModelFileError):
            model_file.read_checkpoint(path, net)
        assert state_with_padding(net) == before
    path.write_bytes(contents)
    with (
        kept_by_another_thread(net),
        pytest.raises(RuntimeError, match="in another thread"),
    ):
        model_file.read_checkpoint(path, net)
    assert state_with_padding(net) == before
    model_file.read_checkpoint(path, net)
    assert state_with_padding(net) != before


def changed_json(key: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    """One JSON text of the metadata with other values."""

    def change(header: dict[str, Any]) -> None:
        header["__metadata__"][key] = compact({**json.loads(header["__metadata__"][key]), **values})

    return change


def arguments(**values: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        optimizer = json.loads(header["__metadata__"]["optimizer"])
        optimizer["arguments"].update(values)
        header["__metadata__"]["optimizer"] = compact(optimizer)

    return change


def new_state(state: bytes) -> Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]:
    def change(header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        start = header["state"]["data_offsets"][0]
        header["state"].update(shape=[len(state)], data_offsets=[start, start + len(state)])
        return header, data[:start] + state

    return change


def slot_number(value: float) -> Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]:
    def change(header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        start = header["optimizer.slots.0"]["data_offsets"][0]
        return header, data[:start] + struct.pack("<f", value) + data[start + 4 :]

    return change


def another_name(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda header: {new if key == old else key: value for key, value in header.items()}


LIES: dict[str, tuple[Callable[..., Any], str]] = {
    "an unknown optimizer": (changed_json("optimizer", name="os.system"), "optimizer is"),
    "an optimizer of another kind": (changed_json("optimizer", name="adam"), "optimizer is"),
    "an argument out of range": (arguments(momentum=1.5), r"momentum is 1.5; expected"),
    "an argument of another type": (arguments(learning_rate=1), "expected all arguments of SGD"),
    "an unknown argument": (arguments(weight=1.0), "unexpected keyword argument"),
    "a tag within the optimizer": (
        lambda header: metadata(optimizer='{"name":"sgd","arguments":{"float":"inf"}}')(header),
        "optimizer is",
    ),
    "no arguments": (changed_json("optimizer", arguments=None), "optimizer is"),
    "an optimizer that is a list": (metadata(optimizer="[]"), r"optimizer is \[\]"),
    "no optimizer, but a rule": (metadata(optimizer="null"), "update has rule 'momentum'"),
    "another rule": (changed_json("update", rule="adam"), "update has rule 'adam'"),
    "an unknown rule": (changed_json("update", rule="exec"), "update has rule 'exec'"),
    "a hyper-parameter of another type": (
        changed_json("update", rule=None, hyper_parameters=[0]),
        "update has rule None with",
    ),
    "another hyper-parameter": (changed_json("update", hyper_parameters=[0.25]), "as the optim"),
    "no rule, but slots": (
        changed_json("update", rule=None, hyper_parameters=[]),
        "further tensors",
    ),
    "a negative learning rate": (changed_json("update", learning_rate=-0.5), "learning_rate is"),
    "an integer learning rate": (changed_json("update", learning_rate=1), "expected floats"),
    "an infinite learning rate": (
        changed_json("update", learning_rate={"float": "inf"}),
        "learning_rate is inf",
    ),
    "a learning rate that is text": (changed_json("update", learning_rate="1"), "expected floats"),
    "an unknown number": (changed_json("update", learning_rate={"float": "1"}), "the number '1'"),
    "a negative step count": (changed_json("update", step_count=-1), "step_count is -1"),
    "a step count beyond 63 bits": (changed_json("update", step_count=2**63), "step_count is"),
    "a boolean step count": (changed_json("update", step_count=True), "step_count is True"),
    "a float step count": (changed_json("update", step_count=1.0), "step_count is 1.0"),
    "no previous cost": (changed_json("update", previous_cost=None), "expected floats"),
    "previous cost NaN": (changed_json("update", previous_cost={"float": "nan"}), "previous_cost"),
    "one entry more": (changed_json("update", code="import os"), "update is"),
    "update a number": (metadata(update="1"), "update is 1"),
    "another generator": (changed_json("generator", bit_generator="MT19937"), "generator is"),
    "an even increment": (changed_json("generator", inc="0x" + "0" * 31 + "2"), "generator is"),
    "words of 129 bits": (changed_json("generator", state="0x1" + "0" * 32), "generator is"),
    "negative words": (changed_json("generator", state="-0x" + "0" * 30 + "1"), "generator is"),
    "words with underscores": (changed_json("generator", state="0x" + "0" * 29 + "1_1"), "genera"),
    "capital words": (changed_json("generator", state="0x" + "0" * 31 + "A"), "generator is"),
    "words as a number": (changed_json("generator", state=5), "generator is"),
    "half a word of 33 bits": (changed_json("generator", uinteger=2**32), "generator is"),
    "a flag of 2": (changed_json("generator", has_uint32=2), "generator is"),
    "a boolean flag": (changed_json("generator", has_uint32=False), "generator is"),
    "a slot that is NaN": (slot_number(math.nan), "'optimizer.slots.0' has nan"),
    "a slot that is infinite": (slot_number(math.inf), "'optimizer.slots.0' has inf"),
    "a slot of another name": (another_name("optimizer.slots.0", "optimizer.slots.1"), "0 slots"),
    "a slot of another shape": (
        lambda header: header["optimizer.slots.0"].update(shape=[1, 2]),
        r"shape \(1, 2\) and dtype float32; expected \(2,\)",
    ),
    "a slot of another type": (
        lambda header: header["optimizer.slots.0"].update(dtype="U64", shape=[1]),
        "dtype uint64; expected",
    ),
    "a tensor nobody asked for": (another_name("extra.order", "order"), "further tensors"),
    "a parameter nobody asked for": (another_name("extra.order", "layers.2.weight"), "further"),
    "no state": (another_name("state", "extra.state"), "further tensors"),
    "a state in two dimensions": (
        lambda header: header["state"].update(shape=[1, *header["state"]["shape"]]),
        "tensor 'state' has shape",
    ),
    "a state that is a list": (new_state(b"[1,2]"), r"state is \[1, 2\]; expected a dict"),
    "a state that is no JSON": (new_state(b"{'a':1}"), "state is no JSON"),
    "an empty state": (new_state(b""), "state is no JSON"),
    "a state that is no ASCII": (new_state('{"a":"σ"}'.encode()), "in the form in which"),
    "a state with spaces": (new_state(b'{"a": 1}'), "in the form in which"),
    "a state with NaN": (new_state(b'{"a":NaN}'), "state has NaN, which is no JSON"),
    "a state with 1e999": (new_state(b'{"a":1e999}'), "in the form in which"),
    "a state with a long float": (new_state(b'{"a":0.10}'), "in the form in which"),
    "a state with a key twice": (new_state(b'{"a":1,"a":2}'), "state has 'a' more than once"),
    "a state nested deeply": (new_state(b'{"a":' + b"[" * 100_000), "state is nested too deeply"),
    "a state with an unknown number": (new_state(b'{"a":{"float":"1"}}'), "has the number '1'"),
    "a state with needless tags": (new_state(b'{"a":{"dict":{"b":1}}}'), "in the form in which"),
    "a state of a long integer": (new_state(b'{"a":' + b"1" * 5000 + b"}"), "state is no JSON"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_checkpoint_that_lies_is_refused(path: Path, name: str) -> None:
    """Its checksum is right; the network is as it was."""
    change, message = LIES[name]
    header, data = taken_apart(small_checkpoint())
    answer = change(header, data) if change.__code__.co_argcount == 2 else change(header)
    if isinstance(answer, tuple):
        header, data = answer
    elif answer is not None:
        header = answer
    path.write_bytes(with_checksum(header, data))
    net = Network([1, 1], dtype="float32", seed=9)
    before = state_with_padding(net)
    with pytest.raises(ModelFileError, match=message):
        model_file.read_checkpoint(path, net)
    assert state_with_padding(net) == before
    with pytest.raises(ModelFileError, match=message):
        Network.load(path)


def test_a_file_put_right_after_damage_is_refused_or_good(path: Path) -> None:
    """Damage to the header's text and to the numbers, under a checksum that fits: no crash."""
    header, data = taken_apart(small_checkpoint())
    header["__metadata__"].pop("checksum")
    whole = compact(header)
    words = [
        *'{}[],:"0129-.eE \\',
        "null",
        "true",
        "NaN",
        "1e999",
        '\\"',
        "[]",
        "{}",
        "F64",
        "relu",
    ]
    chance = random.Random(4)
    read = refused = 0
    path.touch()
    while read + refused < 3000:
        damaged, numbers = whole, bytearray(data)
        for _ in range(chance.randint(1, 2)):
            i = chance.randrange(len(damaged))
            word = chance.choice(words)
            damaged = damaged[:i] + word + damaged[i + chance.choice((0, 1, len(word))) :]
        if chance.random() < 0.3:
            numbers[chance.randrange(len(numbers))] = chance.randrange(256)
        try:
            contents = with_checksum(json.loads(damaged), bytes(numbers))
        except (ValueError, KeyError, AttributeError):
            contents = raw_file(padded(damaged), bytes(numbers))
        put(path, contents)
        try:
            net = Network.load(path)
            net.predict(np.ones(net.sizes[0]))
            model_file.read_checkpoint(path, Network([1, 1], dtype="float32"))
            read += 1
        except ModelFileError:
            refused += 1
    # Other numbers within their bounds, such as another step count, make a good file.
    assert read > 0


def test_the_forger_can_write_a_good_checkpoint(path: Path) -> None:
    header, data = taken_apart(small_checkpoint())
    assert with_checksum(header, data) == small_checkpoint()
    changed_json("update", step_count=7)(header)
    path.write_bytes(with_checksum(*new_state(b'{"a":-0.0}')(header, data)))
    net = Network([1, 1], dtype="float32")
    _, state = model_file.read_checkpoint(path, net)
    assert str(state) == "{'a': -0.0}"
    assert net._engine.step_count == 7


def test_an_optimizer_of_ones_own_is_refused(path: Path) -> None:
    class Mine(optimizers.SGD):
        pass

    net = small()
    net._model.set_optimizer(Mine(0.5))
    with pytest.raises(ModelFileError, match=r"optimizer is Mine\(.*, of a class of your own"):
        model_file.write_checkpoint(path, net, {}, {})
    assert only_files(path.parent) == []


STATES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.sampled_from(["float", "dict"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types, to the bit: -0.0 is not 0.0, and NaN is NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(state=st.dictionaries(st.text(), STATES, max_size=4))
def test_a_state_comes_back_exactly(path: Path, state: dict[str, Any]) -> None:
    net = Network([1, 1], backend="reference", seed=0)
    model_file.write_checkpoint(path, net, {}, state)
    assert same(model_file.read_checkpoint(path, net)[1], state)


def test_states_of_every_kind(path: Path) -> None:
    net = small()
    state = {
        "floats": [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan],
        "integers": [0, -1, 2**53 + 1, 2**200, True, None],
        "float": {"float": "inf"},
        "dict": {"dict": {"float": math.inf}},
        "deep": {"dict": {"dict": {"dict": 1.5}}},
        "text": ["", "\0", "σ\n", "\ud800", "😀"],
        "history": [0.5 / (i + 1) for i in range(200_000)],  # more than a header may hold
    }
    model_file.write_checkpoint(path, net, {}, state)
    assert same(model_file.read_checkpoint(path, net)[1], state)
    assert model_file.read_checkpoint(path, net)[1]["float"] == {"float": "inf"}
    model_file.write_checkpoint(path, net, {}, {"pair": (1, 2.0), "number": np.float64(0.1)})
    assert same(model_file.read_checkpoint(path, net)[1], {"pair": [1, 2.0], "number": 0.1})


def test_states_that_are_none(path: Path) -> None:
    net = small()
    endless: list[Any] = []
    endless.append(endless)
    for value in ({1, 2}, b"x", np.arange(3), np.int64(3), object(), 1j, {1: 2}, {"a": {None: 1}}):
        with pytest.raises(ModelFileError, match=r"state has .*; expected None, booleans"):
            model_file.write_checkpoint(path, net, {}, {"a": value})
    with pytest.raises(ModelFileError, match="state is nested too deeply"):
        model_file.write_checkpoint(path, net, {}, {"a": endless})
    with pytest.raises(ModelFileError, match="is no JSON"):
        model_file.write_checkpoint(path, net, {}, {"a": 10**5000})
    with pytest.raises(ModelFileError, match=r"tensor 'extra\.a' has dtype float16"):
        model_file.write_checkpoint(path, net, {"a": np.zeros(3, np.float16)}, {})
    assert only_files(path.parent) == []
