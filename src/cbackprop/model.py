"""One network's state, and its calls on arrays that have been looked at.

The public face, training, files and inspection share it. Nothing is validated here; whoever calls
has done so. Every X is (n, n_0), an array or sparse rows, every Y (n, n_L), of the network's number
type, contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cbackprop import backend as backends
from cbackprop import layout, validation
from cbackprop.functions import Activation, Array, Cost, initial_parameters
from cbackprop.gradients import Backward, Biases, Forward, Gradient, Weights, variance_of
from cbackprop.optimizers import Optimizer, WholeBatchState
from cbackprop.quantities import Failure
from cbackprop.random_numbers import RandomNumbers
from cbackprop.sparse_rows import Examples, SparseRows, dense, numbers_of

if TYPE_CHECKING:
    from cbackprop.scaling import Scaled, Scales


class Description(NamedTuple):
    """What a network is, but for its parameters."""

    sizes: tuple[int, ...]
    activations: tuple[str | Activation, ...]
    cost: str | Cost
    dtype: str
    init: str  # how parameters are drawn


class About(NamedTuple):
    """What a network is about, in the words of who uses it; nothing computes with them."""

    feature_names: tuple[str, ...] | None = None  # n_0
    class_names: tuple[str, ...] | None = None  # n_L, or 2 of one output
    metadata: Mapping[str, str] = validation.Texts()

    def given(self) -> list[tuple[str, object]]:
        """What there is of it, with its name."""
        entries = {**self._asdict(), "metadata": dict(self.metadata)}
        return [(name, value) for name, value in entries.items() if value]


class Model:
    """Parameters, engine, optimiser and generator of one network.

    What takes more than one call of the engine, or looks into its memory, stands in `with
    model.engine.reading()`, and others may read at the same time; or, where it changes something,
    in `with model.engine`: then the network is this thread's, and other threads' calls are refused.
    A thread may do so more than once, so that a callback can look.

    Attributes
    ----------
    sizes, activations, cost_function, dtype, threads, backend, n_parameters, weights, biases
        As of the network.
    storage : ndarray
        The memory that ``weights`` and ``biases`` look at, in the engine's own layout.
    engine : reference.engine.Engine or the compiled one
        What computes.
    description : Description
        What it is made from.
    about : About
        Names and texts; assigned as a whole, by who has the engine.
    random : RandomNumbers
        The generator of parameters, orders, dropout and noise.
    optimizer : Optimizer or None
        The one in use; None before the first training.
    whole_batch_state : WholeBatchState or None
        What it remembers, where it is a whole-batch one; others have the engine's slots.
    history : training.history.History or None
        Of the last fit. Training stands above: nothing here looks into it.
    scales : Scales or None
        In which it is trained; the parameters always take and give numbers as they are.
    scaled : Scaled or None
        As the last training in these scales left the parameters; see `standardised`.
    unfolded : (ndarray, tuple of int) or None
        While the parameters are for standardised numbers: what they were, and the frozen layers.
    step : callable
        `Engine.step`; where there are scales, what declines.

    Raises
    ------
    MemoryError
        Naming the bytes, for parameters that memory cannot hold.
    """

    def __init__(
        self, description: Description, random: RandomNumbers, threads: int | str, backend: str
    ) -> None:
        self.description = description
        self.about = About()
        sizes, activations, cost, dtype, _ = description
        self.sizes, self.activations, self.cost_function = sizes, activations, cost
        self.dtype: np.dtype[np.floating[Any]] = np.dtype(dtype)
        self.random = random
        self.threads = threads
        self.backend = backends.available(backend)
        self.n_parameters = layout.n_parameters(sizes)
        self.optimizer: Optimizer | None = None
        self.whole_batch_state: WholeBatchState | None = None
        self.history: object = None
        self.unfolded: tuple[Array, tuple[int, ...]] | None = None
        try:
            self.engine = backends.engine(self.backend, sizes, activations, cost, dtype, threads)
        except MemoryError as error:
            raise MemoryError(
                f"sizes is {validation.shown(list(sizes))}: {self.n_parameters} parameters take "
                f"{self.n_parameters * self.dtype.itemsize} bytes, more than can be had ({error})"
            ) from None
        weights, biases, self.storage = self.engine.parameter_arrays()
        self.weights, self.biases = Weights(weights), Biases(biases)
        self.set_scales(None)

    # ---- state -----------------------------------------------------------------------------------

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        return self.about.feature_names

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.about.class_names

    def draw_parameters(self) -> None:
        """Write first parameters, from the generator."""
        for W, b, activation in zip(self.weights, self.biases, self.activations, strict=True):
            W[...], b[...] = initial_parameters(
                W.shape[1], W.shape[0], activation, self.description.init, self.random
            )

    def parameters(self) -> Array:
        """(P,): a copy, in the flat order."""
        with self.engine.reading():
            return layout.flat(self.weights, self.biases)

    def set_parameters(self, vector: Array) -> None:
        """Write (P,) numbers; whatever interrupts that, all are written or none."""
        vector = self.apart(vector)
        with self.engine:
            before = self.storage.copy()
            try:
                layout.write(vector, self.weights, self.biases)
            except BaseException:
                self.storage[...] = before
                raise

    def require_no_fit(self, what: str) -> None:
        """RuntimeError in a callback of this network's own fit."""
        if self.engine.is_fitting:
            raise RuntimeError(
                f"a fit of this network is running; {what} from a callback: use copy()"
            )

    def set_optimizer(self, optimizer: Optimizer | None) -> None:
        """Take an optimiser, its state afresh; None forgets the one in use."""
        self.engine.set_optimizer(None if optimizer is None else optimizer.rule)
        self.whole_batch_state = None
        if optimizer is not None:
            self.engine.learning_rate = optimizer.learning_rate
        self.optimizer = optimizer

    def set_scales(self, scales: Scales | None, scaled: Scaled | None = None) -> None:
        """Train in these scales from now on; the parameters stay."""
        self.scales, self.scaled = scales, scaled
        self.step: Callable[[Any, Any, int], bool] = self.engine.step if scales is None else decline

    def standardised(self) -> Array | None:
        """The parameters for standardised numbers, from which training goes on to the bit; None
        where they have changed since, or there are no scales. In the engine's own layout."""
        scaled = self.scaled
        unchanged = scaled is not None and np.array_equal(scaled.as_is, self.storage)
        return scaled.standardised if scaled is not None and unchanged else None

    def take_names(self, names: validation.TableNames) -> None:
        """Of a table's columns, where the network has none yet.

        Raises
        ------
        RuntimeError
            If it has got others since the columns were put in order by these.
        """
        about = self.about
        validation.same_names("feature_names", about.feature_names, names.features)
        validation.same_names("class_names", about.class_names, names.outputs)
        self.about = about._replace(
            feature_names=about.feature_names or names.features,
            class_names=about.class_names or names.outputs,
        )

    def reset(self, random: RandomNumbers) -> None:
        """Draw the parameters anew from this generator, and forget the optimiser."""
        with self.engine:
            before, own = Snapshot(self), self.random
            try:
                self.random = random
                self.draw_parameters()
                self.set_optimizer(None)
                self.set_scales(None)
                self.history = None
            except BaseException:
                self.random = own
                before.restore(self)
                raise

    def copy(self) -> Model:
        """An independent model in the same state."""
        with self.engine.reading():
            snapshot = Snapshot(self)
        twin = Model(self.description, RandomNumbers(None), self.threads, self.backend)
        snapshot.restore(twin)
        return twin

    def random_order(self, n: int) -> Array:
        """A uniformly random order of 0 … n-1, from the network's own generator."""
        order = np.arange(n, dtype=np.int64)
        backends.shuffle(self.backend, self.dtype.name, order, self.random.words(n))
        return order

    def apart(self, array: Array) -> Array:
        """A copy of rows that are views of the parameters: training would write what it reads."""
        return array.copy() if np.may_share_memory(array, self.storage) else array

    def examples_apart(self, X: Examples) -> Examples:
        """The same of examples, which may be sparse."""
        return X.apart(self.storage) if isinstance(X, SparseRows) else self.apart(X)

    # ---- arrays and failures ---------------------------------------------------------------------

    def new_array(self, what: str, shape: tuple[int, ...]) -> Array:
        """An array of the network's dtype, not initialised; MemoryError naming the bytes."""
        try:
            return np.empty(shape, self.dtype)
        except MemoryError:
            n_bytes = int(np.prod(shape, dtype=object)) * self.dtype.itemsize
            raise MemoryError(f"{what} takes {n_bytes} bytes, more than can be had") from None

    def output_array(
        self,
        out: object,
        what: str,
        shape: tuple[int, ...],
        argument: str = "out",
        /,
        **inputs: Array,
    ) -> Array:
        """The caller's array, if it can be written to without harm; a new one for None."""
        if out is None:
            return self.new_array(what, shape)
        others = {**inputs, "the parameters": self.storage}
        return validation.output_array(argument, out, shape, self.dtype.name, others)

    def require(self, failure: Failure | None, X: Examples) -> None:
        """Say of a call that met a number not finite whose it was: an input's or an overflow's."""
        if failure is not None:
            with self.engine.reading():
                validation.explain_not_finite(failure, X, self.weights, self.biases)

    def no_examples(self) -> tuple[Array, Array]:
        """X and Y of no rows."""
        return np.empty((0, self.sizes[0]), self.dtype), np.empty((0, self.sizes[-1]), self.dtype)

    def _layers(self, n: int) -> list[Array]:
        return [np.empty((n, n_l), self.dtype) for n_l in self.sizes[1:]]

    # ---- forward ---------------------------------------------------------------------------------

    def predict(self, X: Examples) -> Array:
        """a⁽ᴸ⁾ (n, n_L)."""
        outputs = np.empty((len(X), self.sizes[-1]), self.dtype)
        nothing: list[Array | None] = [None] * len(self.weights)
        self.require(self.engine.forward(X, nothing, [*nothing[1:], outputs]), X)
        return outputs

    def forward(self, X: Examples, single: bool = False) -> Forward:
        """z and a of every layer; without the axis of examples where there is a single one."""
        z, a = self._layers(len(X)), self._layers(len(X))
        self.require(self.engine.forward(X, [*z], [*a]), X)
        return Forward(
            [None, *_one_if(single, z)], [*_one_if(single, [_dense_copy(X)]), *_one_if(single, a)]
        )

    def costs(self, X: Examples, Y: Array, weight: Array | None = None) -> tuple[Array, float]:
        """C_i (n,), and Σ w_i C_i."""
        costs = np.empty(len(X), self.dtype)
        failure, total = self.engine.cost(X, Y, costs, weight)
        self.require(failure, X)
        return costs, sum(total)

    def mean_cost(self, X: Examples, Y: Array) -> float:
        """(1/n) Σ C_i of at least one example."""
        return self.costs(X, Y)[1] / float(len(X))

    # ---- backward --------------------------------------------------------------------------------

    def backward(self, X: Examples, Y: Array, single: bool = False) -> Backward:
        """Every factor of every example; without the axis of examples where there is one."""
        n = len(X)
        z, a, da_dz, delta = (self._layers(n) for _ in range(4))
        dC_da = [np.empty((n, n_l), self.dtype) for n_l in self.sizes]
        costs = np.empty(n, self.dtype)
        is_softmax = self.activations[-1] == "softmax"
        wanted: list[Array | None] = [*da_dz[:-1], None if is_softmax else da_dz[-1]]
        self.require(self.engine.backward(X, Y, [*z], [*a], wanted, [*delta], [*dC_da], costs), X)
        # A softmax layer has a Jacobian, larger than all the rest: made where it is asked for.
        slopes: list[Array | None] = [None, *_one_if(single, da_dz)]
        if is_softmax:
            slopes[-1] = None
        return Backward(
            [None, *_one_if(single, z)],
            [*_one_if(single, [_dense_copy(X)]), *_one_if(single, a)],
            slopes,
            _one_if(single, dC_da),
            [None, *_one_if(single, delta)],
            costs[0] if single else costs,
        )

    def gradient(
        self,
        X: Examples,
        Y: Array,
        weight: Array | None = None,
        total_weight: float | None = None,
        out: Array | None = None,
    ) -> Gradient:
        """Σ w_i ∇C_i / Σ w_i of at least one example; the weights are 1 without any."""
        total_weight = float(len(X)) if total_weight is None else total_weight
        vector = self.output_array(out, "the gradient", (self.n_parameters,), X=numbers_of(X), Y=Y)
        failure, total = self.engine.gradient(X, Y, weight, total_weight, vector)
        self.require(failure, X)
        return Gradient(vector, sum(total) / total_weight, self.sizes)

    def per_example_gradient(
        self, X: Examples, Y: Array, single: bool, out: Array | None = None
    ) -> Gradient:
        """Every ∇C_i, (n, P)."""
        n, P = len(X), self.n_parameters
        vector = self.output_array(
            out, "the gradient", (P,) if single else (n, P), X=numbers_of(X), Y=Y
        )
        costs = np.empty(n, self.dtype)
        self.require(self.engine.per_example_gradient(X, Y, vector, out is None, costs), X)
        return Gradient(vector, costs[0] if single else costs, self.sizes)

    def gradient_norms(self, X: Examples, Y: Array) -> Array:
        """‖∇C_i‖ (n,)."""
        norms = np.empty(len(X), self.dtype)
        self.require(self.engine.gradient_norms(X, Y, norms), X)
        return norms

    def clipped_gradient(self, X: Examples, Y: Array, max_norm: float) -> Gradient:
        """The mean of the ∇C_i, each shortened to max_norm at most."""
        vector = self.new_array("the gradient", (self.n_parameters,))
        failure, total = self.engine.clipped_gradient(X, Y, max_norm, vector)
        self.require(failure, X)
        return Gradient(vector, sum(total) / len(X), self.sizes)

    def gradient_gram(self, X: Examples, Y: Array, X2: Examples | None, Y2: Array | None) -> Array:
        """⟨∇C_i, ∇C_j⟩ (n, n2), i of X and j of X2, or of X where that is None."""
        gram = self.new_array("the Gram matrix", (len(X), len(X if X2 is None else X2)))
        failure = self.engine.gradient_gram(X, Y, X2, Y2, gram)
        if failure is not None and X2 is not None:
            validation.require_finite("X2", X2)
        self.require(failure, X)
        return gram

    def gradient_moments(self, X: Examples, Y: Array) -> tuple[Gradient, Gradient]:
        """Mean and variance over the examples."""
        mean = self.new_array("the gradient", (self.n_parameters,))
        variance = self.new_array("the gradient", (self.n_parameters,))
        costs = np.empty(len(X), self.dtype)
        failure, total = self.engine.gradient_moments(X, Y, mean, variance, costs)
        self.require(failure, X)
        cost_variance = variance_of(costs)
        if not math.isfinite(cost_variance):
            self.require(("cost_variance", 0), X)
        return (
            Gradient(mean, sum(total) / len(X), self.sizes),
            Gradient(variance, cost_variance, self.sizes),
        )

    def jacobian(self, X: Examples, single: bool, out: Array | None = None) -> Array:
        """∂a⁽ᴸ⁾/∂parameters, (n, n_L, P)."""
        n_L, P = self.sizes[-1], self.n_parameters
        shape = (n_L, P) if single else (len(X), n_L, P)
        result = self.output_array(out, "the Jacobian", shape, X=numbers_of(X))
        self.require(self.engine.jacobian(X, result, out is None), X)
        return result

    def input_gradient(self, X: Examples, Y: Array) -> Array:
        """∂C_i/∂x, (n, n_0)."""
        result = np.empty((len(X), self.sizes[0]), self.dtype)
        costs = np.empty(len(X), self.dtype)
        nothing: list[Array | None] = [None] * len(self.weights)
        self.require(
            self.engine.backward(
                X, Y, nothing, nothing, nothing, nothing, [result, *nothing], costs
            ),
            X,
        )
        return result

    def input_jacobian(self, X: Examples) -> Array:
        """∂a⁽ᴸ⁾/∂x, (n, n_L, n_0)."""
        result = self.new_array("the Jacobian", (len(X), self.sizes[-1], self.sizes[0]))
        self.require(self.engine.input_jacobian(X, result), X)
        return result

    def vjp(
        self, X: Examples, V: Array, single: bool, out: tuple[object, object]
    ) -> tuple[Gradient, Array]:
        """The derivatives of Σ_ij V_ij a_ij by the parameters and by X."""
        shape = (self.sizes[0],) if single else (len(X), self.sizes[0])
        given = {"X": numbers_of(X), "V": V}
        vector = self.output_array(out[0], "the gradient", (self.n_parameters,), "out[0]", **given)
        given["out[0]"] = vector
        by_inputs = self.output_array(out[1], "the gradient by X", shape, "out[1]", **given)
        failure, total = self.engine.vjp(X, V, vector, by_inputs)
        self.require(failure, X)
        return Gradient(vector, sum(total), self.sizes), by_inputs

    def jvp(
        self, X: Examples, v: Array | None, dX: Array | None, single: bool, out: Array | None
    ) -> Array:
        """What the outputs change along v and dX, (n, n_L)."""
        shape = self.sizes[-1:] if single else (len(X), self.sizes[-1])
        given = {"X": numbers_of(X), "v": v, "dX": dX}
        others = {name: array for name, array in given.items() if array is not None}
        result = self.output_array(out, "the change of the outputs", shape, **others)
        self.require(self.engine.jvp(X, v, dX, result), X)
        return result

    def curvature_product(self, X: Examples, Y: Array, v: Array, gauss_newton: bool) -> Array:
        """Hv of the mean cost, or the Gauss–Newton matrix's product with v."""
        product = self.new_array("the product", (self.n_parameters,))
        self.require(self.engine.curvature_product(X, Y, v, gauss_newton, product), X)
        return product


