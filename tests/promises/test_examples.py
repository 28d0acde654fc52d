"""The examples: their methods against sources of their own, and each one run as a script."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import mpmath
import numpy as np
import pytest
from support import REPOSITORY, Array, run_python

from cbackprop import Network, datasets

FOLDER = REPOSITORY / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))
# What an example needs besides the package.
LIBRARIES = {"cart_pole": "casadi", "mpi_allreduce": "mpi4py"}


@functools.cache
def example(name: str) -> ModuleType:
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def numbers(name: str) -> Any:
    """What the example finds with its defaults; its seeds are fixed."""
    return example(name).run()


def small_problem(n: int, seed: int = 1) -> tuple[Network, Array, Array]:
    """A network with the examples' functions, and every seventh digit."""
    X, labels = datasets.load_digits()
    net = Network((64, 8, 10), ["tanh", "softmax"], "cross_entropy", seed=seed)
    return net, X[::7][:n], datasets.one_hot(labels[::7][:n], 10)


# ---- as scripts ----------------------------------------------------------------------------------


def expected_lines(name: str) -> list[tuple[str, ...]]:
    """Words that must stand together in a line of the output."""
    result = numbers(name)
    if name == "dp_sgd":
        return [(row.name, f"{row.epsilon:.2f}", f"{row.accuracy:.3f}") for row in result]
    if name == "mislabelled_digits":
        return [
            *(
                (score.name, f"{score.precision:.3f}", f"{score.auc:.3f}")
                for score in result.scores
            ),
            (f"{result.right_suggestions:.1%}",),
        ]
    if name == "gradient_noise_scale":
        return [
            (f"{row.epoch} ", f"{row.true:.1f}", f"{row.corrected:.1f}", f"{row.uncorrected:.1f}")
            for row in result
        ]
    if name == "laplace_uncertainty":
        return [
            *((f"{x:.2f} ", f"{s:.3f}") for x, s in zip(result.x_shown, result.std, strict=True)),
            (f"{result.coverage:.1%}",),
        ]
    if name == "cart_pole":
        steps = range(0, len(result.forces), 4)
        return [
            (f"{result.r2:.5f}",),
            *((f"{result.states[k, 0]:.3f}", f"{result.forces[k]:.2f}") for k in steps),
            ("In the last second",),
        ]
    if name == "mpi_allreduce":
        steps = range(0, len(result.costs), 10)
        return [
            *((f"step {step:2}", f"{result.costs[step]:.17g}") for step in steps),
            (result.parameters[:32],),
        ]
    raise KeyError(name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_prints_the_numbers_that_run_returns(name: str, tmp_path: Path) -> None:
    """In a process of its own, elsewhere, on a terminal that knows ASCII alone."""
    example(name)  # skips where the library that it needs is missing
    run = run_python(
        *("-W", "error"),
        # Of a build without the core the package warns, and rightly.
        *("-W", "ignore:the compiled core of cbackprop is missing:RuntimeWarning"),
        str(FOLDER / f"{name}.py"),
        cwd=tmp_path,
        timeout=300,
        PYTHONIOENCODING="ascii",
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    for words in expected_lines(name):
        assert any(all(word in line for word in words) for line in lines), (words, run.stdout)
    assert not any(tmp_path.iterdir())


def test_readme_has_a_line_for_each_script() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) >= 4
    for name in SCRIPTS:
        assert readme.count(f"`{name}.py`") == 1


# ---- dp_sgd --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "noise", "log_inverse_delta"), [(1, 2.0, 8.0), (4, 4.0, 18.0), (9, 3.0, 18.0)]
)
def test_epsilon_of_the_gaussian_mechanism(
    steps: int, noise: float, log_inverse_delta: float
) -> None:
    """Without sampling T α/(2s²) + ln(1/δ)/(α − 1) has its least value in closed form.

    It is T/(2s²) + √(2T ln(1/δ))/s at α = 1 + s √(2 ln(1/δ)/T), a whole number here.
    """
    order = 1 + noise * np.sqrt(2 * log_inverse_delta / steps)
    assert order == round(order)
    epsilon, found = example("dp_sgd").epsilon_spent(steps, 1.0, noise, np.exp(-log_inverse_delta))
    closed_form = steps / (2 * noise**2) + np.sqrt(2 * steps * log_inverse_delta) / noise
    assert found == order
    assert epsilon == pytest.approx(closed_form, rel=1e-13)


