"""Pictures: well-formed, in agreement with the chain rule's numbers, readable by everybody.

Positions are judged from the SVG alone, with the widths that characters have in common fonts.
"""

from __future__ import annotations

import io
import math
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from support import FREE_COSTS, PAIRS, REPOSITORY, run_python, succeeds

import cbackprop
from cbackprop import Activation, Cost, EarlyStopping, History, Network, schedules
from cbackprop.drawing.canvas import COLOURS, Canvas, Point, style_sheet
from cbackprop.drawing.choice import shown_neurons
from cbackprop.drawing.network import draw as draw_network
from cbackprop.drawing.symbols import in_product, number
from cbackprop.optimizers import OPTIMIZERS, Optimizer

SVG = "{http://www.w3.org/2000/svg}"
KINDS = ("chain", "tree", "indices", "summary")
THEMES = ("auto", "light", "dark")


# Each activation with one cost, each cost with one activation, or with all where it takes few.
OUTPUTS = [
    (activation, cost)
    for activation, cost in PAIRS
    if cost == "quadratic" or activation == "sigmoid" or cost not in FREE_COSTS
]

EVIL = "</text><script>alert(1)</script>&\"'\x00\u202e\ud800 ]]> very long indeed 漢字"
SINE = Activation(np.sin, np.cos, name=EVIL)
QUARTIC = Cost(lambda a, y: ((a - y) ** 4).sum(axis=1), lambda a, y: 4 * (a - y) ** 3, name=EVIL)


def lesson_rule():
    net = Network([1, 1, 1, 1])
    net.parameters = [1.5, -0.25, -2.0, 0.25, 1.75, 0.5]
    return net.chain_rule([0.5], [1.0])


def wide_rule():
    net = Network([784, 16, 16, 10], seed=1)
    return net.chain_rule(np.random.default_rng(0).random(784), np.eye(10)[3])


def small_rule(sizes, activation="sigmoid", cost="quadratic", seed=3):
    net = Network(sizes, activation, cost, seed=seed)
    rng = np.random.default_rng(seed)
    y = rng.random(sizes[-1])
    return net.chain_rule(rng.random(sizes[0]), y / y.sum())


