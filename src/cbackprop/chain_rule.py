"""The chain rule of one example, factor by factor.

∂C/∂w_jk = ∂z_j/∂w_jk · ∂a_j/∂z_j · ∂C/∂a_j, ∂C/∂b_j the same with 1 for the first factor, and
∂C/∂a_k = Σ_j w_jk · ∂a_j/∂z_j · ∂C/∂a_j, one path for every neuron j of the next layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from cbackprop import layout, paths, validation
from cbackprop.functions import COSTS, Array, Floats, name_of, read_only
from cbackprop.gradients import Backward
from cbackprop.neuron_names import called
from cbackprop.nudges import NUDGE_SIZES, Nudge, Nudges
from cbackprop.paths import Factor, FullPath, Path

if TYPE_CHECKING:
    from cbackprop.drawing.canvas import Drawing
    from cbackprop.drawing.shown import NamedLayers, Picture, Theme


class Pass(NamedTuple):
    """z and a of every layer, (1, n_l), None where a nudge came later, and the cost."""

    z: list[Array | None]
    a: list[Array]
    cost: float


class Term:
    """A derivative of the cost of one example; see the three kinds below.

    Attributes
    ----------
    name : str
        The quantity, such as "w[3, 7] of layer 2".
    long_name : str
        With what the network's names say of it: "w[0, 1] of layer 1 (dose → neuron 0)".
    value : float
        ∂C/∂ of it.
    """

    quantity: Literal["w", "b", "a"]

    def __init__(self, rule: ChainRule, layer: int, indices: tuple[int, ...], value: float) -> None:
        self._rule = rule
        self.layer = layer
        self.indices = indices
        self.name = f"{self.quantity}{list(indices)} of layer {layer}"
        self.long_name = f"{self.name}{_between(rule, layer, indices)}"
        self.value = value

    def nudge(self, size: float = 0.01) -> Nudge:
        """Change the quantity by ``size`` and see what the cost does.

        Parameters
        ----------
        size : float
            Any finite number but 0.

        Returns
        -------
        Nudge
            What the derivative predicts, and what the cost does.

        Raises
        ------
        TypeError, ValueError
            Naming ``size``.
        FloatingPointError
            If the nudged cost overflows.
        """
        number = validation.not_zero("size", size)
        with np.errstate(all="ignore"):  # what is not finite is reported
            change = self.nudged_pass(number).cost - self.nudged_pass(0.0).cost
        validation.nudge_stays_finite(number, change)
        return Nudge(number, self.value, change)

    def nudges(self, sizes: Iterable[float] = NUDGE_SIZES) -> Nudges:
        """A table of nudges: measured / h tends to the derivative, and its error shrinks like h.

        Parameters
        ----------
        sizes : iterable of float
            The nudges h; by default 0.1, 0.01, … 0.00001.

        Returns
        -------
        Nudges
            A tuple of `Nudge` that prints as a table.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `nudge`, for any of them.
        """
        return Nudges(
            self.name,
            self.value,
            [self.nudge(size) for size in validation.nudge_sizes("sizes", sizes)],
        )

    def all_paths(self, limit: int = 10_000) -> tuple[FullPath, ...]:
        """Every path through the layers into the cost, whose contributions add up to the value.

        Parameters
        ----------
        limit : int
            The most paths to list, ≥ 1. Their number is the product of the sizes of the layers
            above.

        Returns
        -------
        tuple of FullPath
            Sorted by their neurons, from the lowest layer up.

        Raises
        ------
        TypeError, ValueError
            Naming ``limit``, also where there are more paths than that.
        """
        limit = validation.integer("limit", limit, 1)
        validation.paths_within(limit, paths.count_from(self._rule.sizes, self.layer))
        return tuple(self._full_paths())

    def svg(self, kind: Picture = "tree", theme: Theme = "auto") -> Drawing:
        """A picture of this derivative, in numbers.

        Parameters
        ----------
        kind : {"tree", "chain", "indices", "summary"}
            The tree of local derivatives from the quantity up to the cost; the chain of neurons on
            its strongest path, every quantity a point on a number line; the two layers with their
            indices j and k and the paths into the cost; or every formula with its number.
        theme : {"auto", "light", "dark"}
            auto follows the reader's system.

        Returns
        -------
        str
            SVG, which notebooks display; write it to a file as UTF-8.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        """
        from cbackprop import drawing

        return drawing.of_term(
            self._rule,
            self,
            validation.choice("kind", kind, drawing.PICTURES),
            validation.choice("theme", theme, drawing.THEMES),
        )

    def latex(self) -> str:
        """The formula for LaTeX, MathJax or KaTeX: with symbols, then with numbers.

        Returns
        -------
        str
            Without the dollar signs around it.
        """
        from cbackprop.drawing import latex

        return latex.of_term(self._rule, self)

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.term(self)

    def nudged_pass(self, size: float) -> Pass:
        """The example's forward pass after a nudge."""
        return self._rule.nudged_pass(self.quantity, self.layer, self.indices, size)

    def _full_paths(self) -> Iterator[FullPath]:
        raise NotImplementedError

    def _lines(self) -> list[str]:
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return f"<∂C/∂{self.long_name} = {paths.number(self.value)}>"


