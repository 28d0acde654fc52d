"""The layers of a graph, looked for from its output back to its input."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cbackprop import validation
from cbackprop.files.format import ModelFileError
from cbackprop.functions import Array
from cbackprop.onnx.functions import FUNCTIONS, Formula, Operation, formulas, of, z
from cbackprop.onnx.graph import Graph, Node
from cbackprop.onnx.library import FLOATS

# The probability of the second of two classes, of which a file has both.
_BOTH_CLASSES = of("Concat", of("Sub", 1.0, z), z)
_COMMUTATIVE = ("Add", "Equal", "Max", "Min", "Mul")


class Linear(NamedTuple):
    """z = W a + b."""

    a: str
    W: Array  # (n_l, n_{l-1})
    b: Array  # (n_l,)


class Layers(NamedTuple):
    """What a graph computes: from the first layer to the last."""

    activations: list[str]
    weights: list[Array]
    biases: list[Array]
    outputs: set[str]  # values of the graph that have the same rows, as columns numbers each
    columns: int  # n_L, or 2 of one probability: those of both classes


def read_layers(graph: Graph, output: str, most: int) -> Layers:
    """The layers whose activations are ``output``, of ``most`` parameters altogether.

    Raises
    ------
    ModelFileError
        Naming the first operator, from the end, that is not part of a layer.
    """
    walk = _Walk(graph)
    value, outputs = walk.before(output), walk.passed
    p = next(_values_of_z(graph, _BOTH_CLASSES, value, None), None)
    if p is not None:
        walk.judge_rows(2)
        value = walk.before(p)
    found: list[tuple[str, Linear]] = []
    count = 0
    while value != graph.input:
        activation, linear = walk.layer(value)
        found.append((activation, linear))
        count += linear.W.size + linear.b.size
        if count > most:
            raise ModelFileError(
                f"its layers have {count} parameters or more; expected at most {most} in a file of "
                "that size: one of them comes more than once, or without end"
            )
        value = walk.before(linear.a)
    if not found:
        raise ModelFileError("its output is its input; expected layers between them")
    walk.judge_input()
    found.reverse()
    if p is not None and (found[-1][0], len(found[-1][1].b)) != ("sigmoid", 1):
        raise ModelFileError(
            f"it has two columns made of {len(found[-1][1].b)} outputs with the activation "
            f"{found[-1][0]!r}; expected those of one sigmoid"
        )
    return Layers(
        [activation for activation, _ in found],
        [linear.W for _, linear in found],
        [linear.b for _, linear in found],
        outputs,
        len(found[-1][1].b) if p is None else 2,
    )


class _Walk:
    """From the output to the input; what has been passed over is judged by the layer before it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.dtype: str | None = None  # of the layers so far, from the end
        self.width: int | None = None  # the inputs of the last layer found
        self.rows: list[tuple[Node, int | None]] = []  # what numbers of a row stand side by side
        self.passed: set[str] = set()  # the values from the last one to the one before them

    def before(self, value: str) -> str:
        """The value before what changes no number of it, nor which example one belongs to."""
        self.passed = set()
        while True:
            value = self.graph.plain(value)
            node = self.graph.node(value)
            is_circle = value in self.passed
            self.passed.add(value)
            if node is None or node.operator not in ("Cast", "Flatten", "Reshape"):
                return value
            if is_circle:
                raise ModelFileError(
                    f"{node} stands in a circle; expected layers one after another"
                )
            if node.operator == "Cast":
                self._judge_cast(node)
            else:
                self.rows.append((node, self._row(node)))
            value = self.graph.only(node)

    def _judge_cast(self, node: Node) -> None:
        """To the layers' own type; what comes after them may be float32 or float64."""
        to = node.attributes.get("to")
        dtype = FLOATS[to][0] if to in FLOATS else None
        expected = ("float32", "float64") if self.dtype is None else (self.dtype,)
        if dtype not in expected:
            raise ModelFileError(
                f"{node} is to the type {validation.shown(to)}; expected {' or '.join(expected)}"
            )

    def _row(self, node: Node) -> int | None:
        """How many numbers of an example a Reshape takes; None where it is all there are."""
        if node.operator == "Flatten":
            return None
        shape = self.graph.numbers(node.inputs[1]) if len(node.inputs) > 1 else None
        if shape is not None and shape.shape == (2,) and shape.dtype == np.int64:
            rows, row = map(int, shape)
            copies_0 = not node.attributes.get("allowzero")
            if row > 0 and (rows != 0 or copies_0):
                return row
            if row == -1 and rows == 0 and copies_0:
                return None
            if row == -1 and rows > 0 and rows == (self.graph.input_dimensions or [None])[0]:
                return None  # of that many examples always
        raise ModelFileError(
            f"{node} has {'a computed shape' if shape is None else f'the shape {shape.tolist()}'}; "
            "expected one of examples by numbers"
        )

    def judge_rows(self, width: int) -> None:
        """Whether what has been passed over leaves rows of ``width`` numbers as they are."""
        for node, row in self.rows:
            if row not in (None, width):
                raise ModelFileError(f"{node} makes rows of {row} of those of {width} numbers")
        self.rows.clear()

    def layer(self, value: str) -> tuple[str, Linear]:
        """The layer whose activations these are."""
        linear = self._linear(value)
        activation, culprit = "identity", value
        if linear is None:
            for name, z_value in _activations(self.graph, value):
                activation, culprit = name, z_value
                linear = self._linear(z_value)
                if linear is not None:
                    break
        if linear is None:
            raise ModelFileError(self._no_layer(culprit))
        n_out, n_in = linear.W.shape
        if self.width not in (None, n_out):
            raise ModelFileError(
                f"it has a matrix for {n_in} inputs and {n_out} outputs before one for "
                f"{self.width} inputs; expected them to fit"
            )
        dtype = linear.W.dtype.name
        if linear.W.dtype.kind != "f":
            raise ModelFileError(f"it has weights of {dtype}; expected floating point")
        if linear.b.dtype != linear.W.dtype or self.dtype not in (None, dtype):
            raise ModelFileError(
                f"it has weights and biases of {dtype}, {linear.b.dtype} and {self.dtype or dtype}"
                "; expected one number type"
            )
        self.judge_rows(n_out)
        self.width, self.dtype = n_in, dtype
        return activation, linear

    def _no_layer(self, value: str) -> str:
        node = self.graph.node(value)
        if node is None:
            return f"its value {validation.shown(value)} is not made of the input; expected layers"
        return (
            f"{node} is no part of a layer; expected Gemm, or MatMul and Add, of known numbers and "
            f"an activation: {', '.join(FUNCTIONS)}"
        )

    def _linear(self, value: str) -> Linear | None:
        """z = W a + b, if that is what the value is."""
        graph = self.graph
        value = graph.plain(value)
        node = graph.node(value)
        if node is None:
            return None
        if node.operator == "Gemm" and len(node.inputs) in (2, 3):
            W = graph.matrix(node.inputs[1])
            bias = "".join(node.inputs[2:])
            if W is None or (bias and graph.numbers(bias) is None):
                return None
            W = W if node.attributes.get("transB") else W.T
            return Linear(node.inputs[0], W, _bias(node, graph.numbers(bias) if bias else None, W))
        if node.operator == "MatMul":
            return self._product(node, node, None)
        if node.operator == "Add" and len(node.inputs) == 2:
            for product, bias in (node.inputs, node.inputs[::-1]):
                maker, b = graph.node(graph.plain(product)), graph.numbers(bias)
                if maker is not None and maker.operator == "MatMul" and b is not None:
                    return self._product(maker, node, b)
        return None

    def _product(self, node: Node, sum_node: Node, b: Array | None) -> Linear | None:
        W = self.graph.matrix(node.inputs[1]) if len(node.inputs) == 2 else None
        return None if W is None else Linear(node.inputs[0], W.T, _bias(sum_node, b, W.T))

    def judge_input(self) -> None:
        """Whether the first layer's inputs are the rows of the graph's input."""
        width, dimensions = self.width, self.graph.input_dimensions
        assert width is not None
        flattened = bool(self.rows)
        self.judge_rows(width)
        if dimensions is None and not flattened:
            return
        numbers = (dimensions or [])[1:]
        known = [number for number in numbers if number is not None]
        fits = len(known) == len(numbers) and math.prod(known) == width
        if len(numbers) == 1 and not flattened:
            fits = numbers in ([None], [width])
        if not numbers or not fits or (len(numbers) > 1 and not flattened):
            raise ModelFileError(
                f"its input has the dimensions {validation.shown(dimensions)}; expected examples "
                f"by {width} numbers, or Flatten after it"
            )