def every_term(rule):
    top = len(rule.sizes) - 1
    yield rule.weight(top, 0, rule.sizes[top - 1] - 1)
    yield rule.weight(1, rule.sizes[1] - 1, rule.sizes[0] // 2)
    yield rule.bias(1, 0)
    yield rule.activation(0, 0)
    yield rule.activation(top, rule.sizes[top] - 1)


def every_picture(rule):
    for term in every_term(rule):
        for kind in KINDS:
            yield term, kind, term.svg(kind)


# ---- what an SVG says ----------------------------------------------------------------------------


def declared(element):
    """What an element's style attribute says."""
    return dict(entry.split(":") for entry in element.get("style", "").split(";") if entry)


def size_of(element, default=None):
    """The font size of a text or a part of it."""
    size = declared(element).get("font-size")
    return default if size is None else float(size.removesuffix("px"))


def texts(svg):
    """The labels as a reader sees them, without hovers: minus signs plain, one space between."""
    found = []
    for element in ET.fromstring(svg).iter(f"{SVG}text"):
        parts = [element.text or ""]
        for child in element:
            if child.tag != f"{SVG}title":
                parts.append("".join(child.itertext()))
            parts.append(child.tail or "")
        found.append(" ".join("".join(parts).replace("−", "-").split()))
    return found


def titles(svg):
    """What hovers say."""
    root = ET.fromstring(svg)
    return [t.text for e in root.iter() if e is not root for t in e.findall(f"{SVG}title")]


def numbers_in(strings):
    """Every number of some texts, powers of ten written out."""
    plain = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    found = set()
    for text in strings:
        text = re.sub(r"(\d)·10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: f"{m[1]}e{m[2].translate(plain)}", text)
        found |= {float(n) for n in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)}
    return found


def shows(svg, value):
    """Whether a label has this number, to the four digits of labels."""
    return any(math.isclose(value, n, rel_tol=5.1e-4, abs_tol=0) for n in numbers_in(texts(svg)))


def character_width(character):
    """In ems, near the widest of DejaVu Sans, Verdana, Segoe UI, Helvetica."""
    if character in "iljt.,:;|!'()[]/ ·fI":
        return 0.38
    return 1.0 if ord(character) > 0x2E80 or character in "mwMW" else 0.63


def text_boxes(svg):
    boxes = []
    for element in ET.fromstring(svg).iter(f"{SVG}text"):
        size = size_of(element)
        runs = [(element.text or "", size)]
        for child in element:
            if child.tag == f"{SVG}title":
                runs.append((child.tail or "", size))
            else:
                runs.append((child.text or "", size_of(child, size)))
                runs.append((child.tail or "", size))
        width = sum(at * sum(map(character_width, text)) for text, at in runs)
        x, y = float(element.get("x")), float(element.get("y"))
        left = x - {"start": 0, "middle": 0.5, "end": 1}[declared(element)["text-anchor"]] * width
        label = "".join(text for text, _ in runs)
        boxes.append((label, left, y - 0.75 * size, left + width, y + 0.2 * size))
    return boxes


def overlapping(svg):
    """Pairs of labels that cover each other, and labels that stick out of the picture."""
    boxes = text_boxes(svg)
    x, y, width, height = map(float, ET.fromstring(svg).get("viewBox").split())
    wrong = [
        ("outside", label)
        for label, left, top, right, bottom in boxes
        if left < x or right > x + width or top < y or bottom > y + height
    ]
    for i, (label, left, top, right, bottom) in enumerate(boxes):
        for other, *box in boxes[:i]:
            if min(right, box[2]) - max(left, box[0]) > 0.5 and (
                min(bottom, box[3]) - max(top, box[1]) > 0.5
            ):
                wrong.append((label, other))
    return wrong


def sticking_out_of_nodes(svg):
    """Labels wider than the node they stand in, or half in one they do not belong to."""
    wrong = []
    nodes = [
        tuple(float(r.get(name)) for name in ("x", "y", "width", "height"))
        for r in ET.fromstring(svg).iter(f"{SVG}rect")
        if r.get("class") in ("node", "chosen")
    ]
    for label, left, top, right, bottom in text_boxes(svg):
        for x, y, width, height in nodes:
            covers = min(right, x + width) - max(left, x) > 0.5 and (
                min(bottom, y + height) - max(top, y) > 0.5
            )
            if covers and not (left >= x and right <= x + width and top >= y):
                wrong.append(label)
    return wrong


# ---- the format ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("activation", "cost"), [*OUTPUTS, (SINE, QUARTIC)])
@pytest.mark.parametrize("sizes", [[1, 1], [2, 3], [3, 1, 2, 18, 3]])
def test_every_picture_of_every_network_is_right(activation, cost, sizes):
    """Well-formed, described, and no label over another."""
    activations = [activation] * (len(sizes) - 1)
    if activation == "softmax":
        activations = ["tanh"] * (len(sizes) - 2) + ["softmax"]
        sizes = [*sizes[:-1], max(sizes[-1], 2)]
    rule = small_rule(sizes, activations, cost)
    for term, kind, svg in every_picture(rule):
        root = ET.fromstring(svg)
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        title, description = root.find(f"{SVG}title").text, root.find(f"{SVG}desc").text
        assert term.name in title
        assert root.get("aria-label") == title
        assert str(term).split("\n")[0] in description
        where = f"{kind} of {term.name}"
        assert overlapping(svg) == [], where
        assert sticking_out_of_nodes(svg) == [], where
        assert "nan" not in svg
        svg.encode("utf-8")


def test_pictures_of_a_deep_network():
    rule = small_rule([1] * 25, "softplus")
    for term, kind, svg in every_picture(rule):
        assert overlapping(svg) == [], (term.name, kind)
    tree = texts(rule.weight(1, 0, 0).svg())
    assert "a(24)" in tree
    assert "z(7)" in tree


def test_pictures_of_784_16_16_10():
    rule = wide_rule()
    for term, kind, svg in every_picture(rule):
        assert overlapping(svg) == [], (term.name, kind)
        assert sticking_out_of_nodes(svg) == [], (term.name, kind)
        # A picture that a page can hold.
        assert len(svg) < 150_000
        width = float(ET.fromstring(svg).get("viewBox").split()[2])
        assert width < 1200


@pytest.mark.parametrize("scale", [1.23456789e-9, 1.23456789e30])
def test_long_numbers_find_room(scale):
    net = Network([30, 40, 20], "identity", seed=4)
    net.parameters = scale * (np.random.default_rng(0).random(net.n_parameters) - 0.7)
    x = -1.2345e-7 * np.random.default_rng(1).random(30)
    rule = net.chain_rule(x, np.full(20, -1.2345e-5))
    for term, kind, svg in every_picture(rule):
        assert overlapping(svg) == [], (term.name, kind)
        assert sticking_out_of_nodes(svg) == [], (term.name, kind)


def test_pictures_do_not_clash_on_a_page(monkeypatch):
    """No ids at all, and style rules that reach pictures with the same rules alone."""
    rule = lesson_rule()
    styles = {}
    for theme in THEMES:
        for kind in KINDS:
            svg = rule.svg(kind, theme=theme)
            root = ET.fromstring(svg)
            assert not any(element.get("id") for element in root.iter())
            assert "url(#" not in svg
            style = root.find(f"{SVG}style").text
            assert styles.setdefault(root.get("class"), style) == style
            selectors = re.findall(r"([^{}]+)\{[^{}]*\}", re.sub(r"@media [^{]*\{", "", style))
            assert len(selectors) > 15
            scope = f"svg.{root.get('class')}"
            assert all(re.fullmatch(rf"\}}?{scope}( [\w.-]+)?", s) for s in selectors)
            assert "<script" not in svg
    assert rule.svg() == rule.svg()
    assert len(styles) == len(THEMES)
    # A picture of another version, with other colours, would have another class.
    monkeypatch.setitem(COLOURS["light"], "ink", "#123456")
    style_sheet.cache_clear()
    assert ET.fromstring(rule.svg()).get("class") not in styles
    monkeypatch.undo()
    style_sheet.cache_clear()


@pytest.mark.parametrize("kind", [*KINDS, "network", "training"])
def test_what_a_page_declares_for_every_text_or_line_changes_no_picture(kind):
    """Sizes are declared on the elements: nothing that can be styled is a mere attribute."""
    rule = lesson_rule()
    if kind in KINDS:
        svg = rule.svg(kind)
    else:
        net, _, _, history = trained()
        svg = draw_network(net) if kind == "network" else history.plot()
    styled = {"font-size", "font-weight", "text-anchor", "fill", "stroke", "stroke-width"}
    styled |= {"stroke-dasharray", "font-style", "font-family", "opacity"}
    for element in ET.fromstring(svg).iter():
        assert not styled & set(element.attrib), element.attrib


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_of_several_parts_is_anchored_at_its_start(kind):
    """Renderers without the whole of SVG's text anchor each part alone, one over the other."""
    for element in ET.fromstring(wide_rule().svg(kind)).iter(f"{SVG}text"):
        parts = [e for e in element if e.tag == f"{SVG}tspan"]
        if len(parts) > 1:
            assert declared(element)["text-anchor"] == "start"


def test_names_of_the_users_cannot_break_out():
    """Control characters, halves of characters and characters that turn text are replaced."""
    rule = small_rule([2, 3, 2], [SINE, SINE], QUARTIC)
    history = Network([1, 1], SINE, QUARTIC, seed=0).fit([[1.0]], [[0.5]], epochs=2)
    history.metrics = {EVIL: [0.5, 0.25]}
    net = Network([2, 3, 2], SINE, QUARTIC)
    pages = [svg for _, _, svg in every_picture(rule)]
    pages += [draw_network(net), history.plot()]
    for svg in pages:
        root = ET.fromstring(svg)
        assert not list(root.iter(f"{SVG}script"))
        assert not re.search("[\x00\u202e\ud800]", svg)
    for shown in (rule, rule.weight(1, 0, 0), net, history):
        html = shown._repr_html_()
        assert "<script" not in html
        assert not re.search("[\x00\u202e\ud800]", html)
        balanced(html)
    assert any("script" in text for text in texts(rule.svg("summary")))


def test_a_label_with_a_line_break_or_a_markup_stays_one_label():
    canvas = Canvas('a <b> & "c"\nd', "light")
    canvas.text(Point(0, 0), "x <tspan> & y\ttab", title="one\ntwo < three")
    root = ET.fromstring(canvas.drawing("5 < 6 & 7"))
    assert root.find(f"{SVG}desc").text == "5 < 6 & 7"
    (text,) = root.iter(f"{SVG}text")
    assert text.find(f"{SVG}title").text == "one\ntwo < three"
    assert text.find(f"{SVG}title").tail == "x <tspan> & y\N{REPLACEMENT CHARACTER}tab"


# ---- seen by everybody ---------------------------------------------------------------------------


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(theme):
    """WCAG 2.1 AA: 4.5 for text, 3 for what pictures are read by."""
    colours = COLOURS[theme]
    for text in ("ink", "quiet", "positive", "negative"):
        assert contrast(colours[text], colours["paper"]) >= 4.5
    for background in ("node", "chosen"):
        assert contrast(colours["ink"], colours[background]) >= 4.5
    assert contrast(colours["quiet"], colours["node"]) >= 3
    # The point that is nudged is told from the others, and from the paper by its fill or its edge.
    assert contrast(colours["mark"], colours["ink"]) >= 1.2
    assert max(contrast(colours[fill], colours["paper"]) for fill in ("mark", "ink")) >= 4.5


def test_the_chosen_point_of_a_chain_is_no_dimmer_than_the_others():
    """In the dark it is bright."""
    root = ET.fromstring(lesson_rule().weight(1, 0, 0).svg("chain", theme="dark"))
    found = rules_of(root.find(f"{SVG}style").text)
    looks = [circle.get("class") for circle in root.iter(f"{SVG}circle")]
    (chosen,) = {look for look in looks if look not in ("point", "ring", "node")}
    fills = [found[look].removeprefix("fill:")[:7] for look in (chosen, "point")]
    paper = COLOURS["dark"]["paper"]
    assert contrast(fills[0], paper) > 0.7 * contrast(fills[1], paper) > 7


def rules_of(style):
    return dict(re.findall(r"svg\.cbackprop-\d+ \.([\w-]+)\{([^{}]*)\}", style))


def test_themes():
    """Each has its colours; auto has the light ones, and the dark ones where dark is preferred."""
    rule = lesson_rule()
    styles = {
        theme: ET.fromstring(rule.svg(theme=theme)).find(f"{SVG}style").text for theme in THEMES
    }
    for theme in ("light", "dark"):
        found = rules_of(styles[theme])
        assert "prefers-color-scheme" not in styles[theme]
        assert found["paper"] == f"fill:{COLOURS[theme]['paper']};stroke:none"
        assert found["ink-text"] == f"fill:{COLOURS[theme]['ink']}"
        assert found["negative-line"] == f"fill:none;stroke:{COLOURS[theme]['negative']}"
    plain, dark = styles["auto"].split("@media (prefers-color-scheme:dark)")
    assert rules_of(plain) == rules_of(styles["light"])
    assert {**rules_of(plain), **rules_of(dark)} == rules_of(styles["dark"])


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_class_has_its_rule(theme, kind):
    """An element without a rule would be black, on black perhaps."""
    pages = [wide_rule().svg(kind, theme=theme, layer=2, j=1), draw_network(Network([2, 30, 1]))]
    for svg in pages:
        root = ET.fromstring(svg)
        known = rules_of(root.find(f"{SVG}style").text)
        for element in root.iter():
            if element is not root and element.get("class"):
                assert element.get("class") in known
            elif element.tag in (f"{SVG}rect", f"{SVG}circle", f"{SVG}line", f"{SVG}polygon"):
                pytest.fail(f"{element.attrib} has no class")


def test_a_sign_is_said_twice_and_a_size_by_width():
    rule = lesson_rule()
    root = ET.fromstring(rule.weight(1, 0, 0).svg())
    widths = {}
    for line in root.iter(f"{SVG}line"):
        title = line.find(f"{SVG}title")
        if title is None:
            continue
        value = float(title.text.split(" = ")[1])
        look = line.get("class")
        assert look == ("positive-line" if value > 0 else "negative-line")
        assert ("stroke-dasharray" not in declared(line)) == (value > 0)
        widths[title.text] = float(declared(line)["stroke-width"])
    assert widths["∂z/∂b = 1"] > widths["∂z/∂w = 0.5"]
    assert len(widths) >= 9


def test_a_derivative_of_zero_has_no_sign():
    net = Network([2, 1], seed=0)
    root = ET.fromstring(net.chain_rule([0.0, 1.0], [0.5]).weight(1, 0, 0).svg())
    (line,) = [
        line
        for line in root.iter(f"{SVG}line")
        if line.find(f"{SVG}title") is not None and line.find(f"{SVG}title").text == "∂z/∂w = 0"
    ]
    assert line.get("class") == "faint-line"


# ---- the numbers ---------------------------------------------------------------------------------


def test_numbers_of_the_lessons_chain():
    """z, a, w, b, y, C and each local derivative stand in the chain and in the tree."""
    rule = lesson_rule()
    back = rule.backward
    values = [rule.cost, 1.0, *(a.item() for a in back.a)]
    for l in (1, 2, 3):
        values += [rule.weights[l - 1].item(), rule.biases[l - 1].item(), back.z[l].item()]
        values.append(back.da_dz[l].item())
    values.append(back.dC_da[3].item())
    for kind in ("chain", "tree"):
        svg = rule.weight(1, 0, 0).svg(kind)
        for value in values:
            assert shows(svg, value), (kind, value)
    assert shows(rule.weight(1, 0, 0).svg(), rule.weight(1, 0, 0).value)
    # The literals of test_lesson.py, which do not come from the library.
    assert numbers_in(texts(rule.weight(1, 0, 0).svg())) >= {0.008856, 0.07537, -0.1912, -0.5488}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [lesson_rule, wide_rule])
