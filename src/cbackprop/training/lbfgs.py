"""Steps that look at all examples at once: L-BFGS and Levenberg–Marquardt.

Both minimise the mean cost of all examples, weighted where weights are given, plus (l2/2) Σw² over
the weights, without the biases. They are functions of an engine, which holds the parameters, and of
a `State`, which holds what the optimiser remembers; vectors of parameters are float64 here,
whatever the engine's numbers, in the documented order (W⁽¹⁾, b⁽¹⁾, …), each W row by row.

L-BFGS is Nocedal & Wright's (2006, *Numerical Optimization*, 2nd edition): the two-loop recursion
7.4 inside 7.5, steps by the line search 3.5 and 3.6. Levenberg–Marquardt is Hagan & Menhaj's (1994,
IEEE Transactions on Neural Networks 5:989–993), with the cost's penalty added.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.optimizers import LBFGS, LevenbergMarquardt, WholeBatch
from cbackprop.reference import Engine

# The strong Wolfe conditions: enough of a decrease, and a slope that has become flat enough.
DECREASE, FLATTENING = 1e-4, 0.9

# C_i = factor · Σ_j (a_j − y_j)²; mse divides by the number of outputs.
LEAST_SQUARES = {"quadratic": 1.0, "half_quadratic": 0.5, "mse": 1.0}

# The Jacobian's rows are made a block at a time: at most so many bytes of them; what the caches
# hold where that is enough rows, 4P, for adding P×P products to be little beside making them.
SCRATCH_BYTES, CACHED_BYTES = 64 << 20, 2 << 20
TRIANGLE = 64  # rows of a triangular system that are solved at a time


class NotFinite(FloatingPointError):
    """Cost or derivatives at the parameters as they stand are no finite numbers.

    Attributes
    ----------
    failure : (str, int)
        Which quantity, of which layer: what an engine's ``failure`` says.
    """

    def __init__(self, failure: tuple[str, int]) -> None:
        super().__init__(f"{failure[0]} of layer {failure[1]} is not finite")
        self.failure = failure


class Workspace:
    """Memory that is used again from step to step; nothing is lost with it but time."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}
        self.last_point: _Point | None = None
        self.last_data: tuple[Any, ...] = ()

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """The array of that name, of whatever content; made anew only if shape or dtype differ."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            self._arrays.pop(name, None)
            try:
                array = np.empty(shape, dtype)
            except (MemoryError, ValueError):  # ValueError: more than any array can have
                n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
                raise MemoryError(
                    f"{name} of the optimiser, {' x '.join(map(str, shape))} numbers, takes "
                    f"{n_bytes} bytes, more than can be had"
                ) from None
            self._arrays[name] = array
        return array


class State:
    """Everything an optimiser remembers between its steps.

    Attributes
    ----------
    arrays : dict of str to ndarray
        L-BFGS: the steps ``s0``, ``s1``, … and the changes of the gradient ``y0``, ``y1``, …, each
        (P,) and float64, the oldest first. No step writes into them: it puts others in their place.
    numbers : dict of str to float
        Levenberg–Marquardt: ``mu``.
    workspace : Workspace
        No part of the state: a copy and a restored state begin with an empty one.
    """

    def __init__(self, arrays: dict[str, Array], numbers: dict[str, float]) -> None:
        self.arrays = arrays
        self.numbers = numbers
        self.workspace = Workspace()

    def copy(self) -> State:
        """A state of its own; the arrays, which nobody writes into, are shared."""
        return State(dict(self.arrays), dict(self.numbers))


def start(optimizer: WholeBatch, engine: Engine) -> State:
    """The state before the first step.

    Raises
    ------
    ValueError
        For Levenberg–Marquardt if the engine's cost is no sum of squares.
    """
    if isinstance(optimizer, LevenbergMarquardt):
        validation.least_squares_cost(engine.cost_function)
        return State({}, {"mu": optimizer.mu})
    return State({}, {})


def step(
    engine: Engine,
    X: Array,
    Y: Array,
    sample_weight: Array | None,
    l2: float,
    optimizer: WholeBatch,
    state: State,
) -> tuple[float, str | None]:
    """One iteration: changes the engine's parameters and the state.

    Arguments are validated before they come here, as for an engine's calls. Steps that get the very
    arrays of the step before save the half of their work.

    Returns
    -------
    cost : float
        The mean cost before the step, without the penalty.
    stop_reason : str or None
        "converged" when there is nothing more to gain, None otherwise.

    Raises
    ------
    NotFinite
        If the cost or a derivative before the step is not finite. After it, and after any other
        exception, parameters and state are as they were before the call.
    """
    storage = engine.parameter_arrays()[2]
    before, arrays, numbers = storage.copy(), state.arrays, state.numbers
    try:
        with np.errstate(all="ignore"):
            if isinstance(optimizer, LevenbergMarquardt):
                return _levenberg_marquardt_step(engine, X, Y, sample_weight, l2, optimizer, state)
            assert isinstance(optimizer, LBFGS)
            return _lbfgs_step(engine, X, Y, sample_weight, l2, optimizer, state)
    except BaseException:
        storage[...] = before
        state.arrays, state.numbers = arrays, numbers
        raise


# ---- the parameters as one vector ----------------------------------------------------------------


def read_parameters(engine: Engine) -> Array:
    """The parameters (P,) in float64, in the documented order."""
    weights, biases, _ = engine.parameter_arrays()
    parts: list[Array] = []
    for W, b in zip(weights, biases, strict=True):
        parts += [W.ravel(), b]
    return np.concatenate(parts, dtype=np.float64)


def write_parameters(engine: Engine, vector: Array) -> None:
    """Make (P,) numbers the parameters, rounded to the engine's number type."""
    weights, biases, _ = engine.parameter_arrays()
    first = 0
    for W, b in zip(weights, biases, strict=True):
        middle = first + W.size
        W[...] = vector[first:middle].reshape(W.shape)
        b[...] = vector[middle : middle + len(b)]
        first = middle + len(b)