@pytest.mark.parametrize(
    ("order", "q", "noise"), [(2, 0.01, 1.1), (3, 0.5, 0.7), (7, 0.178, 2.0), (32, 0.05, 4.0)]
)
def test_divergence_is_its_definition(order: int, q: float, noise: float) -> None:
    """By quadrature of the densities; that direction is the larger of the two."""
    with mpmath.workdps(30):
        s, rate = mpmath.mpf(noise), mpmath.mpf(q)

        def without(z: Any) -> Any:
            return mpmath.npdf(z, 0, s)

        def with_it(z: Any) -> Any:
            return (1 - rate) * mpmath.npdf(z, 0, s) + rate * mpmath.npdf(z, 1, s)

        def divergence(p: Any, r: Any) -> Any:
            # All mass of p^α r^(1−α) lies within some s of the points 1−α … α.
            points = mpmath.linspace(-order - 25 * s, order + 25 * s, 60)
            moment = mpmath.quad(lambda z: p(z) ** order * r(z) ** (1 - order), points)
            return mpmath.log(moment) / (order - 1)

        expected = float(divergence(with_it, without))
        other_way = float(divergence(without, with_it))
    found = example("dp_sgd").renyi_divergence(order, q, noise)
    assert found == pytest.approx(expected, rel=1e-11)
    assert other_way <= found


@pytest.mark.parametrize(
    ("noise", "epochs", "published"), [(1.12, 60, 2.92), (1.2, 10, 1.20), (0.6, 30, 9.74)]
)
def test_epsilon_is_the_published_one(noise: float, epochs: int, published: float) -> None:
    """TensorFlow Privacy's tutorials/README.md: MNIST, batches of 256, delta 1e-5.

    They try fractional orders, too, which spends a little less where the best order is small.
    """
    steps = epochs * 60_000 // 256
    epsilon, _ = example("dp_sgd").epsilon_spent(steps, 256 / 60_000, noise, 1e-5)
    assert published - 0.005 <= epsilon <= 1.005 * published


def test_private_gradient_without_noise_clips_each_example() -> None:
    net, X, Y = small_problem(60)
    max_norm = 3.1
    each = net.gradient(X, Y, per_example=True)
    norms = np.linalg.norm(each.vector, axis=1)
    assert (norms < max_norm).any()
    assert (norms > max_norm).any()
    clipped = each.vector * np.minimum(1, max_norm / norms)[:, np.newaxis]

    def total(keep: Array) -> Array:
        return len(X[keep]) * example("dp_sgd").private_gradient(
            net,
            X[keep],
            Y[keep],
            sampling_rate=1.0,
            max_norm=max_norm,
            noise_multiplier=0.0,
            random=np.random.default_rng(0),
        )

    everyone = np.ones(len(X), bool)
    np.testing.assert_allclose(total(everyone), clipped.sum(axis=0), rtol=1e-11, atol=1e-12)
    # What the noise is measured against: no example moves the sum by more than max_norm.
    for i in (int(np.argmax(norms)), int(np.argmin(norms))):
        moved = np.linalg.norm(total(everyone) - total(np.arange(len(X)) != i))
        assert moved == pytest.approx(min(norms[i], max_norm), rel=1e-9)


def test_private_gradient_divides_by_the_expected_size_and_adds_the_noise_promised() -> None:
    dp_sgd = example("dp_sgd")
    net, X, Y = small_problem(200)
    q, max_norm, noise_multiplier = 0.2, 0.7, 3.0
    deviations = []
    for seed in range(20):
        options: dict[str, Any] = {"sampling_rate": q, "max_norm": max_norm}
        quiet, noisy = (
            dp_sgd.private_gradient(
                net, X, Y, noise_multiplier=s, random=np.random.default_rng(seed), **options
            )
            for s in (0.0, noise_multiplier)
        )
        lot = dp_sgd.poisson_lot(len(X), q, np.random.default_rng(seed))
        each = net.gradient(X[lot], Y[lot], per_example=True)
        factors = np.minimum(1, max_norm / each.norm())
        np.testing.assert_allclose(quiet, factors @ each.vector / (q * 200), rtol=1e-10, atol=1e-12)
        deviations.append(noisy - quiet)
    # 12,200 normal numbers give their standard deviation to 0.64 %.
    deviation = np.concatenate(deviations)
    expected = noise_multiplier * max_norm / (q * 200)
    assert np.std(deviation) == pytest.approx(expected, rel=0.03)
    assert abs(np.mean(deviation)) < 5 * expected / np.sqrt(len(deviation))


