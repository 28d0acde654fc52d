"""Names of inputs and outputs where a network is looked at: in texts, notebooks and pictures."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from cbackprop import Network
from cbackprop.drawing import PICTURES
from cbackprop.neuron_names import LONGEST_NAME, called, listed, short_name

FEATURES, CLASSES = ("age", "dose & <b>weight</b>"), ("no", "perhaps", "yes")
# What a terminal obeys, turns text around, or no XML may hold; and much of it.
HOSTILE = (
    "\x1b]52;c;AAAA\x07",
    "\u202egnp.exe",
    "a\nb\tc\r\x85d\u2028e",
    "\x00\x7f\x9b31m",
    "</text><script>alert(1)</script>",
    "\u2066\u2069\u2068\ufeff\u200b",
    "&amp;&#x1b;%1b",
    "]]>\ufffe\uffff",
    "x" * 100_000,
    "",
)  # fmt: skip


def named(**options):
    about = {"feature_names": FEATURES, "class_names": CLASSES} | options
    return Network([2, 4, 3], ["tanh", "softmax"], "cross_entropy", seed=0, **about)


def rule(**options):
    return named(**options).chain_rule([0.5, -1.0], [0, 1, 0])


def single(**options):
    about = {"feature_names": FEATURES, "class_names": ["no", "yes"]} | options
    return Network([2, 3, 1], seed=0, **about)


# ---- texts ---------------------------------------------------------------------------------------


def test_a_short_repr():
    assert repr(named()).endswith(
        "backend='compiled', feature_names=('age', 'dose & <b>weight</b>'), "
        "class_names=('no', 'perhaps', 'yes'))"
    ) or "backend='reference', feature_names=" in repr(named())
    assert "names" not in repr(Network([2, 3, 1]))
    assert "metadata" not in repr(named())
    long = Network([500, 1], feature_names=[f"x{i}" for i in range(500)], metadata={"a": "b" * 999})
    assert len(repr(long)) < 350
    assert "metadata={'a': 'bbbb" in repr(long)


def test_the_summary():
    lines = named(metadata={"unit": "mg", "source": "a\nb"}).summary().splitlines()
    assert lines[-4:] == [
        "inputs: age, dose & <b>weight</b>",
        "outputs: no, perhaps, yes",
        "metadata: unit = mg",
        "metadata: source = a b",
    ]
    assert single().summary().splitlines()[-1] == "target: 0 is no, 1 is yes"
    assert single(class_names=["price"]).summary().splitlines()[-1] == "outputs: price"
    plain = Network([2, 3, 1], seed=0).summary()
    assert single().summary().startswith(plain)
    many = Network(
        [500, 1],
        feature_names=[f"feature {i}" for i in range(500)],
        metadata={f"key {i}": "x" * 1000 for i in range(500)},
    ).summary()
    assert re.search(r"^inputs: feature 0, .* and 49\d more$", many, re.MULTILINE)
    assert many.endswith("\nmetadata: 490 more")
    assert max(map(len, many.splitlines())) < 130


def test_the_chain_rule_says_what_a_weight_joins():
    found = rule()
    expected = {
        found.weight(1, 2, 0): "w[2, 0] of layer 1 (age → neuron 2)",
        found.weight(2, 1, 3): "w[1, 3] of layer 2 (neuron 3 → perhaps)",
        found.bias(1, 2): "b[2] of layer 1",
        found.bias(2, 2): "b[2] of layer 2 (yes)",
        found.activation(0, 0): "a[0] of layer 0 (age)",
        found.activation(1, 3): "a[3] of layer 1",
    }
    for term, text in expected.items():
        assert term.long_name == text
        assert str(term).startswith(f"∂C/∂{text} = ")
        assert repr(term).startswith(f"<∂C/∂{text} = ")
        assert term.name == text.split(" (")[0]
    assert str(found.activation(2, 0)).startswith("∂C/∂a[0] of the output layer 2 (no) = ")
    direct = Network([2, 3], seed=0, feature_names=FEATURES, class_names=CLASSES)
    joined = direct.chain_rule([0, 0], [0, 0, 0]).weight(1, 2, 0)
    assert joined.long_name == "w[2, 0] of layer 1 (age → yes)"
    of_one = single().chain_rule([0, 0], [0])
    assert of_one.weight(2, 0, 1).long_name == "w[0, 1] of layer 2 (neuron 1 → no / yes)"
    plain = rule(feature_names=None, class_names=None)
    assert plain.weight(1, 2, 0).long_name == plain.weight(1, 2, 0).name


def test_the_whole_chain_rule_has_them_beside_the_numbers():
    text = str(rule())
    assert text.splitlines()[1] == "  name    age, dose & <b>weight</b>"
    assert re.search(r"^  name +no, perhaps, yes$", text, re.MULTILINE)
    assert "name" not in str(rule(feature_names=None, class_names=None))
    wide = Network([9, 1], seed=0, feature_names=[f"x{i}" for i in range(9)])
    assert "  name    x0, x1, x2, x3, … 4 more …, x8" in str(wide.chain_rule([0] * 9, [0]))


# ---- pictures ------------------------------------------------------------------------------------


SVG = "{http://www.w3.org/2000/svg}"


def labels(picture):
    """The elements of text of a picture, without what they say where one points."""
    found = list(ElementTree.fromstring(picture).iter(f"{SVG}text"))
    for element in found:
        for title in element.findall(f"{SVG}title"):
            tail = title.tail or ""
            element.remove(title)
            element.text = (element.text or "") + tail
    return found


def texts(picture):
    """What a picture shows, and what it says where one points."""
    titles = [e.text or "" for e in ElementTree.fromstring(picture).iter(f"{SVG}title")]
    return ["".join(element.itertext()) for element in labels(picture)], titles


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_label_inputs_and_outputs(kind):
    found = rule()
    shown, titles = texts(found.weight(1, 2, 1).svg(kind))
    assert "(dose & <b>weight</b> → neuron 2)" in titles[0]
    if kind != "summary":
        assert any("dose & <b>weight</b>" in text for text in shown)
    shown, titles = texts(found.weight(2, 2, 1).svg(kind))
    assert "(neuron 1 → yes)" in titles[0]
    if kind != "summary":
        # A softmax layer's strongest path may lead through another output.
        assert any(name in text for text in shown for name in CLASSES)
    for network in (found, rule(feature_names=None, class_names=None)):
        for term in (network.bias(2, 0), network.activation(0, 1), network.activation(2, 1)):
            texts(term.svg(kind))


def test_the_picture_of_a_network():
    html = named(metadata={"unit": "<mg>"})._repr_html_()
    assert "<p>inputs: age, dose &amp; &lt;b&gt;weight&lt;/b&gt;</p>" in html
    assert "<p>metadata: unit = &lt;mg&gt;</p>" in html
    shown, titles = texts(html[html.index("<svg") : html.index("</svg>") + 6])
    for name in (*FEATURES, *CLASSES):
        assert name in shown
    assert "neuron 0 of layer 0 (age)" in titles
    assert any(title.startswith("neuron 2 of layer 2 (yes), bias ") for title in titles)
    # Of a layer that is elided those that are seen.
    wide = Network([40, 2], feature_names=[f"x{i}" for i in range(40)])._repr_html_()
    shown, _ = texts(wide[wide.index("<svg") : wide.index("</svg>") + 6])
    assert "x39" in shown
    assert "x20" not in shown


def test_names_do_not_lie_over_other_labels():
    """Texts of one height do not overlap, by the width they take at most."""
    from cbackprop.drawing.symbols import label_width

    about = {"feature_names": ["m" * 30, "w" * 30], "class_names": ["m" * 30, "w" * 30, "y" * 30]}
    found = rule(**about)
    for term in (found.weight(1, 2, 1), found.weight(2, 2, 1), found.activation(0, 1)):
        for kind in ("tree", "chain", "indices"):
            spans = []
            for e in labels(term.svg(kind)):
                text = "".join(e.itertext())
                width = label_width(
                    [(text, "")], float(re.search("font-size:([0-9.]+)px", e.get("style"))[1])
                )
                left = (
                    float(e.get("x"))
                    - {"start": 0, "middle": 0.5, "end": 1}[
                        re.search("text-anchor:([a-z]+)", e.get("style"))[1]
                    ]
                    * width
                )
                spans.append((float(e.get("y")), left, left + width, text))
            for y, left, right, text in spans:
                if "…" not in text:
                    continue
                for y2, left2, right2, text2 in spans:
                    apart = abs(y - y2) >= 10 or right <= left2 or right2 <= left
                    assert apart or text == text2, (kind, text, text2)


# ---- names that would do something ---------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_does_nothing_where_it_is_shown(name):
    """No escape, no character that turns others around, no markup, and no endless line."""
    net = named(
        feature_names=(name, "b"), class_names=(name, "b", "c"), metadata={name: name, "k": name}
    )
    found = net.chain_rule([0.5, -1.0], [0, 1, 0])
    terms = [found.weight(1, 0, 0), found.bias(2, 0), found.activation(0, 0)]
    plain = [net.summary(), repr(net), str(found), *map(str, terms), *map(repr, terms)]
    pages = [net._repr_html_(), found._repr_html_(), *(t.svg(k) for t in terms for k in PICTURES)]
    for text in (*plain, *pages):
        odd = {c for c in text if not c.isprintable() and c != "\n"}
        assert odd == set()
        assert "x" * (LONGEST_NAME + 60) not in text
    for page in pages:
        assert "<script" not in page
        for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
            ElementTree.fromstring(svg)
    for text in plain:
        assert max(map(len, text.splitlines())) < 500


def test_what_is_written_from_right_to_left_keeps_its_place():
    """Between isolates the numbers beside it stay where they are."""
    assert short_name("שלום") == "\u2068שלום\u2069"
    assert short_name("\u2069שלום") == "\u2068�שלום\u2069"
    assert short_name("سعر 3") == "\u2068سعر 3\u2069"
    assert short_name("Größe") == "Größe"
    picture = rule(feature_names=["שלום", "b"]).weight(1, 0, 0).svg("indices")
    assert "\u2068שלום\u2069   0.5 =" in texts(picture)[0]


def test_names_in_one_short_line():
    assert short_name("a" * 24) == "a" * 24
    assert short_name("a" * 25) == "a" * 23 + "…"
    assert short_name(" a \n b ") == "a b"
    assert short_name("") == short_name("\n") == "?"
    assert listed(["a"]) == "a"
    assert listed(["a" * 24] * 3) == ", ".join(["a" * 24] * 3)
    assert listed(["a" * 24] * 4) == ", ".join(["a" * 24] * 3) + " and 1 more"
    net = named()
    assert [called(net, 0, 0), called(net, 1, 0), called(net, 2, 2)] == ["age", None, "yes"]
    assert called(single(), 2, 0) == "no / yes"
    assert np.isfinite(net.predict([0, 0])).all()