def weight_columns(engine: Engine) -> tuple[list[slice], list[slice]]:
    """Where each layer's weights and biases stand in such a vector."""
    weights, biases, _ = engine.parameter_arrays()
    of_weights, of_biases, first = [], [], 0
    for W, b in zip(weights, biases, strict=True):
        middle = first + W.size
        of_weights.append(slice(first, middle))
        of_biases.append(slice(middle, middle + len(b)))
        first = middle + len(b)
    return of_weights, of_biases


def weights_alone(vector: Array, of_biases: list[slice]) -> Array:
    """The vector with 0 for every bias: what a penalty sees of it."""
    result = vector.copy()
    for columns in of_biases:
        result[columns] = 0
    return result


def dot(x: Array, y: Array) -> np.float64:
    """Σ x_k y_k of two vectors; not by BLAS, whose sum depends on how many threads share it."""
    product: np.float64 = np.einsum("k,k->", x, y)
    return product


def _total_weight(n: int, sample_weight: Array | None) -> float:
    return float(n) if sample_weight is None else float(sample_weight.sum(dtype=np.float64))


# ---- L-BFGS --------------------------------------------------------------------------------------


class _Point(NamedTuple):
    """Parameters, as the engine rounds them, and what the objective is there."""

    length: float  # along the line that is searched
    parameters: Array
    cost: float  # with the penalty; infinite where anything is not finite
    slope: float  # along that line
    gradient: Array
    cost_sum: float  # Σ w_i C_i, without the penalty