def test_factors_and_value_of_a_weight(kind, make):
    rule = make()
    l, j, k = (3, 0, 0) if rule.sizes[0] == 1 else (2, 3, 5)
    term = rule.weight(l, j, k)
    svg = term.svg(kind)
    assert shows(svg, term.dz_dw)
    if kind != "indices":
        assert shows(svg, term.da_dz)
    assert shows(svg, term.value)
    assert term.name in ET.fromstring(svg).find(f"{SVG}title").text


def test_hovers_have_every_digit():
    rule = wide_rule()
    term = rule.weight(2, 3, 5)
    for kind in ("tree", "indices", "chain"):
        assert f"{rule.backward.a[1][5]:.9g}" in " ".join(titles(term.svg(kind)))
    assert f"∂z/∂w = {term.dz_dw:.9g}" in titles(term.svg("tree"))
    assert f"w[3, 5] of layer 2 = {rule.weights[1][3, 5]:.9g}" in titles(term.svg("indices"))


def test_the_tree_adds_up_its_paths():
    """The contributions under the nodes, those left out together, make ∂C/∂a."""
    rule = wide_rule()
    term = rule.activation(1, 5)
    found = texts(term.svg())
    # From the first sum to the next row of nodes: the path drawn, three others, and the rest.
    first = next(i for i, text in enumerate(found) if "sum of 16 paths" in text)
    seen = found[:first]
    parts = [text for text in seen if re.fullmatch(r"(path: )?[+-][\d.]+(·10[⁻⁰-⁹]+)?", text)]
    assert len(parts) == 5
    assert "⋮ 12 more" in seen
    total = sum(n for part in parts for n in numbers_in([part.replace("+", "")]))
    assert total == pytest.approx(term.value, rel=1e-3)
    strongest = max(term.paths, key=lambda path: abs(path.value))
    # The strongest is the path drawn on: its z follows, with a w and a b of its own.
    assert f"z(2){strongest.j}" in found
    assert f"w(2){strongest.j},5" in seen
    assert shows(term.svg(), strongest.value)


