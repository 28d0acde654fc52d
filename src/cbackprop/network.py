"""Network: the public face. Each call judges its arguments and hands them to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np

from cbackprop import backend as backends
from cbackprop import validation
from cbackprop.functions import (
    Activation,
    ActivationName,
    Array,
    Cost,
    CostName,
    Floats,
    InitName,
    name_of,
)
from cbackprop.gradients import Backward, Biases, Forward, Gradient, Weights
from cbackprop.model import About, Description, Model, decline
from cbackprop.optimizers import Optimizer, OptimizerName
from cbackprop.random_numbers import RandomNumbers
from cbackprop.sparse_rows import Examples, ExamplesLike, dense, numbers_of
from cbackprop.training import loop
from cbackprop.training import plan as plans
from cbackprop.training.history import EarlyStopping, History
from cbackprop.training.metrics import Metric, MetricName, chosen, measured
from cbackprop.update_rules import StepOptions

if TYPE_CHECKING:
    import numpy.typing as npt

    from cbackprop.chain_rule import ChainRule
    from cbackprop.drawing.page import Page
    from cbackprop.gradient_check import GradientCheck
    from cbackprop.gradient_diagnosis import GradientDiagnosis
    from cbackprop.scaling import Scales
    from cbackprop.streams.chunks import Source
    from cbackprop.streams.stream import Stream

# No ArrayLike, which any word would be.
ClassWeight = (
    Mapping[int, float] | Mapping[str, float] | Sequence[float] | Array | Literal["balanced"]
)


class _NotInitialised:
    """Stands in the class for what __init__ sets: found only where that did not run.

    Not a __getattr__, which would make every reading of an attribute slower.
    """

    def __get__(self, instance: object, owner: type) -> Self:
        if instance is None:
            return self
        raise RuntimeError("this Network is not initialised; call super().__init__(sizes, …) first")


class _MethodOfTheClass(classmethod):  # type: ignore[type-arg]  # none at run time
    """A classmethod that makes a network, and is not to be taken for one that changes it."""

    def __get__(self, instance: object, owner: type | None = None) -> Any:  # Any: the method
        if instance is not None:
            raise AttributeError(
                "load makes another network and leaves this one as it is; use "
                f"net = {type(instance).__name__}.load(path)"
            )
        # Not super(): classmethod is generic for type checkers alone.
        return vars(classmethod)["__get__"](self, instance, owner)


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
        layer only, of two outputs or more), or an `Activation` of your own.
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
    threads : int or "auto"
        At most this many threads share what takes 50 µs or more: the examples of a call or of a
        large batch, or the products, updates and activations of wide layers. The results have the
        same bits with any number, and no more of them than there are cores makes sense (64 at
        most); "auto" is as many as this process may use, found anew where the network is loaded.
        The reference pays no heed to it.
    backend : {"compiled", "reference"}
        The compiled kernels, or the NumPy specification they are checked against.
    feature_names : sequence of str, optional
        A name for each input, every one once.
    class_names : sequence of str, optional
        A name for each output, every one once; with one output also two, of the targets 0 (or
            −1) and 1.
    metadata : dict of str to str, optional
        Whatever else should go along with the network: units, sources, a version.

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
    feature_names, class_names : tuple of str or None
        As given, or the columns' names, where they are texts, of the first table that `fit` or
        `partial_fit` took; assignable.
    metadata : dict of str to str
        Read-only; assignable as a whole. Its copies are plain dicts.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what came and what was expected.
    MemoryError
        Naming the bytes, for parameters that memory cannot hold.

    Notes
    -----
    Every call that takes X takes a matrix or an array of scipy.sparse, too, and has the bits of the
    array that its ``.toarray()`` makes. Zeros cost no time in the first layer then; calls whose
    results are of the rows one by one, such as ``gradient(per_example=True)``, make 256 of them
    dense at a time.

    X and Y may also be sources of rows, which lie in files: memory-mapped arrays, h5py's, zarr's
    and dask's, `datasets.open_npy`, whatever has a shape and slices. `fit`, `predict`, `cost`,
    `gradient`, `gradient_norms`, `gradient_moments` and `score` read them a piece at a time, 8 MB
    of the network's numbers, the next one by a thread of its own while one is worked on; other
    calls read them whole. The calls named also take, in the place of X and Y, a source of chunks:
    what can be gone through again and again, or a function that returns it (`predict` such a
    function alone), each chunk a pair (X, Y). The results have the bits of those from arrays in
    memory (of the reference, up to rounding).

    Any number of threads may read a network at the same time: `predict`, `cost`, `gradient`, every
    other call that changes nothing, `parameters`, `copy`, `save`, a pickle. What changes it (`fit`,
    `partial_fit`, `reset`, new `parameters`) has it alone: it raises RuntimeError at once while
    another call is under way, in another thread or around this one, and so do the others meanwhile.
    Nobody waits. Each reader beside another one takes scratch of its own, which stays with the
    network for later ones. `copy` makes a network for each.

    Examples
    --------
    >>> net = Network([784, 30, 10], seed=0)
    >>> net.n_parameters
    23860
    """

    # What the model has by the same names; none of it can be assigned.
    sizes: tuple[int, ...]
    activations: tuple[str | Activation, ...]
    cost_function: str | Cost
    dtype: np.dtype[np.floating[Any]]  # Any: NumPy's parameter of the width
    threads: int | Literal["auto"]
    backend: str
    n_parameters: int
    weights: Weights
    biases: Biases

    @validation.names_keywords
    def __init__(
        self,
        sizes: Sequence[int] | npt.NDArray[np.integer[Any]],  # Any: of whatever width
        activation: ActivationName | Activation | Sequence[ActivationName | Activation] = "sigmoid",
        cost: CostName | Cost = "quadratic",
        *,
        dtype: npt.DTypeLike = "float64",
        init: InitName = "auto",
        seed: int | None = None,
        threads: int | Literal["auto"] = 1,
        backend: Literal["compiled", "reference"] = "compiled",
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        checked_sizes = validation.layer_sizes(sizes)
        activations = validation.activations(activation, len(checked_sizes) - 1)
        validation.more_than_one_softmax_output(activations, checked_sizes[-1])
        description = Description(
            checked_sizes,
            activations,
            validation.cost(cost, activations[-1]),
            validation.number_type(dtype),
            validation.init(init),
        )
        about = About(
            validation.feature_names(feature_names, checked_sizes),
            validation.class_names(class_names, checked_sizes),
            validation.metadata(metadata),
        )
        random = RandomNumbers(validation.seed(seed))
        model = Model(description, random, validation.threads(threads), validation.backend(backend))
        model.about = about
        model.draw_parameters()
        self._adopt(model)

    def _adopt(self, model: Model) -> None:
        """Become the face of this model."""
        for name in _FIXED_ATTRIBUTES:
            setattr(self, name, getattr(model, name))
        self._model = model
        self._engine = model.engine  # for the quick ways, where each look-up is felt
        self._step = model.step

    def __setattr__(self, name: str, value: object) -> None:
        # The engine would not see it: what looks like a change would change nothing.
        if name in _FIXED_ATTRIBUTES and "_engine" in vars(self):
            raise AttributeError(
                f"{name} cannot be assigned; write into weights[i][...] or biases[i][...], assign "
                "parameters, or make another Network"
            )
        # Nobody would look there; a subclass says itself what it has.
        if type(self) is Network and (name == "cost" or not hasattr(Network, name)):
            validation.own_attribute(name, _ASSIGNABLE)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in _OWN_ATTRIBUTES:
            raise AttributeError(f"{name} cannot be deleted: a Network is none without it")
        super().__delattr__(name)

    # ---- state -----------------------------------------------------------------------------------

    @property
    def parameters(self) -> Floats:
        """All weights and biases, (P,), in the order W⁽¹⁾, b⁽¹⁾, …, each W row by row.

        A read-only copy. Assigning P numbers replaces them, all or none: a step is
        ``net.parameters = net.parameters - 0.1 * g``, for ``-=`` would write into the copy.

        Raises
        ------
        TypeError, ValueError
            Naming what was assigned, where it is not (P,) finite numbers.
        RuntimeError
            If another thread is changing the network; if they are assigned during a fit, or while
            another thread has the network.
        """
        vector = self._model.parameters()
        vector.flags.writeable = False
        return vector

    @parameters.setter
    def parameters(self, value: npt.ArrayLike) -> None:
        vector = validation.parameter_vector(
            "parameters", value, self.n_parameters, self.dtype.name
        )
        self._model.require_no_fit("its parameters cannot be replaced")
        self._model.set_parameters(vector)

    @property
    def history(self) -> History | None:
        """What the last `fit` did: the epochs it completed, also after Ctrl-C or an error.

        In a callback that of the fit under way. A call that is refused leaves the one before. None
        before the first fit and after `reset`, and of copies, pickles and loaded files; for
        `fit` with ``resume`` a checkpoint has it.
        """
        history = self._model.history
        assert history is None or isinstance(history, History)
        return history

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The inputs' names (n_0), or None.

        Raises
        ------
        TypeError, ValueError
            Naming what was assigned, where it is not n_0 different strings.
        RuntimeError
            If they are assigned while another thread has the network.
        """
        return self._model.about.feature_names

    @feature_names.setter
    def feature_names(self, value: Sequence[str] | None) -> None:
        self._change_about(feature_names=validation.feature_names(value, self.sizes))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The outputs' names (n_L), of one also those of the targets 0 (or −1) and 1; or None.

        Raises
        ------
        TypeError, ValueError
            Naming what was assigned, where it is not n_L different strings.
        RuntimeError
            If they are assigned while another thread has the network.
        """
        return self._model.about.class_names

    @class_names.setter
    def class_names(self, value: Sequence[str] | None) -> None:
        self._change_about(class_names=validation.class_names(value, self.sizes))

    @property
    def metadata(self) -> Mapping[str, str]:
        """Texts that go along with the network, read-only.

        Assigning a dict of strings by strings replaces them, None by none.

        Raises
        ------
        TypeError, ValueError
            Naming what was assigned.
        RuntimeError
            If they are assigned while another thread has the network.
        """
        return self._model.about.metadata

    @metadata.setter
    def metadata(self, value: Mapping[str, str] | None) -> None:
        self._change_about(metadata=validation.metadata(value))

    @property
    def scales(self) -> Scales | None:
        """In which `fit` and `partial_fit` train: what the last ``standardise=True`` has found.

        ``.inputs`` and ``.outputs``, each with ``.mean`` and ``.deviation`` of every column;
        ``.outputs`` is None where targets stay as they are. None where training sees numbers as
        they are. They belong to copies, pickles and files; `reset` forgets them.
        """
        return self._model.scales

    def _change_about(self, **changed: Any) -> None:  # Any: each has been judged
        with self._engine:
            self._model.about = self._model.about._replace(**changed)

    def copy(self) -> Self:
        """An independent network with the same parameters, optimiser state and generator state.

        Returns
        -------
        Network
            Of the same class, with what a subclass keeps besides: that is shared, not copied, which
            `copy.deepcopy` and pickles do.

        Raises
        ------
        MemoryError
            Naming the bytes.
        RuntimeError
            If another thread is changing the network.
        """
        twin = type(self).__new__(type(self))
        Network._adopt(twin, self._model.copy())
        vars(twin).update(self._further_attributes())
        return twin

    def _further_attributes(self) -> dict[str, object]:
        """What a subclass keeps besides."""
        return {name: value for name, value in vars(self).items() if name not in _OWN_ATTRIBUTES}

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        from copy import deepcopy

        twin = self.copy()
        # Before what a subclass keeps, which may lead back to this network.
        memo[id(self)] = twin
        for name, value in self._further_attributes().items():
            vars(twin)[name] = deepcopy(value, memo)
        return twin

    def __getstate__(self) -> dict[str, object]:
        from cbackprop.files import pickling

        with self._engine.reading():
            return pickling.state_of(self._model, self._further_attributes())

    def __setstate__(self, state: object) -> None:
        from cbackprop.files import pickling

        model, attributes = pickling.restored(state, _OWN_ATTRIBUTES)
        self._adopt(model)
        vars(self).update(attributes)

    def reset(self, seed: int | None = None) -> Self:
        """Draw the parameters anew, as a new network with this seed would; forget the optimiser.

        Names and metadata stay: they are what the network is about. Scales go with what was trained
        in them.

        Parameters
        ----------
        seed : int or None
            Non-negative; None for a seed from the system's entropy.

        Returns
        -------
        Network
            This network.

        Raises
        ------
        TypeError, ValueError
            Naming ``seed``.
        RuntimeError
            If a fit of this network is under way, or another thread has it.
        """
        random = RandomNumbers(validation.seed(seed))
        self._model.require_no_fit("its parameters cannot be replaced")
        self._step = decline  # until the next partial_fit: nothing is left to fail afterwards
        self._model.reset(random)
        return self

    def save(
        self,
        path: validation.PathLike,
        *,
        optimizer: bool = False,
        generator: bool = True,
        allow_nonfinite: bool = False,
    ) -> None:
        """Write sizes, functions, number type, names and parameters to a model file.

        Parameters
        ----------
        path : str, bytes or os.PathLike
            Where to; the customary ending is ``.safetensors``. A file that is there already is
            replaced in one instant and its permissions stay: whatever happens, path is the old
            file or the new one, whole. Through a symbolic link the file that it points to is
            replaced; other hard links keep the old one.
        optimizer : bool
            Whether the optimiser with its state and the generator are written, too: then
            `partial_fit` of the network that `load` returns goes on bit for bit.
        generator : bool
            False keeps the generator out of it. Who has its state knows every number that it drew
            and will draw: the noise of a private training among them.
        allow_nonfinite : bool
            Whether parameters that are not finite are written, too.

        Raises
        ------
        TypeError
            For an activation or a cost of your own, naming it: the file holds data, no code.
        ValueError
            For parameters that are not finite; for a path that is none.
        ModelFileError
            If what is at path is no regular file, or the file would be none that `load` reads:
            of names and metadata of more than a megabyte, and with ``optimizer`` of one of your
            own.
        OSError
            Whatever keeps the system from writing it; then the old file is as it was.

        Notes
        -----
        The layout is that of safetensors, which any reader of those opens: tensors
        ``layers.1.weight`` (n_1, n_0), ``layers.1.bias`` (n_1,), … and, in the metadata, what
        `load` needs, with a SHA-256 checksum.
        """
        from cbackprop.files import checkpoint as checkpoint_file

        checkpoint_file.save(
            self._model,
            path,
            optimizer=optimizer,
            generator=generator,
            allow_nonfinite=allow_nonfinite,
        )

    @classmethod
    def load(
        cls,
        path: validation.PathLike,
        *,
        threads: int | Literal["auto"] = 1,
        backend: Literal["compiled", "reference"] = "compiled",
        allow_nonfinite: bool = False,
    ) -> Self:
        """The network in a model file, its parameters the same to the bit: a new one.

        Of the class, ``Network.load(path)``: a network that there is stays as it is. Nothing runs
        from a file: it names its functions, by words of a list.

        Parameters
        ----------
        path : str, bytes or os.PathLike
            A file of `save`, or a checkpoint of `fit`, whose parameters are the last epoch's: those
            of the best one `fit` brings back, with ``resume`` and `EarlyStopping`.
        threads : int or "auto"
            As `Network` takes it; it is not in the file.
        backend : {"compiled", "reference"}
            Likewise.
        allow_nonfinite : bool
            Whether a file of `save` with ``allow_nonfinite`` is read, too.

        Returns
        -------
        Network
            With the optimiser and the generator, where the file has them: that of a checkpoint of
            `fit`, or of `save` with ``optimizer``. Without a generator in it, with one seeded from
            the system's entropy.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        ModelFileError
            Naming the path, if it is no whole and unchanged file of cbackprop.
        OSError
            If there is no such file, or it cannot be read.
        """
        from cbackprop.files import checkpoint as checkpoint_file

        network = cls.__new__(cls)
        network._adopt(
            checkpoint_file.load(
                path, threads=threads, backend=backend, allow_nonfinite=allow_nonfinite
            )
        )
        return network

    def __repr__(self) -> str:
        names = [name_of(activation) for activation in self.activations]
        activation = repr(names[0]) if len(set(names)) == 1 else repr(names)
        about = self._model.about
        said = [f", {name}={validation.shown(value)}" for name, value in about.given()]
        return (
            f"Network({list(self.sizes)}, activation={activation}, "
            f"cost={name_of(self.cost_function)!r}, dtype={self.dtype.name!r}, "
            f"backend={self.backend!r}{''.join(said)})"
        )

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.network(self)

    def summary(self) -> str:
        """The layers, their sizes and parameters as a text table, and what computes them.

        Returns
        -------
        str
            A line for each layer, and one for the whole; then what inputs and outputs are called
            and the metadata, long ones cut.
        """
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
        from cbackprop import neuron_names

        lines += [f"{what}: {text}" for what, text in neuron_names.about(self)]
        return "\n".join(lines)

    # ---- what goes in ----------------------------------------------------------------------------

    def _examples(self, X: object) -> tuple[Examples, bool]:
        """X as (n, n_0), and whether it was a single example."""
        given: object = X
        if type(X) is not np.ndarray:
            given = self._tables().examples("X", X)
        return validation.examples("X", given, self.sizes, self.dtype.name)

    def _pair(
        self,
        X: object,
        Y: object,
        needed_for: str = "",
        names: tuple[str, str] = ("X", "Y"),
        tables: validation.TableNames | None = None,
        missing: bool | None = None,
    ) -> tuple[Examples, Array, bool]:
        """X and Y likewise; at least one example where they are needed for something.

        The columns of tables come in the order of ``tables``, without it of the network's names.
        """
        given = X, Y
        if type(X) is not np.ndarray or type(Y) is not np.ndarray:
            given = (self._tables() if tables is None else tables).pair(X, Y, names)
        classes = self._model.about.class_names
        pair = validation.pair(
            *given, self.sizes, self.dtype.name, self.cost_function, names, missing, classes
        )
        if needed_for:
            validation.at_least_one_example(names[0], len(pair[0]), needed_for)
        return pair

    def _stream(self, X: object, Y: object) -> Stream | None:
        """What reads them a piece at a time, where they are not arrays."""
        if type(X) is np.ndarray and type(Y) is np.ndarray:
            return None
        from cbackprop.streams.choosing import stream_of_pairs

        return stream_of_pairs(self._model, X, Y)

    def _weight_of(
        self, stream: Stream, each: bool, sample_weight: object, what: str
    ) -> Array | None:
        """The weights of a mean over a stream."""
        validation.weights_of_counted("sample_weight", sample_weight, stream.n)
        n = 1 if stream.n is None else stream.n
        return validation.mean_or_each(each, sample_weight, n, what, self.dtype.name)[0]

    def _tables(self, X: object = None, Y: object = None) -> validation.TableNames:
        """The network's names, and in the place of none those of these tables."""
        about = self._model.about
        return validation.table_names(about.feature_names, about.class_names, self.sizes, X, Y)

    # ---- forward ---------------------------------------------------------------------------------

    def predict(self, X: ExamplesLike | Source, out: Floats | None = None) -> Floats:
        """The outputs a⁽ᴸ⁾.

        Parameters
        ----------
        X : array_like
            (n, n_0), or (n_0,) for one example. Or a source of rows, or a function that gives
            chunks (X, Y), of which Y is not looked at: see `Network`.
        out : ndarray, optional
            Where to write: of the result's shape and the network's dtype, C-contiguous; an array
            that is mapped to a file, say. Of X that is read a piece at a time each piece's outputs
            are written when they are there: after an error those before it stand in it.

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
        if type(X) is not np.ndarray:
            from cbackprop.streams.choosing import stream_of_examples

            stream = stream_of_examples(self._model, X)
            if stream is not None:
                from cbackprop.streams import calls

                return calls.predict(self._model, stream, out)
        examples, single = self._examples(X)
        shape = self.sizes[-1:] if single else (len(examples), self.sizes[-1])
        # Into an array of its own first: the caller's must not change if the call fails.
        target = (
            None
            if out is None
            else self._model.output_array(out, "", shape, X=numbers_of(examples))
        )
        result = self._model.predict(examples).reshape(shape)
        if target is None:
            return result
        target[...] = result
        return target

    def forward(self, X: ExamplesLike) -> Forward:
        """Weighted inputs z and activations a of every layer.

        Parameters
        ----------
        X : array_like
            (n, n_0), or (n_0,) for one example.

        Returns
        -------
        Forward
            ``.z[l]`` and ``.a[l]``, (n, n_l).

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow, naming the layer.
        """
        return self._model.forward(*self._examples(X))

    @overload
    def cost(
        self,
        X: ExamplesLike | Source,
        Y: npt.ArrayLike | None = None,
        per_example: Literal[False] = False,
        sample_weight: npt.ArrayLike | None = None,
    ) -> float: ...

    @overload
    def cost(
        self, X: ExamplesLike | Source, Y: npt.ArrayLike | None, per_example: Literal[True]
    ) -> Floats: ...

    @overload
    def cost(
        self, X: ExamplesLike | Source, Y: npt.ArrayLike | None, per_example: bool
    ) -> float | Floats: ...

    def cost(
        self,
        X: ExamplesLike | Source,
        Y: npt.ArrayLike | None = None,
        per_example: bool = False,
        sample_weight: npt.ArrayLike | None = None,
    ) -> float | Floats:
        """The mean cost C = (1/n) Σ_i C_i, or every C_i.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,). Or sources of rows, or
            without Y of chunks: see `Network`.
        per_example : bool
            Return each example's own cost.
        sample_weight : array_like, optional
            (n,) ≥ 0: the mean becomes Σ w_i C_i / Σ w_i. Not with ``per_example``.

        Returns
        -------
        float or ndarray
            The mean, or (n,) costs.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow.
        """
        each = validation.flag("per_example", per_example)
        stream = self._stream(X, Y)
        if stream is not None:
            from cbackprop.streams import calls

            weight = self._weight_of(stream, each, sample_weight, "a mean cost")
            if each:
                return calls.costs(self._model, stream)
            return calls.mean_cost(self._model, stream, weight)
        examples, targets, single = self._pair(X, Y)
        weight, total_weight = validation.mean_or_each(
            each, sample_weight, len(examples), "a mean cost", self.dtype.name
        )
        costs, total = self._model.costs(examples, targets, weight)
        if each:
            return _first_if(single, costs)
        return total / total_weight

    # ---- backward --------------------------------------------------------------------------------

    def backward(self, X: ExamplesLike, Y: npt.ArrayLike) -> Backward:
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

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow.
        """
        return self._model.backward(*self._pair(X, Y))

    def gradient(
        self,
        X: ExamplesLike | Source,
        Y: npt.ArrayLike | None = None,
        *,
        per_example: bool = False,
        sample_weight: npt.ArrayLike | None = None,
        out: Floats | None = None,
    ) -> Gradient:
        """∇C of the mean cost, or every example's own ∇C_i.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,). Or sources of rows, or
            without Y of chunks: see `Network`.
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

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        MemoryError
            Naming the bytes.
        FloatingPointError
            If finite inputs overflow.

        Notes
        -----
        ∂C_i/∂w_jk = a_k δ_j and ∂C_i/∂b_j = δ_j with δ = ∂C_i/∂z.
        """
        each = validation.flag("per_example", per_example)
        stream = self._stream(X, Y)
        if stream is not None:
            from cbackprop.streams import calls

            weight = self._weight_of(stream, each, sample_weight, "a mean gradient")
            if each:
                return calls.per_example_gradient(self._model, stream, out)
            return calls.gradient(self._model, stream, weight, out)
        examples, targets, single = self._pair(X, Y)
        n = len(examples)
        weight, total_weight = validation.mean_or_each(
            each, sample_weight, n, "a mean gradient", self.dtype.name
        )
        validation.result_size("the per-example gradients", n if each else 1, self.n_parameters)
        if each:
            return self._model.per_example_gradient(examples, targets, single, out)
        return self._model.gradient(examples, targets, weight, total_weight, out)

    def gradient_norms(self, X: ExamplesLike | Source, Y: npt.ArrayLike | None = None) -> Floats:
        """The Euclidean norm of every example's own gradient, without making the gradients.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,). Or sources of rows, or
            without Y of chunks: see `Network`.

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
        gradient : With ``per_example=True`` the gradients themselves, n·P numbers.

        Notes
        -----
        ∂C_i/∂W⁽ˡ⁾ is the outer product of δ⁽ˡ⁾ and a⁽ˡ⁻¹⁾, so that
        ‖∇C_i‖² = Σ_l ‖δ⁽ˡ⁾‖² (‖a⁽ˡ⁻¹⁾‖² + 1): a few operations a neuron [1]_. Squares are summed in
        float64, scaled where they leave its range.

        References
        ----------
        .. [1] I. Goodfellow, "Efficient per-example gradient computations", 2015, arXiv:1510.01799.
        """
        stream = self._stream(X, Y)
        if stream is not None:
            from cbackprop.streams import calls

            return calls.gradient_norms(self._model, stream)
        examples, targets, single = self._pair(X, Y)
        return _first_if(single, self._model.gradient_norms(examples, targets))

    def clipped_gradient(self, X: ExamplesLike, Y: npt.ArrayLike, max_norm: float) -> Gradient:
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
        examples, targets, _ = self._pair(X, Y, "a mean gradient")
        return self._model.clipped_gradient(examples, targets, limit)

    def gradient_gram(
        self,
        X: ExamplesLike,
        Y: npt.ArrayLike,
        X2: ExamplesLike | None = None,
        Y2: npt.ArrayLike | None = None,
    ) -> Floats:
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
        tables = self._tables(X, Y)
        examples, targets, single = self._pair(X, Y, tables=tables)
        validation.both_or_neither(("X2", X2), ("Y2", Y2))
        examples2, targets2, single2 = None, None, single
        if X2 is not None and Y2 is not None:
            examples2, targets2, single2 = self._pair(X2, Y2, names=("X2", "Y2"), tables=tables)
        n2 = len(examples if examples2 is None else examples2)
        validation.result_size("the Gram matrix", len(examples), n2)
        gram = self._model.gradient_gram(examples, targets, examples2, targets2)
        gram = _first_if(single, gram)
        return gram[..., 0] if single2 else gram

    def gradient_moments(
        self, X: ExamplesLike | Source, Y: npt.ArrayLike | None = None
    ) -> tuple[Gradient, Gradient]:
        """Mean and variance of every parameter's derivative over the examples.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,). Or sources of rows, or
            without Y of chunks: see `Network`.

        Returns
        -------
        mean : Gradient
            ``.vector`` (P,): (1/n) Σ_i ∇C_i, bit for bit `gradient`'s; ``.cost`` is the mean of
            the costs C_i.
        variance : Gradient
            ``.vector`` (P,): (1/n) Σ_i (∇C_i − mean)², divided by n; ``.cost`` is the variance of
            the costs C_i.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow, or a variance does not fit the network's dtype.

        Notes
        -----
        The deviations themselves are squared and summed, in a second pass over the examples, so
        that the variance keeps its digits where it is small compared with the mean (Chan, Golub and
        LeVeque 1983, "Algorithms for computing the sample variance"). No (n, P) array is made.
        """
        stream = self._stream(X, Y)
        if stream is not None:
            from cbackprop.streams import calls

            return calls.gradient_moments(self._model, stream)
        examples, targets, _ = self._pair(X, Y, "a mean gradient")
        return self._model.gradient_moments(examples, targets)

    def jacobian(self, X: ExamplesLike, *, out: Floats | None = None) -> Floats:
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
        width = self.sizes[-1] * self.n_parameters
        validation.result_size("the Jacobian", len(examples), width)
        return self._model.jacobian(examples, single, out)

    def input_gradient(self, X: ExamplesLike, Y: npt.ArrayLike) -> Floats:
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
        return _first_if(single, self._model.input_gradient(examples, targets))

    def input_jacobian(self, X: ExamplesLike) -> Floats:
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
        width = self.sizes[-1] * self.sizes[0]
        validation.result_size("the Jacobian", len(examples), width)
        return _first_if(single, self._model.input_jacobian(examples))

    def vjp(
        self,
        X: ExamplesLike,
        V: npt.ArrayLike,
        *,
        out: tuple[Floats | None, Floats | None] | None = None,
    ) -> tuple[Gradient, Floats]:
        """Vᵀ times the Jacobian: what couples the network to another program's loss.

        Parameters
        ----------
        X : array_like
            (n, n_0), or (n_0,) for one example.
        V : array_like
            (n, n_L), or (n_L,): the derivatives of that loss by this network's outputs a⁽ᴸ⁾.
        out : tuple of two ndarrays, optional
            Where to write, (P,) and (n, n_0), or None in the place of either: of the network's
            dtype, C-contiguous. Should the call fail by overflow, their contents are unspecified.

        Returns
        -------
        gradient : Gradient
            ∂/∂parameters of Σ_ij V_ij a_ij, which is its ``.cost``: a sum over the examples, not
            divided by n.
        by_inputs : ndarray
            ∂/∂X of it, (n, n_0), or (n_0,) for one example.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow, naming the layer.

        See Also
        --------
        jvp : The Jacobian times a vector.
        jacobian : The Jacobian itself.

        Notes
        -----
        Backpropagation with V_ij in the place of ∂C_i/∂a_j [1]_.

        References
        ----------
        .. [1] A. Griewank and A. Walther, "Evaluating Derivatives", 2nd edition, 2008, chapter 3.

        Examples
        --------
        A loss of two outputs' difference, differentiated by hand:

        >>> net = Network([3, 4, 2], seed=0)
        >>> X = np.ones((5, 3))
        >>> gradient, by_inputs = net.vjp(X, np.tile([1.0, -1.0], (5, 1)))
        >>> by_inputs.shape
        (5, 3)
        """
        given_X, given_V = self._tables().pair(X, V, ("X", "V"))
        examples, single = validation.examples("X", given_X, self.sizes, self.dtype.name)
        by_outputs = validation.rows_of_numbers(
            "V", given_V, len(examples), self.sizes[-1], single, self.dtype.name, "sizes[-1]"
        )
        targets = validation.two_outputs("out", out)
        return self._model.vjp(examples, by_outputs, single, targets)

    def jvp(
        self,
        X: ExamplesLike,
        v: npt.ArrayLike | Gradient | None = None,
        dX: npt.ArrayLike | None = None,
        *,
        out: Floats | None = None,
    ) -> Floats:
        """The Jacobian times a vector: how the outputs move along a direction.

        Parameters
        ----------
        X : array_like
            (n, n_0), or (n_0,) for one example.
        v : array_like or Gradient, optional
            (P,), in the order of `parameters`: how these move.
        dX : array_like, optional
            Of the shape of X: how each example moves. One of the two at least must be there.
        out : ndarray, optional
            Where to write: of the result's shape and the network's dtype, C-contiguous. Should the
            call fail by overflow, its contents are unspecified.

        Returns
        -------
        ndarray
            (n, n_L), or (n_L,): Σ_p ∂a/∂parameter_p v_p + Σ_k ∂a/∂x_k dx_k, exact up to rounding.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow, naming the layer.

        Notes
        -----
        The forward pass of Pearlmutter's R-operator [1]_: R{z} = W R{a} + V a + v_b and
        R{a} = σ′(z) R{z}, layer by layer.

        References
        ----------
        .. [1] B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6
           (1994) 147–160.
        """
        examples, single = self._examples(X)
        n, dtype = len(examples), self.dtype.name
        validation.some_direction(v=v, dX=dX)
        direction = moves = None
        if v is not None:
            direction = validation.parameter_vector("v", v, self.n_parameters, dtype)
        if dX is not None:
            given = self._tables().examples("dX", dX)
            moves = validation.rows_of_numbers(
                "dX", given, n, self.sizes[0], single, dtype, "sizes[0]"
            )
        return self._model.jvp(examples, direction, moves, single, out)

    # ---- curvature -------------------------------------------------------------------------------

    def hessian_vector_product(
        self, X: ExamplesLike, Y: npt.ArrayLike, v: npt.ArrayLike | Gradient
    ) -> Floats:
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
        return self._curvature_product(X, Y, v, gauss_newton=False)

    def gauss_newton_vector_product(
        self, X: ExamplesLike, Y: npt.ArrayLike, v: npt.ArrayLike | Gradient
    ) -> Floats:
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
        return self._curvature_product(X, Y, v, gauss_newton=True)

    def _curvature_product(
        self, X: ExamplesLike, Y: npt.ArrayLike, v: object, gauss_newton: bool
    ) -> Floats:
        examples, targets, _ = self._pair(X, Y, "a mean cost")
        direction = validation.parameter_vector("v", v, self.n_parameters, self.dtype.name)
        return self._model.curvature_product(examples, targets, direction, gauss_newton)

    # ---- looking inside --------------------------------------------------------------------------

    def chain_rule(self, x: ExamplesLike, y: npt.ArrayLike) -> ChainRule:
        """The factors of any weight, bias or activation for one example, as numbers.

        Parameters
        ----------
        x, y : array_like
            (n_0,) and (n_L,), or one row of each.

        Returns
        -------
        ChainRule
            ``.weight(layer, j, k)``, ``.bias(layer, j)``, ``.activation(layer, k)``.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow.
        """
        pair = self._tables().pair(x, y, ("x", "y"))
        examples, targets, _ = self._pair(
            *validation.one_example(*pair, self.sizes[-1]), names=("x", "y")
        )
        examples = dense(examples)
        validation.require_finite("x", examples)
        with self._engine.reading():
            backward = self._model.backward(examples, targets, True)
            from cbackprop.chain_rule import ChainRule

            return ChainRule(self._model, examples[0], backward, targets[0])

    def check_gradient(self, X: ExamplesLike, Y: npt.ArrayLike) -> GradientCheck:
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

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow.
        """
        examples, targets, _ = self._pair(X, Y, "a gradient")
        from cbackprop.gradient_check import check_gradient

        return check_gradient(self._model, dense(examples), targets, self.gradient)

    def diagnose_gradient(
        self,
        X: ExamplesLike,
        Y: npt.ArrayLike,
        gradient: npt.ArrayLike
        | Gradient
        | tuple[Sequence[npt.ArrayLike], Sequence[npt.ArrayLike]],
    ) -> GradientDiagnosis:
        """What is wrong with a gradient that you have computed yourself.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), or (n_0,) and (n_L,). Some examples suffice; of a single one
            nobody sees whether the mean was taken.
        gradient : array_like, Gradient or pair of lists
            Yours of the mean cost, in float64 or float32: (P,) in the order of `parameters`; or a
            pair, the derivatives by the weights, (n_l, n_{l-1}) for each layer, and those by the
            biases, (n_l,). What has another order, or stands transposed, is taken, and told.

        Returns
        -------
        GradientDiagnosis
            ``.agrees``, ``.mistakes`` (their names), ``.layers``, ``.evidence``; printable.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        FloatingPointError
            If finite inputs overflow.

        Notes
        -----
        For every known mistake, and up to three of them together, the gradient is computed that it
        would give, in float64; what fits every number, up to rounding, and has the fewest of them,
        explains yours. Where nothing fits, no known mistake explains it, and the evidence names the
        largest difference of each layer.

        Examples
        --------
        >>> net = Network([2, 3, 1], seed=0)
        >>> X, Y = [[0.5, -1.0], [2.0, 0.1]], [[1.0], [0.0]]
        >>> net.diagnose_gradient(X, Y, -net.gradient(X, Y)).mistakes
        ('sign reversed',)
        """
        examples, targets, _ = self._pair(X, Y, "a gradient")
        own = validation.own_gradient("gradient", gradient, self.sizes)
        from cbackprop.gradient_diagnosis import diagnose_gradient

        return diagnose_gradient(self._model, dense(examples), targets, own)

    def stepper_html(
        self,
        X: ExamplesLike,
        Y: npt.ArrayLike,
        *,
        learning_rate: float = 0.5,
        steps: int = 20,
        title: str = "Backpropagation, step by step",
    ) -> Page:
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
            HTML in one piece, for a file: it loads nothing, from nowhere. A notebook displays it in
            a frame of its own. Its numbers are those of `backward`, `gradient` and `partial_fit`,
            all digits kept.

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
        heading = validation.text("title", title)
        examples, targets, _ = self._pair(X, Y, "a step")
        validation.stepper_size(self.sizes, n_steps)
        return stepper.page(self._model, dense(examples), targets, rate, n_steps, heading)

    # ---- training --------------------------------------------------------------------------------

    @validation.names_keywords
    def fit(
        self,
        X: ExamplesLike | Source,
        Y: npt.ArrayLike | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: OptimizerName | Optimizer = "sgd",
        learning_rate: float | None = None,
        shuffle: bool | npt.ArrayLike | Callable[[int], npt.ArrayLike] = True,
        sample_weight: npt.ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: float = 0.0,
        max_norm: float | None = None,
        clip_norm: float | None = None,
        noise_multiplier: float = 0.0,
        clip_gradient_norm: float | None = None,
        frozen: Iterable[int] = (),
        missing_targets: bool = False,
        sparse: bool | Literal["auto"] = "auto",
        standardise: bool | None = None,
        validation_data: tuple[ExamplesLike, npt.ArrayLike] | Source | None = None,
        validation_fraction: float = 0.0,
        stratify: bool | npt.ArrayLike | None = None,
        metrics: Sequence[MetricName | Metric] = (),
        early_stopping: EarlyStopping | int | None = None,
        schedule: Callable[[int, float], float] | None = None,
        callbacks: Sequence[Callable[[Self, History], object]] = (),
        progress: bool | None = None,
        checkpoint: validation.PathLike | None = None,
        checkpoint_generator: bool = True,
        resume: bool = False,
    ) -> History:
        """Train by repeated downhill steps on mini-batches.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L), arrays or sources of rows (see `Network`). Or, without Y, a
            source of chunks: something that can be gone through again and again, as a list or a
            ``torch.utils.data.DataLoader``, and gives pairs (X, Y), or a function without arguments
            that returns what can be gone through once. See the Notes.
        epochs : int
            Passes over the data, ≥ 0; with ``resume`` those before the checkpoint included.
        batch_size : int
            Examples a step, ≥ 1; the last batch of a pass may be smaller and counts by its own
            size, with ``noise_multiplier`` by this one.
        optimizer : str or object
            "sgd", "adam", "adamw", "rmsprop", "adagrad", "rprop", "lbfgs", "levenberg_marquardt",
            or one of their objects: `SGD`, `Adam`, … Starts afresh with each fit.
        learning_rate : float, optional
            In place of the optimiser's own (0.1 for SGD, 0.001 for Adam).
        shuffle : bool, array_like or callable
            True: a new random order for each epoch, from the network's generator. False: the order
            of the rows. An order (n,) of your own for every epoch, or a function of the epoch, from
            0, that returns one. Of sources that have slices alone, not any rows by their numbers,
            True shuffles the pieces that are read, and the rows in each.
        sample_weight : array_like, optional
            (n,) ≥ 0. A batch's gradient is Σ w_i ∇C_i / Σ w_i over the batch; a batch whose weights
            are all 0 makes no step. Only ratios count: 1e-300 for all is 1 for all.
        class_weight : dict, array_like or "balanced", optional
            A weight for each class, (n_L,), or (2,) with one output, times ``sample_weight``; a
            dict, or a Series of pandas', by the classes' numbers or ``class_names``, 1 where it has
            none. An example's class is what "accuracy" takes for it; rows of several labels have
            none.
            "balanced": n/(classes · examples of the class).
        l1, l2 : float
            Add l1 Σ|w| + (l2/2) Σw² to the cost, of weights, not of biases. In scikit-learn alpha
            is n·l2 for n examples a batch; PyTorch's weight_decay of SGD is l2 but takes biases,
            too; Nielsen's λ is n·l2 for n examples in all.
        dropout : float
            In [0, 1): each hidden activation is left out of a step with this probability, and the
            others are divided by 1 − dropout (Srivastava et al. 2014). Predictions use all.
        max_norm : float, optional
            After each step every neuron's incoming weights are shortened to this length at most.
        clip_norm : float, optional
            Every example's own gradient is first shortened to this length at most.
        noise_multiplier : float
            Gaussian noise of standard deviation noise_multiplier·clip_norm on each parameter's sum
            of clipped gradients: the step of DP-SGD (Abadi et al. 2016). Needs ``clip_norm``. Sum
            and noise are divided by ``batch_size``, those of a shorter last batch, too. Weights are
            refused with it, and what compares costs of the training data, which have no noise:
            Rprop, the whole-batch optimisers, early stopping and `schedules.ReduceOnPlateau`
            without validation data.
        clip_gradient_norm : float, optional
            A batch's mean gradient g, before penalties, becomes g·min(1, clip_gradient_norm/‖g‖)
            (``torch.nn.utils.clip_grad_norm_`` without its 1e-6). Not with noise.
        frozen : sequence of int
            Layers, from 1 to L, that do not learn: nothing changes their weights, biases and what
            the optimiser remembers of them, and their part of a gradient counts in no norm.
        missing_targets : bool
            Whether NaN in Y, and in ``validation_data``, stands for a target that is not there: its
            term of the cost and its gradient are 0, in "mse", "mae" and "r2" it does not count, and
            "accuracy" is that of the examples whose targets are all there. A cost that is a mean
            over outputs still divides by n_L, and an example without any target still counts in the
            mean over examples. Not for a `Cost` of your own; metrics of your own get the NaN.
        sparse : bool or "auto"
            Whether the first layer leaves out the zeros of X. True: yes; "auto": where so many of X
            are 0, and the fit is so long, that it pays. A matrix or an array of scipy.sparse is
            trained on as it is, with False as dense rows, for which memory must suffice. The
            results have the same bits.
        standardise : bool, optional
            True: train on (x − mean)/deviation of X's columns, and of Y's where outputs are the
            identity, and fold that into the first and the last layer: the network takes and gives
            numbers as they are. None: again in the scales that it has kept, if any. False: on X and
            Y as they are; scales that it has kept are forgotten. See the Notes.
        validation_data : (X, Y), optional
            Judged after each epoch: arrays, sources of rows, or a source of chunks that is no list.
        validation_fraction : float
            In [0, 1): this share of the examples is held out of training and judged instead: random
            ones, or, unless ``shuffle`` is True, the last.
        stratify : bool or array_like, optional
            True: of each class its share is held out, the classes being those of "accuracy"; or
            labels (n,) to take for classes. There must be two examples of each at least.
        metrics : sequence, optional
            "accuracy", "mse", "mae", "r2", or functions of (predictions, targets). See `score`.
        early_stopping : EarlyStopping or int, optional
            An int is the patience.
        schedule : callable, optional
            f(epoch, learning_rate) returns the epoch's rate, see `cbackprop.schedules`. After the
            fit, however it ends, the network has the optimiser's own rate again. Not for
            whole-batch optimisers.
        callbacks : sequence of callable, optional
            Each called as f(network, history) after each epoch; one that returns True stops the
            fit.
        progress : bool, optional
            Show the epochs on stderr: None for terminals and fits of more than a second only. With
            tqdm's bar where that is installed.
        checkpoint : path, optional
            A file written after each epoch: parameters, also those of the best epoch, the
            optimiser's state, the generator and the history. Without ``resume`` it replaces a
            file that is there.
        checkpoint_generator : bool
            False keeps the generator's state out of that file, from which the noise of a private
            training could be told. A fit that goes on from it draws random numbers of its own. It
            takes a seed that nobody can guess (None): which rows are held out stands in the file,
            and tells a right guess.
        resume : bool
            Go on from ``checkpoint``, bit for bit as if the fit had not been stopped; an OSError
            where there is no such file (``resume=os.path.exists(path)`` begins there), and nothing
            to train where it has as many ``epochs`` or more. The data,
            their weights and order, what is held out, batch_size, optimiser and its learning rate,
            and the options of a step must be what they were (a fingerprint of them is in the file);
            epochs, schedule, validation_data, metrics, early stopping and callbacks may be others.

        Returns
        -------
        History
            The costs and metrics of each epoch, and why the fit ended.

        Raises
        ------
        TypeError, ValueError
            Naming the argument; nothing has changed then. Of a source that goes wrong in a later
            epoch, naming the chunk or the row; everything is as at the start of that epoch.
        ModelFileError, OSError
            If a checkpoint cannot be read or written.
        FloatingPointError
            If training diverges, naming the epoch; the parameters are those at its start.
        KeyboardInterrupt
            On Ctrl-C; the parameters are those of the last full batch, or with early stopping that
            restores it of the best epoch. `history` has the epochs completed.
        RuntimeError
            If a fit of this network is under way (in a callback or another thread).

        Warns
        -----
        UserWarning
            Once a fit, of targets that the output activation cannot reach, and of examples without
            a class under softmax.

        Notes
        -----
        Sources of rows. The steps are, to the bit, those of arrays in memory; but a source of
        slices alone is shuffled otherwise. Three pieces of 8 MB are in memory (of 32 MB where
        slices are shuffled), or three batches where these are larger, and eight bytes a row where
        any rows are taken by their numbers (memory-mapped arrays, h5py's, `datasets.open_npy`).
        With what looks at all examples first the source is read whole: ``standardise``, a share
        held out, weights by class, ``sparse=True``, metrics without validation data. A
        memory-mapped array of the network's own number type stays where it is in any case.

        Chunks. One epoch is one way through the source, in its order: ``shuffle`` shuffles nothing.
        Batches go on over the ends of chunks, so that the steps are, to the bit, those of
        ``shuffle=False`` on all rows at once; a chunk of `DataLoader` is a batch where both have
        the same size. The source works in a thread of its own, one chunk ahead: what it wants of
        this network it gets from a copy. Memory is needed for three chunks and two batches, besides
        what the source has. What looks at all examples first is refused: weights, a share held out,
        ``standardise``, ``sparse=True``, metrics without validation data, whole-batch optimisers. A
        checkpoint compares nothing of such data.

        Standardised training. Mean and deviation, in float64, are those of the rows trained on,
        without those held out, each counted once whatever its weight; a column of equal numbers is
        only shifted, and a target that is missing does not count. Y stays as it is with a cost of
        your own. What is sparse is refused, and noise, for the scales tell of the data.

        The scales stay with the network, as `scales`. Later `fit` and `partial_fit` train in them,
        and go on to the bit where nothing has written into the parameters; another
        ``standardise=True`` takes new ones, and the outputs stay what they were. A network without
        scales must not have been trained since it was made, loaded or reset: its parameters are
        taken for those of standardised numbers.

        Penalties, max_norm and clipping act on the weights and gradients of standardised numbers,
        and so do the costs in the history: cost and validation cost are those of standardised
        targets, which compare with each other. Metrics, and whatever looks at the network
        (callbacks, `cost`, `score`), are those of numbers as they are. A copy of X and Y is made.
        In float32 a mean far above the deviation leaves few digits for what varies, with scales or
        without.
        """
        examples, targets, plan = plans.make(
            self._model,
            self,
            X,
            Y,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            shuffle=shuffle,
            sample_weight=sample_weight,
            class_weight=class_weight,
            l1=l1,
            l2=l2,
            dropout=dropout,
            max_norm=max_norm,
            clip_norm=clip_norm,
            noise_multiplier=noise_multiplier,
            clip_gradient_norm=clip_gradient_norm,
            frozen=frozen,
            missing_targets=missing_targets,
            sparse=sparse,
            standardise=standardise,
            validation_data=validation_data,
            validation_fraction=validation_fraction,
            stratify=stratify,
            metrics=metrics,
            early_stopping=early_stopping,
            schedule=schedule,
            callbacks=callbacks,
            progress=progress,
            checkpoint=checkpoint,
            checkpoint_generator=checkpoint_generator,
            resume=resume,
        )
        self._model.require_no_fit("it cannot start another one")
        with self._engine:
            self._step = decline  # until the next partial_fit: there may be scales then
            return loop.run(self._model, examples, targets, plan)

    def partial_fit(
        self,
        X: ExamplesLike,
        Y: npt.ArrayLike,
        batch_size: int = 32,
        optimizer: OptimizerName | Optimizer | None = None,
        learning_rate: float | None = None,
        sample_weight: npt.ArrayLike | None = None,
        options: Mapping[str, float | Iterable[int] | None] | None = None,
    ) -> Self:
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
            What `fit` takes as l1, l2, dropout, max_norm, clip_norm, noise_multiplier,
            clip_gradient_norm, frozen and missing_targets, for this pass: {"l2": 1e-4}. With noise
            there may be no row, (0, n_0): a step of noise alone, as a lot drawn at random may need.

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
            and self._step(X, Y, batch_size)
        ):
            return self
        size = validation.integer("batch_size", batch_size, 1)
        step_options = plans.step_options(
            self._model, validation.option_names("options", options, StepOptions._fields)
        )
        asked = step_options or StepOptions()
        validation.noise_alone(asked.noise_multiplier, sample_weight=sample_weight)
        needed_for = "" if asked.noise_multiplier > 0 else "training"
        tables = self._tables(X, Y)
        examples, targets, _ = self._pair(
            X, Y, needed_for, tables=tables, missing=asked.missing_targets
        )
        weight, _ = validation.sample_weight(
            "sample_weight", sample_weight, len(examples), self.dtype.name
        )
        self._model.require_no_fit("it cannot start another one")
        with self._engine:
            self._step = self._model.step  # before anything changes; scales stay
            loop.run_pass(
                self._model,
                examples,
                targets,
                size,
                optimizer,
                learning_rate,
                weight,
                step_options,
                tables,
            )
        return self

    def score(
        self,
        X: ExamplesLike | Source,
        Y: npt.ArrayLike | None = None,
        metric: MetricName | Metric | None = None,
    ) -> float:
        """A metric of the predictions for X against Y.

        Parameters
        ----------
        X, Y : array_like
            (n, n_0) and (n, n_L). Or sources of rows, or
            without Y of chunks: see `Network`.
        metric : str or callable, optional
            "accuracy", "mse", "mae", "r2", or a function of (predictions, targets). By default
            accuracy where the targets are classes, r2 otherwise.

        Returns
        -------
        float
            What the metric says of all examples together.

        Raises
        ------
        TypeError, ValueError
            Naming the argument; for "accuracy" of targets that name no classes.
        FloatingPointError
            If finite inputs overflow.

        Notes
        -----
        Accuracy is the share of the examples that are right. Of softmax outputs the largest one
        counts, and the largest target. Other targets must be 0 and 1 alone, or −1 and 1: where each
        row has a single 1, the largest output is the class; one output lies above or below ½ (0 for
        −1 and 1); rows with any number of ones are labels, all of which must be right. Counts, with
        the cost poisson, are no classes; nor are, where nothing else is asked for, targets all
        alike of outputs without bounds.
        """
        stream = self._stream(X, Y)
        if stream is not None:
            from cbackprop.streams import calls

            outputs, targets = calls.outputs_and_targets(self._model, stream)
            validation.at_least_one_example("X", len(outputs), "a score")
        else:
            examples, targets, _ = self._pair(X, Y, "a score")
            outputs = self._model.predict(examples)
        function = chosen("metric", metric, self.activations[-1], self.cost_function, targets)
        return measured("metric", function, outputs, targets)


_FIXED_ATTRIBUTES = tuple(Network.__annotations__)
_ASSIGNABLE = ("parameters", *About._fields)
_OWN_ATTRIBUTES = (*_FIXED_ATTRIBUTES, "_model", "_engine", "_step")
for _name in _OWN_ATTRIBUTES:
    setattr(Network, _name, _NotInitialised())
setattr(Network, "load", _MethodOfTheClass(vars(Network)["load"].__func__))  # noqa: B010 - typed


def _first_if(single: bool, array: Array) -> Floats:
    """The only example's own row, where there is but one."""
    row: Floats = array[0] if single else array
    return row


def with_history(net: Network, history: History | None) -> Network:
    """The network as it came back from a fit in another process, whose history this is."""
    net._model.history = history
    return net