def test_an_empty_lot_is_noise_alone() -> None:
    net, X, Y = small_problem(3)
    g = example("dp_sgd").private_gradient(
        net,
        X,
        Y,
        sampling_rate=1e-9,
        max_norm=2.0,
        noise_multiplier=0.5,
        random=np.random.default_rng(3),
    )
    assert np.std(g * 3e-9) == pytest.approx(1.0, rel=0.15)


def test_lots_are_drawn_by_a_coin_for_each_example() -> None:
    """Their size varies as a binomial number does, and every example has the same chance."""
    n, q, repeats = 300, 0.1, 4000
    random = np.random.default_rng(5)
    taken = np.zeros((repeats, n), bool)
    for row in taken:
        row[example("dp_sgd").poisson_lot(n, q, random)] = True
    sizes = taken.sum(axis=1)
    assert np.mean(sizes) == pytest.approx(n * q, rel=0.015)
    assert np.var(sizes) == pytest.approx(n * q * (1 - q), rel=0.12)
    assert abs(taken.mean(axis=0) - q).max() < 5 * np.sqrt(q * (1 - q) / repeats)


def test_privacy_costs_accuracy() -> None:
    dp_sgd = example("dp_sgd")
    ordinary, clipped, *private = numbers("dp_sgd")
    assert [row.noise_multiplier for row in private] == [2.0, 4.0, 8.0]
    assert ordinary.epsilon == clipped.epsilon == np.inf
    for row in private:
        spent = dp_sgd.epsilon_spent(150, 256 / 1437, row.noise_multiplier, 1e-4)[0]
        assert row.epsilon == spent
    # For the seeds 0 to 3: 0.958 to 0.969, 0.936 to 0.947, 0.939 to 0.944, 0.808 to 0.844.
    assert ordinary.accuracy > 0.94
    assert clipped.accuracy > 0.91
    assert private[0].accuracy > 0.90
    assert 0.65 < private[2].accuracy < 0.90


# ---- mislabelled_digits --------------------------------------------------------------------------


def test_area_under_curve_counts_pairs() -> None:
    """Whole numbers, so that there are ties; among wanted ones, others and between the two."""
    random = np.random.default_rng(2)
    score = random.integers(0, 12, 80).astype(float)
    wanted = random.random(80) < 0.3
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, b in itertools.product(score[wanted], score[~wanted])
    ]
    module = example("mislabelled_digits")
    assert module.area_under_curve(score, wanted) == pytest.approx(np.mean(pairs), rel=1e-14)
    assert module.area_under_curve(wanted.astype(float), wanted) == 1


def test_precision_is_that_of_the_highest_scores() -> None:
    score = np.array([0.1, 5.0, 3.0, 4.0, -9.0])
    wanted = np.array([False, True, False, True, False])
    module = example("mislabelled_digits")
    assert [module.precision_at(score, wanted, k) for k in (1, 2, 3, 4)] == [1, 1, 2 / 3, 1 / 2]


def test_wrong_labels_are_as_many_as_asked_for_and_wrong() -> None:
    labels = np.arange(5000) % 10
    given, wrong = example("mislabelled_digits").with_wrong_labels(
        labels, 0.3, np.random.default_rng(0)
    )
    assert wrong.sum() == 1500
    assert (given[~wrong] == labels[~wrong]).all()
    # Every class is replaced by each of the nine others.
    assert len(set(zip(labels[wrong].tolist(), given[wrong].tolist(), strict=True))) == 90
    assert given.min() == 0
    assert given.max() == 9