def test_the_tree_of_softmax_sums_over_every_output():
    rule = small_rule([2, 4], "softmax", "quadratic")
    term = rule.weight(1, 2, 1)
    svg = term.svg()
    found = texts(svg)
    for product in term.da_dz * term.dC_da:
        assert shows(svg, product)
    assert any("the sum of 4 paths" in text for text in found)
    delta = rule.backward.delta[1][2]
    assert any(text.startswith("∂C/∂z(1)2 = Σi") for text in found)
    assert shows(svg, delta)


def test_the_indices_show_every_path():
    rule = small_rule([3, 4, 2])
    term = rule.activation(1, 2)
    svg = term.svg("indices")
    for path in term.paths:
        for value in (path.dz_da, path.da_dz, path.dC_da, path.value):
            assert shows(svg, value)
    found = texts(svg)
    assert "k = 0 … 3" in found
    assert "j = 0 … 1" in found
    assert any(text.startswith("w(2)") and "=" in text for text in found)
    assert shows(svg, term.value)


@pytest.mark.parametrize(("activation", "cost"), OUTPUTS)
def test_the_summary_has_every_formula_with_its_number(activation, cost):
    rule = small_rule([3, 4, 2], ["tanh", activation], cost)
    back, term = rule.backward, rule.weight(2, 1, 3)
    svg = term.svg("summary")
    for value in (
        back.z[2][1],
        back.a[2][1],
        rule.cost,
        back.a[1][3],
        rule.weights[1][1, 3],
        term.value,
        back.delta[2][1],
        back.dC_da[1][3],
        np.linalg.norm(
            np.concatenate(
                [
                    np.concatenate([np.outer(back.delta[l], back.a[l - 1]).ravel(), back.delta[l]])
                    for l in (1, 2)
                ]
            )
        ),
        term.nudge(0.01).measured,
        0.01 * term.value,
    ):
        assert shows(svg, value), value
    factors = [term.dz_dw, back.delta[2][1]]
    if activation != "softmax":
        assert shows(svg, back.da_dz[2][1])
        assert shows(svg, back.dC_da[2][1])
        factors = [term.dz_dw, term.da_dz, term.dC_da]
    product = " · ".join([number(factors[0]), *map(in_product, factors[1:])])
    assert f"{product} = {number(term.value)}".replace("−", "-") in texts(svg)


