"""Names of inputs and classes, and metadata: what is taken, what is refused and by which words."""

from __future__ import annotations

import copy
import json
import pickle
import re
import threading
from types import MappingProxyType

import numpy as np
import pytest
from rejections import Unprintable, Word
from support import every_backend, state

from cbackprop import Network

# The argument, its value, the error, and the start of its message.
REFUSED = [
    ("feature_names", "abc", TypeError, r"is 'abc' \(str\); expected a sequence of 3 names"),
    ("feature_names", b"abc", TypeError, r"is b'abc' \(bytes\); expected a sequence of 3 names"),
    ("feature_names", {"a", "b", "c"}, TypeError, r"is {.*} \(set\); expected a sequence"),
    ("feature_names", dict.fromkeys("abc"), TypeError, r"is {.*} \(dict\); expected a sequence"),
    ("feature_names", 3, TypeError, r"is 3 \(int\); expected a sequence of 3 names"),
    ("feature_names", [], ValueError, r"has 0 entries; expected 3 names because sizes\[0\] is 3"),
    ("feature_names", ["a", "b"], ValueError, "has 2 entries; expected 3 names because"),
    ("feature_names", list("abcd"), ValueError, "has 4 entries; expected 3 names because"),
    ("feature_names", ["a", 1, "c"], TypeError, r"\[1\] is 1 \(int\); expected a string"),
    ("feature_names", ["a", None, "c"], TypeError, r"\[1\] is None \(NoneType\); expected a str"),
    ("feature_names", ["a", b"b", "c"], TypeError, r"\[1\] is b'b' \(bytes\); expected a string"),
    ("feature_names", ["a", Unprintable(), "c"], TypeError, r"\[1\] is an object of type Unpr"),
    ("feature_names", ["a", "b", "a"], ValueError, "has 'a' 2 times; expected every name once"),
    ("feature_names", ["a", "", ""], ValueError, "has '' 2 times; expected every name once"),
    ("feature_names", ["a", "b", "\ud800"], ValueError, r"\[2\] is '\\ud800'; expected Unicode"),
    ("feature_names", np.arange(3), TypeError, r"\[0\] is .*0.*; expected a string"),
    ("feature_names", np.array([["a", "b", "c"]]), ValueError, "has 1 entries; expected 3 names"),
    ("class_names", ["a"], ValueError, r"has 1 entries; expected 2 names because sizes\[-1\] is 2"),
    ("class_names", ["a", "b", "c"], ValueError, "has 3 entries; expected 2 names because"),
    ("class_names", ["a", "a"], ValueError, "has 'a' 2 times; expected every name once"),
    ("class_names", [0, 1], TypeError, r"\[0\] is 0 \(int\); expected a string"),
    ("metadata", [], TypeError, r"is \[\] \(list\); expected a dict of texts by text"),
    ("metadata", "text", TypeError, r"is 'text' \(str\); expected a dict of texts by text"),
    ("metadata", {"a": 1}, TypeError, r"\['a'\] is 1 \(int\); expected a string"),
    ("metadata", {"a": None}, TypeError, r"\['a'\] is None \(NoneType\); expected a string"),
    ("metadata", {"a": {"b": "c"}}, TypeError, r"\['a'\] is {'b': 'c'} \(dict\); expected a str"),
    ("metadata", {"\udfff": "x"}, ValueError, r"|a key of metadata is '\\udfff'; expected Unicode"),
    ("metadata", {1: "x"}, TypeError, r"|a key of metadata is 1 \(int\); expected a string"),
    ("metadata", {"x": "\ud83d"}, ValueError, r"\['x'\] is '\\ud83d'; expected Unicode"),
]  # fmt: skip


@every_backend
@pytest.mark.parametrize(("name", "value", "error", "pattern"), REFUSED)
def test_refused_names(name, value, error, pattern, backend):
    """Of the constructor and of an assignment, by the same words; nothing has changed then."""
    # A pattern goes on after the argument's name, or it is the whole.
    space = "" if pattern.startswith(r"\[") else " "
    whole = pattern[1:] if pattern.startswith("|") else f"{name}{space}{pattern}"
    kept = {"feature_names": ("x", "y", "z"), "class_names": ("n", "p"), "metadata": {"k": "v"}}
    with pytest.raises(error, match=f"^{whole}") as made:
        Network([3, 2], backend=backend, **{name: value})
    net = Network([3, 2], backend=backend, seed=0, **kept)
    before = state(net)
    with pytest.raises(error, match=re.escape(str(made.value))):
        setattr(net, name, value)
    assert type(made.value) is error
    assert state(net) == before


