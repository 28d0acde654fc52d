"""Published runs of small networks, run again by this package: our figures beside the published.

    python benchmarks/published_runs.py --mnist DIR [--only nielsen gradients ...] [--quick]

nielsen: logged runs on MNIST, number for number; bands: final accuracies without a published seed;
rumelhart: XOR, symmetry and the encoder of 1986; scikit-learn: its gallery's training curves, from
its own first weights and batches; gradients: a peer's gradient beside the derivative of its loss.
What was found, and why what differs differs: docs/published_runs.md.

It ends with an error if a figure that must be met is not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cbackprop import SGD, History, Network, datasets, info

Array = np.ndarray[Any, np.dtype[Any]]

# ---- Nielsen's logged runs -----------------------------------------------------------------------

SEED = 12345678
LOGS: dict[str, Any] = json.loads(Path(__file__).with_name("nielsen_logs.json").read_text("utf-8"))


@dataclass(frozen=True)
class Mnist:
    """The bytes of the official files; the first 50,000 images are for training."""

    pixels: Array
    labels: Array
    pixels_test: Array
    labels_test: Array

    @classmethod
    def read(cls, directory: str | Path) -> Mnist:
        arrays = []
        for name in (
            "train-images-idx3",
            "train-labels-idx1",
            "t10k-images-idx3",
            "t10k-labels-idx1",
        ):
            plain = Path(directory) / f"{name}-ubyte"
            file = plain if plain.exists() else plain.with_name(f"{plain.name}.gz")
            array = datasets.read_idx(file)
            arrays.append(array.reshape(len(array), -1) if array.ndim > 1 else array)
        return cls(*arrays)

    def training(self, n: int) -> tuple[Array, Array]:
        """The first n images and their labels."""
        return scaled(self.pixels[:n]), self.labels[:n]

    def judged(self, name: str) -> tuple[Array, Array]:
        """The test images or the validation images, and their labels."""
        if name == "test":
            return scaled(self.pixels_test), self.labels_test
        return scaled(self.pixels[50_000:]), self.labels[50_000:]


def scaled(pixels: Array) -> Array:
    """Over 256, not 255, as those runs had them: exact."""
    return pixels / 256.0


@dataclass(frozen=True)
class LoggedRun:
    """How one of the logs came about."""

    hidden: int
    learning_rate: float
    penalty: float  # his λ: λ/(2n) Σw² is added to the cost
    examples: int = 50_000
    epochs: int = 30
    divided: bool = True  # the first weights are divided by √n_in
    draws: int = 1  # parameters are drawn so often; the last ones are taken
    epochs_before: int = 0  # of runs before it in the same program, which the shuffles remember
    judged: str = "test"
    # So many epochs' counts must agree; what comes after them is rounding's chaos.
    exact: int = 10_000
    exact_training: int = 10_000


LOGGED_RUNS = {
    "overfitting": LoggedRun(30, 0.5, 0.0, 1_000, 400, divided=False, draws=2),
    "regularized": LoggedRun(30, 0.5, 0.1, 1_000, 400, divided=False, draws=2),
    "overfitting_full": LoggedRun(30, 0.5, 0.0, divided=False, draws=2, exact=3, exact_training=2),
    "regularized_full": LoggedRun(30, 0.5, 5.0, divided=False, draws=2, exact_training=27),
    "weight_initialization_30_default": LoggedRun(30, 0.1, 5.0, judged="validation"),
    "weight_initialization_30_large": LoggedRun(
        30, 0.1, 5.0, divided=False, draws=2, epochs_before=30, judged="validation"
    ),
    "weight_initialization_100_default": LoggedRun(100, 0.1, 5.0, judged="validation"),
    "weight_initialization_100_large": LoggedRun(
        100, 0.1, 5.0, divided=False, draws=2, epochs_before=30, judged="validation"
    ),
    "multiple_eta_0.025": LoggedRun(30, 0.025, 5.0, judged="validation"),
    "multiple_eta_0.25": LoggedRun(30, 0.25, 5.0, draws=2, epochs_before=30, judged="validation"),
    "multiple_eta_2.5": LoggedRun(
        30, 2.5, 5.0, draws=3, epochs_before=60, judged="validation", exact=0
    ),
}


class CumulativeShuffle:
    """Python 2's random.shuffle of one list, again for each epoch: a function of the epoch.

    Python 3 draws the same numbers from the same seed, but shuffles by another rule.
    """

    def __init__(self, n: int, seed: int = SEED) -> None:
        self.order = list(range(n))
        self.random = random.Random(seed).random

    def __call__(self, epoch: int) -> Array:
        order, draw = self.order, self.random
        for i in range(len(order) - 1, 0, -1):
            j = int(draw() * (i + 1))
            order[i], order[j] = order[j], order[i]
        return np.array(order)


def first_parameters(sizes: tuple[int, ...], draws: int, divided: bool) -> list[list[Array]]:
    """Weights and biases N(0, 1) from NumPy's legacy stream: all biases first, then all weights."""
    stream = np.random.RandomState(SEED)
    for _ in range(draws):
        biases = [stream.standard_normal(n) for n in sizes[1:]]
        weights = [stream.standard_normal((n_out, n_in)) for n_in, n_out in pairwise(sizes)]
    if divided:
        weights = [w / np.sqrt(w.shape[1]) for w in weights]
    return [weights, biases]