def test_the_chain_shows_where_a_nudge_leads():
    """The rings are the network's own numbers after the nudge."""
    net = Network([2, 3, 2], seed=5)
    x, y = [0.3, -0.8], [0.2, 0.9]
    rule = net.chain_rule(x, y)
    term = rule.weight(1, 2, 1)
    svg = term.svg("chain")
    captions = [text for text in texts(svg) if text.startswith(("A nudge", "C changes"))]
    size = float(re.search(r"A nudge of \+([\d.]+) to", captions[0])[1])
    net.weights[0][2, 1] += size
    after = net.forward(x)
    rings = [t for t in titles(svg) if t.startswith("after the nudge")]
    assert len(rings) == 6  # w, z and a of layer 1, z and a of layer 2, C
    assert f"after the nudge {after.z[1][2]:.9g}" in " ".join(rings)
    assert f"after the nudge {net.cost(x, y):.9g}" in " ".join(rings)
    change = net.cost(x, y) - rule.cost
    assert any(math.isclose(change, n, rel_tol=1e-3) for n in numbers_in([captions[1]]))
    assert any(math.isclose(size * term.value, n, rel_tol=1e-3) for n in numbers_in([captions[1]]))


def test_points_stand_where_their_numbers_are():
    """On the line from 0 to 1 the activations of the sigmoid stand at their share of it."""
    rule = lesson_rule()
    root = ET.fromstring(rule.weight(1, 0, 0).svg("chain"))
    circles = {
        c.find(f"{SVG}title").text: float(c.get("cx"))
        for c in root.iter(f"{SVG}circle")
        if c.get("class") == "point"
    }
    a = [v.item() for v in rule.backward.a]
    xs = [circles[f"{v:.9g}"] for v in a[1:]]
    slope = (xs[2] - xs[0]) / (a[3] - a[1])
    assert slope == pytest.approx(180, rel=0.01)
    assert xs[1] - xs[0] == pytest.approx(slope * (a[2] - a[1]), abs=0.2)


def test_pictures_of_infinite_and_vanishing_numbers():
    net = Network([1, 1, 1], "sigmoid", "cross_entropy")
    net.parameters = [800.0, 0.0, 800.0, 0.0]
    rule = net.chain_rule([1.0], [0.0])
    with np.errstate(all="raise"):
        for term, kind, svg in every_picture(rule):
            ET.fromstring(svg)
            assert overlapping(svg) == [], (term.name, kind)
        assert "∂C/∂a = ∞" in texts(rule.weight(2, 0, 0).svg())
        assert str(rule.weight(2, 0, 0).svg("summary"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-2.5, "−2.5"),
        (0.123456, "0.1235"),
        (-1.23456e-30, "−1.235·10⁻³⁰"),
        (5e300, "5·10³⁰⁰"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, "not a number"),
    ],
)
def test_numbers_as_they_are_written(value, text):
    assert number(value) == text


# ---- what is left out ----------------------------------------------------------------------------


def test_elision():
    assert shown_neurons(16, [3]) == list(range(16))
    assert shown_neurons(17, [5]) == [0, range(1, 5), 5, range(6, 16), 16]
    assert shown_neurons(784, [0]) == [0, range(1, 783), 783]
    # One neuron alone is shown rather than counted.
    assert shown_neurons(20, [2, 17]) == [0, 1, 2, range(3, 17), 17, 18, 19]
    for n, chosen in ((17, [8]), (100, [1]), (100, [98, 99])):
        rows = shown_neurons(n, chosen)
        everything = [i for row in rows for i in (row if isinstance(row, range) else [row])]
        assert everything == list(range(n))


def test_elided_layers_say_how_many():
    rule = wide_rule()
    found = texts(rule.weight(1, 3, 305).svg("indices"))
    for label in ("a(0)0", "a(0)305", "a(0)783", "⋮ 304 more", "⋮ 477 more", "k = 0 … 783"):
        assert label in found
    assert "a(0)1" not in found
    assert [text for text in found if text.startswith("a(1)")] == [f"a(1){j}" for j in range(16)]
    net = Network([784, 16, 20], seed=0)
    assert texts(draw_network(net)).count("⋮ 782 more") == 1
    assert texts(draw_network(net)).count("⋮ 18 more") == 1


