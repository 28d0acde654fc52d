"""Lines, circles and labels of an SVG picture.

A picture and the page around it leave one another alone: there are no ids (arrowheads are
polygons), every rule of the style sheet is for pictures with these rules, and sizes stand on the
elements, where no rule of the page's undoes them. The light colours are rules that every renderer
knows; what only browsers know stands in @media. A picture paints its own background, so that it can
be read on any page, and says a sign twice, by colour and by dashes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from cbackprop.drawing.symbols import Label, exact, label_width, number
from cbackprop.neuron_names import ISOLATE, printable

# Text has a contrast of at least 4.5 on paper, node, chosen and label backgrounds (WCAG 2, AA).
COLOURS = {
    "light": {
        "paper": "#ffffff",
        "ink": "#1b1f24",
        "quiet": "#555e68",
        "faint": "#c3cad2",
        "node": "#eef1f5",
        "chosen": "#fff0b8",
        "mark": "#ffc21a",
        "positive": "#0b57a4",
        "negative": "#a83a06",
    },
    "dark": {
        "paper": "#12161d",
        "ink": "#e9edf2",
        "quiet": "#a7b1bd",
        "faint": "#465160",
        "node": "#1f2732",
        "chosen": "#4b3f0f",
        "mark": "#ffd54a",
        "positive": "#82bcff",
        "negative": "#ffa56e",
    },
}
MARGIN = 16.0
DASHES = "6 4"
MOST_LINES = 40  # of a description
HALF = 17.0  # half the height of a node
LIKELY = 0.88  # of the width a label takes at most, what it takes in most fonts


class Drawing(str):
    """An SVG picture as text; notebooks display it."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


class Point(NamedTuple):
    x: float
    y: float


class Stroke(NamedTuple):
    """How a line is drawn; of a number, its sign shows in colour and dashes, its size in width."""

    look: str
    width: float
    dashed: bool = False

    def attributes(self) -> str:
        dashes = f";stroke-dasharray:{DASHES}" if self.dashed else ""
        return f'class="{self.look}-line" style="stroke-width:{self.width:.2f}{dashes}"'


def escaped(text: str) -> str:
    """Text as XML and HTML hold it; line breaks stay, in titles they are seen."""
    return "\n".join(escape(printable(line, ISOLATE)) for line in text.split("\n"))