def set_parameters(net: Network, weights: Iterable[Array], biases: Iterable[Array]) -> None:
    for live, given in zip((*net.weights, *net.biases), (*weights, *biases), strict=True):
        live[...] = given


@dataclass
class Record:
    """What was measured, by epoch, under the names the logs have."""

    values: dict[str, dict[int, float]] = field(default_factory=dict)
    net: Network | None = None

    def add(self, name: str, epoch: int, value: float) -> None:
        self.values.setdefault(name, {})[epoch] = value


def published(log: str, name: str) -> dict[int, float]:
    """The log's numbers by epoch."""
    numbers = LOGS[log][name]
    if isinstance(numbers, dict):
        return {int(epoch): float(value) for epoch, value in numbers.items()}
    values = dict(enumerate(numbers))
    thereafter = LOGS[log].get(f"{name}_thereafter")
    if thereafter is not None:
        values |= dict.fromkeys(range(len(values), LOGGED_RUNS[log].epochs), thereafter)
    return values


def logged_run(
    log: str,
    mnist: Mnist,
    epochs: int | None = None,
    only: Callable[[int], bool] = lambda epoch: True,
    backend: str = "compiled",
    nudge: float = 0.0,
) -> Record:
    """Run it again, for so many epochs, and measure what was logged where ``only`` says so.

    ``nudge`` is added to one first bias: how much it changes shows how much rounding could.
    """
    run = LOGGED_RUNS[log]
    n = run.examples
    X, labels = mnist.training(n)
    Y = datasets.one_hot(labels, 10)
    X_judged, labels_judged = mnist.judged(run.judged)
    Y_judged = datasets.one_hot(labels_judged, 10)
    net = Network([784, run.hidden, 10], "sigmoid", "cross_entropy", init="zeros", backend=backend)
    set_parameters(net, *first_parameters(net.sizes, run.draws, run.divided))
    net.biases[0][0] += nudge
    shuffle = CumulativeShuffle(n)
    for epoch in range(run.epochs_before):
        shuffle(epoch)
    logged = {name: published(log, name) for name in LOGS[log] if not name.endswith("after")}
    record = Record(net=net)

    def judge(net: Network, history: History) -> None:
        epoch = history.epochs - 1
        wanted = [name for name, values in logged.items() if epoch in values and only(epoch)]
        square = sum(float(np.square(w).sum()) for w in net.weights)
        for name in wanted:
            data, what = name.split("_")
            rows, targets, digits = (
                (X, Y, labels) if data == "training" else (X_judged, Y_judged, labels_judged)
            )
            if what == "count":
                right = int((net.predict(rows).argmax(axis=1) == digits).sum())
                record.add(name, epoch, right)
            else:
                # The logged cost has the penalty, over the examples that are judged.
                cost = net.cost(rows, targets) + run.penalty / (2 * len(rows)) * square
                record.add(name, epoch, cost)

    net.fit(
        X,
        Y,
        epochs=run.epochs if epochs is None else epochs,
        batch_size=10,
        learning_rate=run.learning_rate,
        l2=run.penalty / n,
        shuffle=shuffle,
        callbacks=[judge],
        progress=False,
    )
    return record


def exact_epochs(log: str, name: str, net: Network) -> int:
    """So many epochs' counts must agree with the log."""
    run = LOGGED_RUNS[log]
    fused = net.backend == "compiled" and info()["fused_multiply_add"]
    if log == "regularized_full" and not fused:
        return 26  # as long as it was seen to; with FMA one epoch more, or all
    return run.exact_training if name.startswith("training") else run.exact