def test_the_indices_mark_what_they_are_of():
    """w and its two neurons; b and its neuron; a alone."""
    rule = small_rule([4, 5, 3])
    for term, marked in (
        (rule.weight(1, 2, 1), ["a(0)1", "a(1)2", "w(1)2,1"]),
        (rule.bias(1, 2), ["a(1)2", "b(1)2"]),
        (rule.activation(1, 3), ["a(1)3"]),
        (rule.activation(2, 1), ["a(2)1"]),
    ):
        svg = term.svg("indices")
        chosen = [r for r in ET.fromstring(svg).iter(f"{SVG}rect") if r.get("class") == "chosen"]
        inside = set()
        for rect in chosen:
            x, y, width, height = (float(rect.get(n)) for n in ("x", "y", "width", "height"))
            inside |= {
                label.split(" = ")[0]
                for label, left, top, right, bottom in text_boxes(svg)
                if x <= left < right <= x + width and y <= top < bottom <= y + height
            }
        assert sorted(inside) == marked
        assert len(chosen) == len(marked)
        assert overlapping(svg) == []
        assert sticking_out_of_nodes(svg) == []
    # A bias is shown with its number, and what it comes to stands out.
    svg = rule.bias(1, 2).svg("indices")
    assert shows(svg, rule.biases[0][2])
    bold = [e for e in ET.fromstring(svg).iter(f"{SVG}text") if "font-weight" in declared(e)]
    assert ["∂C/∂b(1)2 = ∂C/∂z(1)2"] == [
        "".join(e.itertext()).rpartition(" = ")[0] for e in bold if "∂" in "".join(e.itertext())
    ]


def test_left_out_paths_are_summed():
    rule = small_rule([2, 40, 3])
    svg = rule.activation(0, 1).svg("indices")
    term = rule.activation(0, 1)
    rest = [text for text in texts(svg) if text.startswith("together")]
    shown = [int(t[4:]) for t in texts(svg) if re.fullmatch(r"a\(1\)\d+", t)]
    left_out = sum(n for text in rest for n in numbers_in([text.replace("+", "")]))
    expected = sum(path.value for path in term.paths if path.j not in shown)
    assert left_out == pytest.approx(expected, rel=2e-3)


# ---- calls ---------------------------------------------------------------------------------------


def test_renderers_that_know_little_draw_them():
    """cairosvg knows no @media, and takes the size of a picture from rules that it knows."""
    cairosvg = pytest.importorskip("cairosvg")
    pixels = pytest.importorskip("PIL.Image")
    net, _, _, history = trained()
    rule = lesson_rule()
    pictures = [rule.svg(kind, theme=theme) for kind in KINDS for theme in ("auto", "dark")]
    for svg in [*pictures, draw_network(net), history.plot()]:
        image = pixels.open(io.BytesIO(cairosvg.svg2png(svg.encode()))).convert("RGB")
        paper, other = image.getcolors(1 << 20), set()
        for count, colour in paper:
            if count > 20:
                other.add("#{:02x}{:02x}{:02x}".format(*colour))
        theme = "dark" if COLOURS["dark"]["paper"] in other else "light"
        assert {COLOURS[theme]["paper"], COLOURS[theme]["ink"]} <= other


def test_what_svg_takes():
    rule = lesson_rule()
    term = rule.weight(3, 0, 0)
    assert rule.svg() == term.svg("chain")
    assert rule.svg("tree", layer=1) == rule.weight(1, 0, 0).svg()
    assert term.svg()._repr_html_() == str(term.svg())
    with pytest.raises(ValueError, match="kind is 'graph'; expected one of 'chain', 'tree'"):
        term.svg("graph")
    with pytest.raises(TypeError, match="kind is 3"):
        rule.svg(3)
    with pytest.raises(ValueError, match="theme is 'blue'"):
        rule.svg(theme="blue")
    with pytest.raises(ValueError, match="layer is 4"):
        rule.svg(layer=4)
    with pytest.raises(ValueError, match="j is 1"):
        rule.svg(j=1)
    history = History()
    with pytest.raises(ValueError, match="theme is 'blue'"):
        history.plot(theme="blue")


# ---- notebooks -----------------------------------------------------------------------------------


class Balance(HTMLParser):
    """Every tag is closed, in order; nothing of it runs."""

    VOID = ("br", "hr", "img")

    def __init__(self):
        super().__init__()
        self.open = []
        self.seen = []

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "iframe", "object", "link")
        assert not any(name.startswith("on") for name, _ in attributes)
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def balanced(html):
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser.seen


def trained():
    net = Network([3, 4, 2], ["tanh", "softmax"], "cross_entropy", seed=0)
    rng = np.random.default_rng(0)
    X, Y = rng.random((20, 3)), np.eye(2)[rng.integers(2, size=20)]
    history = net.fit(X, Y, epochs=5, metrics=["accuracy"], validation_data=(X, Y), l2=1e-4)
    return net, X, Y, history


def test_everything_shows_in_notebooks():
    net, X, Y, history = trained()
    rule = net.chain_rule(X[0], Y[0])
    pictures = {
        "network": (net, 1),
        "history": (history, 1),
        "chain rule": (rule, 2),
        "weight": (rule.weight(1, 0, 0), 2),
        "bias": (rule.bias(2, 1), 2),
        "activation": (rule.activation(1, 3), 2),
        "nudges": (rule.bias(1, 1).nudges(), 0),
        "gradient": (net.gradient(X, Y), 0),
        "gradients": (net.gradient(X, Y, per_example=True), 0),
        "no gradients": (net.gradient(X[:0], Y[:0], per_example=True), 0),
        "forward": (net.forward(X), 0),
        "forward of one": (net.forward(X[0]), 0),
        "forward of none": (net.forward(X[:0]), 0),
        "backward": (net.backward(X, Y), 0),
        "check": (net.check_gradient(X, Y), 0),
        "diagnosis": (net.diagnose_gradient(X, Y, -net.gradient(X, Y)), 0),
        "nothing": (History(), 0),
    }
    for name, (shown, count) in pictures.items():
        html = shown._repr_html_()
        seen = balanced(html)
        assert seen.count("svg") == count, name
        if not count and name != "nothing":
            assert "table" in seen, name
        for svg in re.findall("<svg.*?</svg>", html, re.DOTALL):
            ET.fromstring(svg)


