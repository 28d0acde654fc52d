"""Pictures of a network, its chain rule and its training, as SVG and HTML.

Nothing here computes a derivative: the numbers come from where they are shown. The modules are
imported by the methods that draw, so that the import of cbackprop is no slower for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from cbackprop.drawing.shown import ChainRule, Picture, Term, Theme

if TYPE_CHECKING:
    from cbackprop.drawing.canvas import Drawing

PICTURES: tuple[str, ...] = get_args(Picture)
THEMES: tuple[str, ...] = get_args(Theme)


@np.errstate(all="ignore")
def of_term(rule: ChainRule, term: Term, kind: str, theme: str) -> Drawing:
    """One of the lesson's four pictures; numbers that are not finite are written as such."""
    from cbackprop.drawing import chain, indices, summary, tree

    pictures = {
        "tree": tree.draw,
        "chain": chain.draw,
        "indices": indices.draw,
        "summary": summary.draw,
    }
    return pictures[kind](rule, term, theme)
