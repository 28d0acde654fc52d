"""The page that steps through backpropagation: what it holds. test_stepper_page.py clicks it."""

from __future__ import annotations

import json
import math
import pickle
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support import output_of

from cbackprop import SGD, Activation, Adam, Cost, Network, stepper
from cbackprop.functions import ACTIVATIONS, COSTS, cost_texts

XOR_X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR_Y = np.array([[0.0], [1.0], [1.0], [0.0]])


class Page(HTMLParser):
    """The elements of a page; every one must be closed where it was opened."""

    EMPTY = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []  # tag, and tag#id
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}  # by tag, and by tag#id
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append((tag, f"{tag}#{dict(attrs).get('id')}"))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for name in self.open[-1] if self.open else ():
            self.texts[name] = self.texts.get(name, "") + data


def read(page: str) -> dict:
    """The record that a page holds, as a browser finds it."""
    return json.loads(Page(page).texts["script#record"])


def numbers(values) -> np.ndarray:
    return np.array(values, dtype=object).astype(np.float64)  # "Infinity" and "NaN", too


def same_bits(found, expected) -> None:
    found, expected = numbers(found), np.asarray(expected)
    assert found.shape == expected.shape
    wide = expected.astype(np.float64)
    assert found.tobytes() == wide.tobytes()


# ---- the page ------------------------------------------------------------------------------------


def test_page_is_well_formed():
    page = Page(Network([2, 3, 1], seed=0).stepper_html(XOR_X, XOR_Y))
    assert page.open == []
    tags = [tag for tag, _ in page.elements]
    for tag in ("html", "head", "title", "body", "main", "h1"):
        assert tags.count(tag) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert dict(page.elements)["html"] == {"lang": "en"}
    assert page.texts["title"] == page.texts["h1"] == "Backpropagation, step by step"


def test_page_asks_nothing_of_the_network():
    text = Network([2, 3, 1], seed=0).stepper_html(XOR_X, XOR_Y)
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "base", "object", "embed")
        assert not {"src", "href", "srcset", "action", "data"} & set(attributes), tag
    assert "://" not in text
    assert not re.search(
        r"url\(|@import|\bimport\b|fetch\(|XMLHttpRequest|WebSocket|sendBeacon", text
    )
    policies = [a["content"] for t, a in page.elements if a.get("http-equiv") is not None]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none';")  # the browser holds it to that


def test_a_notebook_shows_it_in_a_frame_of_its_own():
    title = "a \"b\" <c> & 'd'"
    page = Network([2, 3, 1], seed=0).stepper_html(XOR_X, XOR_Y, steps=1, title=title)
    shown = page._repr_html_()
    ((tag, frame),) = Page(shown).elements
    assert tag == "iframe"
    assert frame["srcdoc"] == page
    assert frame["title"] == title
    assert frame["sandbox"] == "allow-scripts"
    # Where there is no notebook it is a text as any other.
    assert isinstance(page, str)
    assert page == str(page)
    assert hash(page) == hash(str(page))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(page, protocol))
        assert again == page
        assert again._repr_html_() == shown


def test_names_cannot_break_out():
    """A title and names of functions that try to end their element, or to be filled in again."""
    hostile = "</script></title><b id=x>&amp; \"'{{record}}\u2028 \\u003c"
    net = Network(
        [2, 3, 1],
        Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2, name=hostile),
        Cost(lambda a, y: np.sum(a - y, axis=1), lambda a, y: np.ones_like(a), name=hostile),
        seed=0,
    )
    plain = Page(Network([2, 3, 1], seed=0).stepper_html(XOR_X, XOR_Y))
    text = net.stepper_html(XOR_X, XOR_Y, title=hostile)
    page = Page(text)
    assert page.elements == plain.elements
    assert page.texts["title"] == page.texts["h1"] == hostile
    found = read(text)
    assert [one["name"] for one in found["activations"]] == [hostile, hostile]
    assert found["cost"]["name"] == hostile
    raw = page.texts["script#record"]
    assert raw.isascii()
    assert "<" not in raw