def compare_with_log(log: str, record: Record) -> tuple[list[str], int]:
    """Lines to print, and how many counts differ that must not."""
    lines, wrong = [], 0
    assert record.net is not None
    for name, ours in record.values.items():
        theirs = published(log, name)
        if name.endswith("count"):
            different = [epoch for epoch, count in ours.items() if count != theirs[epoch]]
            exact = exact_epochs(log, name, record.net)
            wrong += sum(epoch < exact for epoch in different)
            lines.append(
                f"  {name}: {len(ours) - len(different)} of {len(ours)} epochs identical"
                + (f", the first other one is {different[0]}" if different else "")
            )
            epochs = list(ours)
            for start in range(0, len(epochs), 10):
                shown = [
                    f"{ours[e]:>6.0f}" + (f" ({theirs[e]:.0f})" if ours[e] != theirs[e] else "")
                    for e in epochs[start : start + 10]
                ]
                lines.append(f"    {epochs[start]:>4}:{''.join(shown)}")
        else:
            lines.append(f"  {name}, epoch: ours, published, relative difference")
            for epoch, cost in ours.items():
                difference = cost / theirs[epoch] - 1
                lines.append(f"    {epoch:>4}: {cost:.15f} {theirs[epoch]:.15f} {difference:>9.1e}")
    return lines, wrong


def nielsen(arguments: argparse.Namespace) -> int:
    """The logged runs: every number that was logged and kept here."""
    mnist, wrong = Mnist.read(arguments.mnist), 0
    print("Nielsen's logged runs; a published count stands in brackets where ours differs")
    for log in arguments.logs or LOGGED_RUNS:
        run = LOGGED_RUNS[log]
        epochs = (20 if run.examples == 1_000 else 3) if arguments.quick else run.epochs
        start = time.process_time()
        record = logged_run(log, mnist, epochs, backend=arguments.backend, nudge=arguments.nudge)
        assert record.net is not None
        lines, bad = compare_with_log(log, record)
        wrong += bad
        print(
            f"{log}: 784-{run.hidden}-10, eta {run.learning_rate}, lambda {run.penalty}, "
            f"{run.examples} images, {epochs} epochs; {time.process_time() - start:.0f} s; "
            f"the parameters' sum is {float(record.net.parameters.sum())!r}"
        )
        print("\n".join(lines), flush=True)
    return wrong


# ---- final accuracies in a band ------------------------------------------------------------------


@dataclass(frozen=True)
class Band:
    """A figure that was published without the seed behind it."""

    name: str
    published: str
    hidden: int
    cost: str
    init: str
    learning_rate: float
    penalty: float = 0.0
    epochs: int = 30
    judged: str = "test"


BANDS = {
    "quadratic_30": Band(
        "784-30-10, quadratic", "73 to 91, 95.0 to 95.4, 94.8 to 95.4", 30, "quadratic",
        "standard_normal", 1.5,
    ),
    "quadratic_30_glorot": Band(
        "the same, our own first weights", "none", 30, "quadratic", "auto", 1.5
    ),
    "quadratic_100": Band(
        "784-100-10, quadratic", "about 96.6", 100, "quadratic", "standard_normal", 1.5
    ),
    "cross_entropy_100": Band(
        "784-100-10, cross-entropy, lambda 5, eta 0.5", "97.9", 100, "cross_entropy",
        "lecun", 0.5, 5.0, judged="validation",
    ),
    "cross_entropy_100_slow": Band(
        "the same, eta 0.1, 60 epochs", "98.0", 100, "cross_entropy",
        "lecun", 0.1, 5.0, 60, "validation",
    ),
}  # fmt: skip


def band_run(band: Band, mnist: Mnist, seed: int, backend: str = "compiled") -> list[float]:
    """Accuracy after each epoch, in per cent."""
    net = Network(
        [784, band.hidden, 10], cost=band.cost, init=band.init, seed=seed, backend=backend
    )
    X, labels = mnist.training(50_000)
    X_judged, labels_judged = mnist.judged(band.judged)
    history = net.fit(
        X,
        datasets.one_hot(labels, 10),
        epochs=band.epochs,
        batch_size=10,
        learning_rate=band.learning_rate,
        l2=band.penalty / 50_000,
        validation_data=(X_judged, datasets.one_hot(labels_judged, 10)),
        metrics=("accuracy",),
        progress=False,
    )
    return [100 * value for value in history.metrics["accuracy"]]


