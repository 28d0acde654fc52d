"""What calls on files of rows keep in memory: pieces, whatever the file's size."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import output_of

MEGABYTES = 160
CODE = """
    import sys, threading
    import numpy as np
    from cbackprop import Network

    path, call = sys.argv[1:]
    n = {n}
    X = np.memmap(path, np.float32, "r", shape=(n, 256))
    Y = np.memmap(path + ".Y", np.float32, "r", shape=(n, 10))
    out = np.memmap(path + ".out", np.float64, "w+", shape=(n, 10))

    def anonymous():
        with open("/proc/self/status") as status:
            return 1024 * int(next(l for l in status if l.startswith("RssAnon")).split()[1])

    net = Network([256, 64, 10], seed=0)
    net.fit(np.zeros((600, 256)), np.zeros((600, 10)), epochs=1)
    most = before = anonymous()
    is_over = threading.Event()

    def watch():
        global most
        while not is_over.wait(0.005):
            most = max(most, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    if call == "fit":
        net.fit(X, Y, epochs=1, validation_data=(X, Y), progress=False)
    elif call == "predict":
        net.predict(X, out=out)
    else:
        getattr(net, call)(X, Y)
    is_over.set()
    watcher.join()
    print(most - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's")
@pytest.mark.parametrize(
    "call", ["fit", "predict", "cost", "gradient", "gradient_norms", "gradient_moments", "score"]
)
def test_memory_is_that_of_pieces(call: str, tmp_path: Path) -> None:
    """The file's numbers as the network has them would be twice the file."""
    n = MEGABYTES * 1_000_000 // 1024
    for name, width in (("X", 256), ("X.Y", 10)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(4 * n * width)  # zeros that take no disk
    printed = output_of(CODE.format(n=n), str(tmp_path / "X"), call)
    assert int(printed) < 80e6