class _Objective:
    """The mean cost with its penalty, and its gradient, at any parameters."""

    def __init__(
        self,
        engine: Engine,
        X: Array,
        Y: Array,
        sample_weight: Array | None,
        l2: float,
        workspace: Workspace,
    ) -> None:
        self.engine, self.X, self.Y, self.sample_weight, self.l2 = engine, X, Y, sample_weight, l2
        self.total_weight = _total_weight(len(X), sample_weight)
        self.of_biases = weight_columns(engine)[1]
        self.workspace = workspace

    def point(self, length: float, parameters: Array, direction: Array | None) -> _Point:
        """The objective where the engine's parameters, given once more as a vector, stand now."""
        dtype = self.engine.parameter_arrays()[2].dtype
        rounded = self.workspace.array("the gradient", parameters.shape, dtype)
        finite, cost_sum = self.engine.gradient(
            self.X, self.Y, self.sample_weight, self.total_weight, rounded
        )
        gradient = rounded.astype(np.float64)
        cost = cost_sum / self.total_weight
        if self.l2 > 0:
            weights = weights_alone(parameters, self.of_biases)
            cost += self.l2 / 2 * float(dot(weights, weights))
            gradient += self.l2 * weights
        slope = 0.0 if direction is None else float(dot(gradient, direction))
        if not (finite and math.isfinite(cost) and np.isfinite(gradient).all()):
            cost = math.inf
        return _Point(length, parameters, cost, slope, gradient, cost_sum)

    def along(self, origin: Array, direction: Array, length: float) -> _Point:
        """Go there, and see."""
        write_parameters(self.engine, origin + length * direction)
        return self.point(length, read_parameters(self.engine), direction)

    def here(self) -> _Point:
        """The objective at the parameters as they stand: the last step's end, if it is that."""
        parameters = read_parameters(self.engine)
        last = self.workspace.last_point
        if (
            last is not None
            and self.workspace.last_data[-1] == self.l2
            and all(
                reference() is array
                for reference, array in zip(self.workspace.last_data, self._data(), strict=False)
            )
            and np.array_equal(last.parameters, parameters)
            and self._cost_sum() == last.cost_sum
        ):
            return last
        return self.point(0.0, parameters, None)

    def remember(self, point: _Point) -> None:
        """The parameters are left there; the next step may begin with it."""
        self.workspace.last_point = point
        # Weakly: a network that is kept does not keep the data it was trained with.
        self.workspace.last_data = (*(weakref.ref(array) for array in self._data()), self.l2)

    def _data(self) -> list[Array]:
        arrays = [self.X, self.Y, self.sample_weight]
        return [array for array in arrays if array is not None]

    def _cost_sum(self) -> float:
        """Σ w_i C_i by a forward pass, which sees that somebody has written into X or Y."""
        costs = self.workspace.array("the costs", (len(self.X),), self.X.dtype)
        return self.engine.cost(self.X, self.Y, costs, self.sample_weight)[1]


def _lbfgs_step(
    engine: Engine,
    X: Array,
    Y: Array,
    sample_weight: Array | None,
    l2: float,
    optimizer: LBFGS,
    state: State,
) -> tuple[float, str | None]:
    objective = _Objective(engine, X, Y, sample_weight, l2, state.workspace)
    here = objective.here()
    if here.cost == math.inf:
        raise NotFinite(engine.failure)
    cost = here.cost_sum / objective.total_weight
    steepness = _length(here.gradient)
    if np.abs(here.gradient).max() <= optimizer.gradient_tolerance:
        objective.remember(here)
        return cost, "converged"
    pairs = _pairs(state)
    direction = _two_loop_direction(pairs, here.gradient)
    slope = float(dot(here.gradient, direction))
    there = None
    if pairs and -math.inf < slope < 0:
        there = _line_search(
            objective,
            here._replace(length=0.0, slope=slope),
            direction,
            optimizer.learning_rate,
            optimizer.line_search,
        )
    if there is None:
        # The first step, or what is remembered leads nowhere: straight down, and begin again.
        pairs = []
        direction = -here.gradient / steepness
        there = _line_search(
            objective,
            here._replace(length=0.0, slope=-steepness),
            direction,
            optimizer.learning_rate * min(1.0, steepness),
            optimizer.line_search,
        )
    if there is None:
        # No step that these numbers can tell from none makes the cost lower.
        write_parameters(engine, here.parameters)
        objective.remember(here)
        return cost, "converged"
    write_parameters(engine, there.parameters)
    objective.remember(there)
    s, y = there.parameters - here.parameters, there.gradient - here.gradient
    # Without curvature along s, beyond what rounding makes, the pair says nothing.
    if dot(s, y) > np.finfo(X.dtype).eps * _length(s) * _length(y):
        pairs = [*pairs, (s, y)][-optimizer.memory :]
    arrays: dict[str, Array] = {}
    for i, pair in enumerate(pairs):
        for name, array in zip(("s", "y"), pair, strict=True):
            array.flags.writeable = False
            arrays[f"{name}{i}"] = array
    state.arrays = arrays
    return cost, None


