"""Progress: what a fit says on the way."""

from __future__ import annotations

import io
import os
import sys
import types

import pytest
from fits import Terminal, data, network, scripted, shown
from support import BACKENDS

from cbackprop import EarlyStopping, Network


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
    X, Y = data(4, 3, 2)
    history = Network([3, 2], seed=0).fit(X, Y, epochs=2, progress=True)
    assert history.epochs == 2
    assert "epoch 2/2" in terminal.getvalue()


def test_nothing_is_shown_off_a_terminal_unless_asked_for(monkeypatch):
    for stream, wanted, step in (
        (io.StringIO(), None, 10.0),  # no terminal
        (io.StringIO(), False, 10.0),
        (Terminal(), False, 10.0),
        (Terminal(), None, 0.01),  # over before a second has passed
    ):
        shown(monkeypatch, stream, step, progress=wanted)
        assert stream.getvalue() == ""


def test_lines_where_they_are_asked_for(monkeypatch):
    stream = io.StringIO()
    history = shown(
        monkeypatch, stream, 10.0, progress=True, validation_fraction=0.25, metrics="r2"
    )
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    values = (history.cost, history.validation_cost, history.metrics["r2"])
    for epoch, line in enumerate(lines):
        cost, judged, share = (f"{value[epoch]:.4g}" for value in values)
        assert line == (f"epoch {epoch + 1}/5  cost {cost}  validation cost {judged}  r2 {share}")
    # However fast they come, the last one is shown, and no more than ten a second before it.
    for options in ({}, {"callbacks": lambda net, history: history.epochs == 3}):
        stream = io.StringIO()
        history = shown(monkeypatch, stream, 0.0, progress=True, **options)
        (line,) = stream.getvalue().splitlines()
        assert line.startswith(f"epoch {history.epochs}/5  cost ")
    stream = io.StringIO()
    shown(monkeypatch, stream, 0.04, epochs=31, progress=True)
    assert 8 <= len(stream.getvalue().splitlines()) <= 16


def test_the_last_epoch_of_a_fit_that_is_stopped_early_is_shown(monkeypatch):
    stream = io.StringIO()
    history = shown(
        monkeypatch, stream, 0.0, epochs=50, progress=True, metrics=scripted([1, 2, 3, 4]),
        early_stopping=EarlyStopping(2, monitor="metric", larger_is_better=False),
    )  # fmt: skip
    assert history.stop_reason == "early stopping"
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("epoch 3/50  cost ")


@pytest.mark.parametrize("wanted", [None, True])
def test_a_terminals_line_is_written_over(wanted, monkeypatch):
    stream = Terminal()
    shown(monkeypatch, stream, 10.0, progress=wanted)
    text = stream.getvalue()
    assert text.count("\r\x1b[K") == 5
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "epoch 5/5" in text.rsplit("\r", 1)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_on_a_pseudo_terminal(monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb", buffering=0) as reader:
        assert stream.isatty()
        shown(monkeypatch, stream, 10.0)
        text = ""
        while not text.endswith("\n"):
            text += reader.read(4096).decode()
    assert text.count("\r\x1b[K") == 5
    assert "epoch 5/5  cost " in text
    assert text.endswith("\n")


class FakeBar:
    made: list[FakeBar] = []  # noqa: RUF012 - emptied by the test that uses it

    def __init__(self, total, unit, file):
        self.total, self.unit, self.file, self.n, self.closed = total, unit, file, 0, False
        self.texts: list[str] = []
        FakeBar.made.append(self)

    def set_postfix_str(self, text, refresh):
        self.texts.append(text)

    def update(self, count):
        self.n += count

    def close(self):
        self.closed = True


def test_tqdms_bar_where_it_is_installed(monkeypatch):
    module = types.SimpleNamespace(tqdm=FakeBar)
    for step, updates in ((10.0, 5), (0.0, 1)):
        FakeBar.made.clear()
        stream = io.StringIO()
        history = shown(monkeypatch, stream, step, progress=True, tqdm=module)
        (bar,) = FakeBar.made
        assert (bar.total, bar.unit, bar.file, bar.n, bar.closed) == (5, "epoch", stream, 5, True)
        assert len(bar.texts) == updates
        assert bar.texts[-1] == f"cost {history.cost[-1]:.4g}"
        assert stream.getvalue() == ""
    # It is closed, too, where the fit fails.
    FakeBar.made.clear()

    def fail(net, history):
        if history.epochs == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shown(monkeypatch, io.StringIO(), 10.0, progress=True, tqdm=module, callbacks=fail)
    assert FakeBar.made[0].closed


class Broken(Terminal):
    """The other end of a pipe that has gone."""

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("wanted", [None, True])
def test_a_stream_that_fails_does_not_stop_the_fit(wanted, monkeypatch):
    class Bare:
        """A replacement of stderr that can only write, as some programs have it."""

        def write(self, text):
            written.append(text)

        def flush(self):
            pass

    written: list[str] = []
    closed = Terminal()
    closed.close()
    expected = network(BACKENDS[0])
    X, Y = data()
    costs = expected.fit(X, Y, epochs=5).cost
    for stream in (None, closed, Broken(), Bare()):
        history = shown(monkeypatch, stream, 10.0, progress=wanted)
        assert history.cost == costs
    assert bool(written) == bool(wanted)
    # Closed in the middle.
    stream = Terminal()

    def close(net, history):
        if history.epochs == 3:
            stream.close()

    for module in (None, types.SimpleNamespace(tqdm=_closing_bar)):
        stream = Terminal()
        assert shown(
            monkeypatch, stream, 10.0, progress=wanted, callbacks=close, tqdm=module
        ).cost == costs  # fmt: skip


def _closing_bar(total, unit, file):
    """A bar that writes to its stream as tqdm does: to a closed one it raises ValueError."""
    bar = FakeBar(total, unit, file)
    bar.update = lambda count: file.write(f"{count}\n")
    bar.close = lambda: file.write("\n")
    return bar
