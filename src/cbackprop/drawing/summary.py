"""The lesson's last page: every formula, with its number for this example."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cbackprop.drawing.canvas import Canvas, Drawing, Point, Stroke
from cbackprop.drawing.choice import (
    Place,
    contributions,
    is_product,
    is_softmax,
    place_of,
    upper_numbers,
)
from cbackprop.drawing.formulas import activation_formula, activation_name, cost_formulas, cost_name
from cbackprop.drawing.shown import ChainRule, Term
from cbackprop.drawing.symbols import (
    Label,
    as_text,
    exact,
    in_product,
    label_width,
    marked,
    neuron_symbol,
    number,
    plain,
    product,
    signed,
    symbol,
    weight_symbol,
)

SIZE = 14.0
NUDGE = 0.01


class Fraction(NamedTuple):
    upper: Label
    lower: Label


Formula = list["Label | Fraction"]


class Row(NamedTuple):
    formula: Formula
    numbers: str
    title: str
    result: bool = False


def draw(rule: ChainRule, term: Term, theme: str) -> Drawing:
    canvas = Canvas(f"Every formula for {term.long_name}, with its number", theme)
    place = place_of(rule, term)
    sections = (
        ("forward", _forward(rule, place)),
        ("three factors", _factors(rule, place)),
        ("passed back", _passed_back(rule, place)),
        ("a nudge", _nudge(term)),
        ("all weights, all examples", _all(rule, place)),
    )
    column = 40 + max(_width(row.formula) for _, rows in sections for row in rows)
    lines: list[str] = []
    y = 0.0
    for heading, rows in sections:
        canvas.text(Point(0, y), heading, 12, look="quiet", bold=True)
        y += 12
        for row in rows:
            tall = any(isinstance(piece, Fraction) for piece in row.formula)
            y += 26 if tall else 18
            if row.result:
                width = column + label_width(plain(row.numbers), SIZE) + 12
                canvas.box(Point(-8, y - 24), width, 48, "result")
            _formula(canvas, Point(0, y), row.formula)
            canvas.text(Point(column, y + 5), row.numbers, SIZE, title=row.title)
            lines.append(f"{_spoken(row.formula)} {row.numbers}")
            y += 26 if tall else 12
        y += 26
    return canvas.drawing("\n".join([str(term), "", *lines]))


# ---- formulas and fractions ----------------------------------------------------------------------


def _width(formula: Formula) -> float:
    total = 0.0
    for piece in formula:
        if isinstance(piece, Fraction):
            total += max(label_width(piece.upper, SIZE), label_width(piece.lower, SIZE)) + 6
        else:
            total += label_width(piece, SIZE)
    return total


def _joined(formula: Formula) -> Formula:
    """Labels that follow one another as one, so that the font sets the space between them."""
    pieces: Formula = []
    for piece in formula:
        last = pieces[-1] if pieces else None
        if isinstance(piece, Fraction) or last is None or isinstance(last, Fraction):
            pieces.append(piece)
        else:
            pieces[-1] = [*last, *piece]
    return pieces


def _formula(canvas: Canvas, at: Point, formula: Formula) -> None:
    """Piece after piece, fractions on two lines."""
    x = at.x
    for piece in _joined(formula):
        if not isinstance(piece, Fraction):
            canvas.text(Point(x, at.y + 5), piece, SIZE)
            x += label_width(piece, SIZE)
            continue
        width = max(label_width(piece.upper, SIZE), label_width(piece.lower, SIZE)) + 6
        middle = x + width / 2
        canvas.text(Point(middle, at.y - 6), piece.upper, SIZE, "middle")
        canvas.line(Point(x + 2, at.y), Point(x + width - 2, at.y), Stroke("ink", 1.1))
        canvas.text(Point(middle, at.y + 17), piece.lower, SIZE, "middle")
        x += width


def _spoken(formula: Formula) -> str:
    return "".join(
        f"{as_text(piece.upper)}/{as_text(piece.lower)}"
        if isinstance(piece, Fraction)
        else as_text(piece)
        for piece in formula
    )


def _d(upper: Label, lower: Label) -> Fraction:
    return Fraction([("∂", ""), *upper], [("∂", ""), *lower])


class _Symbols:
    """The symbols of a place, as the formulas need them."""

    def __init__(self, rule: ChainRule, place: Place) -> None:
        sizes, l, j, k = rule.sizes, place.layer, place.j, place.k
        self.w = weight_symbol(sizes, l, j, k)
        self.b = neuron_symbol(sizes, "b", l, j)
        self.z = neuron_symbol(sizes, "z", l, j)
        self.a = neuron_symbol(sizes, "a", l, j)
        self.below = neuron_symbol(sizes, "a", l - 1, k)
        self.C = symbol("C")


# ---- the sections --------------------------------------------------------------------------------


def _forward(rule: ChainRule, place: Place) -> list[Row]:
    s = _Symbols(rule, place)
    l, j = place.layer, place.j
    z, a = float(rule.backward.z[l][j]), float(rule.backward.a[l][j])
    w, b = rule.weights[l - 1][j], float(rule.biases[l - 1][j])
    x = rule.backward.a[l - 1]
    if len(w) <= 3:
        products = [
            f"{number(float(w_k))} · {in_product(float(a_k))}"
            for w_k, a_k in zip(w, x, strict=True)
        ]
        numbers = f"{' + '.join(products)} + {in_product(b)} = {number(z)}"
    else:
        products_sum = float(np.dot(w, x.astype(np.float64)))
        numbers = f"{number(products_sum)} ({len(w)} products) + {in_product(b)} = {number(z)}"
    if len(w) == 1:
        of_z: Formula = [s.z, plain(" = "), s.w, plain(" "), s.below, plain(" + "), s.b]
    else:
        w_jk: Label = [("w", "it"), (f"({l})", "sup"), (f"{j}k", "sub")]
        a_k: Label = [("a", "it"), (f"({l - 1})", "sup"), ("k", "sub")]
        of_z = [s.z, marked(" = Σ_k "), w_jk, plain(" "), a_k, plain(" + "), s.b]
    of_a: Formula = [s.a, plain(" = σ("), s.z, plain(") = "), activation_formula(rule, l)]
    of_cost: Formula = [s.C, plain(" = "), cost_formulas(rule)[0]]
    return [
        Row(of_z, numbers, exact(z)),
        Row(of_a, f"{number(a)}   ({activation_name(rule, l)})", exact(a)),
        Row(of_cost, f"{number(rule.cost)}   ({cost_name(rule)})", exact(rule.cost)),
    ]


def _factors(rule: ChainRule, place: Place) -> list[Row]:
    s = _Symbols(rule, place)
    l, j = place.layer, place.j
    a_k = float(rule.backward.a[l - 1][place.k])
    delta = float(rule.backward.delta[l][j])
    upper = upper_numbers(rule, l, j)
    rows = [Row([_d(s.z, s.w), plain(" = "), s.below], number(a_k), exact(a_k))]
    slope = cost_formulas(rule)[1]
    if is_softmax(rule, l):
        names: Formula = [_d(s.C, s.z)]
        sum_over_i: Formula = [
            _d(s.C, s.z),
            marked(" = Σ_i "),
            Fraction(marked("∂a_i"), [("∂", ""), *s.z]),
            plain(" "),
            Fraction(plain("∂C"), marked("∂a_i")),
        ]
        rows.append(Row(sum_over_i, number(delta), exact(delta)))
    else:
        names = [_d(s.a, s.z), plain(" "), _d(s.C, s.a)]
        da_dz, dC_da = (float(factor) for factor in rule.upper_factors(l, j))
        rows.append(
            Row([_d(s.a, s.z), plain(" = σ′("), s.z, plain(")")], number(da_dz), exact(da_dz))
        )
        of_a: Formula = [_d(s.C, s.a), plain(" = ")]
        if l == len(rule.sizes) - 1:
            of_a.append(slope)
        else:
            of_a += _path_sum(rule, "i", l + 1, s.a)
        rows.append(Row(of_a, number(dC_da), exact(dC_da)))
        if not is_product(rule, l, j):
            before_rounding: Formula = [_d(s.C, s.z), plain(" = "), *names]
            rows.append(Row(before_rounding, f"{number(delta)}   (before rounding)", exact(delta)))
            names = [_d(s.C, s.z)]
    rows += [
        Row(
            [_d(s.C, s.w), plain(" = "), _d(s.z, s.w), plain(" "), *names],
            f"{product([a_k, *upper])} = {number(a_k * delta)}",
            exact(a_k * delta),
            place.quantity == "w",
        ),
        Row(
            [_d(s.C, s.b), plain(" = "), _d(s.z, s.b), plain(" "), *names],
            f"{product([1.0, *upper])} = {number(delta)}",
            exact(delta),
            place.quantity == "b",
        ),
    ]
    return rows


def _path_sum(rule: ChainRule, index: str, layer: int, below: Label) -> Formula:
    """Σ_j ∂z_j/∂a_k · ∂a_j/∂z_j · ∂C/∂a_j over a layer; of a softmax layer Σ_j ∂z_j/∂a_k · ∂C/∂z_j.

    A layer of one neuron has nothing to sum or to number.
    """
    several = rule.sizes[layer] > 1

    def of(letter: str) -> Label:
        label: Label = [(letter, "it"), (f"({layer})", "sup")]
        return [*label, (index, "sub")] if several else label

    pieces: Formula = [marked(f"Σ_{index} ")] if several else []
    pieces += [_d(of("z"), below), plain(" ")]
    if is_softmax(rule, layer):
        return [*pieces, _d(symbol("C"), of("z"))]
    return [*pieces, _d(of("a"), of("z")), plain(" "), _d(symbol("C"), of("a"))]


def _passed_back(rule: ChainRule, place: Place) -> list[Row]:
    s = _Symbols(rule, place)
    l, k = place.layer, place.k
    w = float(rule.weights[l - 1][place.j, k])
    dC_da = float(rule.backward.dC_da[l - 1][k])
    terms = contributions(rule, l - 1, k)
    if len(terms) == 1:
        numbers = f"{product([w, *upper_numbers(rule, l, place.j)])} = {number(dC_da)}"
    elif len(terms) <= 4:
        parts = " + ".join(in_product(float(term)) for term in terms)
        numbers = f"{parts} = {number(dC_da)}"
    else:
        numbers = f"{number(dC_da)}   (the sum of {len(terms)} paths)"
    rows = [Row([_d(s.z, s.below), plain(" = "), s.w], number(w), exact(w))]
    passed: Formula = [_d(s.C, s.below), plain(" = "), *_path_sum(rule, "j", l, s.below)]
    rows.append(Row(passed, numbers, exact(dC_da), place.quantity == "a"))
    return rows


def _nudge(term: Term) -> list[Row]:
    quantity = symbol(term.quantity)
    formula: Formula = [
        plain("C("),
        quantity,
        plain(" + h) − C("),
        quantity,
        plain(") ≈ h "),
        _d(symbol("C"), quantity),
    ]
    predicted = f"predicted {signed(NUDGE * term.value)}"
    try:
        measured = term.nudge(NUDGE).measured
    except FloatingPointError:
        return [Row(formula, f"h = {NUDGE}: {predicted}, and then C is not finite", "")]
    return [Row(formula, f"h = {NUDGE}: measured {signed(measured)}, {predicted}", exact(measured))]


def _all(rule: ChainRule, place: Place) -> list[Row]:
    s = _Symbols(rule, place)
    squares = sum(
        float(np.sum(np.square(rule.backward.delta[l], dtype=np.float64)))
        * (1.0 + float(np.sum(np.square(rule.backward.a[l - 1], dtype=np.float64))))
        for l in range(1, len(rule.sizes))
    )
    count = sum(W.size + len(b) for W, b in zip(rule.weights, rule.biases, strict=True))
    i: Label = [("i", "sub")]
    first = symbol("w", 1)
    last = symbol("b", len(rule.sizes) - 1)
    return [
        Row(
            [
                plain("∇C = ("),
                _d(s.C, first),
                plain(", "),
                _d(s.C, symbol("b", 1)),
                plain(", …, "),
                _d(s.C, last),
                plain(")"),
            ],
            f"{count} numbers, of length {number(squares**0.5)}",
            exact(squares**0.5),
        ),
        Row(
            [
                _d(s.C, s.w),
                plain(" = "),
                Fraction(plain("1"), [("n", "it")]),
                marked(" Σ_i "),
                Fraction([*plain("∂C"), *i], [("∂", ""), *s.w]),
            ],
            "here n = 1, this example alone",
            "",
        ),
    ]
