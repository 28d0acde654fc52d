"""Differentially private training: what privacy costs in accuracy.

    python examples/dp_sgd.py

DP-SGD (Abadi et al. 2016, "Deep learning with differential privacy", arXiv:1607.00133). Each step
draws a lot by tossing a coin for every example, shortens each example's gradient to max_norm, adds
Gaussian noise of standard deviation noise_multiplier · max_norm to their sum and divides by the
lot size expected. What the trained parameters can tell of any single example is then bounded by
(epsilon, delta): for any set of outcomes, P(with it) ≤ e^epsilon · P(without it) + delta, and
likewise the other way round.

The bound holds for ideal Gaussian noise. A release of sensitive data also wants a cryptographic
random generator and a treatment of floating-point rounding, and counts every run that was tried.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from cbackprop import Network, datasets

SIZES = (64, 32, 10)
EXPECTED_LOT = 256
STEPS = 150
MAX_NORM = 1.0
DELTA = 1e-4  # well below 1/n
ORDERS = range(2, 257)


class Row(NamedTuple):
    """One training: its noise (None: neither clipped nor noisy), what it spent, what it reached."""

    name: str
    noise_multiplier: float | None
    epsilon: float
    accuracy: float


# ---- the step ------------------------------------------------------------------------------------


def poisson_lot(n: int, sampling_rate: float, random: np.random.Generator) -> np.ndarray:
    """Indices of a lot in which each of n examples is with that probability, whatever the others.

    The accountant below holds for this kind of sampling, not for batches of a fixed size.
    """
    return np.flatnonzero(random.random(n) < sampling_rate)


def private_gradient(
    net: Network,
    X: np.ndarray,
    Y: np.ndarray,
    *,
    sampling_rate: float,
    max_norm: float,
    noise_multiplier: float,
    random: np.random.Generator,
) -> np.ndarray:
    """The noisy mean of clipped gradients over a fresh lot, (P,)."""
    lot = poisson_lot(len(X), sampling_rate, random)
    total = np.zeros(net.n_parameters)
    if len(lot) > 0:
        # clipped_gradient is a mean over the lot; the sum is what max_norm bounds.
        total += len(lot) * net.clipped_gradient(X[lot], Y[lot], max_norm).vector
    noise = noise_multiplier * max_norm * random.standard_normal(len(total))
    # By the expected size: the size drawn would itself tell who took part.
    return (total + noise) / (sampling_rate * len(X))


# ---- the accountant ------------------------------------------------------------------------------


def renyi_divergence(order: int, sampling_rate: float, noise_multiplier: float) -> float:
    """What one step spends in Rényi differential privacy of an integer order ≥ 2.

    With probability q the output is drawn from N(1, s²) instead of N(0, s²), s being the noise
    multiplier. The moment E[((1−q) + q·N(1, s²)/N(0, s²))^order] under N(0, s²) is a binomial sum
    with E[(N(1, s²)/N(0, s²))^k] = e^((k² − k)/(2s²)); its logarithm over order − 1 bounds the
    divergence both ways (Mironov, Talwar and Zhang 2019, "Rényi differential privacy of the sampled
    Gaussian mechanism", arXiv:1908.10530).
    """
    q, s = sampling_rate, noise_multiplier
    log_q = math.log(q)
    log_rest = math.log1p(-q) if q < 1 else -math.inf
    log_terms = []
    for k in range(order + 1):
        left_out = order - k
        log_weight = math.log(math.comb(order, k)) + k * log_q
        if left_out > 0:  # 0 · (−inf) is no number
            log_weight += left_out * log_rest
        log_terms.append(log_weight + k * (k - 1) / (2 * s * s))
    return float(np.logaddexp.reduce(log_terms)) / (order - 1)


def epsilon_spent(
    steps: int, sampling_rate: float, noise_multiplier: float, delta: float
) -> tuple[float, int]:
    """Epsilon after that many steps, and the order that gave it.

    Rényi divergences of steps add up; (order, r) implies (r + ln(1/delta)/(order − 1), delta) for
    every order, so the least counts (Mironov 2017, "Rényi differential privacy",
    arXiv:1702.07476, propositions 1 and 3). Finer conversions spend some tenths less.
    """
    if noise_multiplier == 0:
        return math.inf, 0
    return min(
        (
            steps * renyi_divergence(order, sampling_rate, noise_multiplier)
            + math.log(1 / delta) / (order - 1),
            order,
        )
        for order in ORDERS
    )


# ---- the experiment ------------------------------------------------------------------------------


def run(
    *,
    noise_multipliers: tuple[float, ...] = (0.0, 2.0, 4.0, 8.0),
    learning_rate: float = 2.0,
    seed: int = 0,
    backend: str = "compiled",
) -> list[Row]:
    """Train once the ordinary way and once for each noise multiplier."""
    X, labels = datasets.load_digits()
    Y = datasets.one_hot(labels, 10)
    held_out = np.arange(len(X)) % 5 == 0
    X_train, Y_train = X[~held_out], Y[~held_out]
    X_test, Y_test = X[held_out], Y[held_out]
    sampling_rate = EXPECTED_LOT / len(X_train)
    options: dict[str, Any] = {"seed": seed, "backend": backend}

    net = Network(SIZES, ["tanh", "softmax"], "cross_entropy", **options)
    passes = round(STEPS * sampling_rate)
    net.fit(X_train, Y_train, epochs=passes, batch_size=32, learning_rate=0.1)
    rows = [Row("ordinary training", None, math.inf, net.score(X_test, Y_test))]

    for noise_multiplier in noise_multipliers:
        random = np.random.default_rng(seed)
        net = Network(SIZES, ["tanh", "softmax"], "cross_entropy", **options)
        for _ in range(STEPS):
            g = private_gradient(
                net,
                X_train,
                Y_train,
                sampling_rate=sampling_rate,
                max_norm=MAX_NORM,
                noise_multiplier=noise_multiplier,
                random=random,
            )
            net.parameters = net.parameters - learning_rate * g
        epsilon, _ = epsilon_spent(STEPS, sampling_rate, noise_multiplier, DELTA)
        name = "DP-SGD" if noise_multiplier > 0 else "clipped, no noise"
        rows.append(Row(name, noise_multiplier, epsilon, net.score(X_test, Y_test)))
    return rows


def main() -> None:
    print("8x8 digits, 1,437 to train on, 360 held out; a 64-32-10 network.")
    print(
        f"DP-SGD: {STEPS} steps, lots of about {EXPECTED_LOT}, gradients clipped to {MAX_NORM:g},"
    )
    print(f"noise in units of that, epsilon at delta = {DELTA:g}.\n")
    print(f"{'training':<20}{'noise':>7}{'epsilon':>9}{'test accuracy':>15}")
    for row in run():
        noise = "" if row.noise_multiplier is None else f"{row.noise_multiplier:g}"
        print(f"{row.name:<20}{noise:>7}{row.epsilon:>9.2f}{row.accuracy:>15.3f}")


if __name__ == "__main__":
    main()