def bands(arguments: argparse.Namespace) -> int:
    """Accuracies by seed: first epoch, best, last."""
    mnist = Mnist.read(arguments.mnist)
    chosen = ["quadratic_30"] if arguments.quick else list(BANDS)
    print("accuracy in per cent after the first epoch, at best, and after the last; by seed")
    for name in chosen:
        band = BANDS[name]
        print(f"{band.name} ({band.judged}, published {band.published})")
        for seed in range(1 if arguments.quick else 3):
            start = time.process_time()
            accuracy = band_run(band, mnist, seed, arguments.backend)
            print(
                f"    {seed}: {accuracy[0]:6.2f} {max(accuracy):6.2f} {accuracy[-1]:6.2f}"
                f"   {time.process_time() - start:.0f} s",
                flush=True,
            )
    return 0


# ---- Rumelhart, Hinton and Williams 1986 ---------------------------------------------------------

XOR_X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR_Y = np.array([[0.0], [1.0], [1.0], [0.0]])
SYMMETRY_X = np.array([[i >> bit & 1 for bit in range(6)] for i in range(64)], np.float64)
SYMMETRY_Y = (SYMMETRY_X == SYMMETRY_X[:, ::-1]).all(axis=1, keepdims=True).astype(np.float64)
ENCODER_X = np.eye(8)


def sweeps_until(
    net: Network, X: Array, Y: Array, solved: Callable[[Array], bool], sweeps: int, **options: Any
) -> int | None:
    """Train until the outputs solve the problem; None if they never do."""

    def look(net: Network, history: History) -> bool:
        return solved(net.predict(X))

    history = net.fit(
        X, Y, epochs=sweeps, shuffle=False, callbacks=[look], progress=False, **options
    )
    return history.epochs if history.stop_reason == "callback" else None


def small_weights(net: Network, seed: int) -> Network:
    """Uniform on ±0.3, as the paper has them."""
    stream = np.random.RandomState(seed)
    net.parameters = stream.uniform(-0.3, 0.3, net.n_parameters)
    return net


def xor(seed: int, backend: str = "compiled", sweeps: int = 5_000) -> int | None:
    """2-2-1, eta 0.5, a step after each of the four patterns: sweeps until all are right."""
    net = Network(
        [2, 2, 1], cost="half_quadratic", init="standard_normal", seed=seed, backend=backend
    )
    return sweeps_until(
        net,
        XOR_X,
        XOR_Y,
        lambda outputs: bool((np.abs(outputs - XOR_Y) < 0.5).all()),
        sweeps,
        batch_size=1,
        optimizer=SGD(0.5),
    )


def symmetry(seed: int, backend: str = "compiled", sweeps: int = 5_000) -> dict[str, Any]:
    """6-2-1, all 64 patterns a step, epsilon 0.1 on their sum, momentum 0.9.

    Whether it is solved after so many sweeps, and each hidden neuron's weights.
    """
    net = small_weights(
        Network([6, 2, 1], cost="half_quadratic", init="zeros", backend=backend), seed
    )
    # The paper's gradient is a sum over the patterns, ours a mean.
    net.fit(
        SYMMETRY_X,
        SYMMETRY_Y,
        epochs=sweeps,
        batch_size=64,
        optimizer=SGD(0.1 * 64, momentum=0.9),
        shuffle=False,
        progress=False,
    )
    outputs, W = net.predict(SYMMETRY_X), net.weights[0].copy()
    halves = np.sort(np.abs(W[:, :3]), axis=1)
    return {
        "solved": bool((np.abs(outputs - SYMMETRY_Y) < 0.5).all()),
        "weights": W,
        # |w| on one side of the middle, over the smallest of the three.
        "ratios": halves / halves[:, :1],
        # w_k + w_(6-1-k) should be 0.
        "asymmetry": float(np.abs(W + W[:, ::-1]).max() / np.abs(W).max()),
        "alternating": bool((np.sign(W[:, :-1]) != np.sign(W[:, 1:])).all()),
    }


def encoder(seed: int, backend: str = "compiled", sweeps: int = 3_000) -> dict[str, Any]:
    """8-3-8: sweeps until each pattern's own output is the largest, and the codes in the end."""
    net = small_weights(
        Network([8, 3, 8], cost="half_quadratic", init="zeros", backend=backend), seed
    )
    found: list[int] = []

    def look(net: Network, history: History) -> None:
        if not found and (net.predict(ENCODER_X).argmax(axis=1) == np.arange(8)).all():
            found.append(history.epochs)

    net.fit(
        ENCODER_X,
        ENCODER_X,
        epochs=sweeps,
        batch_size=8,
        optimizer=SGD(0.1 * 8, momentum=0.9),
        shuffle=False,
        callbacks=[look],
        progress=False,
    )
    hidden = net.forward(ENCODER_X).a[1]
    return {
        "sweeps": found[0] if found else None,
        "outputs": net.predict(ENCODER_X),
        "codes": len({tuple(row) for row in np.rint(hidden)}),
        "codes_of_three_values": len({tuple(row) for row in np.rint(2 * hidden) / 2}),
    }