class _ParameterTerm(Term):
    """What the derivatives by a weight and by a bias share: z_j moves C through a_j."""

    def __init__(self, rule: ChainRule, layer: int, indices: tuple[int, ...], dz_dw: float) -> None:
        self.j = indices[0]
        self.dz_dw = dz_dw
        dC_dz = rule.backward.delta[layer][self.j]
        with np.errstate(all="ignore"):  # a product may vanish
            value = float(dz_dw * dC_dz)
        super().__init__(rule, layer, indices, value)
        self.da_dz, self.dC_da = rule.upper_factors(layer, self.j)
        self.dC_dz = float(dC_dz)

    def _full_paths(self) -> Iterator[FullPath]:
        return _paths_from_weighted_input(self._rule, self.layer, self.j, (self.dz_dw,))

    def _name_of_dz_dw(self) -> str:
        return f"∂z/∂{self.quantity}"

    def _lines(self) -> list[str]:
        return [
            f"∂C/∂{self.long_name} = ∂z/∂{self.quantity} · ∂a/∂z · ∂C/∂a",
            *_aligned(
                (self._name_of_dz_dw(), paths.factor(self.dz_dw)),
                *_upper_rows(self.j, self.da_dz, self.dC_da, self.dC_dz),
                ("product", paths.number(self.value)),
            ),
        ]


class WeightTerm(_ParameterTerm):
    """∂C/∂w_jk = dz_dw · da_dz · dC_da.

    Attributes
    ----------
    dz_dw : float
        ∂z_j/∂w_jk = a_k of the layer below.
    da_dz : float or ndarray
        ∂a_j/∂z_j = σ′(z_j); in a softmax layer ∂a_i/∂z_j for every output i, (n_L,).
    dC_da : float or ndarray
        ∂C/∂a_j; in a softmax layer ∂C/∂a_i for every output i, (n_L,). At a cross-entropy or
        poisson output whose activation has rounded to 0 or 1 it may be infinite.
    dC_dz : float
        ∂C/∂z_j, the product of these two (summed over i for softmax). With cross_entropy and
        poisson it is taken before they are rounded, and is right where one of them is infinite.
    value : float
        dz_dw · dC_dz, the product of all three, formed as the gradient forms it.
    """

    quantity: Literal["w", "b", "a"] = "w"

    def __init__(self, rule: ChainRule, layer: int, j: int, k: int) -> None:
        super().__init__(rule, layer, (j, k), float(rule.backward.a[layer - 1][k]))
        self.k = k

    def _name_of_dz_dw(self) -> str:
        return f"∂z/∂w = a[{self.k}] of layer {self.layer - 1}"


