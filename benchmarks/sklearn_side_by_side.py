"""scikit-learn's perceptrons and ours, changed by one import: time and accuracy of the same fits.

    python benchmarks/sklearn_side_by_side.py [--rounds 5] [--dtype float64] [--only mnist,digits]

regression: 100,000 rows of 20 features at the defaults (100 hidden neurons, Adam, batches of 200),
and in batches of 10. batches: of 10, SGD, the bundled digits, 64-30-10, and MNIST, 784-30-10.
mnist: 784-100-10 at the defaults. digits: the bundled ones at the defaults, to their own end. Each
round has its random_state; both run in turn and are scored on the same held-out rows; a ratio is
that of a round. Fits are of equally many epochs, but for the digits, where each says when it is
done: their time is that of the whole fit. overhead: what the estimators add to a `Network`, for
each epoch and for the prediction of one row.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import machine
from machine import Array, Session

import numpy as np  # isort: skip - after machine, which says how many threads it may have

from sklearn import neural_network as theirs
from sklearn.exceptions import ConvergenceWarning

from cbackprop import Network, datasets
from cbackprop import sklearn as ours

PARTS = ("regression", "batches", "mnist", "digits", "overhead")
TEST_OF_REGRESSION, EPOCHS = 10_000, 5


def regression(session: Session) -> tuple[Array, Array, Array, Array]:
    """A smooth function of 20 features with a little noise, in rows to train on and to test."""
    X = session.normal(100_000 + TEST_OF_REGRESSION, 20)
    hidden = np.tanh(X @ session.normal(20, 10) / 3)
    y = hidden @ session.normal(10) + 0.1 * session.normal(len(X))
    y = (y / y.std()).astype(session.dtype)
    return (
        X[TEST_OF_REGRESSION:],
        y[TEST_OF_REGRESSION:],
        X[:TEST_OF_REGRESSION],
        y[:TEST_OF_REGRESSION],
    )


def digits(session: Session) -> tuple[Array, Array, Array, Array]:
    X, labels = datasets.load_digits()
    X, held = X.astype(session.dtype), np.arange(len(X)) % 5 == 0
    return X[~held], labels[~held], X[held], labels[held]


def mnist(session: Session) -> tuple[Array, Array, Array, Array]:
    X, Y = session.mnist(60_000)
    labels = Y.argmax(axis=1)
    return X[:50_000], labels[:50_000], X[50_000:], labels[50_000:]


def side_by_side(
    session: Session,
    title: str,
    kind: str,
    data: tuple[Array, Array, Array, Array],
    epochs: int | None = EPOCHS,
    **options: Any,
) -> None:
    """Fit both in turn, round by round, and print time, ratio and scores."""
    X, y, X_test, y_test = data
    if epochs is not None:
        options |= {"max_iter": epochs, "n_iter_no_change": np.inf}
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    scores: dict[str, list[float]] = {"ours": [], "theirs": []}
    for seed in range(session.rounds + 1):
        for name, module in (("ours", ours), ("theirs", theirs)):
            more = {"threads": machine.THREADS} if module is ours else {}
            model = getattr(module, kind)(random_state=seed, **options, **more)
            start = time.perf_counter()
            model.fit(X, y)
            taken = time.perf_counter() - start
            if seed == 0:  # for caches and clocks
                continue
            seconds[name].append(taken if epochs is None else taken / epochs)
            scores[name].append(model.score(X_test, y_test))
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    unit = "fit" if epochs is None else "epoch"
    print(f"\n{title}")
    for name, times in seconds.items():
        found = scores[name]
        print(
            f"  {name:<8}{1e3 * statistics.median(times):10.1f} ms/{unit}   "
            f"score {statistics.mean(found):.4f} ({min(found):.4f} to {max(found):.4f})"
        )
    middle = statistics.median(ratios)
    print(f"  theirs over ours {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def quickest(call: Callable[[], object], count: int, rounds: int) -> float:
    """Seconds a call, of the quickest round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(count):
            call()
        times.append((time.perf_counter() - start) / count)
    return min(times)


def overhead(session: Session) -> None:
    X, y, X_test, _ = digits(session)
    Y, row, epochs = datasets.one_hot(y, 10), X_test[:1].copy(), 200
    print("\noverhead on a Network, 64-100-10 (the quickest of the rounds)")
    model = ours.MLPClassifier(random_state=0, max_iter=epochs, n_iter_no_change=np.inf).fit(X, y)
    original = theirs.MLPClassifier(random_state=0, max_iter=2).fit(X, y)
    for name, call, count in (
        ("Network.predict", lambda: model.network_.predict(row), 5000),
        ("ours, predict", lambda: model.predict(row), 5000),
        ("ours, predict_proba", lambda: model.predict_proba(row), 5000),
        ("theirs, predict", lambda: original.predict(row), 200),
    ):
        print(f"  {name:<22}{1e6 * quickest(call, count, session.rounds):10.1f} µs for one row")
    # A short epoch, in which what is done after each is felt.
    for rows in (200, len(X)):
        small = X[:rows], y[:rows], Y[:rows]
        network = Network(
            [64, 100, 10], ["relu", "softmax"], "cross_entropy", dtype=X.dtype, seed=0
        )
        runs: dict[str, Callable[[], object]] = {
            "Network.fit": lambda small=small, network=network: network.fit(
                small[0], small[2], epochs=epochs, batch_size=200, optimizer="adam", l2=5e-7,
                shuffle=len(small[0]) > 200, progress=False,
            ),
            "ours": lambda small=small: model.fit(small[0], small[1]),
        }  # fmt: skip
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(session.rounds):
            for name, run in runs.items():
                times[name].append(quickest(run, 1, 1))
        a, b = (1e6 * min(times[name]) / epochs for name in runs)
        print(
            f"  {rows} rows: {a:.1f} µs an epoch in Network.fit, {b:.1f} in ours ({b / a - 1:+.1%})"
        )


def main() -> None:
    session = Session(__doc__, parts=PARTS)
    warnings.simplefilter("ignore", ConvergenceWarning)
    if "regression" in session.parts:
        data = regression(session)
        title = "regression, 100,000 rows of 20 features, 20-100-1, Adam, batches of 200"
        side_by_side(session, title, "MLPRegressor", data)
        side_by_side(session, title.replace("200", "10"), "MLPRegressor", data, 1, batch_size=10)
    if "batches" in session.parts:
        options = {"hidden_layer_sizes": (30,), "solver": "sgd", "batch_size": 10}
        title = "SGD, batches of 10"
        side_by_side(
            session, f"digits, 64-30-10, {title}", "MLPClassifier", digits(session), **options
        )
        side_by_side(
            session, f"MNIST, 784-30-10, {title}", "MLPClassifier", mnist(session), 1, **options
        )
    if "mnist" in session.parts:
        title = "MNIST, 784-100-10, at the defaults"
        side_by_side(session, title, "MLPClassifier", mnist(session))
    if "digits" in session.parts:
        title = "digits, 64-100-10, at the defaults, to the end"
        side_by_side(session, title, "MLPClassifier", digits(session), None)
    if "overhead" in session.parts:
        overhead(session)


if __name__ == "__main__":
    main()
