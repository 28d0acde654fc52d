"""Progress: what a fit says on the way."""

from __future__ import annotations

import io
import os
import sys
import types

import pytest
import support
from fits import Terminal, data, network, scripted, shown
from support import BACKENDS

from cbackprop import SGD, EarlyStopping, Network
from cbackprop.training import History, progress


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
        self.refreshed: list[float] = []
        FakeBar.made.append(self)

    def refresh(self):
        self.refreshed.append(self.n)

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


def test_a_mistake_in_what_is_shown_is_not_taken_for_a_stream_that_fails(monkeypatch):
    def mistaken(history):
        raise ValueError("mistaken")

    monkeypatch.setattr(progress, "_text", mistaken)
    with pytest.raises(ValueError, match=r"^mistaken$"):
        shown(monkeypatch, Terminal(), 10.0)


def _closing_bar(total, unit, file):
    """A bar that writes to its stream as tqdm does: to a closed one it raises ValueError."""
    bar = FakeBar(total, unit, file)
    bar.update = lambda count: file.write(f"{count}\n")
    bar.close = lambda: file.write("\n")
    return bar


# ---- within an epoch -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_long_pass_says_how_many_batches_are_done(backend):
    n = 3_000 if backend == "compiled" else 1_000
    X, Y = support.data(n, (200, 10))
    net = Network([200, 100, 10], seed=0, backend=backend)
    twin = net.copy()
    heard = []
    net.fit(X, Y, epochs=0)
    for one, watcher in ((net, heard.append), (twin, None)):
        one._model.set_optimizer(SGD(0.1))
        one._engine.train(X, Y, None, 10, None, None, 0, watcher)
    assert net.parameters.tobytes() == twin.parameters.tobytes()
    assert len(heard) >= 2
    assert heard == sorted(heard)
    assert 0 < heard[-1] < n / 10
    # Nobody is told afterwards, and what a watcher raises ends the pass at a batch's end.
    count = len(heard)
    net.fit(X, Y, epochs=1, batch_size=10)
    assert len(heard) == count

    def stop(batches):
        raise KeyboardInterrupt

    before = twin.parameters
    with pytest.raises(KeyboardInterrupt):
        twin._engine.train(X, Y, None, 10, None, None, 0, stop)
    assert (twin.parameters != before).any()
    assert twin.predict(X[:2]).shape == (2, 10)


def made_history(epochs):
    history = History()
    history.epochs, history.cost = epochs, [0.5] * epochs
    return history


def within(monkeypatch, stream, seconds, epochs_done=0, before=0, wanted=True, tqdm=None):
    """What is written at these seconds after the beginning, a tenth of a pass later each time."""
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setitem(sys.modules, "tqdm", tqdm)
    shown = progress.Progress(5, wanted)
    if before < epochs_done:
        assert shown.watcher(made_history(before), 1000, 10) is not None
    watch = shown.watcher(made_history(epochs_done), 1000, 10)
    for i, now in enumerate(seconds):
        clock.now = now
        watch(10 * (i + 1))
    shown.close()
    monkeypatch.undo()
    return stream.getvalue()


def test_a_terminal_tells_the_share_of_an_epoch_and_the_time_left(monkeypatch):
    # A tenth of the first of five epochs in two seconds: 98 are left.
    text = within(monkeypatch, Terminal(), [2.0, 2.05, 4.0])
    assert text == "\r\x1b[Kepoch 1/5  10%  98 s left\r\x1b[Kepoch 1/5  30%  63 s left\n"
    # Of a fit that goes on after three epochs, with the cost of the last one.
    text = within(monkeypatch, Terminal(), [120.0], epochs_done=3, before=3)
    assert text == "\r\x1b[Kepoch 4/5  10%  38 min left  cost 0.5\n"
    text = within(monkeypatch, Terminal(), [7_000.0], epochs_done=1)
    assert "epoch 2/5  10%  6 h 54 min left" in text
    # A fit of less than a second says nothing by itself.
    assert within(monkeypatch, Terminal(), [0.5, 0.9], wanted=None) == ""
    assert within(monkeypatch, Terminal(), [0.5, 1.1], wanted=None).count("epoch") == 1


def test_a_file_gets_few_lines_within_an_epoch(monkeypatch):
    text = within(monkeypatch, io.StringIO(), [1.0, 9.0, 11.0, 12.0, 20.0, 22.0])
    assert [line[:15] for line in text.splitlines()] == ["epoch 1/5  30% ", "epoch 1/5  60% "]


def test_tqdms_bar_moves_within_an_epoch(monkeypatch):
    FakeBar.made.clear()
    module = types.SimpleNamespace(tqdm=FakeBar)
    within(monkeypatch, Terminal(), [2.0, 2.05, 4.0], epochs_done=2, before=2, tqdm=module)
    (bar,) = FakeBar.made
    assert bar.refreshed == [2.1, 2.3]
    assert bar.closed


def test_nobody_watches_where_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert progress.Progress(5, None).watcher(made_history(0), 10, 10) is None
    assert progress.Progress(5, False).watcher(made_history(0), 10, 10) is None


def test_a_terminal_that_goes_away_within_an_epoch(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    shown = progress.Progress(5, True)
    watch = shown.watcher(made_history(0), 10, 1)
    shown._start = shown._last = shown._start - 100
    watch(5)
    watch(6)
    assert shown.watcher(made_history(0), 10, 1) is None