def rumelhart(arguments: argparse.Namespace) -> int:
    """XOR, symmetry, encoder over 30 seeds."""
    seeds, backend = range(6 if arguments.quick else 30), arguments.backend
    results = [xor(seed, backend) for seed in seeds]
    solved = [sweeps for sweeps in results if sweeps is not None]
    print(
        f"XOR 2-2-1, {len(seeds)} seeds: median {statistics.median(solved):.0f} sweeps "
        f"({min(solved)} to {max(solved)}), {len(seeds) - len(solved)} stuck after 5,000"
        "   [published: 558; another's median 730 of 30 seeds, 5 stuck]"
    )
    tries = [symmetry(seed, backend) for seed in seeds]
    right = [
        seed
        for seed, result in zip(seeds, tries, strict=True)
        if result["solved"] and np.allclose(result["ratios"], [1, 2, 4], rtol=0.03)
    ]
    print(
        f"symmetry 6-2-1, {len(seeds)} seeds: {sum(result['solved'] for result in tries)} solved, "
        f"{len(right)} of them with weights 1:2:4 (seeds {right})   [published: 1:2:4]"
    )
    for seed in right:
        result = tries[seed]
        shown = " and ".join(":".join(f"{r:.3f}" for r in row) for row in result["ratios"])
        print(
            f"    {seed}: {shown}; largest |w_k + w_-k| {result['asymmetry']:.1e} of the largest "
            f"|w|; signs alternate: {result['alternating']}; {result['weights'][0].round(2)}"
        )
    codes = [encoder(seed, backend) for seed in seeds]
    learnt = [result["sweeps"] for result in codes if result["sweeps"] is not None]
    print(
        f"encoder 8-3-8, {len(seeds)} seeds: {len(learnt)} learnt, median "
        f"{statistics.median(learnt):.0f} sweeps; 8 codes of 0, ½ and 1: "
        f"{sum(result['codes_of_three_values'] == 8 for result in codes)}, of 0 and 1: "
        f"{sum(result['codes'] == 8 for result in codes)}   [published: 8 codes]"
    )
    return 0 if right and learnt else 1


# ---- scikit-learn's gallery: plot_mlp_training_curves on the digits ------------------------------

GALLERY_EPOCHS = 15
GALLERY_ALPHA = 0.0001  # scikit-learn's own penalty: alpha/(2 n) Σw² over a batch of n
GALLERY = {
    # Its name there: (momentum, Nesterov, score, loss), to the six digits printed.
    "constant learning-rate": (0.0, False, 0.956038, 0.243802),
    "constant with momentum": (0.9, False, 0.992766, 0.041297),
    "constant with Nesterov's momentum": (0.9, True, 0.993879, 0.042898),
}


