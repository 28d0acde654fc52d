"""How sure is the network? Error bars for a regression, by Laplace's approximation.

    python examples/laplace_uncertainty.py

A 1-16-16-1 network learns a noisy sine from data with a gap. With Gaussian noise of known standard
deviation s and a Gaussian prior of precision p on every parameter, the posterior near its peak
is taken for a Gaussian with the Gauss-Newton precision JᵀJ/s² + p·I, J being the Jacobian of the
outputs at the training inputs (MacKay 1992, "A practical Bayesian framework for backpropagation
networks", Neural Computation 4:448-472). An output's variance is then that of the network
linearised in its parameters, j(x)ᵀ (JᵀJ/s² + p·I)⁻¹ j(x) (Immer, Korzepa and Bauer 2021, "Improving
predictions of Bayesian neural nets via local linearization", arXiv:2008.08400); a measurement's has
s² on top.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cbackprop import Adam, Network

GAP = (-1.0, 1.0)
EDGE = 3.0
NOISE = 0.1
PRIOR_PRECISION = 1.0


class Result(NamedTuple):
    net: Network
    X: np.ndarray
    y: np.ndarray
    x_shown: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    coverage: float


def true_function(x: np.ndarray) -> np.ndarray:
    return np.sin(2 * x)


def measurements(n: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n noisy values of the sine, (n, 1) each, at inputs on both sides of the gap."""
    x = random.uniform(GAP[1], EDGE, n) * random.choice([-1.0, 1.0], n)
    return x[:, np.newaxis], (true_function(x) + NOISE * random.standard_normal(n))[:, np.newaxis]


# net.cost is the mean of (a − y)², so that Σ(a − y)²/(2s²) is n/(2s²) times it.


def negative_log_posterior(net: Network, X: np.ndarray, y: np.ndarray) -> float:
    """Σ(a − y)²/(2s²) + p|parameters|²/2, up to a constant."""
    prior = PRIOR_PRECISION * float(net.parameters @ net.parameters) / 2
    return len(X) / (2 * NOISE**2) * net.cost(X, y) + prior


def slope(net: Network, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Derivatives of `negative_log_posterior` by the parameters, (P,)."""
    return len(X) / (2 * NOISE**2) * net.gradient(X, y).vector + PRIOR_PRECISION * net.parameters


def posterior_precision(net: Network, X: np.ndarray) -> np.ndarray:
    """The Gauss-Newton form of its second derivatives, JᵀJ/s² + p·I, (P, P)."""
    J = net.jacobian(X)[:, 0]
    return J.T @ J / NOISE**2 + PRIOR_PRECISION * np.eye(net.n_parameters)


def approach_peak(net: Network, X: np.ndarray, y: np.ndarray, steps: int = 150) -> None:
    """From where training ended towards the peak of the posterior, by damped Gauss-Newton steps.

    `fit` knows nothing of the prior. The last bit of the way, along directions that hardly change
    the outputs, is left undone: it hardly changes the error bars either.
    """
    damping = 1.0
    for _ in range(steps):
        start, value = net.parameters, negative_log_posterior(net, X, y)
        downhill, precision = slope(net, X, y), posterior_precision(net, X)
        while damping < 1e12:  # beyond, rounding decides
            damped = precision + damping * np.eye(net.n_parameters)
            net.parameters = start - np.linalg.solve(damped, downhill)
            if negative_log_posterior(net, X, y) < value:
                damping /= 5
                break
            net.parameters = start
            damping *= 5


def predictive_std(net: Network, X_train: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Standard deviation of the output at each row of X, (n,), the noise of measuring left out."""
    # With precision = LLᵀ the variance is |L⁻¹j|²: no inverse is made, and none comes out negative.
    L = np.linalg.cholesky(posterior_precision(net, X_train))
    return np.linalg.norm(np.linalg.solve(L, net.jacobian(X)[:, 0].T), axis=0)


def run(*, n: int = 80, n_held_out: int = 2000, seed: int = 0, backend: str = "compiled") -> Result:
    """Train, climb to the peak, and judge the error bars on held-out measurements."""
    random = np.random.default_rng(seed)
    X, y = measurements(n, random)
    net = Network((1, 16, 16, 1), ["tanh", "tanh", "identity"], seed=seed, backend=backend)
    net.fit(X, y, epochs=500, batch_size=20, optimizer=Adam(0.01))
    approach_peak(net, X, y)

    x_shown = np.linspace(-5, 5, 41)
    X_new, y_new = measurements(n_held_out, random)
    std_new = np.hypot(predictive_std(net, X, X_new), NOISE)
    inside = np.abs(net.predict(X_new) - y_new)[:, 0] < 1.96 * std_new
    return Result(
        net,
        X,
        y,
        x_shown,
        net.predict(x_shown[:, np.newaxis])[:, 0],
        predictive_std(net, X, x_shown[:, np.newaxis]),
        float(inside.mean()),
    )


def main() -> None:
    result = run()
    print("Data on [-3, -1] and [1, 3]; std is the network's own, without the noise of 0.1.\n")
    print(f"{'x':>6}{'sin 2x':>9}{'network':>9}{'std':>8}  {'data':<6}")
    for x, mean, std in zip(result.x_shown, result.mean, result.std, strict=True):
        data = "data" if GAP[1] <= abs(x) <= EDGE else ""
        bar = "#" * min(round(std / 0.05), 40)
        print(f"{x:>6.2f}{true_function(x):>9.3f}{mean:>9.3f}{std:>8.3f}  {data:<6}{bar}")
    print(
        f"\n{result.coverage:.1%} of the held-out measurements lie within 1.96 standard deviations"
        "\n(network and noise together), where 95 % should."
    )


if __name__ == "__main__":
    main()
