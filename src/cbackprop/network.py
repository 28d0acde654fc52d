"""Network: a dense feed-forward network's state and calls. No arithmetic stands here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

import numpy as np

from cbackprop import backend as backends
from cbackprop import model_file, validation
from cbackprop.calculus import softmax_jacobian
from cbackprop.chain_rule import ChainRule
from cbackprop.functions import Activation, Array, Cost, initial_parameters, name_of
from cbackprop.gradient_check import GradientCheck, check_gradient
from cbackprop.gradients import Backward, Forward, Gradient, variance_of
from cbackprop.random_numbers import RandomNumbers
from cbackprop.training import History, loop, optimizers, second_order
from cbackprop.training import plan as plans
from cbackprop.training.metrics import METRICS, measured, named
from cbackprop.update_rules import StepOptions

_FIXED_ATTRIBUTES = (
    "sizes",
    "activations",
    "cost_function",
    "dtype",
    "threads",
    "backend",
    "n_parameters",
    "weights",
    "biases",
)
_OWN_ATTRIBUTES = (
    *_FIXED_ATTRIBUTES,
    "_engine",
    "_storage",
    "_init",
    "_random",
    "_optimizer",
    "_second_order",
)


class _NotInitialised:
    """Stands in the class for what __init__ sets: found only where that did not run.

    Not a __getattr__, which would make every reading of an attribute slower.
    """

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        raise RuntimeError("this Network is not initialised; call super().__init__(sizes, …) first")


class Network:
    """A dense feed-forward network.

    Layer l = 1 … L has weighted inputs z_j = Σ_k w_jk a_k + b_j and activations a_j = σ(z_j);
    a of layer 0 is the input x.

    Parameters
    ----------
    sizes : sequence of int
        n_0, …, n_L: inputs, hidden layers, outputs.
    activation : str, Activation or list of them
        One for every layer, or one per layer after the input: sigmoid, tanh, relu, leaky_relu,
        elu, selu, gelu, silu, softplus, softsign, exponential, identity (or linear), softmax (last
        layer only), or an `Activation` of your own.
    cost : str or Cost
        quadratic Σ_j (a−y)², half_quadratic, mse (mean over j), cross_entropy (sigmoid or softmax
        outputs), mae, huber, poisson, or a `Cost` of your own. The cost of n examples is their
        mean.
    dtype : {"float64", "float32"}
        Number type of parameters and results.
    init : {"auto", "glorot", "he", "lecun", "standard_normal", "zeros"}
        How the first parameters are drawn; auto is he for the relu family, glorot otherwise.
    seed : int or None
        Non-negative. Fixes the first parameters and every later shuffle, on any machine.
    threads : int
        At most this many threads share what takes 50 µs or more: products, updates and activations
        of wide layers. The results have the same bits with any number, and no more of them than
        there are cores makes sense (64 at most). The reference pays no heed to it.
    backend : {"compiled", "reference"}
        The compiled kernels, or the NumPy specification they are checked against.

    Attributes
    ----------
    sizes, activations, cost_function, dtype, threads, backend, n_parameters
        As given; `backend` is "reference" where the compiled core is missing.
    weights : tuple of ndarray
        W⁽¹⁾ … W⁽ᴸ⁾, each (n_l, n_{l-1}): live, writeable views.
    biases : tuple of ndarray
        b⁽¹⁾ … b⁽ᴸ⁾, each (n_l,): live, writeable views.
    parameters : ndarray
        (P,), in the order W⁽¹⁾, b⁽¹⁾, …, each W row by row: a read-only copy; assignable.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what came and what was expected.
    MemoryError
        Naming the bytes, for parameters that memory cannot hold.

    Examples
    --------
    >>> net = Network([784, 30, 10], seed=0)
    >>> net.n_parameters
    23860
    """

    def __init__(
        self,
        sizes: Any,
        activation: Any = "sigmoid",
        cost: Any = "quadratic",
        *,
        dtype: Any = "float64",
        init: str = "auto",
        seed: int | None = None,
        threads: int = 1,
        backend: str = "compiled",
    ) -> None:
        checked_sizes = validation.layer_sizes(sizes)
        activations = validation.activations(activation, len(checked_sizes) - 1)
        cost_function = validation.cost(cost, activations[-1])
        self._build(
            checked_sizes,
            activations,
            cost_function,
            validation.number_type(dtype),
            validation.init(init),
            RandomNumbers(validation.seed(seed)),
            validation.threads(threads),
            validation.backend(backend),
        )
        self._draw_parameters()

    def _build(
        self,
        sizes: tuple[int, ...],
        activations: tuple[str | Activation, ...],
        cost: str | Cost,
        dtype: str,
        init: str,
        random: RandomNumbers,
        threads: int,
        backend: str,
    ) -> None:
        n_parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
        backend = backends.available(backend)
        try:
            engine = backends.engine(backend, sizes, activations, cost, dtype, threads)
        except MemoryError as error:
            raise MemoryError(
                f"sizes is {validation.shown(list(sizes))}: {n_parameters} parameters take "
                f"{n_parameters * np.dtype(dtype).itemsize} bytes, more than can be had ({error})"
            ) from None
        self.sizes = sizes
        self.activations = activations
        self.cost_function = cost
        self.dtype = np.dtype(dtype)
        self.threads = threads
        self.backend = backend
        self.n_parameters = n_parameters
        self.weights, self.biases, self._storage = engine.parameter_arrays()
        self._init = init
        self._random = random
        self._optimizer: optimizers.Optimizer | None = None
        self._second_order: Any = None
        self._engine = engine

    def __setattr__(self, name: str, value: Any) -> None:
        # The engine would not see it: what looks like a change would change nothing.
        if name in _FIXED_ATTRIBUTES and "_engine" in vars(self):
            raise AttributeError(
                f"{name} cannot be assigned; write into weights[i][...] or biases[i][...], assign "
                "parameters, or make another Network"
            )
        super().__setattr__(name, value)

    def _draw_parameters(self) -> None:
        for W, b, activation in zip(self.weights, self.biases, self.activations, strict=True):
            W[...], b[...] = initial_parameters(
                W.shape[1], W.shape[0], activation, self._init, self._random
            )

    # ---- state -----------------------------------------------------------------------------------

    # What takes more than one call of the engine, or looks into its memory, stands in `with
    # self._engine`: the network is this thread's until it ends, and other threads' calls are
    # refused. A thread may do so more than once, so that a callback can look.

    def _require_no_fit(self, what: str) -> None:
        if self._engine.is_fitting:
            raise RuntimeError(
                f"a fit of this network is running; {what} from a callback: use copy()"
            )

    @property
    def parameters(self) -> Array:
        with self._engine:
            parts = []
            for W, b in zip(self.weights, self.biases, strict=True):
                parts += [W.ravel(), b]
            vector = np.concatenate(parts)
        vector.flags.writeable = False
        return vector

    @parameters.setter
    def parameters(self, value: Any) -> None:
        vector = validation.parameter_vector(
            "parameters", value, self.n_parameters, self.dtype.name
        )
        self._require_no_fit("its parameters cannot be replaced")
        with self._engine:
            before = self._storage.copy()
            try:
                for (W, b), (new_W, new_b) in zip(
                    zip(self.weights, self.biases, strict=True),
                    Gradient(vector, 0.0, self.sizes)._parts(),
                    strict=True,
                ):
                    W[...] = new_W
                    b[...] = new_b
            except BaseException:
                self._storage[...] = before
                raise

    def copy(self) -> Network:
        """An independent network with the same parameters, optimiser state and generator state."""
        with self._engine:
            snapshot = loop.Snapshot(self)
        twin = type(self).__new__(type(self))
        Network._build(
            twin,
            self.sizes,
            self.activations,
            self.cost_function,
            self.dtype.name,
            self._init,
            RandomNumbers(None),
            self.threads,
            self.backend,
        )
        snapshot.restore(twin)
        # What a subclass keeps beside.
        vars(twin).update(
            {name: value for name, value in vars(self).items() if name not in vars(twin)}
        )
        return twin

    def __copy__(self) -> Network:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        from cbackprop import pickling

        with self._engine:
            own = {name: value for name, value in vars(self).items() if name not in _OWN_ATTRIBUTES}
            return pickling.state_of(self, own)

    def __setstate__(self, state: Any) -> None:
        from cbackprop import pickling

        pickling.restore(self, state, _OWN_ATTRIBUTES)

    def reset(self, seed: int | None = None) -> Network:
        """Draw the parameters anew, as a new network with this seed would; forget the optimiser.

        Parameters
        ----------
        seed : int or None
            Non-negative; None for a seed from the system's entropy.
        """
        random = RandomNumbers(validation.seed(seed))
        self._require_no_fit("its parameters cannot be replaced")
        with self._engine:
            before, own = loop.Snapshot(self), self._random
            try:
                self._random = random
                self._draw_parameters()
                self._engine.set_optimizer(None, ())
                self._optimizer = None
                self._second_order = None
            except BaseException:
                self._random = own
                before.restore(self)
                raise
        return self

    def save(self, path: validation.PathLike, *, allow_nonfinite: bool = False) -> None:
        """Write sizes, functions, number type and parameters to a model file.

        Parameters
        ----------
        path : str, bytes or os.PathLike
            Where to; the customary ending is ``.safetensors``. A file that is there already is
            replaced in one instant and its permissions stay: whatever happens, path is the old
            file or the new one, whole. Through a symbolic link the file that it points to is
            replaced; other hard links keep the old one.
        allow_nonfinite : bool
            Whether parameters that are not finite are written, too.

        Raises
        ------
        TypeError
            For an activation or a cost of your own, naming it: the file holds data, no code.
        ValueError
            For parameters that are not finite; for a path that is none.
        ModelFileError
            If what is at path is no regular file, or the file would be none that `load` reads.
        OSError
            Whatever keeps the system from writing it; then the old file is as it was.

        Notes
        -----
        The layout is that of safetensors, which any reader of those opens: tensors
        ``layers.1.weight`` (n_1, n_0), ``layers.1.bias`` (n_1,), … and, in the metadata, what
        `load` needs, with a SHA-256 checksum. Optimiser and generator are not in it.
        """
        model_file.save_model(self, path, allow_nonfinite=allow_nonfinite)

    @classmethod
    def load(
        cls,
        path: validation.PathLike,
        *,
        threads: int = 1,
        backend: str = "compiled",
        allow_nonfinite: bool = False,
    ) -> Self:
        """The network in a model file, its parameters the same to the bit.

        Nothing runs from a file: it names its functions, by words of a list.

        Parameters
        ----------
        path : str, bytes or os.PathLike
            A file of `save`, or a checkpoint of `fit`, of which the parameters are taken.
        threads, backend
            As `Network` takes them; they are not in the file.
        allow_nonfinite : bool
            Whether a file of `save` with ``allow_nonfinite`` is read, too.

        Returns
        -------
        Network
            Without an optimiser, and with a generator seeded from the system's entropy.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        ModelFileError
            Naming the path, if it is no whole and unchanged file of cbackprop.
        OSError
            If there is no such file, or it cannot be read.
        """
        return model_file.load_model(
            cls, path, threads=threads, backend=backend, allow_nonfinite=allow_nonfinite
        )

    def __repr__(self) -> str:
        names = [name_of(activation) for activation in self.activations]
        activation = repr(names[0]) if len(set(names)) == 1 else repr(names)
        return (
            f"Network({list(self.sizes)}, activation={activation}, "
            f"cost={name_of(self.cost_function)!r}, dtype={self.dtype.name!r}, "
            f"backend={self.backend!r})"
        )

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.network(self)

    def summary(self) -> str:
        """The layers, their sizes and parameters as a text table, and what computes them."""
        lines = [f"{'layer':<8}{'neurons':>8}  {'activation':<14}{'weights':>14}{'parameters':>12}"]
        lines.append(f"{'0 input':<8}{self.sizes[0]:>8}")
        for l, (W, activation) in enumerate(
            zip(self.weights, self.activations, strict=True), start=1
        ):
            shape = f"{W.shape[0]} x {W.shape[1]}"
            lines.append(
                f"{l:<8}{W.shape[0]:>8}  {name_of(activation):<14}{shape:>14}"
                f"{W.size + W.shape[0]:>12}"
            )
        level = backends.simd_level() if self.backend == "compiled" else None
        computed = f"compiled ({level})" if level else "reference (NumPy)"
        lines.append(
            f"{self.n_parameters} parameters, {self.dtype.name}, "
            f"cost {name_of(self.cost_function)}, {computed}"
        )
        return "\n".join(lines)

    # ---- what goes in ----------------------------------------------------------------------------

    def _examples(self, X: Any, name: str = "X") -> tuple[Array, bool]:
        return validation.examples(name, X, self.sizes, self.dtype.name)

    def _pair(
        self, X: Any, Y: Any, names: tuple[str, str] = ("X", "Y")
    ) -> tuple[Array, Array, bool]:
        examples, single = self._examples(X, names[0])
        targets = validation.targets(
            names[1],
            Y,
            len(examples),
            single,
            self.sizes,
            self.dtype.name,
            self.cost_function,
            names[0],
        )
        return examples, targets, single

    def _apart(self, array: Array) -> Array:
        """A copy of rows that are views of the parameters: training would write what it reads."""
        return array.copy() if np.may_share_memory(array, self._storage) else array

    def _require(self, finite: bool, X: Array) -> None:
        if not finite:
            with self._engine:
                failure = self._engine.failure
                validation.explain_not_finite(failure, X, self.weights, self.biases)

    def _empty(self, n: int, width: int) -> Array:
        return np.empty((n, width), self.dtype)

    def _new_array(self, what: str, shape: tuple[int, ...]) -> Array:
        try:
            return np.empty(shape, self.dtype)
        except MemoryError:
            n_bytes = int(np.prod(shape, dtype=object)) * self.dtype.itemsize
            raise MemoryError(f"{what} takes {n_bytes} bytes, more than can be had") from None

    # ---- forward ---------------------------------------------------------------------------------

    def predict(self, X: Any, out: Array | None = None) -> Array:
        """The outputs a⁽ᴸ⁾.

        Parameters
        ----------
        X : array_like
            (n, n_0), or (n_0,) for one example.
        out : ndarray, optional
            Where to write: of the result's shape and the network's dtype, C-contiguous.

        Returns
        -------
        ndarray
            (n, n_L), or (n_L,) for one example.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow, naming the layer.
        """
        # The quick way, for arrays that need no conversion.
        quick = self._engine.predict(X, out)
        if quick is not None:
            return quick
        examples, single = self._examples(X)
        shape = (len(examples), self.sizes[-1])
        if out is None:
            result = np.empty(shape, self.dtype)
        else:
            result = validation.output_array(
                "out",
                out,
                shape[1:] if single else shape,
                self.dtype.name,
                {"X": examples, "the parameters": self._storage},
            )
        # Into an array of its own first, where the caller's must not change if the call fails.
        target = result.reshape(shape) if out is None else np.empty(shape, self.dtype)
        n_layers = len(self.weights)
        outputs: list[Array | None] = [*[None] * (n_layers - 1), target]
        self._require(self._engine.forward(examples, [None] * n_layers, outputs), examples)
        if out is not None:
            result.reshape(shape)[...] = target
            return result
        return result[0] if single else result

    def forward(self, X: Any) -> Forward:
        """Weighted inputs z and activations a of every layer.

        Parameters
        ----------
        X : array_like
            (n, n_0), or (n_0,) for one example.

        Returns
        -------
        Forward
            ``.z[l]`` and ``.a[l]``, (n, n_l).
        """
        examples, single = self._examples(X)
        z: list[Array | None] = [self._empty(len(examples), n_l) for n_l in self.sizes[1:]]
        a: list[Array | None] = [self._empty(len(examples), n_l) for n_l in self.sizes[1:]]
        self._require(self._engine.forward(examples, z, a), examples)
        return Forward(
            [None, *_one_if(single, z)], [*_one_if(single, [examples.copy()]), *_one_if(single, a)]
        )

    def cost(self, X: Any, Y: Any, per_example: bool = False, sample_weight: Any = None) -> Any:
        """The mean cost C = (1/n) Σ_i C_i, or every C_i.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).
        per_example : bool
            Return each example's own cost.
        sample_weight : array_like, optional
            (n,) ≥ 0: the mean becomes Σ w_i C_i / Σ w_i. Not with ``per_example``.

        Returns
        -------
        float or ndarray
            The mean, or (n,) costs.
        """
        each = validation.flag("per_example", per_example)
        examples, targets, single = self._pair(X, Y)
        n = len(examples)
        validation.no_weights_per_example(each, sample_weight)
        if not each:
            validation.at_least_one_example("X", n, "a mean cost")
        weight, total_weight = validation.sample_weight(
            "sample_weight", sample_weight, n, self.dtype.name
        )
        costs = np.empty(n, self.dtype)
        finite, total = self._engine.cost(examples, targets, costs, weight)
        self._require(finite, examples)
        if each:
            return costs[0] if single else costs
        return total / total_weight

    # ---- backward --------------------------------------------------------------------------------

    def backward(self, X: Any, Y: Any) -> Backward:
        """Every factor of the chain rule, of every example's own cost C_i.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).

        Returns
        -------
        Backward
            ``.z``, ``.a``, ``.da_dz``, ``.dC_da``, ``.delta`` by layer, each (n, n_l), and
            ``.cost`` (n,).
        """
        return self._backward(*self._pair(X, Y))

    def _backward(self, examples: Array, targets: Array, single: bool) -> Backward:
        n, widths = len(examples), self.sizes[1:]
        z, a, da_dz, delta = ([self._empty(n, width) for width in widths] for _ in range(4))
        dC_da = [self._empty(n, width) for width in self.sizes]
        costs = np.empty(n, self.dtype)
        wanted: list[Array | None] = [*da_dz]
        if self.activations[-1] == "softmax":
            wanted[-1] = None
        self._require(
            self._engine.backward(examples, targets, [*z], [*a], wanted, [*delta], [*dC_da], costs),
            examples,
        )
        if self.activations[-1] == "softmax":
            da_dz[-1] = softmax_jacobian(a[-1])
        return Backward(
            [None, *_one_if(single, z)],
            [*_one_if(single, [examples.copy()]), *_one_if(single, a)],
            [None, *_one_if(single, da_dz)],
            _one_if(single, dC_da),
            [None, *_one_if(single, delta)],
            costs[0] if single else costs,
        )

    def gradient(
        self,
        X: Any,
        Y: Any,
        *,
        per_example: bool = False,
        sample_weight: Any = None,
        out: Array | None = None,
    ) -> Gradient:
        """∇C of the mean cost, or every example's own ∇C_i.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).
        per_example : bool
            One gradient per example, not divided by n; their mean is the gradient.
        sample_weight : array_like, optional
            (n,) ≥ 0: Σ w_i ∇C_i / Σ w_i. Not with ``per_example``.
        out : ndarray, optional
            (P,), or (n, P) per example, of the network's dtype, C-contiguous: where to write.
            Should the call fail by overflow, its contents are unspecified.

        Returns
        -------
        Gradient
            ``.vector`` (P,) or (n, P), ``.weights``, ``.biases``, ``.cost``, ``.norm()``.

        Notes
        -----
        ∂C_i/∂w_jk = a_k δ_j and ∂C_i/∂b_j = δ_j with δ = ∂C_i/∂z.
        """
        each = validation.flag("per_example", per_example)
        examples, targets, single = self._pair(X, Y)
        n, P = len(examples), self.n_parameters
        validation.no_weights_per_example(each, sample_weight)
        weight, total_weight = validation.sample_weight(
            "sample_weight", sample_weight, n, self.dtype.name
        )
        if not each:
            validation.at_least_one_example("X", n, "a mean gradient")
        validation.result_size("the per-example gradients", n if each else 1, P, self.dtype.name)
        shape = (n, P) if each and not single else (P,)
        if out is None:
            vector = self._new_array("the gradient", shape)
        else:
            vector = validation.output_array(
                "out",
                out,
                shape,
                self.dtype.name,
                {"X": examples, "Y": targets, "the parameters": self._storage},
            )
        if each:
            costs = np.empty(n, self.dtype)
            self._require(
                self._engine.per_example_gradient(examples, targets, vector, out is None, costs),
                examples,
            )
            return Gradient(vector, costs[0] if single else costs, self.sizes)
        finite, total = self._engine.gradient(examples, targets, weight, total_weight, vector)
        self._require(finite, examples)
        return Gradient(vector, total / total_weight, self.sizes)

    def gradient_norms(self, X: Any, Y: Any) -> Any:
        """The Euclidean norm of every example's own gradient, without making the gradients.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).

        Returns
        -------
        ndarray
            (n,) norms ‖∇C_i‖, not divided by n; for one example a single number.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow, or a norm does not fit the network's dtype.

        See Also
        --------
        gradient : with ``per_example=True`` the gradients themselves, n·P numbers.

        Notes
        -----
        ∂C_i/∂W⁽ˡ⁾ is the outer product of δ⁽ˡ⁾ and a⁽ˡ⁻¹⁾, so that
        ‖∇C_i‖² = Σ_l ‖δ⁽ˡ⁾‖² (‖a⁽ˡ⁻¹⁾‖² + 1): a few operations a neuron [1]_. Squares are summed in
        float64, scaled where they leave its range.

        References
        ----------
        .. [1] I. Goodfellow, "Efficient per-example gradient computations", 2015, arXiv:1510.01799.
        """
        examples, targets, single = self._pair(X, Y)
        norms = np.empty(len(examples), self.dtype)
        self._require(self._engine.gradient_norms(examples, targets, norms), examples)
        return norms[0] if single else norms

    def clipped_gradient(self, X: Any, Y: Any, max_norm: float) -> Gradient:
        """The mean of the examples' gradients, each shortened to a length of max_norm at most.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).
        max_norm : float
            > 0. Gradients no longer than that stay as they are.

        Returns
        -------
        Gradient
            (1/n) Σ_i ∇C_i · min(1, max_norm/‖∇C_i‖), ``.vector`` (P,); ``.cost`` is the mean cost,
            not weighted.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow.

        Notes
        -----
        The step of DP-SGD before its noise [1]_: no single example moves the sum by more than
        max_norm. The gradients are not made: their norms come from δ and a (see
        `gradient_norms`), and scaling δ scales the gradient.

        References
        ----------
        .. [1] M. Abadi et al., "Deep learning with differential privacy", 2016, arXiv:1607.00133.
        """
        limit = validation.positive("max_norm", max_norm)
        examples, targets, _ = self._pair(X, Y)
        n = len(examples)
        validation.at_least_one_example("X", n, "a mean gradient")
        vector = self._new_array("the gradient", (self.n_parameters,))
        finite, total = self._engine.clipped_gradient(examples, targets, limit, vector)
        self._require(finite, examples)
        return Gradient(vector, total / n, self.sizes)

    def gradient_gram(self, X: Any, Y: Any, X2: Any = None, Y2: Any = None) -> Any:
        """The inner products of all pairs of per-example gradients, without making the gradients.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).
        X2, Y2 : array_like, optional
            A second set, (n2, n_0) and (n2, n_L), or one example; without it the first serves.

        Returns
        -------
        ndarray
            (n, n2): ⟨∇C_i, ∇C_j⟩, i from the first set and j from the second, (n, n) and symmetric
            for one set. A single example's axis is left out.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        MemoryError
            Naming the bytes.
        FloatingPointError
            If finite inputs overflow, or an inner product does not fit the network's dtype.

        Notes
        -----
        The inner product of two outer products is the product of the inner products:
        Σ_l (δ_i · δ_j)(a_i · a_j + 1) over the layers. With learning rates for factors these are
        TracIn's scores of a training example's influence on another one [1]_, and of one set they
        are the empirical tangent kernel of the cost.

        References
        ----------
        .. [1] G. Pruthi et al., "Estimating training data influence by tracing gradient descent",
           2020, arXiv:2002.08484.
        """
        examples, targets, single = self._pair(X, Y)
        validation.both_or_neither(("X2", X2), ("Y2", Y2))
        examples2, targets2, single2, n2 = None, None, single, len(examples)
        if X2 is not None:
            examples2, targets2, single2 = self._pair(X2, Y2, ("X2", "Y2"))
            n2 = len(examples2)
        validation.result_size("the Gram matrix", len(examples), n2, self.dtype.name)
        gram = self._new_array("the Gram matrix", (len(examples), n2))
        finite = self._engine.gradient_gram(examples, targets, examples2, targets2, gram)
        if not finite and examples2 is not None:
            validation.require_finite("X2", examples2)
        self._require(finite, examples)
        if single:
            gram = gram[0]
        return gram[..., 0] if single2 else gram

    def gradient_moments(self, X: Any, Y: Any) -> tuple[Gradient, Gradient]:
        """Mean and variance of every parameter's derivative over the examples.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).

        Returns
        -------
        mean, variance : Gradient
            ``.vector`` (P,) each: (1/n) Σ_i ∇C_i, bit for bit `gradient`'s, and
            (1/n) Σ_i (∇C_i − mean)², divided by n. ``.cost`` is the mean of the costs C_i, and
            their variance.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow, or a variance does not fit the network's dtype.

        Notes
        -----
        The deviations themselves are squared and summed, in a second pass over the examples, so
        that the variance keeps its digits where it is small beside the mean (Chan, Golub and
        LeVeque 1983, "Algorithms for computing the sample variance"). No (n, P) array is made.
        """
        examples, targets, _ = self._pair(X, Y)
        n = len(examples)
        validation.at_least_one_example("X", n, "a mean gradient")
        mean = self._new_array("the gradient", (self.n_parameters,))
        variance = self._new_array("the gradient", (self.n_parameters,))
        costs = np.empty(n, self.dtype)
        finite, total = self._engine.gradient_moments(examples, targets, mean, variance, costs)
        self._require(finite, examples)
        cost_variance = variance_of(costs)
        if not math.isfinite(cost_variance):
            with self._engine:
                validation.explain_not_finite(
                    ("cost_variance", 0), examples, self.weights, self.biases
                )
        return (
            Gradient(mean, total / n, self.sizes),
            Gradient(variance, cost_variance, self.sizes),
        )

    def jacobian(self, X: Any, *, out: Array | None = None) -> Array:
        """∂a⁽ᴸ⁾/∂parameters: how every output moves with every weight and bias.

        Parameters
        ----------
        X : array_like
            (n, n_0), or (n_0,) for one example.
        out : ndarray, optional
            Where to write: of the result's shape and the network's dtype, C-contiguous. Should the
            call fail by overflow, its contents are unspecified.

        Returns
        -------
        ndarray
            (n, n_L, P), or (n_L, P) for one example; P in the order of `parameters`.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        MemoryError
            Naming the bytes.
        FloatingPointError
            If finite inputs overflow, naming the layer.

        Notes
        -----
        Backpropagation with ∂a_j/∂z in the place of δ at the output, once for every output j; for
        softmax that is a_j([i = j] − a_i), with 1 − a_j as the sum of the others. The cost plays no
        part. A new array of many megabytes costs more than the derivatives in it: pass ``out``
        where calls repeat.
        """
        examples, single = self._examples(X)
        n, n_L, P = len(examples), self.sizes[-1], self.n_parameters
        validation.result_size("the Jacobian", n, n_L * P, self.dtype.name)
        shape = (n_L, P) if single else (n, n_L, P)
        if out is None:
            result = self._new_array("the Jacobian", shape)
        else:
            result = validation.output_array(
                "out",
                out,
                shape,
                self.dtype.name,
                {"X": examples, "the parameters": self._storage},
            )
        self._require(self._engine.jacobian(examples, result, out is None), examples)
        return result

    def input_gradient(self, X: Any, Y: Any) -> Array:
        """∂C_i/∂x: how each example's cost moves with its inputs.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).

        Returns
        -------
        ndarray
            (n, n_0), not divided by n; (n_0,) for one example. ``backward(X, Y).dC_da[0]``, without
            the rest.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow, naming the layer.
        """
        examples, targets, single = self._pair(X, Y)
        result = self._empty(len(examples), self.sizes[0])
        n_layers = len(self.weights)
        nothing: list[Array | None] = [None] * n_layers
        finite = self._engine.backward(
            examples,
            targets,
            nothing,
            nothing,
            nothing,
            nothing,
            [result, *nothing],
            np.empty(len(examples), self.dtype),
        )
        self._require(finite, examples)
        return result[0] if single else result

    def input_jacobian(self, X: Any) -> Array:
        """∂a⁽ᴸ⁾/∂x: how every output moves with every input.

        Parameters
        ----------
        X : array_like
            (n, n_0), or (n_0,) for one example.

        Returns
        -------
        ndarray
            (n, n_L, n_0), or (n_L, n_0) for one example.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        MemoryError
            Naming the bytes.
        FloatingPointError
            If finite inputs overflow, naming the layer.

        Notes
        -----
        As `jacobian`, with ∂C/∂a⁽⁰⁾ in the place of the weights' derivatives.
        """
        examples, single = self._examples(X)
        n, n_L, n_0 = len(examples), self.sizes[-1], self.sizes[0]
        validation.result_size("the Jacobian", n, n_L * n_0, self.dtype.name)
        result = self._new_array("the Jacobian", (n, n_L, n_0))
        self._require(self._engine.input_jacobian(examples, result), examples)
        return result[0] if single else result

    # ---- curvature -------------------------------------------------------------------------------

    def hessian_vector_product(self, X: Any, Y: Any, v: Any) -> Array:
        """Hv, H = ∂²C/∂parameters² of the mean cost, without making H.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).
        v : array_like or Gradient
            (P,), in the order of `parameters`.

        Returns
        -------
        ndarray
            (P,), exact up to rounding: nothing is differenced.

        Raises
        ------
        TypeError, ValueError
            Naming the argument. An `Activation` of the user's must have a ``second_derivative``, a
            `Cost` a ``hessian_vector_product``.
        FloatingPointError
            If finite inputs overflow.

        Notes
        -----
        Pearlmutter's R-operator [1]_: the derivative along v of every line of the forward and the
        backward pass, at the price of about two gradients.

        Where a first derivative jumps (relu and leaky_relu at z = 0, mae at a = y) the jump counts
        as 0, so that H is the Hessian of the smooth piece on the side that σ′ takes: relu′(0) = 0.
        Where only the second one jumps (elu and selu at 0, huber at ``|a − y| = 1``) it is the one
        from the side of z < 0, and of ``|a − y| < 1``; softsign″(0) = 0.

        References
        ----------
        .. [1] B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6
           (1994) 147–160.
        """
        validation.second_derivatives(self.activations, self.cost_function)
        return self._curvature_product(X, Y, v, False)

    def gauss_newton_vector_product(self, X: Any, Y: Any, v: Any) -> Array:
        """Gv, G = (1/n) Σ_i JᵢᵀHᵢJᵢ the Gauss–Newton matrix of the mean cost, without making it.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).
        v : array_like or Gradient
            (P,), in the order of `parameters`.

        Returns
        -------
        ndarray
            (P,), exact up to rounding.

        Raises
        ------
        TypeError, ValueError
            Naming the argument. A `Cost` of the user's must have a ``hessian_vector_product``.
        FloatingPointError
            If finite inputs overflow.

        Notes
        -----
        J is the Jacobian of the network's outputs with respect to the parameters, H the Hessian of
        the cost with respect to these outputs: of z⁽ᴸ⁾ for cross_entropy, of a⁽ᴸ⁾ for every other
        cost. For a cost convex in them G has no negative eigenvalue [1]_. For quadratic it is
        (2/n) JᵀJ with `jacobian`'s J.

        References
        ----------
        .. [1] N. N. Schraudolph, "Fast curvature matrix-vector products for second-order gradient
           descent", Neural Computation 14 (2002) 1723–1738.
        """
        validation.second_derivatives((), self.cost_function)
        return self._curvature_product(X, Y, v, True)

    def _curvature_product(self, X: Any, Y: Any, v: Any, gauss_newton: bool) -> Array:
        examples, targets, _ = self._pair(X, Y)
        validation.at_least_one_example("X", len(examples), "a mean cost")
        direction = validation.parameter_vector("v", v, self.n_parameters, self.dtype.name)
        product = self._new_array("the product", (self.n_parameters,))
        finite = self._engine.curvature_product(examples, targets, direction, gauss_newton, product)
        self._require(finite, examples)
        return product

    # ---- looking inside --------------------------------------------------------------------------

    def chain_rule(self, x: Any, y: Any) -> ChainRule:
        """The factors of any weight, bias or activation for one example, as numbers.

        Parameters
        ----------
        x, y : array_like
            (n_0,) and (n_L,), or one row of each.

        Returns
        -------
        ChainRule
            ``.weight(layer, j, k)``, ``.bias(layer, j)``, ``.activation(layer, k)``.
        """
        examples, targets, _ = self._pair(*validation.one_example(x, y), ("x", "y"))
        validation.require_finite("x", examples)
        with self._engine:
            backward = self._backward(examples, targets, True)
            return ChainRule(self, examples[0], backward, targets[0])

    def check_gradient(self, X: Any, Y: Any) -> GradientCheck:
        """The whole gradient against one found without backpropagation, in float64.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,). A few examples suffice: the check takes a
            forward pass per parameter.

        Returns
        -------
        GradientCheck
            ``.max_relative_error``, ``.worst`` (a named parameter), ``.passed``; printable.
        """
        examples, targets, _ = self._pair(X, Y)
        validation.at_least_one_example("X", len(examples), "a gradient")
        return check_gradient(self, examples, targets)

    def stepper_html(
        self,
        X: Any,
        Y: Any,
        *,
        learning_rate: float = 0.5,
        steps: int = 20,
        title: str = "Backpropagation, step by step",
    ) -> str:
        """A page that steps through this network's learning, every factor shown as a number.

        Forward pass, cost, ∂C/∂a, δ, gradient and update, layer by layer, for one example a step:
        the rows of X in order, again from the first after the last. The network stays as it is.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,).
        learning_rate : float
            Of plain gradient descent, w ← w − η ∂C/∂w.
        steps : int
            Examples the page goes through, ≥ 1.
        title : str
            The page's heading.

        Returns
        -------
        str
            HTML in one piece, for a file or a notebook: it loads nothing, from nowhere. Its numbers
            are those of `backward`, `gradient` and `partial_fit`, all digits kept.

        Raises
        ------
        TypeError, ValueError
            Naming the argument. A page shows up to 16 neurons a layer, 8 layers after the input and
            200,000 numbers (some 4 MB): 20 steps of 2-3-1 are 1,140.
        FloatingPointError
            If a step diverges.
        """
        from cbackprop import stepper

        rate = validation.positive("learning_rate", learning_rate)
        n_steps = validation.integer("steps", steps, 1)
        heading = validation.word("title", title)
        examples, targets, _ = self._pair(X, Y)
        validation.at_least_one_example("X", len(examples), "a step")
        validation.stepper_size(self.sizes, n_steps)
        return stepper.page(self, examples, targets, rate, n_steps, heading)

    # ---- training --------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        Y: Any,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: Any = "sgd",
        learning_rate: float | None = None,
        shuffle: Any = True,
        sample_weight: Any = None,
        class_weight: Any = None,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: float = 0.0,
        max_norm: float | None = None,
        clip_norm: float | None = None,
        noise_multiplier: float = 0.0,
        validation_data: Any = None,
        validation_fraction: float = 0.0,
        metrics: Any = (),
        early_stopping: Any = None,
        schedule: Any = None,
        callbacks: Any = (),
        progress: bool | None = None,
        checkpoint: Any = None,
        resume: bool = False,
    ) -> History:
        """Train by repeated downhill steps on mini-batches.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L).
        epochs : int
            Passes over the data, ≥ 0; with ``resume`` those before the checkpoint included.
        batch_size : int
            Examples a step, ≥ 1; the last batch of a pass may be smaller and counts by its own
            size.
        optimizer : str or object
            "sgd", "adam", "adamw", "rmsprop", "adagrad", "rprop", "lbfgs", "levenberg_marquardt",
            or one of their objects: `SGD`, `Adam`, … Starts afresh with each fit.
        learning_rate : float, optional
            In place of the optimiser's own (0.1 for SGD, 0.001 for Adam).
        shuffle : bool, array_like or callable
            True: a new random order for each epoch, from the network's generator. False: the order
            of the rows. An order (n,) of your own for every epoch, or a function of the epoch, from
            0, that returns one.
        sample_weight : array_like, optional
            (n,) ≥ 0. A batch's gradient is Σ w_i ∇C_i / Σ w_i over the batch; a batch whose weights
            are all 0 makes no step.
        class_weight : dict, array_like or "balanced", optional
            A weight for each class, times ``sample_weight``. An example's class is its largest
            target; with one output, whether that is above ½. "balanced": n/(classes · examples of
            the class).
        l1, l2 : float
            Add l1 Σ|w| + (l2/2) Σw² to the cost, of weights, not of biases. (scikit-learn's alpha
            is n·l2 for n examples a batch, PyTorch's weight_decay of SGD is l2 but takes biases,
            too, and Nielsen's λ is n·l2 for n examples in all.)
        dropout : float
            In [0, 1): each hidden activation is left out of a step with this probability, and the
            others are divided by 1 − dropout (Srivastava et al. 2014). Predictions use all.
        max_norm : float, optional
            After each step every neuron's incoming weights are shortened to this length at most.
        clip_norm : float, optional
            Every example's own gradient is first shortened to this length at most.
        noise_multiplier : float
            Gaussian noise of standard deviation noise_multiplier·clip_norm on each parameter's sum
            of clipped gradients: the step of DP-SGD (Abadi et al. 2016). Needs ``clip_norm``.
        validation_data : (X, Y), optional
            Judged after each epoch.
        validation_fraction : float
            In [0, 1): this share of the examples is held out of training and judged instead: random
            ones, or, unless ``shuffle`` is True, the last.
        metrics : sequence, optional
            "accuracy", "mse", "mae", "r2", or functions of (predictions, targets).
        early_stopping : EarlyStopping or int, optional
            An int is the patience.
        schedule : callable, optional
            f(epoch, learning_rate) returns the epoch's rate, see `cbackprop.schedules`.
        callbacks : sequence of callable, optional
            Each called as f(network, history) after each epoch; one that returns True stops the
            fit.
        progress : bool, optional
            Show the epochs on stderr: None for terminals and fits of more than a second only. With
            tqdm's bar where that is installed.
        checkpoint : path, optional
            A file written after each epoch: parameters, the optimiser's state, the generator and
            the history.
        resume : bool
            Go on from ``checkpoint``, bit for bit as if the fit had not been stopped; the other
            arguments must be what they were, ``epochs`` and what is only looked at excepted.

        Returns
        -------
        History

        Raises
        ------
        TypeError, ValueError
            Naming the argument; nothing has changed then.
        ModelFileError, OSError
            If a checkpoint cannot be read or written.
        FloatingPointError
            If training diverges, naming the epoch; the parameters are those at its start.
        KeyboardInterrupt
            On Ctrl-C; the parameters are those of the last full batch.
        RuntimeError
            If a fit of this network is under way (in a callback or another thread).
        """
        chosen = optimizers.resolve(optimizer, learning_rate)
        names = (self.sizes, self.dtype.name)
        examples = validation.batch("X", X, *names)
        n = len(examples)
        validation.at_least_one_example("X", n, "training")
        targets = validation.targets("Y", Y, n, False, *names, self.cost_function)
        examples, targets = self._apart(examples), self._apart(targets)
        weight = plans.combined_weight(sample_weight, class_weight, targets)
        held = validation.held_out(
            validation.fraction("validation_fraction", validation_fraction), validation_data, n
        )
        judged = validation.validation_pair(validation_data, *names, self.cost_function)
        checked_metrics = named(validation.metrics(metrics, tuple(METRICS)))
        stopping = plans.stopping(early_stopping)
        if stopping is not None:
            validation.monitor(stopping, tuple(checked_metrics), judged is not None or held > 0)
        file = None if checkpoint is None else validation.file_path("checkpoint", checkpoint)
        plan = plans.Plan(
            epochs=validation.integer("epochs", epochs, 0),
            batch_size=validation.integer("batch_size", batch_size, 1),
            optimizer=chosen,
            shuffle=validation.batch_order("shuffle", shuffle, n - held),
            sample_weight=weight,
            options=plans.step_options(l1, l2, dropout, max_norm, clip_norm, noise_multiplier),
            validation_data=judged,
            held=held,
            metrics=checked_metrics,
            early_stopping=stopping,
            schedule=validation.schedule(schedule),
            callbacks=validation.functions("callbacks", callbacks),
            progress=validation.progress(progress),
            checkpoint=file,
            resume=validation.flag("resume", resume),
        )
        validation.resume_needs_checkpoint(plan.resume, file)
        self._require_no_fit("it cannot start another one")
        with self._engine:
            self._check_training(chosen, plan.options)
            self._engine.begin_fit()
            return loop.run(self, examples, targets, plan)

    def _check_training(self, optimizer: optimizers.Optimizer, options: StepOptions | None) -> None:
        validation.require_finite_parameters(self.weights, self.biases)
        validation.optimizer_in(optimizer, self.dtype.name)
        if isinstance(optimizer, optimizers.WholeBatch):
            validation.whole_batch_options(optimizer.name, options)
            second_order.start(optimizer, self._engine)  # refuses costs that are not for it

    def partial_fit(
        self,
        X: Any,
        Y: Any,
        batch_size: int = 32,
        optimizer: Any = None,
        learning_rate: float | None = None,
        sample_weight: Any = None,
        options: Mapping[str, Any] | None = None,
    ) -> Network:
        """One pass over the rows as they come; the optimiser's state is kept from call to call.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,) for one example.
        batch_size : int
            Examples a step; bit for bit the pass of ``fit(..., shuffle=False)``.
        optimizer : str or object, optional
            The one in use goes on, its state kept, where this is None or differs in nothing but
            the learning rate; another one starts afresh. SGD at first.
        learning_rate : float, optional
            From this call on, in place of the optimiser's own.
        sample_weight : array_like, optional
            (n,) ≥ 0, as `fit`'s.
        options : dict, optional
            What `fit` takes as l1, l2, dropout, max_norm, clip_norm and noise_multiplier, for this
            pass: {"l2": 1e-4}.

        Returns
        -------
        Network
            This network.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As `fit`.
        FloatingPointError
            If a step diverges; everything is then as it was before the call.
        """
        # The quick way, for arrays that need no conversion.
        if (
            optimizer is None
            and learning_rate is None
            and sample_weight is None
            and options is None
            and self._engine.step(X, Y, batch_size)
        ):
            return self
        checked_size = validation.integer("batch_size", batch_size, 1)
        examples, targets, _ = self._pair(X, Y)
        validation.at_least_one_example("X", len(examples), "training")
        examples, targets = self._apart(examples), self._apart(targets)
        weight, _ = validation.sample_weight(
            "sample_weight", sample_weight, len(examples), self.dtype.name
        )
        step_options = plans.step_options(
            **validation.option_names("options", options, StepOptions._fields)
        )
        self._require_no_fit("it cannot start another one")
        with self._engine:
            chosen = self._chosen_optimizer(optimizer, learning_rate)
            self._check_training(chosen, step_options)
            self._engine.begin_fit()
            before = loop.Snapshot(self)
            try:
                if self._optimizer is not None and chosen.goes_on(self._optimizer):
                    self._engine.learning_rate = chosen.learning_rate
                    self._optimizer = chosen
                else:
                    self._set_optimizer(chosen)
                finite, _, _ = loop.train_once(
                    self, examples, targets, None, checked_size, weight, step_options
                )
                if not finite:
                    loop.raise_divergence(None, self._engine.failure, examples)
            except Exception:
                before.restore(self)
                raise
        return self

    def _chosen_optimizer(
        self, optimizer: Any, learning_rate: float | None
    ) -> optimizers.Optimizer:
        if optimizer is None:
            optimizer = self._optimizer if self._optimizer is not None else "sgd"
        return optimizers.resolve(optimizer, learning_rate)

    def _set_optimizer(self, optimizer: optimizers.Optimizer) -> None:
        rule = optimizer.rule
        # Interim: the engines take an UpdateRule soon.
        if rule is None:
            self._engine.set_optimizer(None, ())
        else:
            self._engine.set_optimizer(rule.name, tuple(rule.hyper_parameters.values()))
        self._second_order = None
        self._engine.learning_rate = optimizer.learning_rate
        self._optimizer = optimizer

    def score(self, X: Any, Y: Any, metric: Any = "accuracy") -> float:
        """A metric of the predictions for X against Y.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L).
        metric : str or callable
            "accuracy", "mse", "mae", "r2", or a function of (predictions, targets).

        Returns
        -------
        float
        """
        checked = validation.metric("metric", metric, tuple(METRICS))
        examples, targets, _ = self._pair(X, Y)
        validation.at_least_one_example("X", len(examples), "a score")
        return measured("metric", checked, self.predict(examples), targets)


for _name in _OWN_ATTRIBUTES:
    setattr(Network, _name, _NotInitialised())


def _one_if(single: bool, arrays: list[Any]) -> list[Any]:
    """The only example's own arrays, where there is but one."""
    return [array[0] for array in arrays] if single else list(arrays)


def info() -> Mapping[str, Any]:
    """What this installation computes with.

    Returns
    -------
    dict
        ``version``, ``backend``, ``simd_level`` (None without the compiled core), ``vector_bytes``,
        ``fused_multiply_add``, ``checked_build``, ``numpy``.
    """
    from cbackprop import __version__

    level = backends.simd_level()
    kernels = None if level is None else backends.kernels("float64")
    return {
        "version": __version__,
        "backend": backends.available("compiled"),
        "simd_level": level,
        "vector_bytes": None if kernels is None else kernels.vector_bytes,
        "fused_multiply_add": None if kernels is None else kernels.has_fma,
        "checked_build": None if kernels is None else kernels.checked,
        "numpy": np.__version__,
    }