class BiasTerm(_ParameterTerm):
    """∂C/∂b_j = 1 · da_dz · dC_da.

    Attributes
    ----------
    dz_db : float
        ∂z_j/∂b_j = 1. A bias is the weight of an input that is always 1: `dz_dw` is the same.
    da_dz, dC_da, dC_dz, value
        As in `WeightTerm`.
    """

    quantity: Literal["w", "b", "a"] = "b"

    def __init__(self, rule: ChainRule, layer: int, j: int) -> None:
        self.dz_db = 1.0
        super().__init__(rule, layer, (j,), self.dz_db)


class ActivationTerm(Term):
    """∂C/∂a_k of a layer: the sum over every path into the cost.

    Attributes
    ----------
    paths : tuple of Path
        One for each neuron j of the next layer; none for the output layer, where the cost itself
        gives ∂C/∂a.
    value : float
        Their sum.
    """

    quantity: Literal["w", "b", "a"] = "a"

    def __init__(self, rule: ChainRule, layer: int, k: int, paths: tuple[Path, ...]) -> None:
        super().__init__(rule, layer, (k,), float(rule.backward.dC_da[layer][k]))
        self.k = k
        self.paths = paths

    def _full_paths(self) -> Iterator[FullPath]:
        return _paths_from_activation(self._rule, self.layer, self.k)

    def _lines(self) -> list[str]:
        if not self.paths:
            name = self.long_name.replace("layer", "the output layer", 1)
            return [f"∂C/∂{name} = {paths.number(self.value)}"]
        return [
            f"∂C/∂{self.long_name} = Σ_j ∂z_j/∂a · ∂a_j/∂z_j · ∂C/∂a_j",
            *(f"  {path}" for path in self.paths),
            f"  sum = {paths.number(self.value)}",
        ]


