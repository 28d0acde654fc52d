"""Progress: what a fit says on the way."""

from __future__ import annotations

import io
import sys

from support import data

from cbackprop import Network


class Breaking(io.StringIO):
    """A terminal whose other end goes away before the last line."""

    def isatty(self):
        return True

    def write(self, text):
        if text == "\n":
            raise OSError("gone")
        return super().write(text)


def test_a_terminal_that_goes_away_at_the_end_of_a_fit(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    terminal = Breaking()
    monkeypatch.setattr(sys, "stderr", terminal)
    X, Y = data(4, (3, 2))
    history = Network([3, 2], seed=0).fit(X, Y, epochs=2, progress=True)
    assert history.epochs == 2
    assert "epoch 2/2" in terminal.getvalue()
