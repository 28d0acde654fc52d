"""What a network is about: it goes where the network goes, into files, pickles and copies."""

from __future__ import annotations

import copy
import pickle

import pytest
from support import both_dtypes, data, every_backend, state

from cbackprop import LBFGS, Adam, ModelFileError, Network

ABOUT = {
    "feature_names": ("age", "σ \"'\\\n\x00\u202e😀", ""),
    "class_names": ("null", '{"float":"inf"}'),
    "metadata": {"float": "inf", "dict": "", "": "😀", "checksum": "0", "long": "x" * 100_000},
}


def named(backend="compiled", dtype="float64", **options):
    return Network([3, 4, 2], seed=3, backend=backend, dtype=dtype, **{**ABOUT, **options})


def by_file(net, path, **options):
    net.save(path / "net", **options)
    return Network.load(path / "net", backend=net.backend)


WAYS = {
    "copy": lambda net, path: net.copy(),
    "copy.copy": lambda net, path: copy.copy(net),
    "copy.deepcopy": lambda net, path: copy.deepcopy(net),
    "pickle": lambda net, path: pickle.loads(pickle.dumps(net)),
    "file": by_file,
    "file with optimiser": lambda net, path: by_file(net, path, optimizer=True),
    "file without generator": lambda net, path: by_file(net, path, optimizer=True, generator=False),
    "reset": lambda net, path: net.reset(4),
}


@every_backend
@both_dtypes
@pytest.mark.parametrize("way", WAYS)
def test_names_and_metadata_go_along(way, dtype, backend, tmp_path):
    net = named(backend, dtype)
    twin = WAYS[way](net, tmp_path)
    assert twin.feature_names == ABOUT["feature_names"]
    assert twin.class_names == ABOUT["class_names"]
    assert dict(twin.metadata) == ABOUT["metadata"]
    assert list(twin.metadata) == list(ABOUT["metadata"])
    plain = WAYS[way](Network([3, 4, 2], backend=backend, dtype=dtype), tmp_path)
    assert (plain.feature_names, plain.class_names, dict(plain.metadata)) == (None, None, {})
    twin.feature_names, twin.metadata = None, {}
    if twin is not net:
        assert dict(net.metadata) == ABOUT["metadata"]


@every_backend
def test_a_checkpoint_of_a_fit_has_them(tmp_path, backend):
    net = named(backend)
    net.fit(*data(12, (3, 2)), epochs=2, checkpoint=tmp_path / "fit")
    assert state(Network.load(tmp_path / "fit", backend=backend)) == state(net)
    # A network that says nothing takes the file's; one that says something else is refused.
    other = Network([3, 4, 2], seed=3, backend=backend)
    other.fit(*data(12, (3, 2)), epochs=2, checkpoint=tmp_path / "fit", resume=True)
    assert state(other) == state(net)
    for name in ("feature_names", "class_names"):
        other = named(backend, **{name: ABOUT[name][::-1]})
        before = state(other)
        with pytest.raises(ValueError, match=f"^resume: the checkpoint has the {name} .* expected"):
            other.fit(*data(12, (3, 2)), epochs=2, checkpoint=tmp_path / "fit", resume=True)
        assert state(other) == before


# ---- the optimiser and the generator in a file ---------------------------------------------------


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", ["sgd", Adam(0.01), LBFGS()], ids=str)
def test_partial_fit_goes_on_from_a_file_bit_for_bit(optimizer, dtype, backend, tmp_path):
    net = named(backend, dtype)
    net.partial_fit(*data(24, (3, 2)), optimizer=optimizer)
    twin = by_file(net, tmp_path, optimizer=True)
    assert state(twin) == state(net)
    for each in (net, twin):
        each.partial_fit(*data(24, (3, 2), seed=1))
        if optimizer == "sgd":
            each.partial_fit(*data(24, (3, 2), seed=2), options={"dropout": 0.3})
    assert state(twin) == state(net)
    # Without being asked for it the file has neither.
    plain = by_file(net, tmp_path)
    assert plain._model.optimizer is None
    assert plain._model.random.state != net._model.random.state
    assert plain.parameters.tobytes() == net.parameters.tobytes()


@every_backend
def test_the_generator_stays_out_of_a_file(backend, tmp_path):
    """Who has its state knows all the noise that was drawn."""
    net = named(backend)
    net.partial_fit(*data(24, (3, 2)), optimizer="adam")
    words = net._model.random.state["state"]
    net.save(tmp_path / "net", optimizer=True, generator=False)
    contents = (tmp_path / "net").read_bytes()
    assert b'"generator":"null"' in contents
    for word in words.values():
        assert f"{word:x}".encode() not in contents
    twins = [Network.load(tmp_path / "net", backend=backend) for _ in range(2)]
    assert len({state(each).generator for each in (net, *twins)}) == 3
    for twin in twins:
        assert state(twin)._replace(generator="") == state(net)._replace(generator="")


def test_a_schedule_stays_with_its_fit(tmp_path):
    """The checkpoint's last rate is the schedule's; a step after `load` takes the optimiser's."""
    net = named()
    net.fit(
        *data(12, (3, 2)),
        epochs=3,
        optimizer=Adam(0.5),
        schedule=lambda epoch, rate: rate * 0.01**epoch,
        checkpoint=tmp_path / "fit",
    )
    X, Y = data(12, (3, 2), seed=1)
    quick, slow = Network.load(tmp_path / "fit"), Network.load(tmp_path / "fit")
    quick.partial_fit(X, Y)
    slow.partial_fit(X.tolist(), Y.tolist())
    assert state(quick) == state(slow)
    assert quick._engine.learning_rate == 0.5


def test_a_fit_does_not_go_on_from_what_no_fit_has_written(tmp_path):
    net = named().partial_fit(*data(4, (3, 2)))
    net.save(tmp_path / "net", optimizer=True)
    before = state(net)
    with pytest.raises(ValueError, match=r"^resume: the checkpoint is a file of save\("):
        net.fit(*data(4, (3, 2)), checkpoint=tmp_path / "net", resume=True)
    assert state(net) == before


def test_an_optimizer_of_ones_own_stays_out(tmp_path):
    class Mine(Adam):
        pass

    net = named().partial_fit(*data(4, (3, 2)), optimizer=Mine(0.1))
    with pytest.raises(ModelFileError, match="of a class of your own; expected one of"):
        net.save(tmp_path / "net", optimizer=True)
    assert list(tmp_path.iterdir()) == []
    net.save(tmp_path / "net")


@pytest.mark.parametrize("name", ["optimizer", "generator"])
def test_arguments_of_save(name, tmp_path):
    with pytest.raises(TypeError, match=rf"^{name} is 1 \(int\); expected True or False"):
        named().save(tmp_path / "net", **{name: 1})
    assert list(tmp_path.iterdir()) == []


def test_more_than_a_header_can_hold(tmp_path):
    net = named(metadata={"notes": "x" * (1 << 20)})
    for options in ({}, {"optimizer": True}):
        with pytest.raises(ModelFileError, match=r"its header has .* 'metadata' alone "):
            net.save(tmp_path / "net", **options)
    assert list(tmp_path.iterdir()) == []
    assert dict(pickle.loads(pickle.dumps(net)).metadata) == dict(net.metadata)