def test_colours_can_be_read():
    """WCAG's contrast of 4.5 for every text on every ground it stands on, in both themes."""
    style = (Path(stepper.__file__).parent / "step_page" / "page.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(themes) == 2

    def brightness(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    for theme in themes:
        grounds = [(text, on) for text in ("text", "faint") for on in ("page", "panel")]
        grounds += [
            (sign, on) for sign in ("positive", "negative") for on in ("page", "panel", "chosen")
        ]
        grounds += [("text", "chosen"), ("on-main", "main")]
        for text, ground in grounds:
            dark, light = sorted(brightness(theme[name]) for name in (text, ground))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


# ---- the numbers ---------------------------------------------------------------------------------


def own_cost():
    return Cost(
        lambda a, y: np.sum((a - y) ** 4, axis=1), lambda a, y: 4 * (a - y) ** 3, name="quartic"
    )


def own_activation():
    return Activation(np.arctan, lambda z: 1 / (1 + z * z), name="arctan")


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("activation", "cost"),
    [
        ("sigmoid", "quadratic"),
        (["relu", "tanh", "softmax"], "cross_entropy"),
        (["gelu", "silu", "softplus"], "poisson"),
        (own_activation(), own_cost()),
    ],
    ids=["sigmoid", "softmax", "poisson", "own"],
)
def test_numbers_are_the_library_s(activation, cost, dtype, backend):
    """Every number of every step, bit for bit, against the calls made one by one."""
    net = Network([3, 4, 2, 3], activation, cost, dtype=dtype, seed=3, backend=backend)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4, 3))
    Y = np.eye(3)[[0, 2, 1, 2]]
    found = read(net.stepper_html(X, Y, learning_rate=0.7, steps=6))

    assert found["sizes"] == [3, 4, 2, 3]
    assert found["dtype"] == dtype
    assert found["learning_rate"] == 0.7
    assert found["n_examples"] == 4
    assert len(found["steps"]) == 6
    for kind, arrays in (("weights", net.weights), ("biases", net.biases)):
        for values, array in zip(found["parameters"][kind], arrays, strict=True):
            same_bits(values, array)
    for i, step in enumerate(found["steps"]):
        example = i % 4
        assert step["example"] == example
        x, y = X[example], Y[example]
        same_bits(step["y"], y)
        backward = net.backward(x, y)
        for name in ("z", "a", "da_dz", "dC_da", "delta"):
            for values, array in zip(step[name], getattr(backward, name), strict=True):
                if array is None:
                    assert values is None
                else:
                    same_bits(values, array)
        same_bits(step["cost"], backward.cost)
        gradient = net.gradient(x, y)
        for kind in ("weights", "biases"):
            for values, array in zip(step["gradient"][kind], getattr(gradient, kind), strict=True):
                same_bits(values, array)
        same_bits(step["mean_cost"], net.cost(X, Y))
        net.partial_fit(x, y, optimizer=SGD(0.7))
        for kind, arrays in (("weights", net.weights), ("biases", net.biases)):
            for values, array in zip(step["updated"][kind], arrays, strict=True):
                same_bits(values, array)
        same_bits(step["cost_after"], net.cost(x, y))
        same_bits(step["mean_cost_after"], net.cost(X, Y))


def test_infinite_derivative_is_kept():
    """∂C/∂a of a saturated cross-entropy output is infinite, which JSON has no number for."""
    net = Network([1, 1], "sigmoid", "cross_entropy")
    net.weights[0][...] = 1.0
    (step,) = read(net.stepper_html([800.0], [0.0], steps=1))["steps"]
    assert step["dC_da"][1] == ["Infinity"]
    assert step["delta"][1] == [1.0]


def test_one_example_is_stepped_again_and_again():
    found = read(Network([2, 3, 1], seed=0).stepper_html([1.0, 0.0], [1.0], steps=3))
    assert found["n_examples"] == 1
    assert [step["example"] for step in found["steps"]] == [0, 0, 0]
    costs = [step["cost"] for step in found["steps"]]
    assert costs[0] > costs[1] > costs[2]


def test_network_stays_as_it_is():
    """Parameters, the optimiser's state and the generator: what comes next has the same bits."""
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(30, 2)), rng.random(size=(30, 1))
    nets = [Network([2, 3, 1], seed=0), Network([2, 3, 1], seed=0)]
    for net in nets:
        net.partial_fit(X, Y, optimizer=Adam(0.01))
    before = nets[0].parameters
    nets[0].stepper_html(X, Y)
    np.testing.assert_array_equal(nets[0].parameters, before)
    for net in nets:
        net.partial_fit(X, Y)
        net.fit(X, Y, epochs=2, batch_size=4)
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


# ---- the formulas --------------------------------------------------------------------------------


def evaluated(formula: str, **letters: float) -> float:
    """What a formula of the page says, in Python."""
    code = re.sub(r"^(.+) if (.+), else (.+)$", r"(\1) if (\2) else (\3)", formula)
    code = re.sub(r"e\^\{([^{}]*)\}", r"exp(\1)", code)
    code = re.sub(r"\|([^|]*)\|", r"abs(\1)", code)
    for sign, meaning in {"−": "-", "·": "*", "²": "**2", "½": "0.5", "≤": "<="}.items():
        code = code.replace(sign, meaning)
    names = {
        "exp": math.exp,
        "ln": math.log,
        "sign": lambda r: float(np.sign(r)),
        "Φ": lambda z: 0.5 * math.erfc(-z / math.sqrt(2)),
        "φ": lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
        "huber": lambda r: r * r / 2 if abs(r) <= 1 else abs(r) - 0.5,
    }
    return float(eval(code, {**names, **letters}))