class Canvas:
    """Collects the elements of a picture; its size is what they take."""

    def __init__(self, title: str, theme: str) -> None:
        self.title = title
        self.theme = theme
        self.elements: list[str] = []
        self._left = self._top = math.inf
        self._right = self._bottom = -math.inf

    # ---- shapes ----------------------------------------------------------------------------------

    def line(self, start: Point, end: Point, stroke: Stroke, title: str = "") -> None:
        self._reach(start, end)
        self._add(
            f'<line x1="{start.x:.1f}" y1="{start.y:.1f}" x2="{end.x:.1f}" y2="{end.y:.1f}" '
            f"{stroke.attributes()}",
            "line",
            title,
        )

    def polyline(self, points: Sequence[Point], stroke: Stroke, title: str) -> None:
        self._reach(*points)
        corners = " ".join(f"{p.x:.1f},{p.y:.1f}" for p in points)
        self._add(
            f'<polyline points="{corners}" stroke-linejoin="round" {stroke.attributes()}',
            "polyline",
            title,
        )

    def arrow(self, start: Point, end: Point, stroke: Stroke, title: str = "") -> None:
        """A line whose head touches ``end``."""
        length = math.hypot(end.x - start.x, end.y - start.y) or 1.0
        ux, uy = (end.x - start.x) / length, (end.y - start.y) / length
        head, half = 6 + 1.5 * stroke.width, 3 + 0.8 * stroke.width
        neck = Point(end.x - head * ux, end.y - head * uy)
        self.line(start, neck, stroke, title)
        corners = (
            end,
            Point(neck.x - half * uy, neck.y + half * ux),
            Point(neck.x + half * uy, neck.y - half * ux),
        )
        points = " ".join(f"{p.x:.1f},{p.y:.1f}" for p in corners)
        self._add(f'<polygon points="{points}" class="{stroke.look}-fill"', "polygon", title)

    def circle(self, centre: Point, radius: float, look: str, title: str) -> None:
        self._reach(
            Point(centre.x - radius, centre.y - radius), Point(centre.x + radius, centre.y + radius)
        )
        self._add(
            f'<circle cx="{centre.x:.1f}" cy="{centre.y:.1f}" r="{radius:.1f}" '
            f'class="{look}" style="stroke-width:1.2"',
            "circle",
            title,
        )

    def box(
        self,
        corner: Point,
        width: float,
        height: float,
        look: str = "node",
        title: str = "",
        radius: float = 4.0,
    ) -> None:
        self._reach(corner, Point(corner.x + width, corner.y + height))
        self._add(
            f'<rect x="{corner.x:.1f}" y="{corner.y:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="{radius:g}" class="{look}"',
            "rect",
            title,
        )

    # ---- labels ----------------------------------------------------------------------------------

    def text(
        self,
        at: Point,
        label: Label | str,
        size: float = 13.0,
        anchor: str = "start",
        look: str = "ink",
        title: str = "",
        bold: bool = False,
    ) -> float:
        """A label with its baseline at ``at``; returns the width it may take."""
        spans = [(label, "")] if isinstance(label, str) else label
        width = label_width(spans, size)
        share = {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        if len(spans) > 1:  # of which some renderers would anchor each alone
            at, anchor = Point(at.x - share * LIKELY * width, at.y), "start"
            share = 0.0
        left = at.x - share * width
        self._reach(Point(left, at.y - size), Point(left + width, at.y + 0.35 * size))
        weight = ";font-weight:bold" if bold else ""
        body = _tspans(spans, size)
        if title:
            body = f"<title>{escaped(title)}</title>{body}"
        self.elements.append(
            f'<text x="{at.x:.1f}" y="{at.y:.1f}" class="{look}-text" xml:space="preserve" '
            f'style="font-size:{size:g}px;text-anchor:{anchor}{weight}">{body}</text>'
        )
        return width

    def pill(
        self, at: Point, label: Label, look: str = "node", title: str = "", size: float = 14.0
    ) -> float:
        """A node with its symbol in it; returns half its width."""
        half = pill_half(label, size)
        self.box(Point(at.x - half, at.y - HALF), 2 * half, 2 * HALF, look, title, HALF)
        # The middle of a raised and lowered label lies a little lower than that of a plain one.
        self.text(Point(at.x, at.y + 5), label, size, "middle", title=title)
        return half

    def derivative(
        self,
        start: Point,
        end: Point,
        name: str,
        value: float,
        largest: float,
        at: Point,
        size: float = 12.0,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """A local derivative: an arrow as strong as its number, and this at ``at``."""
        title = f"{name} = {exact(value)}"
        self.arrow(start, end, stroke(value, largest), title)
        self.text(at, f"{name} = {number(value)}", size, anchor, title=title, bold=bold)

    def left_out(self, at: Point, count: int) -> None:
        """In the place of a layer's neurons that are not shown; what lies behind is covered."""
        text = f"⋮ {count} more"
        half = label_width([(text, "")], 12) / 2
        self.box(Point(at.x - half, at.y - 9), 2 * half, 18, "paper")
        self.text(at._replace(y=at.y + 5), text, 12, "middle", "quiet")

    # ---- the whole -------------------------------------------------------------------------------

    def drawing(self, description: str) -> Drawing:
        """The picture, with a text that says the same to those who do not see it."""
        left, top = self._left - MARGIN, self._top - MARGIN
        width, height = self._right - left + MARGIN, self._bottom - top + MARGIN
        scope, style = style_sheet(self.theme)
        return Drawing(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} {top:.0f} {width:.0f} '
            f'{height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" '
            f'aria-label="{escaped(self.title)}" class="{scope}">\n'
            f"<title>{escaped(self.title)}</title>\n<desc>{escaped(_shortened(description))}</desc>\n"
            f"<style>{style}</style>\n"
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" '
            'rx="8" class="paper"/>\n' + "\n".join(self.elements) + "\n</svg>"
        )

    def _reach(self, *points: Point) -> None:
        for point in points:
            self._left, self._right = min(self._left, point.x), max(self._right, point.x)
            self._top, self._bottom = min(self._top, point.y), max(self._bottom, point.y)

    def _add(self, opening: str, name: str, title: str) -> None:
        if title:
            self.elements.append(f"{opening}><title>{escaped(title)}</title></{name}>")
        else:
            self.elements.append(f"{opening}/>")


def pill_half(label: Label, size: float) -> float:
    """Half the width of a node with this symbol in it."""
    return max(HALF + 3, label_width(label, size) / 2 + 7)


def _shortened(description: str) -> str:
    """A text of many lines by its first ones and its last."""
    lines = description.split("\n")
    if len(lines) > MOST_LINES:
        left_out = len(lines) - MOST_LINES
        lines = [*lines[: MOST_LINES - 1], f"  … {left_out} more lines …", lines[-1]]
    return "\n".join(lines)


def _tspans(label: Label, size: float) -> str:
    """The spans of a label, superscripts raised and subscripts lowered."""
    parts: list[str] = []
    level = 0.0
    for text, kind in label:
        wanted = {"sup": -0.4 * size, "sub": 0.25 * size}.get(kind, 0.0)
        attributes = "" if wanted == level else f' dy="{wanted - level:.1f}"'
        if kind in ("sup", "sub"):
            attributes += f' style="font-size:{0.72 * size:.1f}px"'
        elif kind == "it":
            attributes += ' class="symbol"'
        level = wanted
        parts.append(f"<tspan{attributes}>{escaped(text)}</tspan>" if attributes else escaped(text))
    return "".join(parts)


@cache
def style_sheet(theme: str) -> tuple[str, str]:
    """The rules of a theme, and the class that they are for; auto follows the reader's system.

    The class has its name from the rules, so that pictures share one only where they look alike.
    """
    rules = {
        "text": "font-family:system-ui,'Segoe UI','DejaVu Sans',sans-serif;font-style:normal;"
        "font-weight:normal;letter-spacing:0;word-spacing:0;stroke:none",
        "tspan": "letter-spacing:0",
        **dict.fromkeys(
            ("line", "polyline", "circle", "rect"), "stroke-width:1;stroke-dasharray:none"
        ),
        ".symbol": "font-family:Cambria,'STIX Two Text',Georgia,'DejaVu Serif',serif;"
        "font-style:italic",
        **_coloured(COLOURS["dark" if theme == "dark" else "light"]),
    }
    dark = _coloured(COLOURS["dark"]) if theme == "auto" else {}
    scope = f"cbackprop-{crc32(repr((rules, dark)).encode())}"
    # Renderers that take the height of a picture from its rules know no @media.
    style = f"{_written(scope, rules)}@media all{{svg.{scope}{{max-width:100%;height:auto}}}}"
    if dark:
        style += f"@media (prefers-color-scheme:dark){{{_written(scope, dark)}}}"
    return scope, style


def _written(scope: str, rules: dict[str, str]) -> str:
    return "".join(f"svg.{scope} {of}{{{declarations}}}" for of, declarations in rules.items())


def _coloured(colours: dict[str, str]) -> dict[str, str]:
    def shape(fill: str, stroke: str) -> str:
        return f"fill:{colours.get(fill, fill)};stroke:{colours.get(stroke, stroke)}"

    rules = {".paper": shape("paper", "none")}
    for name in ("ink", "quiet", "positive", "negative"):
        rules[f".{name}-text"] = f"fill:{colours[name]}"
    for name in ("ink", "quiet", "faint", "positive", "negative"):
        rules[f".{name}-line"] = shape("none", name)
        rules[f".{name}-fill"] = shape(name, "none")
    return {
        **rules,
        ".node": shape("node", "quiet"),
        ".chosen": shape("chosen", "ink"),
        ".point": shape("ink", "ink"),
        ".mark": shape("mark", "ink"),
        ".result": shape("chosen", "none"),
        ".ring": shape("none", "ink"),
    }


# ---- what an edge says ---------------------------------------------------------------------------


def stroke(value: float, largest: float) -> Stroke:
    """The stroke of a number among others of that size at most."""
    if value == 0 or not math.isfinite(value):
        return Stroke("faint", 1.0, False)
    share = min(1.0, abs(value) / largest) if largest > 0 and math.isfinite(largest) else 1.0
    return Stroke("positive" if value > 0 else "negative", 0.8 + 3.7 * share, value < 0)


def look_of(value: float) -> str:
    """The colour of a number by its sign."""
    return "positive" if value > 0 else "negative" if value < 0 else "quiet"


def largest_of(values: Iterable[Any]) -> float:
    """The largest finite |value| of some numbers or arrays, 0 of none."""
    largest = 0.0
    for value in values:
        sizes = np.abs(np.asarray(value, dtype=np.float64))
        largest = max(largest, float(sizes[np.isfinite(sizes)].max(initial=0.0)))
    return largest