def _bias(node: Node, b: Array | None, W: Array) -> Array:
    """(n_l,), as NumPy's rules spread it over the examples."""
    n_out = len(W)
    if b is None:
        return np.zeros(n_out, W.dtype)
    if b.size == 1 and b.ndim <= 2:
        return np.full(n_out, b.reshape(()))
    if b.ndim > 2 or b.size != n_out or b.shape[-1] != n_out:
        raise ModelFileError(
            f"{node} adds numbers of shape {b.shape}; expected one for each of {n_out} outputs"
        )
    return b.reshape(n_out)


# ---- activations ---------------------------------------------------------------------------------


def _activations(graph: Graph, value: str) -> Iterator[tuple[str, str]]:
    """What the value may be of which other one."""
    for name, row in FUNCTIONS.items():
        for formula in formulas(row):
            if formula != z:
                for z_value in _values_of_z(graph, formula, value, None):
                    assert z_value is not None  # each has a z
                    yield name, z_value


def _values_of_z(
    graph: Graph, formula: Formula, value: str, z_value: str | None
) -> Iterator[str | None]:
    """What z has to be so that the value is this formula: what it is already, if anything."""
    value = graph.plain(value)
    if formula == z:
        if z_value in (None, value):
            yield value
    elif isinstance(formula, float):
        if graph.is_number(value, formula):
            yield z_value
    elif isinstance(formula, Operation):
        node = graph.node(value)
        if node is None or (node.operator, len(node.inputs)) != (
            formula.operator,
            len(formula.inputs),
        ):
            return
        yield from _of_all(graph, formula.inputs, node.inputs, z_value)
        if node.operator in _COMMUTATIVE:
            yield from _of_all(graph, formula.inputs, node.inputs[::-1], z_value)


def _of_all(
    graph: Graph, parts: Sequence[Formula], values: Sequence[str], z_value: str | None
) -> Iterator[str | None]:
    if not parts:
        yield z_value
        return
    for found in _values_of_z(graph, parts[0], values[0], z_value):
        yield from _of_all(graph, parts[1:], values[1:], found)