def gallery_start(
    momentum: float, nesterov: bool
) -> tuple[Array, Array, list[list[Array]], list[Array], Any]:
    """X, labels, scikit-learn's first weights, its orders, and the classifier it trained."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, _multilayer_perceptron
    from sklearn.preprocessing import MinMaxScaler

    first: list[list[Array]] = []
    orders: list[Array] = []

    class Observed(MLPClassifier):  # type: ignore[misc]
        def _initialize(self, *given: Any) -> None:
            super()._initialize(*given)
            first.append([w.T.copy() for w in self.coefs_])
            first.append([b.copy() for b in self.intercepts_])

    def observed_shuffle(order: Array, random_state: Any = None) -> Array:
        shuffled: Array = shuffle(order, random_state=random_state)
        orders.append(shuffled.copy())
        return shuffled

    # The gallery scales by the columns' own extremes: some lack the full range of 0 to 16.
    pixels, labels = datasets.load_digits()
    X = MinMaxScaler().fit_transform(16 * pixels)
    shuffle = _multilayer_perceptron.shuffle
    _multilayer_perceptron.shuffle = observed_shuffle
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 15 epochs are the gallery's
            classifier = Observed(
                random_state=0,
                max_iter=GALLERY_EPOCHS,
                solver="sgd",
                learning_rate="constant",
                learning_rate_init=0.2,
                momentum=momentum,
                nesterovs_momentum=nesterov,
            ).fit(X, labels)
    finally:
        _multilayer_perceptron.shuffle = shuffle
    return X, labels, first, orders, classifier


def gallery_run(name: str, backend: str = "compiled") -> dict[str, float]:
    """One of its curves by fit, and once more step by step."""
    momentum, nesterov, _, _ = GALLERY[name]
    X, labels, first, orders, classifier = gallery_start(momentum, nesterov)
    Y, n, batch_size = datasets.one_hot(labels, 10), len(X), min(200, len(X))
    net = Network(
        [64, 100, 10], ["relu", "softmax"], "cross_entropy", init="zeros", backend=backend
    )
    set_parameters(net, *first)
    by_steps = net.copy()
    optimizer = SGD(0.2, momentum, nesterov)
    # The last batch has 197 examples, and scikit-learn's penalty grows with 1/n: fit has one l2.
    history = net.fit(
        X,
        Y,
        epochs=GALLERY_EPOCHS,
        batch_size=batch_size,
        optimizer=optimizer,
        l2=GALLERY_ALPHA / batch_size,
        shuffle=lambda epoch: orders[epoch],
        progress=False,
    )
    # Its loss is what the batches cost when they came, with the penalty: here that at the epoch's
    # two ends.
    loss = history.cost[-1] + (history.penalty[-2] + history.penalty[-1]) / 2
    for order in orders:
        loss_by_steps = 0.0
        for start in range(0, n, batch_size):
            rows = order[start : start + batch_size]
            l2 = GALLERY_ALPHA / len(rows)
            square = sum(float(np.square(w).sum()) for w in by_steps.weights)
            loss_by_steps += len(rows) / n * (by_steps.cost(X[rows], Y[rows]) + l2 / 2 * square)
            by_steps.partial_fit(
                X[rows], Y[rows], batch_size=batch_size, optimizer=optimizer, options={"l2": l2}
            )
    return {
        "score": net.score(X, Y),
        "loss": loss,
        "score_by_steps": by_steps.score(X, Y),
        "loss_by_steps": loss_by_steps,
        "sklearn_score": float(classifier.score(X, labels)),
        "sklearn_loss": float(classifier.loss_),
        "weights_apart": max(
            float(np.abs(ours - theirs.T).max())
            for ours, theirs in zip(by_steps.weights, classifier.coefs_, strict=True)
        ),
    }


def scikit_learn(arguments: argparse.Namespace) -> int:
    """The gallery's three curves with a constant rate."""
    try:
        import sklearn
    except ImportError:
        print("scikit-learn is not installed: its gallery's curves are left out")
        return 0
    wrong = 0
    print(f"scikit-learn {sklearn.__version__}, its gallery's digits: score, loss")
    for name, (_, _, score, loss) in GALLERY.items():
        ours = gallery_run(name, arguments.backend)
        wrong += (round(ours["score"], 6), round(ours["loss"], 6)) != (score, loss)
        print(f"{name}\n    published     {score:.6f} {loss:.6f}")
        print(f"    ours, fit     {ours['score']:.6f} {ours['loss']:.6f}  {ours['loss']:.12f}")
        print(
            f"    step by step  {ours['score_by_steps']:.6f} {ours['loss_by_steps']:.6f}  "
            f"{ours['loss_by_steps']!r}; weights within {ours['weights_apart']:.1e}"
        )
        print(f"    scikit-learn's own run here: loss {ours['sklearn_loss']!r}")
    return wrong


# ---- a peer's gradient beside the derivative of its loss -----------------------------------------


def nudged_derivative(value: Callable[[Array], float], point: Array, h: float = 1e-3) -> Array:
    """Central differences with one step of Richardson's extrapolation."""
    derivative = np.empty_like(point)
    for i in range(point.size):
        differences = []
        for step in (h, h / 2):
            up, down = point.copy(), point.copy()
            up[i] += step
            down[i] -= step
            differences.append((value(up) - value(down)) / (2 * step))
        derivative[i] = (4 * differences[1] - differences[0]) / 3
    return derivative


@dataclass(frozen=True)
class PeerGradient:
    """gradient ≈ ratio · derivative, and how far the gradient is from the derivative itself."""

    name: str
    loss: float
    ratio: float
    relative_error: float
    residual: float  # of gradient − ratio · derivative


def judged_gradient(
    name: str, value_and_gradient: Callable[[Array], tuple[float, Array]], point: Array
) -> PeerGradient:
    value, gradient = value_and_gradient(point)
    gradient = np.array(gradient)  # some peers hand out the same array again
    derivative = nudged_derivative(lambda p: float(value_and_gradient(p)[0]), point)
    ratio = float(gradient @ derivative / (derivative @ derivative))
    scale = float(np.abs(derivative).max())
    return PeerGradient(
        name,
        float(value),
        ratio,
        float(np.abs(gradient - derivative).max()) / scale,
        float(np.abs(gradient - ratio * derivative).max()) / scale,
    )