def test_harm_is_what_a_step_does_to_the_costs() -> None:
    """Steps are taken, forth and back, and costs compared; no inner product is formed."""
    net, X, Y = small_problem(70)
    labels = Y.argmax(axis=1)
    X_clean, clean_labels, Y_clean = X[4:], labels[4:], Y[4:]
    harm = example("mislabelled_digits").harm_by_class(net, X[:4], Y[:4], X_clean, clean_labels)
    lengths = net.gradient(X_clean, Y_clean, per_example=True).norm()
    start, h = net.parameters, 1e-5
    for i in range(4):
        downhill = -net.gradient(X[i], Y[i]).vector
        costs = []
        for step in (h, -h):
            net.parameters = start + step * downhill
            costs.append(net.cost(X_clean, Y_clean, per_example=True))
        net.parameters = start
        rise = (costs[0] - costs[1]) / (2 * h) / lengths
        expected = [rise[clean_labels == c].mean() for c in range(10)]
        np.testing.assert_allclose(harm[i], expected, rtol=1e-6, atol=1e-8)


def test_wrong_labels_are_found() -> None:
    """For the seeds 0 to 5 the areas are 0.990 to 0.997 and 0.977 to 0.990."""
    result = numbers("mislabelled_digits")
    norm, tracin, chance = result.scores
    assert result.n_wrong == 72
    assert norm.auc > 0.97
    assert norm.precision > 0.7
    assert tracin.auc > 0.95
    assert tracin.precision > 0.55
    assert chance.precision == 72 / 1437
    assert result.right_suggestions > 0.8
    assert result.test_accuracy > 0.88
    _, labels = datasets.load_digits()
    true_labels = labels[np.arange(len(labels)) % 5 != 0]
    assert len(result.suspects) == 8
    assert all(true_labels[index] == true for index, _, _, true in result.suspects)
    assert sum(given != true for _, given, _, true in result.suspects) >= 6


# ---- gradient_noise_scale ------------------------------------------------------------------------


def tiny_population(n: int) -> tuple[Network, Array, Array, float, float]:
    """n examples, and tr(Σ) and |G|² over them from the gradients themselves."""
    net, X, Y = small_problem(n)
    each = net.gradient(X, Y, per_example=True).vector
    mean = each.mean(axis=0)
    trace = float(np.sum((each - mean) ** 2) / n)
    return net, X, Y, trace, float(mean @ mean)


def test_corrected_moments_are_right_on_average() -> None:
    """Over every sample of two, with replacement, from three examples; uncorrected they are not."""
    module = example("gradient_noise_scale")
    net, X, Y, trace, squared = tiny_population(3)
    samples = [list(sample) for sample in itertools.product(range(3), repeat=2)]
    raw = [module.moments(net, X[sample], Y[sample]) for sample in samples]
    corrected = [module.corrected_for_sampling(*pair, 2) for pair in raw]
    np.testing.assert_allclose(np.mean(corrected, axis=0), (trace, squared), rtol=1e-11)
    np.testing.assert_allclose(np.mean(raw, axis=0), (trace / 2, squared + trace / 2), rtol=1e-11)


def test_two_batch_sizes_are_right_on_average() -> None:
    module = example("gradient_noise_scale")
    net, X, Y, trace, squared = tiny_population(3)

    def lengths(size: int) -> list[float]:
        batches = [list(batch) for batch in itertools.product(range(3), repeat=size)]
        return [net.gradient(X[batch], Y[batch]).norm() ** 2 for batch in batches]

    estimates = [
        module.from_two_batch_sizes(small, 2, large, 3)
        for small, large in itertools.product(lengths(2), lengths(3))
    ]
    np.testing.assert_allclose(np.mean(estimates, axis=0), (trace, squared), rtol=1e-10)


def test_batches_of_one_and_n_give_what_the_corrected_moments_give() -> None:
    """In algebra they are the same; gradient_norms and gradient_moments compute them apart."""
    module = example("gradient_noise_scale")
    net, X, Y = small_problem(50)
    corrected = module.corrected_for_sampling(*module.moments(net, X, Y), 50)
    small = np.mean(net.gradient_norms(X, Y) ** 2)
    two_sizes = module.from_two_batch_sizes(small, 1, net.gradient(X, Y).norm() ** 2, 50)
    np.testing.assert_allclose(two_sizes, corrected, rtol=1e-10)