def test_every_function_has_a_formula():
    for name, row in ACTIVATIONS.items():
        assert row.picture_formula or row.formula, name
        assert (row.formula is None) == (row.derivative_formula is None) == (name == "softmax")
    for name, row in COSTS.items():
        assert all(row.texts[:4]), name


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "softmax"])
def test_formulas_of_activations(name):
    value, derivative = ACTIVATIONS[name].formula, ACTIVATIONS[name].derivative_formula
    net = Network([1, 1], name)
    net.weights[0][...] = 1.0
    for z in (-2.5, -0.3, 0.0, 0.4, 1.7):
        backward = net.backward([z], [0.0])
        # selu's constants are written with five digits.
        assert evaluated(value, z=z) == pytest.approx(backward.a[1][0], rel=2e-4, abs=1e-15)
        assert evaluated(derivative, z=z) == pytest.approx(backward.da_dz[1][0], rel=2e-4)


@pytest.mark.parametrize("cost", COSTS)
def test_formulas_of_costs(cost):
    for output in COSTS[cost].outputs or ("sigmoid", "identity", "softmax"):
        net = Network([2, 3], output, cost, seed=1)
        net.weights[0][...] *= 3
        x, y = np.array([1.5, -2.0]), np.array([0.25, 0.0, 0.75])
        texts = cost_texts(cost, output)
        part, derivative = texts.part_formula, texts.part_derivative_formula
        found = read(net.stepper_html(x, y, steps=1))["cost"]
        assert (found["part"], found["derivative"]) == (part, derivative)
        backward = net.backward(x, y)
        a = backward.a[1]
        parts = [evaluated(part, a=float(a[j]), y=float(y[j]), n=3) for j in range(3)]
        assert sum(parts) == pytest.approx(float(backward.cost), rel=1e-12)
        slopes = [evaluated(derivative, a=float(a[j]), y=float(y[j]), n=3) for j in range(3)]
        assert slopes == pytest.approx(backward.dC_da[1].tolist(), rel=1e-12, abs=1e-15)


def test_functions_of_your_own_have_no_formula():
    found = read(
        Network([2, 3, 1], own_activation(), own_cost(), seed=0).stepper_html(XOR_X, XOR_Y)
    )
    assert found["activations"][0]["value"] is None
    assert found["activations"][0]["name"] == "arctan"
    assert found["cost"]["part"] is None
    assert found["cost"]["name"] == "quartic"


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"learning_rate": 0}, ValueError, "learning_rate is 0.0; expected a number > 0"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate is nan; expected a finite"),
        ({"learning_rate": "0.5"}, TypeError, "learning_rate is '0.5' (str); expected a real"),
        ({"steps": 0}, ValueError, "steps is 0; expected at least 1"),
        ({"steps": 2.5}, TypeError, "steps is 2.5 (float); expected an integer"),
        ({"title": 7}, TypeError, "title is 7 (int); expected a string"),
        ({"steps": 3509}, ValueError, "steps is 3509: the page would hold 57 numbers a step;"),
    ],
)
def test_arguments_are_judged(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Network([2, 3, 1], seed=0).stepper_html(XOR_X, XOR_Y, **arguments)


def test_examples_are_judged():
    net = Network([2, 3, 1], seed=0)
    with pytest.raises(ValueError, match=r"X has 0 examples; expected at least 1 for a step"):
        net.stepper_html(np.empty((0, 2)), np.empty((0, 1)))
    with pytest.raises(ValueError, match=r"Y has shape \(4, 2\)"):
        net.stepper_html(XOR_X, np.ones((4, 2)))


def test_networks_too_large_to_draw_are_refused():
    with pytest.raises(ValueError, match=r"layer 1 has 17 neurons; expected at most 16 to draw"):
        Network([2, 17, 1]).stepper_html(XOR_X, XOR_Y)
    with pytest.raises(ValueError, match=r"9 layers after the input; expected at most 8 to draw"):
        Network([2, *[3] * 8, 1]).stepper_html(XOR_X, XOR_Y)
    Network([2, *[16] * 7, 1]).stepper_html(XOR_X, XOR_Y, steps=1)


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_numbers_are_counted_before_they_are_made(output):
    """The limit counts at least what a step holds, and not much more."""
    net = Network([5, 7, 4], ["tanh", output], seed=0)
    steps = read(net.stepper_html(np.ones(5), np.ones(4), steps=2))["steps"]

    def count(value) -> int:
        if isinstance(value, (dict, list)):
            return sum(map(count, value.values() if isinstance(value, dict) else value))
        return value is not None

    n_parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(net.sizes))
    counted = 2 * n_parameters + 5 * sum(net.sizes) + net.sizes[-1] ** 2
    assert counted * 0.8 <= count(steps[0]) <= counted
    with pytest.raises(ValueError, match=rf"would hold {counted} numbers a step"):
        net.stepper_html(np.ones(5), np.ones(4), steps=100_000)


def test_a_step_that_diverges():
    net = Network([2, 3, 1], "identity", seed=0)
    before = net.parameters
    with pytest.raises(
        FloatingPointError, match=r"in step 1 of 20 with the learning rate 1e\+200: "
    ):
        net.stepper_html(XOR_X + 1, XOR_Y, learning_rate=1e200)
    np.testing.assert_array_equal(net.parameters, before)


def test_import_leaves_the_page_to_its_call():
    code = "import sys, cbackprop; print('cbackprop.stepper' in sys.modules)"
    assert output_of(code, options=("-W", "ignore")) == "False\n"