class Snapshot:
    """Everything a training call may change, as it was: to go back to, or to give to a copy."""

    def __init__(self, model: Model) -> None:
        engine = model.engine
        self.storage = model.storage.copy()
        self.slots = tuple(slot.copy() for slot in engine.slots)
        self.rule = engine.rule
        self.learning_rate = engine.learning_rate
        self.step_count = engine.step_count
        self.previous_cost = engine.previous_cost
        self.optimizer = model.optimizer
        state = model.whole_batch_state
        self.whole_batch_state = None if state is None else state.copy()
        self.random_state = model.random.state
        self.about = model.about
        self.scales, self.scaled = model.scales, model.scaled

    def restore(self, model: Model) -> None:
        """Write everything back, into the memory that ``weights`` and ``biases`` look at."""
        engine = model.engine
        model.storage[...] = self.storage
        if engine.rule != self.rule:
            engine.set_optimizer(self.rule)
        for slot, saved in zip(engine.slots, self.slots, strict=True):
            slot[...] = saved
        engine.learning_rate = self.learning_rate
        engine.step_count = self.step_count
        engine.previous_cost = self.previous_cost
        model.optimizer = self.optimizer
        model.whole_batch_state = self.whole_batch_state
        model.random.state = self.random_state
        model.about = self.about
        model.set_scales(self.scales, self.scaled)


def decline(X: object, Y: object, batch_size: int) -> bool:
    """No step from numbers as they are."""
    return False


def _dense_copy(X: Examples) -> Array:
    """The rows, zeros and all, in memory of their own."""
    return X.copy() if isinstance(X, np.ndarray) else dense(X)


def _one_if(single: bool, arrays: Sequence[Array]) -> list[Array]:
    """The only example's own arrays, where there is but one."""
    return [array[0] for array in arrays] if single else list(arrays)


def total_weight(sample_weight: Array | None, n: int) -> float:
    """The sum of the weights, of n without any."""
    return float(n) if sample_weight is None else float(sample_weight.sum(dtype=np.float64))