def test_noise_scale_grows_and_its_estimates_follow() -> None:
    """Ratios to the truth for the seeds 0 to 5: 0.90 to 1.07 corrected, 0.96 to 1.08 by sizes."""
    rows = numbers("gradient_noise_scale")
    assert [row.epoch for row in rows] == [0, 5, 10, 20, 40]
    true = [row.true for row in rows]
    assert all(earlier < later for earlier, later in itertools.pairwise(true))
    assert true[-1] > 5 * true[0]
    for row in rows:
        assert row.true == row.trace / row.squared_gradient
        assert row.corrected == pytest.approx(row.true, rel=0.2)
        assert row.two_batch_sizes == pytest.approx(row.true, rel=0.2)
        # tr(Σ)(1 − 1/n) over |G|² + tr(Σ)/n: too small, and ever more so.
        biased = row.true * (1 - 1 / 256) / (1 + row.true / 256)
        assert row.uncorrected == pytest.approx(biased, rel=0.15)
    assert rows[-1].uncorrected < 0.6 * rows[-1].true
    X, labels = datasets.load_digits()
    Y = datasets.one_hot(labels, 10)
    net = Network((64, 32, 10), ["tanh", "softmax"], "cross_entropy", seed=0)
    each = net.gradient(X, Y, per_example=True).vector
    assert rows[0].trace == pytest.approx(np.var(each, axis=0).sum(), rel=1e-10)
    assert rows[0].squared_gradient == pytest.approx(np.sum(each.mean(axis=0) ** 2), rel=1e-10)


# ---- laplace_uncertainty -------------------------------------------------------------------------


def test_variance_is_that_of_the_kernel_regression() -> None:
    """The network linearised is a Gaussian process; its variance at x, solved in function space, is
    k(x, x) − k(x, X)(k(X, X) + s²)⁻¹k(X, x) with k(x, x′) = ⟨∂a/∂w, ∂a′/∂w⟩/p.

    The kernel comes from gradient_gram: with y = a − ½ the quadratic cost has ∂C/∂a = 1, and its
    gradient is the output's. No Jacobian, no matrix of the parameters' size.
    """
    module = example("laplace_uncertainty")
    result = numbers("laplace_uncertainty")
    net = result.net

    def kernel(A: Array, B: Array) -> Array:
        gram: Array = net.gradient_gram(A, net.predict(A) - 0.5, B, net.predict(B) - 0.5)
        return gram / module.PRIOR_PRECISION

    x = result.x_shown[:, np.newaxis]
    between = kernel(x, result.X)
    with_noise = kernel(result.X, result.X) + module.NOISE**2 * np.eye(len(result.X))
    prior = np.diag(kernel(x, x))
    variance = prior - np.sum(between * np.linalg.solve(with_noise, between.T).T, axis=1)
    assert (variance < prior).all()
    # Where the two terms cancel, digits of the prior's size are lost: 1e-11 of them at most.
    np.testing.assert_allclose(result.std**2, variance, rtol=1e-8, atol=1e-11 * prior.max())


def test_precision_is_the_gauss_newton_matrix_and_the_prior() -> None:
    """Against the exact products, which know the cost but form no Jacobian."""
    module = example("laplace_uncertainty")
    result = numbers("laplace_uncertainty")
    net, X, y = result.net, result.X, result.y
    v = np.random.default_rng(4).standard_normal(net.n_parameters)
    product = len(X) / (2 * module.NOISE**2) * net.gauss_newton_vector_product(X, y, v)
    expected = product + module.PRIOR_PRECISION * v
    found = module.posterior_precision(net, X) @ v
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_training_ends_near_the_peak_of_the_posterior() -> None:
    module = example("laplace_uncertainty")
    result = numbers("laplace_uncertainty")
    net, X, y = result.net.copy(), result.X, result.y
    end, slope = module.negative_log_posterior(net, X, y), module.slope(net, X, y)
    assert end == pytest.approx(
        np.sum((net.predict(X) - y) ** 2) / (2 * module.NOISE**2)
        + module.PRIOR_PRECISION * np.sum(net.parameters**2) / 2,
        rel=1e-12,
    )
    # The slope is the function's.
    start, h = net.parameters, 1e-5
    direction = np.random.default_rng(6).standard_normal(net.n_parameters)
    direction /= np.linalg.norm(direction)
    values = []
    for step in (h, -h):
        net.parameters = start + step * direction
        values.append(module.negative_log_posterior(net, X, y))
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(slope @ direction, abs=1e-6)
    # What a step of the quadratic model still hopes to gain; where `fit` ended it was 39.
    gain = slope @ np.linalg.solve(module.posterior_precision(result.net, X), slope) / 2
    assert 0 <= gain < 0.1
    # More steps from there hardly move the error bars.
    x = np.array([[0.0], [2.0], [5.0]])
    net.parameters = start
    before = module.predictive_std(net, X, x)
    module.approach_peak(net, X, y, steps=30)
    assert module.negative_log_posterior(net, X, y) <= end
    np.testing.assert_allclose(module.predictive_std(net, X, x), before, rtol=0.05)