def test_what_one_output_can_be_called():
    net = Network([3, 1], class_names=["price"])
    net.class_names = ("cheap", "dear")
    assert net.class_names == ("cheap", "dear")
    with pytest.raises(ValueError, match=r"^class_names has 3 entries; expected 1 or 2 names beca"):
        net.class_names = ["a", "b", "c"]


@pytest.mark.parametrize(
    "names",
    [
        ["tanh", "σ", "a\tb\x00\u202e"],
        ("tanh", "σ", "a\tb\x00\u202e"),
        np.array(["tanh", "σ", "a\tb\x00\u202e"]),
        np.array(["tanh", "σ", "a\tb\x00\u202e"], dtype=object),
        [Word.TANH, np.str_("σ"), "a\tb\x00\u202e"],
        iter(["tanh", "σ", "a\tb\x00\u202e"]),
    ],
    ids=lambda names: type(names).__name__,
)
def test_names_become_plain_strings(names):
    net = Network([3, 2])
    assert net.feature_names is None
    net.feature_names = names
    assert net.feature_names == ("tanh", "σ", "a\tb\x00\u202e")
    assert {type(name) for name in net.feature_names} == {str}
    net.feature_names = None
    assert net.feature_names is None


@pytest.mark.parametrize(
    "copied",
    [
        lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy, dict, dict.copy,
        lambda value: json.loads(json.dumps(value)),
    ],
)  # fmt: skip
def test_metadata_go_wherever_a_dict_goes(copied):
    net = Network([3, 2], metadata={"b": "1", "a": "2"})
    texts = copied(net.metadata)
    assert type(texts) is dict
    assert texts == net.metadata == {"b": "1", "a": "2"}
    texts["c"] = "3"
    assert "c" not in net.metadata
    net.metadata = texts
    assert copied(net.copy().metadata) == texts


def test_metadata_are_a_copy_and_read_only():
    mine = {"b": "1", "a": "2"}
    net = Network([3, 2], metadata=mine)
    mine["c"] = "3"
    assert list(net.metadata.items()) == [("b", "1"), ("a", "2")]
    for change in (
        lambda texts: texts.__setitem__("c", "3"),
        lambda texts: texts.__delitem__("b"),
        lambda texts: texts.__ior__({"c": "3"}),
        lambda texts: texts.update(c="3"),
        lambda texts: texts.setdefault("c", "3"),
        lambda texts: texts.pop("b", None),
        lambda texts: texts.popitem(),
        lambda texts: texts.clear(),
    ):
        with pytest.raises(TypeError, match=r"^metadata cannot be changed in place; assign all of"):
            change(net.metadata)
    assert list(net.metadata.items()) == [("b", "1"), ("a", "2")]
    net.metadata = MappingProxyType({**net.metadata, "c": "3"})
    assert net.metadata["c"] == "3"
    net.metadata = None
    assert dict(net.metadata) == {}


@every_backend
def test_names_in_the_middle_of_a_fit(backend, tmp_path):
    """A callback may say what came out, and the checkpoint has it; another thread has to wait."""
    refused = []

    def assign():
        for name, value in (("feature_names", None), ("class_names", None), ("metadata", {})):
            try:
                setattr(net, name, value)
            except RuntimeError as error:
                refused.append(str(error))

    def note(network, history):
        network.metadata = {"epochs": str(history.epochs)}
        thread = threading.Thread(target=assign)
        thread.start()
        thread.join()

    net = Network([3, 2], seed=0, backend=backend, feature_names=["a", "b", "c"])
    X, Y = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(0, 1, 8).reshape(4, 2)
    net.fit(X, Y, epochs=2, callbacks=[note], checkpoint=tmp_path / "fit")
    assert len(refused) == 6
    assert all("thread" in message for message in refused)
    for each in (net, Network.load(tmp_path / "fit")):
        assert each.feature_names == ("a", "b", "c")
        assert dict(each.metadata) == {"epochs": "2"}
