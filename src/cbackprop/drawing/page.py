"""A page of HTML that stands beside others in a notebook without touching them."""

from __future__ import annotations

import re
from html import escape

HEIGHT = 720  # of the frame, in pixels; what is longer scrolls within


class Page(str):
    """An HTML page as text; notebooks display it, in a frame of its own.

    Neither the page's styles nor its scripts reach what lies around the frame: all that the frame
    lets it do is run scripts.
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        title = re.search("<title>(.*?)</title>", self, re.DOTALL)
        return (
            f'<iframe title="{title[1] if title else "page"}" sandbox="allow-scripts" '
            f'style="display:block;box-sizing:border-box;width:100%;height:{HEIGHT}px;'
            'border:1px solid #8888" '
            f'srcdoc="{escape(self)}"></iframe>'
        )
