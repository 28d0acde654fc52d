"""Levenberg–Marquardt's step, Hagan & Menhaj's with the cost's penalty added.

(1994, IEEE Transactions on Neural Networks 5:989–993.)
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from cbackprop import validation
from cbackprop.functions import COSTS, Array
from cbackprop.nodes import NotFinite
from cbackprop.optimizers import LevenbergMarquardt, WholeBatchState
from cbackprop.reference.engine import Engine
from cbackprop.training import stop_reasons, whole_batch
from cbackprop.training.whole_batch import Step, dot, euclidean_norm

TRIANGLE = 64  # rows of a triangular system that are solved at a time


class LevenbergMarquardtStep(Step[LevenbergMarquardt]):
    """The rows √w_i ∂a_j/∂parameters and √w_i r_j, r = a − y, of examples i and outputs j.

    With them the objective is (scale)·(‖r‖² + κ Σw²), scale = factor/Σw_i, κ = l2/(2 scale).
    """

    @cached_property
    def scale(self) -> float:
        cost, examples = self.engine.cost_function, self.examples
        assert isinstance(cost, str)  # as `start` has seen
        factor = COSTS[cost].squares
        assert factor is not None
        return factor / (examples.n_outputs if COSTS[cost].is_mean else 1) / examples.total_weight

    @cached_property
    def kappa(self) -> float:
        return self.l2 / (2 * self.scale)

    @classmethod
    def start(cls, optimizer: LevenbergMarquardt, engine: Engine) -> WholeBatchState:
        """The state before the first step.

        Raises
        ------
        ValueError
            If the engine's cost is no sum of squares.
        """
        validation.least_squares_cost(engine.cost_function)
        return WholeBatchState({}, {"mu": optimizer.mu})

    def take(self) -> tuple[float, str | None]:
        engine, optimizer, state = self.engine, self.optimizer, self.state
        parameters = whole_batch.read_parameters(engine)
        n_residuals = self.examples.n * self.examples.n_outputs
        form = ParameterEquations if n_residuals >= self.n_parameters else ResidualEquations
        equations: ParameterEquations | ResidualEquations = form(self, parameters)
        cost = self.scale * equations.squares
        present = self.objective(equations.squares, parameters)
        if not math.isfinite(present):
            raise NotFinite(("delta", len(self.of_weights)))
        if not (math.isfinite(equations.largest) and np.isfinite(equations.gradient).all()):
            raise NotFinite(("jacobian", len(self.of_weights)))
        if euclidean_norm(equations.gradient) <= optimizer.gradient_tolerance:
            return cost, stop_reasons.CONVERGED
        # A gain within the rounding of the network's numbers is none.
        enough = present * (1 - float(np.finfo(self.dtype).eps))
        # A smaller μ is lost by rounding: it would only have to grow again.
        least = max(np.finfo(np.float64).eps * equations.largest, np.finfo(np.float64).tiny)
        # The bound, like μ itself, is to be seen beside JᵀJ: of unscaled data that is large.
        most = optimizer.most_mu * max(1.0, equations.largest)
        most = min(most, float(np.finfo(np.float64).max))
        mu = max(state.numbers["mu"], min(least, most))
        reason: str | None = None
        while mu <= most:
            change = equations.solve(mu)
            if change is not None:
                if reason is None:
                    # What the boldest step promises of ‖r‖² + κ Σw²: where that is more than the
                    # rounding of such a sum, and no step brings any, this is no end.
                    promised = dot(change, equations.gradient) + mu * dot(change, change)
                    is_gain = promised > n_residuals * (present - enough)
                    reason = stop_reasons.MU_AT_BOUND if is_gain else stop_reasons.CONVERGED
                whole_batch.write_parameters(engine, parameters - change)
                there = whole_batch.read_parameters(engine)
                if np.array_equal(there, parameters):
                    reason = stop_reasons.CONVERGED
                    break  # the steps are below the parameters' last digit, and get shorter
                if self.objective(self.squares(), there) < enough:
                    state.numbers = {"mu": max(mu * optimizer.decrease, least)}
                    return cost, None
            mu *= optimizer.increase
        whole_batch.write_parameters(engine, parameters)
        return cost, reason or stop_reasons.MU_AT_BOUND

    def squares(self) -> float:
        """‖r‖² where the engine's parameters stand; infinite where it is no number."""
        try:
            return self.examples.squares()
        except NotFinite:
            return math.inf

    def objective(self, squares: float, parameters: Array) -> float:
        """‖r‖² + κ Σw²."""
        if self.kappa > 0:
            weights = whole_batch.weights_alone(parameters, self.of_biases)
            squares += self.kappa * float(dot(weights, weights))
        return squares