class ChainRule:
    """Every factor of ∂C/∂w, ∂C/∂b and ∂C/∂a for one example x with target y.

    Attributes
    ----------
    backward : Backward
        z, a, da_dz, dC_da and delta by layer, each (n_l,).
    cost : float
        C of the example.
    sizes, activations, cost_function, feature_names, class_names
        As of the network.
    weights, biases : tuple of ndarray
        The parameters as they were then, (n_l, n_{l-1}) and (n_l,), in float64, read-only.
    y : ndarray
        The target, (n_L,), in float64.
    """

    def __init__(self, network: NamedLayers, x: Floats, backward: Backward, y: Floats) -> None:
        self.sizes = network.sizes
        self.activations = network.activations
        self.cost_function = network.cost_function
        self.feature_names = network.feature_names
        self.class_names = network.class_names
        self.backward = backward
        self.cost = float(backward.cost)
        self._softmax = network.activations[-1] == "softmax"
        self._x = x.astype(np.float64).reshape(1, -1)
        self._y = np.array(y, dtype=np.float64).reshape(1, -1)
        self._keep(layout.flat(network.weights, network.biases))

    def _keep(self, parameters: Array) -> None:
        """Keep a copy of the parameters, in float64, for the paths' weights and the nudges."""
        # Imported where it is needed: most programs that import the package never do.
        from cbackprop.reference.engine import Engine

        self._engine = Engine(self.sizes, self.activations, self.cost_function, "float64")
        self._engine.storage[...] = parameters
        self.weights: tuple[Floats, ...] = tuple(read_only(W) for W in self._engine.weights)
        self.biases: tuple[Floats, ...] = tuple(read_only(b) for b in self._engine.biases)
        self.y: Floats = read_only(self._y[0])

    def __getstate__(self) -> dict[str, object]:
        # An engine has a lock, and views come back from a pickle as arrays of their own.
        rebuilt = ("_engine", "weights", "biases", "y")
        state = {name: value for name, value in vars(self).items() if name not in rebuilt}
        return {**state, "parameters": self._engine.storage}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._keep(vars(self).pop("parameters"))

    def weight(self, layer: int, j: int, k: int) -> WeightTerm:
        """∂C/∂w_jk of a layer.

        Parameters
        ----------
        layer : int
            1 … L, as in the lesson.
        j : int
            The neuron of that layer, from 0.
        k : int
            The neuron of the layer below, from 0.

        Returns
        -------
        WeightTerm
            Its three factors and their product.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        """
        layer, j = self._place(layer, j)
        k = validation.neuron("k", k, self.sizes[layer - 1], layer - 1)
        return WeightTerm(self, layer, j, k)

    def bias(self, layer: int, j: int) -> BiasTerm:
        """∂C/∂b_j of a layer.

        Parameters
        ----------
        layer : int
            1 … L.
        j : int
            The neuron, from 0.

        Returns
        -------
        BiasTerm
            Its three factors and their product.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        """
        return BiasTerm(self, *self._place(layer, j))

    def activation(self, layer: int, k: int) -> ActivationTerm:
        """∂C/∂a_k of a layer, path by path.

        Parameters
        ----------
        layer : int
            0 … L; 0 is the input.
        k : int
            The neuron, from 0.

        Returns
        -------
        ActivationTerm
            A path for each neuron of the next layer, and their sum.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        """
        layer = validation.layer_number(layer, 0, len(self.sizes) - 1)
        k = validation.neuron("k", k, self.sizes[layer], layer)
        through: tuple[Path, ...] = ()
        if layer < len(self.sizes) - 1:
            dz_da: list[float] = self.weights[layer][:, k].tolist()
            delta = self.backward.delta[layer + 1]
            through = tuple(
                Path(j, w, partial(self.upper_factors, layer + 1, j), float(delta[j]))
                for j, w in enumerate(dz_da)
            )
        return ActivationTerm(self, layer, k, through)

    def svg(
        self,
        kind: Picture = "chain",
        *,
        layer: int | None = None,
        j: int = 0,
        k: int = 0,
        theme: Theme = "auto",
    ) -> Drawing:
        """A picture of this example, with the weight w_jk of a layer as the one to look at.

        Parameters
        ----------
        kind : {"chain", "tree", "indices", "summary"}
            As in `Term.svg`.
        layer, j, k : int
            The weight, as `weight` takes it; by default of the last layer.
        theme : {"auto", "light", "dark"}
            auto follows the reader's system.

        Returns
        -------
        str
            SVG, which notebooks display; write it to a file as UTF-8.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        """
        return self.weight(len(self.sizes) - 1 if layer is None else layer, j, k).svg(kind, theme)

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.chain_rule(self)

    def _place(self, layer: int, j: int) -> tuple[int, int]:
        layer = validation.layer_number(layer, 1, len(self.sizes) - 1)
        return layer, validation.neuron("j", j, self.sizes[layer], layer)

    def upper_factors(self, layer: int, j: int) -> tuple[Factor, Factor]:
        """∂a/∂z_j and ∂C/∂a: numbers, or columns of the Jacobian and ∂C/∂a in a softmax layer."""
        dC_da = self.backward.dC_da[layer]
        if not (self._softmax and layer == len(self.sizes) - 1):
            return self.slope(layer, j), float(dC_da[j])
        from cbackprop.reference.calculus import softmax_jacobian

        # The one column: the whole matrix of many outputs takes gigabytes.
        column = softmax_jacobian(self.backward.a[layer][np.newaxis], slice(j, j + 1))
        return column[0, :, 0], dC_da.copy()

    def slope(self, layer: int, j: int) -> float:
        """∂a_j/∂z_j of a layer, also of a softmax layer."""
        return float(self.backward.slopes(layer)[j])

    @np.errstate(all="ignore")  # products may vanish
    def softmax_terms(self, j: int) -> Floats:
        """∂a_i/∂z_j · ∂C/∂a_i of a softmax layer for every output i; their sum is ∂C/∂z_j. float64.

        Taken before the factors are rounded, of which one may be infinite.
        """
        from cbackprop.reference.calculus import softmax_terms

        a, dC_da = (
            np.asarray(values[-1], np.float64)[np.newaxis]
            for values in (self.backward.a, self.backward.dC_da)
        )
        terms: Floats = softmax_terms(self.cost_function, a, self._y, dC_da, j)[0]
        return terms

    # ---- nudges ----------------------------------------------------------------------------------

    def nudged_pass(self, quantity: str, layer: int, indices: tuple[int, ...], size: float) -> Pass:
        """The forward pass after a nudge of one weight ("w"), bias ("b") or activation ("a")."""
        if quantity == "a":
            a = self._engine.run_forward(self._x).a
            a[layer] = a[layer].copy()
            a[layer][0, indices[0]] += size
            return self._pass_from(layer, a, self.weights, self.biases)
        weights, biases = list(self.weights), list(self.biases)
        # Of this pass alone: another thread may nudge at the same time.
        nudged = {"w": weights, "b": biases}[quantity]
        nudged[layer - 1] = nudged[layer - 1].copy()
        nudged[layer - 1][indices] += size
        return self._pass_from(0, [self._x], weights, biases)

    def _pass_from(
        self, layer: int, below: list[Array], weights: Sequence[Array], biases: Sequence[Array]
    ) -> Pass:
        """What follows from the activations of the layers up to this one, each (1, n_l)."""
        from cbackprop.reference.calculus import activate, cost_of_activations, weighted_input

        engine, cost = self._engine, self.cost_function
        z: list[Array | None] = [None] * (layer + 1)
        a = list(below[: layer + 1])
        # Where the output itself was given there is no z to take the cost from; most need none.
        z_l = da_dz = a[-1]
        with np.errstate(all="ignore"):
            for l in range(layer, len(weights)):
                z_l = weighted_input(weights[l], biases[l], a[-1])
                a_l, da_dz = activate(engine.activations[l], z_l)
                z.append(z_l)
                a.append(a_l)
            if z[-1] is None and isinstance(cost, str) and COSTS[cost].delta_from_z:
                C = cost_of_activations(cost, self.activations[-1], a[-1], self._y)
            else:
                C = engine.output(z_l, a[-1], da_dz, self._y)[0]
        return Pass(z, a, float(C[0]))

    def __str__(self) -> str:
        """Every layer's numbers, from the input up to the cost."""
        back = self.backward
        lines = [
            f"layer 0, input, {validation.counted(self.sizes[0], 'neuron')}",
            *_aligned(
                *_names(self, 0), ("a = x", _some(back.a[0])), ("∂C/∂a", _some(back.dC_da[0]))
            ),
        ]
        for l, activation in enumerate(self.activations, start=1):
            # Of a softmax layer ∂a_i/∂z_j is a matrix, too large to print: its diagonal stands.
            slopes = "∂a_j/∂z_j" if activation == "softmax" else "∂a/∂z"
            lines += [
                f"layer {l}, {name_of(activation)}, {validation.counted(self.sizes[l], 'neuron')}",
                *_aligned(
                    *_names(self, l),
                    ("z", _some(back.z[l])),
                    ("a", _some(back.a[l])),
                    (slopes, _some(back.slopes(l))),
                    ("∂C/∂a", _some(back.dC_da[l])),
                    ("∂C/∂z", _some(back.delta[l])),
                ),
            ]
        lines.append(f"cost {name_of(self.cost_function)}")
        lines += _aligned(("y", _some(self.y)), ("C", paths.number(self.cost)))
        return "\n".join(lines)

    def __repr__(self) -> str:
        layers = "-".join(str(n) for n in self.sizes)
        return f"<ChainRule {layers}, cost {self.cost:.6g}>"