def test_error_bars_are_wide_where_there_is_no_data_and_cover_where_there_is() -> None:
    """For the seeds 0 to 5: at most 0.051 within the data, at least 0.62 amid the gap."""
    result = numbers("laplace_uncertainty")
    distance = np.abs(result.x_shown)
    in_gap, outside = result.std[distance < 0.5], result.std[distance >= 4]
    at_data = result.std[(distance >= 1.5) & (distance <= 2.5)]
    assert len(in_gap) == 3
    assert at_data.max() < 0.1
    assert in_gap.min() > 5 * at_data.max()
    assert outside.min() > 5 * at_data.max()
    # 0.948 to 0.965; 2,000 measurements give it to 0.5 %.
    assert 0.92 < result.coverage < 0.98
    truth = np.sin(2 * result.x_shown)
    known = (distance >= 1.25) & (distance <= 2.75)
    assert (np.abs(result.mean - truth)[known] < 4 * result.std[known]).all()
    assert np.abs(result.mean - truth)[distance > 4].max() > 0.5


# ---- cart_pole -----------------------------------------------------------------------------------


def test_the_carts_energy_grows_by_force_times_speed() -> None:
    """dE/dt of cart and rod by Lagrange, without the equations of motion; and none is lost."""
    module = example("cart_pole")
    random = np.random.default_rng(3)
    state, force = random.normal(0, 2, (100, 4)), random.normal(0, 5, 100)

    def energy(state: Array) -> Array:
        _, speed, angle, turning = state.T
        m, l = module.POLE, module.HALF_LENGTH
        kinetic = (module.CART + m) * speed**2 / 2 + m * l * speed * turning * np.cos(angle)
        total: Array = (
            kinetic + 2 / 3 * m * (l * turning) ** 2 + m * module.GRAVITY * l * np.cos(angle)
        )
        return total

    step = 1e-5 * module.rates(state, force)
    change = (energy(state + step) - energy(state - step)) / 2e-5
    np.testing.assert_allclose(change, force * state[:, 1], rtol=1e-6, atol=1e-7)
    # The cart's own equation, besides: momentum grows by the force.
    _, acceleration, turning, angular = module.rates(state, force).T
    sine, cosine = np.sin(state[:, 2]), np.cos(state[:, 2])
    of_pole = module.POLE * module.HALF_LENGTH * (angular * cosine - turning**2 * sine)
    np.testing.assert_allclose(
        (module.CART + module.POLE) * acceleration + of_pole, force, rtol=1e-9
    )
    free = module.after_step(state, 0 * force)
    np.testing.assert_allclose(energy(free), energy(state), rtol=1e-4)


def test_the_pole_ends_upright_and_the_cart_stays_near() -> None:
    """For the seeds 0 to 4: upright within 1.6 s, then within 0.03 rad; the cart within 1 m."""
    module, result = example("cart_pole"), numbers("cart_pole")
    assert result.net.sizes == (4, 32, 32, 4)
    assert result.r2 > 0.999
    angle = module.from_upright(result.states)
    assert abs(angle[0]) == pytest.approx(np.pi)
    assert np.abs(angle[40:]).max() < 0.2
    assert np.abs(angle[-20:]).max() < 0.05
    assert np.abs(result.states[:, 0]).max() < 1.5
    assert np.abs(result.forces).max() <= module.MOST_FORCE + 1e-6


def test_the_plan_follows_the_learned_model() -> None:
    """Its first step of prediction is the network's, and the true cart's nearly."""
    module, result = example("cart_pole"), numbers("cart_pole")
    before, after = result.states[:-1], result.states[1:]
    change = result.net.predict(np.column_stack([before[:, 1:], result.forces]))
    assert np.abs(before + change - after).max() < 0.3
    np.testing.assert_allclose(after, module.after_step(before, result.forces), rtol=1e-12)