def gradient_problem(n_outputs: int) -> tuple[Array, Array]:
    stream = np.random.RandomState(n_outputs)
    return stream.standard_normal((20, 4)), stream.standard_normal((20, n_outputs))


def sklearn_gradient(model: Any, name: str, X: Array, y: Array) -> PeerGradient:
    """What its lbfgs is given, at the first weights."""
    from sklearn.exceptions import ConvergenceWarning

    seen: list[tuple[Array, tuple[Any, ...]]] = []

    class Observed(type(model)):  # type: ignore[misc]
        def _loss_grad_lbfgs(self, packed: Array, *rest: Any) -> tuple[float, Array]:
            if not seen:
                seen.append((packed.copy(), rest))
            result: tuple[float, Array] = super()._loss_grad_lbfgs(packed, *rest)
            return result

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one step is enough to look
        observed = Observed(**model.get_params()).fit(X, y)
    point, rest = seen[0]
    return judged_gradient(name, lambda packed: observed._loss_grad_lbfgs(packed, *rest), point)


def sklearn_gradients(outputs: Iterable[int] = (1, 2, 3, 5)) -> list[PeerGradient]:
    """Of its regressor by the number of outputs, and of its classifier."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    options = {
        "hidden_layer_sizes": (5,),
        "activation": "tanh",
        "solver": "lbfgs",
        "max_iter": 1,
        "random_state": 0,
        "alpha": 0.0,
    }
    rows = []
    for n_outputs in outputs:
        X, Y = gradient_problem(n_outputs)
        name = f"scikit-learn, MLPRegressor, {n_outputs} output{'s' * (n_outputs > 1)}"
        model = MLPRegressor(**options)
        rows.append(sklearn_gradient(model, name, X, Y if n_outputs > 1 else Y[:, 0]))
    X, Y = gradient_problem(3)
    rows.append(
        sklearn_gradient(
            MLPClassifier(**options),
            "scikit-learn, MLPClassifier, 3 classes",
            X,
            Y.argmax(axis=1),
        )
    )
    return rows


def our_gradient(n_outputs: int, cost: str, backend: str) -> PeerGradient:
    X, Y = gradient_problem(n_outputs)
    net = Network([4, 5, n_outputs], ["tanh", "identity"], cost, seed=0, backend=backend)
    assert net.check_gradient(X, Y).passed

    def value_and_gradient(point: Array) -> tuple[float, Array]:
        net.parameters = point
        g = net.gradient(X, Y)
        return g.cost, g.vector

    return judged_gradient(
        f"cbackprop, {cost}, {n_outputs} outputs", value_and_gradient, net.parameters.copy()
    )


def torch_gradient(n_outputs: int) -> PeerGradient:
    import torch

    X, Y = (torch.from_numpy(array) for array in gradient_problem(n_outputs))
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, n_outputs)
    ).double()
    parameters = list(model.parameters())

    def value_and_gradient(point: Array) -> tuple[float, Array]:
        torch.nn.utils.vector_to_parameters(torch.from_numpy(point.copy()), parameters)
        loss = torch.nn.functional.mse_loss(model(X), Y)
        gradients = torch.autograd.grad(loss, parameters)
        return loss.item(), torch.cat([g.flatten() for g in gradients]).numpy()

    point = torch.nn.utils.parameters_to_vector(parameters).detach().numpy().copy()
    return judged_gradient(f"PyTorch, mse_loss, {n_outputs} outputs", value_and_gradient, point)


def gradients(arguments: argparse.Namespace) -> int:
    """gradient ÷ derivative of the loss that comes with it: 1 is right."""
    rows = [our_gradient(3, cost, arguments.backend) for cost in ("mse", "half_quadratic")]
    for peer, rows_of in (
        ("scikit-learn", sklearn_gradients),
        ("PyTorch", lambda: [torch_gradient(3)]),
    ):
        try:
            rows += rows_of()
        except ImportError:
            print(f"{peer} is not installed: left out")
    print("the gradient over the derivative of the loss that comes with it, found by nudging")
    print(f"    {'':<40}{'loss':>10}{'ratio':>14}{'error':>10}{'less ratio':>12}")
    for row in rows:
        print(
            f"    {row.name:<40}{row.loss:>10.6f}{row.ratio:>14.9f}"
            f"{row.relative_error:>10.1e}{row.residual:>12.1e}"
        )
    return sum(row.relative_error > 1e-8 for row in rows if row.name.startswith("cbackprop"))


# ---- Levenberg–Marquardt ------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """A function, the network that is to learn it, and the mean square that counts as learnt."""

    name: str
    sizes: tuple[int, ...]
    X: Array
    Y: Array
    mse: float
    epochs: int
    init: str = "auto"


def goals() -> list[Goal]:
    """The error goals of MATLAB's comparison of training algorithms whose data are formulas, and
    the published run of torch-levenberg-marquardt, sinc(10x) by 61 parameters."""
    wave = np.linspace(-1, 1, 41)[:, None]
    bits = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    odd = np.where((bits > 0).sum(axis=1, keepdims=True) % 2 == 1, 1.0, -1.0)
    line = np.linspace(-1, 1, 20_000)[:, None]
    return [
        Goal("SIN 1-5-1, one period, 41 points", (1, 5, 1), wave, np.sin(np.pi * wave), 0.002, 100),
        Goal("PARITY 3-10-10-1, 3 bits of ±1", (3, 10, 10, 1), bits, odd, 0.001, 100),
        Goal(
            "sinc(10x) 1-20-1, 20,000 points",
            (1, 20, 1), line, np.sinc(10 * line), 3.3e-7, 1500, "lecun",
        ),
    ]  # fmt: skip


def goal_run(goal: Goal, seed: int, backend: str = "compiled") -> tuple[float, int, float]:
    """Mean square at the end, steps and seconds; the fit stops at the goal."""
    activations = ["tanh"] * (len(goal.sizes) - 2) + ["identity"]
    net = Network(goal.sizes, activations, "mse", init=goal.init, seed=seed, backend=backend)
    start = time.perf_counter()
    history = net.fit(
        goal.X,
        goal.Y,
        epochs=goal.epochs,
        optimizer="levenberg_marquardt",
        # The cost of an epoch is that before its step; the next one's says what it reached.
        callbacks=[lambda network, history: history.cost[-1] <= goal.mse],
    )
    return net.cost(goal.X, goal.Y), history.epochs, time.perf_counter() - start


def levenberg_marquardt(arguments: argparse.Namespace) -> int:
    """Error goals reached, by how many seeds, in how many steps."""
    wrong = 0
    for goal in goals():
        long = len(goal.X) > 1000
        if long and arguments.quick:
            continue
        seeds = range(1 if long else 6 if arguments.quick else 30)
        runs = [goal_run(goal, seed, arguments.backend) for seed in seeds]
        reached = [run for run in runs if run[0] <= goal.mse]
        steps = statistics.median(run[1] for run in runs)
        seconds = statistics.median(run[2] for run in runs)
        print(
            f"{goal.name}: goal {goal.mse:g} reached by {len(reached)} of {len(runs)} seeds, "
            f"least {min(run[0] for run in runs):.3g}, median {steps:g} steps, {seconds:.3g} s"
        )
        wrong += len(reached) < len(runs)
    print("published for sinc: 3.31e-7, 16.6 s (torch-levenberg-marquardt, batches of 1,000)")
    return wrong


PARTS: dict[str, Callable[[argparse.Namespace], int]] = {
    "nielsen": nielsen,
    "bands": bands,
    "rumelhart": rumelhart,
    "scikit-learn": scikit_learn,
    "levenberg-marquardt": levenberg_marquardt,
    "gradients": gradients,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--logs", nargs="+", choices=LOGGED_RUNS, help="of Nielsen's, these")
    parser.add_argument("--quick", action="store_true", help="few epochs and seeds")
    parser.add_argument(
        "--nudge",
        type=float,
        default=0.0,
        help="is added to one first bias of Nielsen's: what it changes, rounding can, too",
    )
    parser.add_argument("--backend", choices=("compiled", "reference"), default="compiled")
    parser.add_argument(
        "--mnist",
        metavar="DIR",
        default=os.environ.get("CBACKPROP_MNIST"),
        help="folder with the four idx files (or CBACKPROP_MNIST)",
    )
    arguments = parser.parse_args(argv)
    about = info()
    level = about["simd_level"] if arguments.backend == "compiled" else "reference"
    print(f"cbackprop {about['version']}, {level}, NumPy {about['numpy']}, float64")
    wrong = 0
    for part in arguments.only:
        if part in ("nielsen", "bands") and arguments.mnist is None:
            print(f"{part}: no MNIST; give --mnist or set CBACKPROP_MNIST")
            continue
        start = time.process_time()
        wrong += PARTS[part](arguments)
        print(f"({part}: {time.process_time() - start:.0f} s of processor time)\n", flush=True)
    if wrong:
        print(f"{wrong} figures that must be met are not")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