class ParameterEquations:
    """(JᵀJ + κD + μI) s = Jᵀr + κDw, P×P; D is 1 for weights and 0 for biases.

    Attributes
    ----------
    squares : float
        ‖r‖².
    gradient : ndarray
        The right side, (P,): half the slope of ‖r‖² + κ Σw².
    largest : float
        A bound of JᵀJ + κD's numbers: what is far below it is lost by rounding.
    """

    def __init__(self, problem: LevenbergMarquardtStep, parameters: Array) -> None:
        P = problem.n_parameters
        self.matrix = problem.workspace.array("the product of Jacobians", (P, P), np.float64)
        _, gradient, self.squares = problem.examples.normal_equations(self.matrix)
        problem.frozen_out(problem.frozen_out(self.matrix).T)
        weights = whole_batch.weights_alone(parameters, problem.of_biases)
        self.gradient = problem.frozen_out(gradient + problem.kappa * weights)
        self.diagonal = self.matrix.diagonal().copy()
        for columns in problem.of_weights:
            self.diagonal[columns] += problem.kappa
        self.largest = float(self.diagonal.max())

    def solve(self, mu: float) -> Array | None:
        """The step s, which is to be taken off the parameters; None if rounding makes it none."""
        np.fill_diagonal(self.matrix, self.diagonal + mu)
        return _solve_positive(self.matrix, self.gradient)


class ResidualEquations:
    """The same step from as many equations as there are residuals, for fewer of them than P.

    With M = κD + μI, by Woodbury's identity and multiplied by μ,
    s = M⁻¹κDw + μM⁻¹Jᵀ (μI + J μM⁻¹ Jᵀ)⁻¹ (r − J M⁻¹κDw): nothing in it is divided by μ alone.
    """

    def __init__(self, problem: LevenbergMarquardtStep, parameters: Array) -> None:
        n, n_L, P = problem.examples.n, problem.examples.n_outputs, problem.n_parameters
        self.problem = problem
        # All rows are needed at once: fewer numbers than the P×P of the other form.
        J = problem.workspace.array("the Jacobian", (n, n_L, P), np.float64)
        self.r = problem.examples.rows(J).ravel()
        self.squares = problem.examples.squares()  # the bits of those after a step
        self.J = problem.frozen_out(J.reshape(n * n_L, P))
        self.weights = problem.frozen_out(whole_batch.weights_alone(parameters, problem.of_biases))
        self.gradient = self.J.T @ self.r + problem.kappa * self.weights
        if problem.kappa == 0:
            self.products = [self._product("the product of Jacobians", [slice(None)])]
        else:
            self.products = [
                self._product("the product of the weights' Jacobians", problem.of_weights),
                self._product("the product of the biases' Jacobians", problem.of_biases),
            ]
        self.diagonals = [product.diagonal().copy() for product in self.products]
        self.largest = sum(float(diagonal.max()) for diagonal in self.diagonals) + problem.kappa

    def _product(self, name: str, columns: list[slice]) -> Array:
        """J Jᵀ over some of the columns."""
        N = len(self.r)
        total = self.problem.workspace.array(name, (N, N), np.float64)
        for i, some in enumerate(columns):
            part = self.J[:, some]
            if i == 0:
                np.matmul(part, part.T, out=total)
            else:
                product = self.problem.workspace.array("a layer's product", (N, N), np.float64)
                total += np.matmul(part, part.T, out=product)
        return total

    def solve(self, mu: float) -> Array | None:
        """As `ParameterEquations.solve`."""
        matrix, kappa = self.products[0], self.problem.kappa
        if kappa == 0:
            np.fill_diagonal(matrix, self.diagonals[0] + mu)
            solution = _solve_positive(matrix, self.r)
            return None if solution is None else np.asarray(self.J.T @ solution)
        of_weights = mu / (mu + kappa)  # μM⁻¹ there; 1 for the biases
        step: Array = kappa / (mu + kappa) * self.weights
        matrix = self.problem.workspace.array("the matrix", matrix.shape, np.float64)
        np.multiply(self.products[0], of_weights, out=matrix)
        matrix += self.products[1]
        matrix.flat[:: len(matrix) + 1] += mu
        solution = _solve_positive(matrix, self.r - self.J @ step)
        if solution is None:
            return None
        rest = self.J.T @ solution
        for columns in self.problem.of_weights:
            rest[columns] *= of_weights
        step += rest
        return step


def _solve_positive(matrix: Array, right: Array) -> Array | None:
    """By Cholesky's factors; None if the matrix is, by rounding, not positive definite."""
    try:
        L = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    x = right.copy()
    size = len(x)
    # NumPy solves no triangular systems: block by block, and the small triangles as any system.
    for first in range(0, size, TRIANGLE):
        rows = slice(first, min(first + TRIANGLE, size))
        x[rows] = np.linalg.solve(L[rows, rows], x[rows])
        x[rows.stop :] -= L[rows.stop :, rows] @ x[rows]
    for first in range((size - 1) // TRIANGLE * TRIANGLE, -1, -TRIANGLE):
        rows = slice(first, min(first + TRIANGLE, size))
        x[rows] = np.linalg.solve(L[rows, rows].T, x[rows])
        x[:first] -= L[rows, :first].T @ x[rows]
    return x if np.isfinite(x).all() else None