# ---- paths ---------------------------------------------------------------------------------------


def _paths_from_weighted_input(
    rule: ChainRule, layer: int, j: int, first: tuple[float, ...]
) -> Iterator[FullPath]:
    """Every path through z_j of a layer, after the derivatives that lead there."""
    delta = rule.backward.delta
    top = len(rule.sizes) - 1
    upper: dict[int, tuple[Factor, Factor]] = {}  # of each output
    for above in product(*(range(n) for n in rule.sizes[layer + 1 :])):
        neurons = (j, *above)
        factors = [*first]
        for l, (below, here) in enumerate(zip(neurons, above, strict=False), start=layer):
            factors += [rule.slope(l, below), float(rule.weights[l][here, below])]
        # delta of the output is surer than its two factors, whose product it is.
        output = neurons[-1]
        if output not in upper:
            upper[output] = rule.upper_factors(top, output)
        dC_dz = float(delta[top][output])
        value = math.prod(factors) * dC_dz
        yield FullPath(layer, neurons, (*factors, *upper[output]), dC_dz, value)


def _paths_from_activation(rule: ChainRule, layer: int, k: int) -> Iterator[FullPath]:
    """Every path from a_k of a layer."""
    if layer == len(rule.sizes) - 1:
        dC_da = float(rule.backward.dC_da[layer][k])
        yield FullPath(layer, (k,), (dC_da,), None, dC_da)
        return
    for j in range(rule.sizes[layer + 1]):
        dz_da = float(rule.weights[layer][j, k])
        for path in _paths_from_weighted_input(rule, layer + 1, j, (dz_da,)):
            yield FullPath(layer, (k, *path.neurons), path.factors, path.dC_dz, path.value)