def test_network_in_a_notebook():
    net = Network([784, 16, 16, 10], seed=1)
    html = net._repr_html_()
    seen = balanced(html)
    assert seen[0] == "details"
    assert seen.count("summary") == 2
    assert "Network 784-16-16-10, cost quadratic, 13002 parameters, float64" in html
    assert f">{16 * 785}</td>" in html
    assert overlapping(draw_network(net)) == []
    hover = f"w[3, 5] of layer 2 = {net.weights[1][3, 5]:.9g}"
    assert hover in titles(draw_network(net))


def test_the_weights_of_a_network_by_width_colour_and_dashes():
    net = Network([2, 1])
    net.weights[0][...] = [[0.5, -1.0]]
    root = ET.fromstring(draw_network(net))
    lines = {line.find(f"{SVG}title").text: line for line in root.iter(f"{SVG}line")}
    small, large = lines["w[0, 0] of layer 1 = 0.5"], lines["w[0, 1] of layer 1 = -1"]
    assert small.get("class") == "positive-line"
    assert large.get("class") == "negative-line"
    assert "stroke-dasharray" not in declared(small)
    assert "stroke-dasharray" in declared(large)
    widths = [float(declared(line)["stroke-width"]) for line in (large, small)]
    assert widths[0] > widths[1]
    net.weights[0][0, 0] = np.nan
    ET.fromstring(draw_network(net))


def test_gradient_table():
    net, X, Y, _ = trained()
    g = net.gradient(X, Y)
    html = g._repr_html_()
    for l in (0, 1):
        assert f">{np.linalg.norm(g.weights[l]):.6g}</td>" in html
        assert f">{np.abs(g.biases[l]).max():.6g}</td>" in html
    each = net.gradient(X, Y, per_example=True)
    mean = np.linalg.norm(each.weights[0].reshape(20, -1), axis=1).mean()
    assert f">{mean:.6g}</td>" in each._repr_html_()


def test_backward_table():
    net, X, Y, _ = trained()
    back = net.backward(X, Y)
    html = back._repr_html_()
    for array in (back.z[1], back.a[2], back.da_dz[2], back.dC_da[0], back.delta[1]):
        assert f">{array.min():.4g} … {array.max():.4g}</td>" in html


def test_check_table_names_what_failed():
    def wrong(z):
        return 1.01 * np.cos(z)

    net = Network([2, 2], Activation(np.sin, wrong), seed=0)
    check = net.check_gradient([[0.3, 0.4]], [[0.1, 0.2]])
    assert not check.passed
    assert check._repr_html_().count("FAILED") == 3  # the headline, the weights, the biases
    net = Network([2, 2], seed=0)
    assert "FAILED" not in net.check_gradient([[0.3, 0.4]], [[0.1, 0.2]])._repr_html_()


def test_every_public_object_says_what_it_is():
    """No <... object at 0x...>, and nothing longer than a line."""
    net, X, Y, history = trained()
    rule = net.chain_rule(X[0], Y[0])
    terms = [rule.weight(1, 0, 0), rule.bias(1, 0), rule.activation(0, 0)]
    shown = [net, history, rule, *terms, terms[0].nudge(), terms[0].nudges()]
    shown += [terms[2].paths[0], terms[0].all_paths()[0], rule.backward]
    shown += [net.gradient(X, Y), net.gradient(X, Y, per_example=True), net.forward(X)]
    shown += [net.check_gradient(X, Y), net.check_gradient(X, Y).parts[0], SINE, QUARTIC]
    diagnosis = net.diagnose_gradient(X, Y, -net.gradient(X, Y))
    shown += [diagnosis, diagnosis.layers[0]]
    for name in cbackprop.__all__:
        public = getattr(cbackprop, name)
        if isinstance(public, type) and issubclass(public, Optimizer | EarlyStopping):
            shown.append(public())
    shown += [schedules.Constant(), schedules.StepDecay(3), schedules.CosineDecay(5)]
    shown += [schedules.ExponentialDecay(0.5), schedules.OneCycle(5), schedules.ReduceOnPlateau()]
    assert len(shown) == 27 + len(OPTIMIZERS)
    for value in shown:
        text = repr(value)
        assert " object at 0x" not in text
        assert "\n" not in text
        if value not in (SINE, QUARTIC):
            assert text.isprintable()
        assert type(value).__name__.removesuffix("s") in text or text.startswith(("<∂C/∂", "<5"))


# ---- curves --------------------------------------------------------------------------------------


def made_history(**values):
    history = History()
    history.cost = values.pop("cost")
    history.epochs = len(history.cost)
    history.learning_rate = [0.1] * history.epochs
    for name, value in values.items():
        setattr(history, name, value)
    return history


def polylines(svg):
    found = {}
    for line in ET.fromstring(svg).iter(f"{SVG}polyline"):
        points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
        found.setdefault(line.find(f"{SVG}title").text, []).append((points, line))
    return found


