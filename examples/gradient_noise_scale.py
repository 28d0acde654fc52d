"""How large a batch is worth its price: the gradient noise scale, as training goes on.

    python examples/gradient_noise_scale.py

The simple noise scale is tr(Σ)/|G|², with G the true gradient and Σ the covariance of single
examples' gradients (McCandlish et al. 2018, "An empirical model of large-batch training",
arXiv:1812.06162). A batch of B examples has a gradient of expected squared length |G|² + tr(Σ)/B:
far below the noise scale a larger batch pays in fewer steps, far above it hardly does. It grows
during training, for G shrinks faster than the differences between examples.

Two corrections, if Σ and G are measured on n examples that are a sample of those that matter:

* their covariance divided by n is too small; n/(n−1) times it is right on average;
* their mean gradient is too long: its squared length exceeds |G|² by tr(Σ)/n on average, so that
  without the correction no noise scale above some n is ever found.

Here the examples that matter are the 1,797 digits themselves, so that the true value is known: the
moments over all of them, with no correction. Samples are drawn from them with replacement. A
corrected |G|² may come out negative for one sample; numerators and denominators are averaged over
many before dividing, as a ratio of unbiased numbers is itself biased.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cbackprop import Network, datasets

SAMPLE_SIZE = 256
N_SAMPLES = 100


class Row(NamedTuple):
    """The noise scale after some epochs: the true one, and three estimates from samples."""

    epoch: int
    cost: float
    squared_gradient: float
    trace: float
    true: float
    uncorrected: float
    corrected: float
    two_batch_sizes: float


def moments(net: Network, X: np.ndarray, Y: np.ndarray) -> tuple[float, float]:
    """Of these examples: tr of the covariance divided by n, and the mean gradient's |·|²."""
    mean, variance = net.gradient_moments(X, Y)
    return float(variance.vector.sum()), mean.norm() ** 2


def corrected_for_sampling(trace: float, squared_mean: float, n: int) -> tuple[float, float]:
    """Unbiased tr(Σ) and |G|² from the `moments` of n examples."""
    trace = trace * n / (n - 1)
    return trace, squared_mean - trace / n


def from_two_batch_sizes(
    squared_small: float, n_small: int, squared_large: float, n_large: int
) -> tuple[float, float]:
    """Unbiased tr(Σ) and |G|² from the squared lengths of gradients of two batch sizes.

    Two equations |G|² + tr(Σ)/B for two unknowns (the paper's appendix A). No moments are needed,
    so that it serves where only batches' gradients are at hand.
    """
    trace = (squared_small - squared_large) / (1 / n_small - 1 / n_large)
    squared_gradient = (n_large * squared_large - n_small * squared_small) / (n_large - n_small)
    return trace, squared_gradient


def measure(
    net: Network, X: np.ndarray, Y: np.ndarray, random: np.random.Generator
) -> tuple[float, float, float]:
    """The noise scale from samples: uncorrected, corrected, and from two batch sizes."""
    uncorrected, corrected, two_sizes = [], [], []
    for _ in range(N_SAMPLES):
        sample = random.integers(0, len(X), SAMPLE_SIZE)
        raw = moments(net, X[sample], Y[sample])
        uncorrected.append(raw[0] / raw[1])
        corrected.append(corrected_for_sampling(*raw, SAMPLE_SIZE))
        # Other examples, so that the two estimates share no luck.
        sample = random.integers(0, len(X), SAMPLE_SIZE)
        squared_small = float(np.mean(net.gradient_norms(X[sample], Y[sample]) ** 2))
        squared_large = net.gradient(X[sample], Y[sample]).norm() ** 2
        two_sizes.append(from_two_batch_sizes(squared_small, 1, squared_large, SAMPLE_SIZE))
    ratios = []
    for pairs in (corrected, two_sizes):
        trace, squared_gradient = np.mean(pairs, axis=0)
        ratios.append(float(trace / squared_gradient))
    return float(np.mean(uncorrected)), ratios[0], ratios[1]


def run(
    *,
    epochs: tuple[int, ...] = (0, 5, 10, 20, 40),
    seed: int = 0,
    backend: str = "compiled",
) -> list[Row]:
    """Train a 64-32-10 network on the digits and measure after these epochs."""
    random = np.random.default_rng(seed)
    X, labels = datasets.load_digits()
    Y = datasets.one_hot(labels, 10)
    net = Network((64, 32, 10), ["tanh", "softmax"], "cross_entropy", seed=seed, backend=backend)
    rows, done = [], 0
    for epoch in epochs:
        net.fit(X, Y, epochs=epoch - done, batch_size=512, learning_rate=0.1)
        done = epoch
        trace, squared_gradient = moments(net, X, Y)
        estimates = measure(net, X, Y, random)
        rows.append(
            Row(
                epoch,
                net.cost(X, Y),
                squared_gradient,
                trace,
                trace / squared_gradient,
                *estimates,
            )
        )
    return rows


def main() -> None:
    print("8x8 digits, a 64-32-10 network; noise scale in examples. True: over all 1,797; the")
    print(f"others: from {N_SAMPLES} samples of {SAMPLE_SIZE}.\n")
    print(f"{'':>41}{'noise':>9}{'from moments':>18}{'from batches of':>24}")
    print(
        f"{'epoch':>6}{'cost':>10}{'|G|^2':>12}{'tr(Sigma)':>12}{'true':>10}"
        f"{'uncorrected':>15}{'corrected':>12}{f'1 and {SAMPLE_SIZE}':>14}"
    )
    for row in run():
        print(
            f"{row.epoch:>6}{row.cost:>10.4f}{row.squared_gradient:>12.5f}{row.trace:>12.3f}"
            f"{row.true:>10.1f}{row.uncorrected:>15.1f}{row.corrected:>12.1f}"
            f"{row.two_batch_sizes:>14.1f}"
        )


if __name__ == "__main__":
    main()