# ---- text ----------------------------------------------------------------------------------------


def _upper_rows(j: int, da_dz: Factor, dC_da: Factor, dC_dz: float) -> list[tuple[str, str]]:
    """∂a/∂z and ∂C/∂a; in a softmax layer z_j moves every output i, and the products are summed.

    Where an infinite factor leaves no product, what it was before rounding is said as well.
    """
    finite = bool(np.isfinite(dC_da).all())
    if isinstance(da_dz, float):
        rows = [(f"∂a/∂z = σ′(z[{j}])", paths.factor(da_dz)), (f"∂C/∂a[{j}]", paths.factor(dC_da))]
        product = [] if finite else [(f"∂C/∂z[{j}], before rounding", paths.number(dC_dz))]
        return rows + product
    return [
        (f"∂a[i]/∂z[{j}], every i", paths.factor(da_dz)),
        ("∂C/∂a[i], every i", paths.factor(dC_da)),
        (f"sum of their products{'' if finite else ', before rounding'}", paths.number(dC_dz)),
    ]


def _aligned(*rows: tuple[str, str]) -> list[str]:
    """Names and numbers in two columns; a minus sign stands before its column."""
    width = max(len(name) for name, _ in rows)
    return [
        f"  {name:<{width}}  {'' if number.startswith('-') else ' '}{number}"
        for name, number in rows
    ]


def _some(values: Array) -> str:
    """All numbers of a small layer, the first and the last of a large one."""
    return _first_and_last(len(values), lambda j: f"{float(values[j]):z.6g}")


def _first_and_last(count: int, text: Callable[[int], str]) -> str:
    if count <= 5:
        return ", ".join(map(text, range(count)))
    return f"{', '.join(map(text, range(4)))}, … {count - 5} more …, {text(count - 1)}"


def _names(rule: ChainRule, layer: int) -> list[tuple[str, str]]:
    """What a layer's neurons are called, in the places of their numbers."""
    if called(rule, layer, 0) is None:
        return []
    return [("name", _first_and_last(rule.sizes[layer], lambda j: called(rule, layer, j) or ""))]


def _between(rule: ChainRule, layer: int, indices: tuple[int, ...]) -> str:
    """(age → neuron 0) of a weight, (age) of one neuron; nothing where neither has a name."""
    here = called(rule, layer, indices[0])
    if len(indices) == 1:
        return "" if here is None else f" ({here})"
    below = called(rule, layer - 1, indices[1])
    if here is None and below is None:
        return ""
    return f" ({below or f'neuron {indices[1]}'} → {here or f'neuron {indices[0]}'})"