def test_curves_of_a_history():
    history = made_history(
        cost=[4.0, 2.0, 1.0],
        validation_cost=[5.0, 3.0, 3.5],
        metrics={"accuracy": [0.1, 0.5, 0.9]},
        best_epoch=1,
    )
    svg = history.plot()
    curves = polylines(svg)
    assert set(curves) == {"cost", "validation cost", "accuracy"}
    ((points, line),) = curves["cost"]
    (xs, ys) = zip(*points, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.1)
    # Linear between 1 and 5: 4, 2 and 1 lie 1, 3 and 4 fourths down.
    assert (ys[1] - ys[0]) / (ys[2] - ys[0]) == pytest.approx(2 / 3, abs=0.01)
    assert "stroke-dasharray" not in declared(line)
    assert "stroke-dasharray" in declared(curves["validation cost"][0][1])
    found = texts(svg)
    assert "| best epoch 2" in found
    assert "learning rate" not in found
    assert overlapping(svg) == []
    assert "cost: 4 to 1" in ET.fromstring(svg).find(f"{SVG}desc").text


def test_costs_over_orders_of_magnitude_have_a_logarithmic_axis():
    svg = made_history(cost=[1.0, 1e-2, 1e-4]).plot()
    ((points, _),) = polylines(svg)["cost"]
    assert points[1][1] - points[0][1] == pytest.approx(points[2][1] - points[1][1], abs=0.2)
    assert "logarithmic" in texts(svg)
    assert "logarithmic" not in texts(made_history(cost=[1.0, 0.5]).plot())
    assert "logarithmic" not in texts(made_history(cost=[1.0, -1e-3]).plot())


@pytest.mark.parametrize(
    "cost",
    [
        [1.0],
        [2.0, 2.0],
        [0.0, 0.0],
        [math.nan, 1.0, math.inf, 2.0, 3.0],
        [math.nan],
        [1e308, -1e308],
        [1.0, 1.0 + 1e-15],
        [5e-324, sys.float_info.max],
        [-sys.float_info.max],
        list(np.linspace(1, 0, 5000)),
    ],
)
def test_curves_of_all_kinds_of_numbers(cost):
    with np.errstate(all="raise"):
        svg = made_history(cost=cost).plot()
    ET.fromstring(svg)
    assert overlapping(svg) == []
    assert "nan" not in re.sub(r"<(title|desc)>.*?</\1>", "", svg, flags=re.DOTALL)
    assert len(svg) < 60_000
    for pieces in polylines(svg).values():
        for points, _ in pieces:
            assert all(-0.1 <= x <= 520.1 and -0.1 <= y <= 190.1 for x, y in points)


def test_close_costs_have_labels_that_differ():
    labels = [t for t in texts(made_history(cost=[1.00001, 1.00002]).plot()) if t[:3] == "1.0"]
    assert len(set(labels)) >= 5


def test_an_empty_history():
    history = Network([1, 1]).fit([[1.0]], [[1.0]], epochs=0)
    ET.fromstring(history.plot())
    assert "0 epochs" in history._repr_html_()


def test_moving_learning_rate_and_penalty_have_their_panels():
    svg = made_history(cost=[2.0, 1.0], learning_rate=[0.1, 0.05], penalty=[0.5, 0.25]).plot()
    assert {"learning rate", "penalty"} <= set(polylines(svg))


def test_numbers_of_long_trainings_are_picked():
    html = made_history(cost=[float(i) for i in range(1, 1001)])._repr_html_()
    assert html.count("<tr>") == 51
    assert ">1000</td>" in html


def test_curves_with_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    history = made_history(cost=[2.0, 1.0], metrics={"accuracy": [0.5, 0.75]})
    _, given = pyplot.subplots()
    assert history.plot(given) is given
    made = history.plot(matplotlib=True)
    assert made is not given
    for ax in (given, made):
        assert [line.get_label() for line in ax.lines] == ["cost", "accuracy"]
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2])
        np.testing.assert_array_equal(ax.lines[1].get_ydata(), [0.5, 0.75])
        pyplot.close(ax.figure)


def test_matplotlib_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    history = made_history(cost=[2.0, 1.0])
    ET.fromstring(history.plot())
    with pytest.raises(ImportError, match=r"matplotlib=True needs matplotlib, .*plot\(\) alone"):
        history.plot(matplotlib=True)


def test_what_plot_takes():
    history = made_history(cost=[2.0, 1.0])
    with pytest.raises(TypeError, match=r"ax is 3 \(int\); expected axes of matplotlib"):
        history.plot(3)
    with pytest.raises(TypeError, match="matplotlib is 1"):
        history.plot(matplotlib=1)


def test_pictures_of_the_documentation_are_those_of_the_code(tmp_path):
    """tools/draw_pictures.py draws what docs/pictures has."""
    script = REPOSITORY / "tools" / "draw_pictures.py"
    succeeds(run_python("-W", "ignore", str(script), str(tmp_path)))
    drawn = {path.name: path for path in tmp_path.iterdir()}
    kept = {path.name: path for path in (REPOSITORY / "docs" / "pictures").iterdir()}
    assert set(drawn) == set(kept)
    for name, path in kept.items():
        text, other = (p.read_text(encoding="utf-8") for p in (path, drawn[name]))
        # Last digits may differ between processors; what is said and where it stands does not.
        assert re.sub(r"\d", "", text) == re.sub(r"\d", "", other), name
        assert texts(text) == texts(other), name
        page = (REPOSITORY / "docs" / "chain_rule.md").read_text(encoding="utf-8")
        assert f"pictures/{name}" in page or name == "chain_dark.svg"