def _length(vector: Array) -> float:
    """Euclidean, of a vector whose squares may leave the numbers."""
    scale = float(np.abs(vector).max(initial=0.0))
    if scale == 0:
        return 0.0
    scaled = vector / scale
    return scale * math.sqrt(dot(scaled, scaled))


def _pairs(state: State) -> list[tuple[Array, Array]]:
    return [(state.arrays[f"s{i}"], state.arrays[f"y{i}"]) for i in range(len(state.arrays) // 2)]


def _two_loop_direction(pairs: list[tuple[Array, Array]], gradient: Array) -> Array:
    """−H∇f, H the inverse Hessian's approximation by the pairs (algorithm 7.4)."""
    q = gradient.copy()
    alphas = []
    # Divided as NumPy's numbers: a square may have vanished, and then no direction comes out.
    for s, y in reversed(pairs):
        alphas.append(dot(s, q) / dot(s, y))
        q -= alphas[-1] * y
    if pairs:
        s, y = pairs[-1]
        q *= dot(s, y) / dot(y, y)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        q += (alpha - dot(y, q) / dot(s, y)) * s
    return -q


def _line_search(
    objective: _Objective, origin: _Point, direction: Array, first: float, most: int
) -> _Point | None:
    """A point along the line that fulfils the strong Wolfe conditions (algorithm 3.5).

    None if ``most`` evaluations find none with enough of a decrease; the longest or lowest one that
    has it if none is flat enough, too.
    """

    def evaluate(length: float) -> _Point:
        return objective.along(origin.parameters, direction, length)

    rounding = np.finfo(objective.X.dtype).eps
    previous, length = origin, first
    for count in range(1, most + 1):
        point = evaluate(length)
        # Where the cost stands still within its rounding, the slope tells whether to go on.
        undecided = (
            abs(point.cost - origin.cost) <= rounding * abs(origin.cost)
            and point.slope <= FLATTENING * origin.slope
        )
        if not undecided and (
            not _decreases(origin, point) or (count > 1 and point.cost >= previous.cost)
        ):
            return _zoom(evaluate, origin, previous, point, most - count)
        if abs(point.slope) <= -FLATTENING * origin.slope:
            return point
        if point.slope >= 0:
            return _zoom(evaluate, origin, point, previous, most - count)
        wanted = _cubic_minimum(previous, point)
        previous = point
        length = min(max(wanted, 1.25 * length), 10 * length) if wanted > length else 10 * length
        if not math.isfinite(length):
            break
    return previous if _decreases(origin, previous) else None


def _zoom(
    evaluate: Callable[[float], _Point], origin: _Point, low: _Point, high: _Point, most: int
) -> _Point | None:
    """The same between two points, where ``low`` has the lower cost (algorithm 3.6)."""
    width = math.inf
    for _ in range(most):
        narrowed = abs(high.length - low.length) <= 0.66 * width
        width = abs(high.length - low.length)
        share = 0.5
        if high.cost == math.inf:
            share = 0.1  # nothing is known of it but that it is too far
        elif narrowed:
            share = (_cubic_minimum(low, high) - low.length) / (high.length - low.length)
            share = min(max(share, 0.1), 0.9) if math.isfinite(share) else 0.5
        point = evaluate(low.length + share * (high.length - low.length))
        if not _decreases(origin, point) or point.cost >= low.cost:
            if np.array_equal(point.parameters, low.parameters):
                break  # rounding leaves nothing between the two
            high = point
            continue
        if abs(point.slope) <= -FLATTENING * origin.slope:
            return point
        if point.slope * (high.length - low.length) >= 0:
            high = low
        low = point
    return low if _decreases(origin, low) else None


def _decreases(origin: _Point, point: _Point) -> bool:
    return (
        point.cost <= origin.cost + DECREASE * point.length * origin.slope
        and point.cost < origin.cost  # also where the term above is lost in rounding
    )


def _cubic_minimum(first: _Point, second: _Point) -> float:
    """Where the cubic through both costs with both slopes has its minimum (equation 3.59).

    NaN if it has none.
    """
    distance = second.length - first.length
    d1 = first.slope + second.slope - 3 * (second.cost - first.cost) / distance
    square = d1 * d1 - first.slope * second.slope
    if not square >= 0:
        return math.nan
    d2 = math.copysign(math.sqrt(square), distance)
    denominator = second.slope - first.slope + 2 * d2
    if denominator == 0:
        return math.nan
    return second.length - distance * (second.slope + d2 - d1) / denominator


# ---- Levenberg–Marquardt -------------------------------------------------------------------------


class _Problem:
    """The rows √w_i ∂a_j/∂parameters and √w_i r_j, r = a − y, of examples i and outputs j.

    With them the objective is (scale)·(‖r‖² + κ Σw²), scale = factor/Σw_i, κ = l2/(2 scale).
    """

    def __init__(
        self,
        engine: Engine,
        X: Array,
        Y: Array,
        sample_weight: Array | None,
        l2: float,
        workspace: Workspace,
    ) -> None:
        self.engine, self.X, self.Y, self.workspace = engine, X, Y, workspace
        self.roots = None
        if sample_weight is not None:
            self.roots = np.sqrt(sample_weight.astype(np.float64))[:, np.newaxis]
        cost = validation.least_squares_cost(engine.cost_function)
        factor = LEAST_SQUARES[cost] / (Y.shape[1] if cost == "mse" else 1)
        self.scale = factor / _total_weight(len(X), sample_weight)
        self.kappa = l2 / (2 * self.scale)
        self.of_weights, self.of_biases = weight_columns(engine)
        self.n_parameters = self.of_biases[-1].stop
        self.dtype = engine.parameter_arrays()[2].dtype

    def residuals(self, name: str) -> Array | None:
        """√w_i r_j, (n, n_L), at the engine's parameters; None if one is not finite."""
        outputs = self.workspace.array("the outputs", self.Y.shape, self.dtype)
        n_layers = len(self.of_weights)
        nothing: list[Array | None] = [None] * n_layers
        if not self.engine.forward(self.X, nothing, [*nothing[1:], outputs]):
            return None
        r = np.subtract(
            outputs, self.Y, out=self.workspace.array(name, self.Y.shape, np.float64), dtype="f8"
        )
        if self.roots is not None:
            r *= self.roots
        return r

    def objective(self, r: Array, parameters: Array) -> float:
        """‖r‖² + κ Σw²."""
        squares = float(dot(r.ravel(), r.ravel()))
        if self.kappa > 0:
            weights = weights_alone(parameters, self.of_biases)
            squares += self.kappa * float(dot(weights, weights))
        return squares

    def rows(self, first: int, stop: int, out: Array) -> None:
        """Fill out (m, n_L, P), float64, with the Jacobian's rows of some examples.

        Raises
        ------
        NotFinite
            If a derivative is not.
        """
        target = out
        if self.dtype != np.float64:
            buffer = self.workspace.array("the rounded Jacobian", self._block_shape(), self.dtype)
            target = buffer[: stop - first]
        if not self.engine.jacobian(self.X[first:stop], target, False):
            raise NotFinite(self.engine.failure)
        if self.roots is not None:
            np.multiply(target, self.roots[first:stop, :, np.newaxis], out=out)
        elif target is not out:
            out[...] = target

    def _block_shape(self) -> tuple[int, int, int]:
        """A block of rows: so many examples, and what each of them has."""
        n, n_L = self.Y.shape
        row_bytes = 8 * self.n_parameters
        rows = max(CACHED_BYTES // row_bytes, 4 * self.n_parameters)
        rows = min(rows, SCRATCH_BYTES // row_bytes)
        return min(n, max(1, rows // n_L)), n_L, self.n_parameters

    def blocks(self) -> tuple[list[slice], tuple[int, int, int]]:
        """The examples block by block, and the shape of a block's rows."""
        shape = self._block_shape()
        starts = range(0, len(self.X), shape[0])
        return [slice(i, min(i + shape[0], len(self.X))) for i in starts], shape


class ParameterEquations:
    """(JᵀJ + κD + μI) s = Jᵀr + κDw, P×P; D is 1 for weights and 0 for biases.

    Attributes
    ----------
    gradient : ndarray
        The right side, (P,): half the slope of ‖r‖² + κ Σw².
    largest : float
        A bound of JᵀJ + κD's numbers: what is far below it is lost beside it.
    """

    def __init__(self, problem: _Problem, r: Array, parameters: Array) -> None:
        P, workspace = problem.n_parameters, problem.workspace
        blocks, shape = problem.blocks()
        J = workspace.array("the Jacobian", shape, np.float64)
        self.matrix = workspace.array("the product of Jacobians", (P, P), np.float64)
        self.gradient = problem.kappa * weights_alone(parameters, problem.of_biases)
        for rows in blocks:
            part = J[: rows.stop - rows.start]
            problem.rows(rows.start, rows.stop, part)
            J_block = part.reshape(-1, P)
            if rows.start == 0:
                np.matmul(J_block.T, J_block, out=self.matrix)
            else:
                product = workspace.array("a block's product", (P, P), np.float64)
                self.matrix += np.matmul(J_block.T, J_block, out=product)
            self.gradient += J_block.T @ r[rows].ravel()
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

    def __init__(self, problem: _Problem, r: Array, parameters: Array) -> None:
        n, n_L = problem.Y.shape
        workspace = problem.workspace
        self.problem, self.r = problem, r.ravel()
        # All rows are needed at once: fewer numbers than the P×P of the other form.
        whole = workspace.array("the Jacobian", (n, n_L, problem.n_parameters), np.float64)
        for rows in problem.blocks()[0]:
            problem.rows(rows.start, rows.stop, whole[rows])
        self.J = whole.reshape(n * n_L, problem.n_parameters)
        self.weights = weights_alone(parameters, problem.of_biases)
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


def _levenberg_marquardt_step(
    engine: Engine,
    X: Array,
    Y: Array,
    sample_weight: Array | None,
    l2: float,
    optimizer: LevenbergMarquardt,
    state: State,
) -> tuple[float, str | None]:
    problem = _Problem(engine, X, Y, sample_weight, l2, state.workspace)
    parameters = read_parameters(engine)
    r = problem.residuals("the residuals")
    if r is None:
        raise NotFinite(engine.failure)
    cost = problem.scale * float(dot(r.ravel(), r.ravel()))
    present = problem.objective(r, parameters)
    if not math.isfinite(present):
        raise NotFinite(("delta", len(problem.of_weights)))
    equations: ParameterEquations | ResidualEquations
    if r.size >= problem.n_parameters:
        equations = ParameterEquations(problem, r, parameters)
    else:
        equations = ResidualEquations(problem, r, parameters)
    if not (math.isfinite(equations.largest) and np.isfinite(equations.gradient).all()):
        raise NotFinite(("jacobian", len(problem.of_weights)))
    if _length(equations.gradient) <= optimizer.gradient_tolerance:
        return cost, "converged"
    # A gain within the rounding of the network's numbers is none.
    enough = present * (1 - float(np.finfo(problem.dtype).eps))
    # A smaller μ is lost beside the matrix: it would only have to grow again.
    least = max(np.finfo(np.float64).eps * equations.largest, np.finfo(np.float64).tiny)
    mu = max(state.numbers["mu"], min(least, optimizer.most_mu))
    while mu <= optimizer.most_mu:
        change = equations.solve(mu)
        if change is not None:
            write_parameters(engine, parameters - change)
            there = read_parameters(engine)
            if np.array_equal(there, parameters):
                break  # the steps are below the parameters' last digit, and get shorter
            r_there = problem.residuals("the residuals after the step")
            if r_there is not None and problem.objective(r_there, there) < enough:
                state.numbers = {"mu": max(mu * optimizer.decrease, least)}
                return cost, None
        mu *= optimizer.increase
    write_parameters(engine, parameters)
    return cost, "converged"
