"""`cbackprop.onnx.load`: files of other programs, and graphs that are none of a network's."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import REPOSITORY

from cbackprop import ModelFileError, Network
from cbackprop.functions import Array

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from cbackprop.onnx import export, load  # noqa: E402 - once it is known to be there
from cbackprop.onnx.functions import FUNCTIONS, Formula, Operation, formulas  # noqa: E402
from cbackprop.onnx.graph import DEFAULTS, OLDEST_OPSET, OPERATORS, Graph  # noqa: E402

helper, TensorProto = onnx.helper, onnx.TensorProto
DATA = REPOSITORY / "tests" / "data" / "onnx"
# Of the module that make.py there has written.
TORCH = {
    "relu", "tanh", "sigmoid", "elu", "selu", "gelu", "silu", "softplus", "softsign", "leaky_relu",
}  # fmt: skip
CLASSES = ("high", "low", "middle")


# ---- other programs' files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "activations", "cost", "classes"),
    [
        ("sklearn_binary", ["relu", "sigmoid"], "cross_entropy", None),
        ("sklearn_words", ["relu", "softmax"], "cross_entropy", CLASSES),
        ("sklearn_words_zipmap", ["relu", "softmax"], "cross_entropy", CLASSES),
        ("sklearn_labels", ["relu", "sigmoid"], "cross_entropy", None),
        ("sklearn_regressor", ["sigmoid", "sigmoid", "identity"], "quadratic", None),
        ("torch_double", ["tanh", "identity"], "quadratic", None),
        *((name, None, "cross_entropy", None) for name in ("torch", "torch_opset_18")),
        *(
            (name, None, "cross_entropy", None)
            for name in ("torch_traced", "torch_traced_opset_13")
        ),
    ],
)
def test_files_of_scikit_learn_and_pytorch(
    name: str, activations: list[str] | None, cost: str, classes: tuple[str, ...] | None
) -> None:
    """They compute what the programs that wrote them do."""
    net = load(DATA / f"{name}.onnx")
    with np.load(DATA / f"{name}.npz") as recorded:
        X, Y = recorded["X"], recorded["Y"]
    found = net.predict(X)
    assert found.dtype == (X.dtype if name.startswith("sklearn") else Y.dtype)
    assert np.abs(found - Y).max() <= (1e-14 if found.dtype == np.float64 else 1e-6)
    if activations is None:
        assert {*net.activations} == TORCH | {"softmax"}
        assert net.activations[-1] == "softmax"
    else:
        assert list(net.activations) == activations
    assert (net.cost_function, net.class_names) == (cost, classes)


def test_what_a_faulty_file_of_another_program_does_is_refused() -> None:
    """skl2onnx 1.20 stacks the outputs of a regressor that has several."""
    with pytest.raises(ModelFileError, match=r"Reshape .*makes rows of 1 of those of 2 numbers"):
        load(DATA / "sklearn_regressor_outputs.onnx")


def test_a_cost_can_be_chosen() -> None:
    path = DATA / "sklearn_regressor.onnx"
    net = load(path, cost="mae", threads=2, backend="reference")
    assert (net.cost_function, net.threads, net.backend) == ("mae", 2, "reference")
    with pytest.raises(ValueError, match=r"^cost is 'cross_entropy' with the output activation"):
        load(path, cost="cross_entropy")
    with pytest.raises(TypeError, match=r"^threads is 'no'"):
        load(path, threads="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^path is 3"):
        load(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        load(DATA / "none.onnx")
    with pytest.raises(IsADirectoryError):
        load(DATA)


# ---- graphs by hand ------------------------------------------------------------------------------

W = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])  # (n_out, n_in)
B = np.array([0.5, -0.75])


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), [output], name=f"its {output}", **attributes)


def model(
    *nodes: Any,
    tensors: dict[str, Array] | None = None,
    dtype: str = "float64",
    shape: tuple[Any, ...] | None = ("n", 3),
    outputs: tuple[str, ...] = ("Y",),
    opsets: tuple[tuple[str, int], ...] = (("", 17), ("ai.onnx.ml", 1)),
) -> Any:
    """A model of these nodes and tensors, among them W, W.T and B."""
    arrays = {name: array.astype(dtype) for name, array in (("W", W), ("Wt", W.T), ("B", B))}
    arrays |= tensors or {}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("X", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*pair) for pair in opsets], ir_version=8
    )


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[Any], Network]:
    """Loads a model, or bytes."""

    def of(made: Any) -> Network:
        path = tmp_path / "made.onnx"
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        return load(path)

    return of


Loaded = Callable[[Any], Network]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Gemm", "X W B", "Y", transB=1)],
        [node("Gemm", "X Wt B", "Y", alpha=1.0, beta=1.0, transA=0, transB=0)],
        [node("MatMul", "X Wt", "z"), node("Add", "z B", "Y")],
        [node("MatMul", "X Wt", "z"), node("Add", "B z", "Y")],
        [
            node("Transpose", "W", "T", perm=[1, 0]),
            node("MatMul", "X T", "z"),
            node("Add", "B z", "Y"),
        ],
        [
            node("Identity", "X", "x"),
            node("Identity", "W", "w"),
            node("Gemm", "x w B", "y", transB=1),
            node("Identity", "y", "Y"),
        ],
        [node("Flatten", "X", "x"), node("Gemm", "x W B", "Y", transB=1)],
        [
            node("Cast", "X", "x", to=TensorProto.DOUBLE),
            node("Gemm", "x W B", "y", transB=1),
            node("Cast", "y", "Y", to=TensorProto.FLOAT),
        ],
        [node("Dropout", "X", "x"), node("Gemm", "x W B", "Y", transB=1)],
        [
            node("Constant", "", "b", value=onnx.numpy_helper.from_array(B)),
            node("Gemm", "X W b", "Y", transB=1),
        ],
        [
            node("Reshape", "X rows", "x"),
            node("Gemm", "x W B", "y", transB=1),
            node("Reshape", "y same", "Y"),
        ],
    ],
)
def test_the_ways_of_writing_a_layer(nodes: list[Any], loaded: Loaded) -> None:
    shapes = {"rows": np.array([-1, 3]), "same": np.array([0, -1])}
    net = loaded(model(*nodes, tensors=shapes))
    assert net.activations == ("identity",)
    assert (net.weights[0] == W).all()
    assert (net.biases[0] == B).all()


def test_biases_that_are_left_out_or_one_for_all(loaded: Loaded) -> None:
    for nodes, expected in (
        ([node("MatMul", "X Wt", "Y")], [0, 0]),
        ([node("Gemm", "X Wt", "Y")], [0, 0]),
        ([node("Gemm", "X Wt one", "Y")], [7, 7]),
        ([node("Gemm", "X Wt row", "Y")], [7, 8]),
        (
            [
                node("Constant", "", "c", value_float=9.0),
                node("MatMul", "X Ws", "z"),
                node("Add", "z c", "Y"),
            ],
            [9, 9],
        ),
        ([node("Constant", "", "c", value_floats=[5.0, 6.0]), node("Gemm", "X Ws c", "Y")], [5, 6]),
    ):
        tensors = {"one": np.array(7.0), "row": np.array([[7.0, 8.0]]), "Ws": W.T.astype("f4")}
        assert loaded(model(*nodes, tensors=tensors)).biases[0].tolist() == expected


def test_numbers_in_every_field(loaded: Loaded) -> None:
    """As raw bytes, or one by one; float16 becomes float32."""
    for dtype in (np.float16, np.float32, np.float64):
        for raw in (False, True):
            made = model(node("Gemm", "X W B", "Y", transB=1), dtype=np.dtype(dtype).name)
            for tensor, array in zip(made.graph.initializer, (W, W.T, B), strict=True):
                kind, array = tensor.data_type, array.astype(dtype)
                content = array.tobytes() if raw else array.ravel()
                tensor.CopyFrom(helper.make_tensor(tensor.name, kind, array.shape, content, raw))
            net = loaded(made)
            assert net.dtype == (np.float64 if dtype is np.float64 else np.float32)
            assert (net.weights[0] == W).all()


def test_rows_of_a_fixed_number_of_examples(loaded: Loaded) -> None:
    """As PyTorch traces them for one."""
    nodes = [node("Reshape", "X rows", "x"), node("Gemm", "x W B", "Y", transB=1)]
    tensors = {"rows": np.array([2, -1])}
    assert loaded(model(*nodes, tensors=tensors, shape=(2, 3, 1))).sizes == (3, 2)
    for shape in ((4, 3, 1), ("n", 3, 1), (None, 3), None):
        with pytest.raises(ModelFileError, match=r"Reshape .* has the shape \[2, -1\]; expected"):
            loaded(model(*nodes, tensors=tensors, shape=shape))


def test_an_image_is_flattened(loaded: Loaded) -> None:
    gemm = node("Gemm", "x W B", "Y", transB=1)
    for shape in (("n", 3, 1), (2, 1, 3, 1)):
        assert loaded(model(node("Flatten", "X", "x"), gemm, shape=shape)).sizes == (3, 2)
    with pytest.raises(ModelFileError, match=r"dimensions \[None, 3, 1\]; expected examples by 3"):
        loaded(model(node("Identity", "X", "x"), gemm, shape=("n", 3, 1)))
    assert loaded(model(node("Gemm", "X W B", "Y", transB=1), shape=None)).sizes == (
        3,
        2,
    )  # nothing is said of it
    with pytest.raises(ModelFileError, match=r"dimensions \[None, 4\]; expected examples by 3"):
        loaded(model(node("Flatten", "X", "x"), gemm, shape=("n", 4)))


ALL_FORMULAS = [
    (name, number)
    for name, row in FUNCTIONS.items()
    if name != "identity"
    for number in range(len(formulas(row)))
]


@pytest.mark.parametrize(("name", "number"), ALL_FORMULAS)
def test_every_formula_is_found_in_any_order(name: str, number: int, loaded: Loaded) -> None:
    """Also where the two inputs of a sum or a product have changed places."""
    for turned in (False, True):
        nodes = [node("Gemm", "X W B", "z", transB=1)]
        tensors: dict[str, Array] = {}
        write(formulas(FUNCTIONS[name])[number], "Y", turned, nodes, tensors)
        assert loaded(model(*nodes, tensors=tensors)).activations == (name,)


def write(
    part: Formula, output: str, turned: bool, nodes: list[Any], tensors: dict[str, Array]
) -> str:
    """A formula of z as nodes and tensors."""
    if part == "z":
        return "z"
    if isinstance(part, float):
        tensors[output] = np.array([part])  # of one axis, as some write it
        return output
    assert isinstance(part, Operation)
    inputs = [
        write(other, f"{output}{i}", turned, nodes, tensors) for i, other in enumerate(part.inputs)
    ]
    if turned and part.operator in ("Add", "Mul", "Max", "Min", "Equal"):
        inputs.reverse()
    nodes.append(node(part.operator, " ".join(inputs), output))
    return output


def operators(formula: Formula) -> set[str]:
    """All that are in it."""
    if not isinstance(formula, Operation):
        return set()
    return {formula.operator}.union(*map(operators, formula.inputs))


def test_every_operator_of_a_formula_is_judged() -> None:
    """One that is not in the table could have attributes that make it another function."""
    for name, row in FUNCTIONS.items():
        for formula in formulas(row):
            assert operators(formula) <= set(OPERATORS), name


def test_a_missing_attribute_is_judged_by_its_default() -> None:
    """Of every version of ONNX that can be read, where only certain values are taken."""
    for operator, attributes in OPERATORS.items():
        domain, _, word = operator.rpartition(".")
        first = 1 if domain else OLDEST_OPSET
        for schema in onnx.defs.get_all_schemas_with_history():
            if (schema.domain, schema.name) != (domain, word):
                continue
            for name in attributes.keys() & schema.attributes.keys():
                choices, default = attributes[name], schema.attributes[name].default_value
                if isinstance(choices, tuple) and schema.since_version >= first:
                    value = helper.get_attribute_value(default) if default.type else None
                    taken = [float(np.float32(c)) if isinstance(c, float) else c for c in choices]
                    assert value in taken or DEFAULTS[operator][name] == value, (operator, name)


LAYER = node("Gemm", "X W B", "z", transB=1)
SPARSE = helper.make_sparse_tensor(
    helper.make_tensor("values", TensorProto.DOUBLE, [1], [1.0]),
    helper.make_tensor("places", TensorProto.INT64, [1], [0]),
    [2],
)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [LAYER, node("LeakyRelu", "z", "Y", alpha=0.2)],
            r"^LeakyRelu \(node 'its Y'\) has alpha 0\.2.*; expected 0\.01",
        ),
        ([LAYER, node("Elu", "z", "Y", alpha=2.0)], "Elu .* has alpha 2.0; expected 1"),
        ([LAYER, node("Selu", "z", "Y", gamma=1.0)], r"Selu .* has gamma 1\.0; expected 1\.0507"),
        ([LAYER, node("Softmax", "z", "Y", axis=0)], "Softmax .* has axis 0; expected -1 or 1"),
        (
            [LAYER, node("Gelu", "z", "Y", approximate="tanh")],
            "Gelu .* has approximate b'tanh'; expected none",
        ),
        (
            [LAYER, node("Sigmoid", "z", "Y", beta=1.0)],
            r"Sigmoid .* has beta 1\.0; expected no such attribute",
        ),
        ([node("Gemm", "X W B", "Y", transB=1, alpha=2.0)], r"Gemm .* has alpha 2\.0; expected 1"),
        ([node("Gemm", "X W B", "Y", transB=1, transA=1)], "Gemm .* has transA 1; expected 0"),
        ([node("Gemm", "X W B", "Y", transB=1, beta=0.5)], r"Gemm .* has beta 0\.5; expected 1"),
        (
            [LAYER, node("HardSigmoid", "z", "Y")],
            r"HardSigmoid \(node 'its Y'\) is no part of a layer; expected Gemm",
        ),
        ([LAYER, node("Softmax", "z", "a"), node("Log", "a", "Y")], "Log .* is no part of a layer"),
        ([LAYER, node("Relu", "z", "a"), node("Tanh", "a", "Y")], "Relu .* is no part of a layer"),
        ([LAYER, node("Add", "z B", "a"), node("Tanh", "a", "Y")], "Add .* is no part of a layer"),
        (  # a gate: as silu it would have one z twice
            [
                LAYER,
                node("Gemm", "X W B2", "u", transB=1),
                node("Sigmoid", "u", "s"),
                node("Mul", "z s", "Y"),
            ],
            "Mul .* is no part of a layer",
        ),
        ([node("MatMul", "W X", "Y")], "MatMul .* is no part of a layer"),
        ([node("Gemm", "X X B", "Y")], "Gemm .* is no part of a layer"),
        ([node("Gemm", "X B B", "Y")], "Gemm .* is no part of a layer"),
        ([LAYER, node("Scan", "z", "Y")], "Scan .* is no part of a layer"),
        (
            [node("Gemm", "X W B", "Y", transB=1, domain="com.microsoft")],
            r"com\.microsoft\.Gemm .* is no part",
        ),
        ([node("Gemm", "missing W B", "Y", transB=1)], "value 'missing' is not made of the input"),
        ([node("Gemm", "W W B", "Y", transB=1)], "value 'W' is not made of the input"),
        ([node("Identity", "X", "Y")], "its output is its input"),
        ([node("Gemm", "Y W3 B3", "Y")], "more than once, or without end"),
        ([node("Identity", "Y", "Y")], "is no part of a layer"),
        ([node("Flatten", "Y", "Y")], "Flatten .* stands in a circle"),
        ([node("Relu", "Y", "Y")], "Relu .* is no part of a layer"),
        (
            [LAYER, node("Flatten", "z", "a", axis=0), node("Tanh", "a", "Y")],
            "Flatten .* has axis 0; expected 1",
        ),
        (
            [LAYER, node("Reshape", "z same", "Y", allowzero=1)],
            r"Reshape .* has the shape \[0, -1\]; expected one of examples by numbers",
        ),
        (
            [LAYER, node("Reshape", "z rows_0", "Y", allowzero=1)],
            r"Reshape .* has the shape \[0, 2\]; expected one of examples by numbers",
        ),
        ([LAYER, node("Softmax", "z", "a"), node("Gemm", "a W2", "Y")], "'softmax' in layer 1"),
        ([LAYER, node("Identity", "", "Y")], "Identity .* has no input; expected one"),
        ([node("Gemm", "X V", "z"), node("Softmax", "z", "Y")], "with 1 output"),
        ([node("Transpose", "B", "b"), node("Gemm", "X b", "Y")], "Gemm .* is no part of a layer"),
        (
            [helper.make_node("Transpose", ["W"], ["w"], perm=[1.0]), node("Gemm", "X w", "Y")],
            r"Transpose has perm \[1\.0\]; expected a list of int",
        ),
        (
            [node("Cast", "X", "x", to="double"), node("Gemm", "x Wt", "Y")],
            r"Cast .* has to b'double'; expected int",
        ),
        ([LAYER, node("Reshape", "z four", "Y")], "makes rows of 4 of those of 2 numbers"),
        (
            [LAYER, node("Shape", "z", "s"), node("Reshape", "z s", "Y")],
            "Reshape .* has a computed shape",
        ),
        (
            [node("Cast", "X", "x", to=TensorProto.INT64), node("Gemm", "x W B", "Y", transB=1)],
            "Cast .* is to the type 7; expected float64",
        ),
        (
            [node("Cast", "X", "x", to=TensorProto.FLOAT), node("Gemm", "x W B", "Y", transB=1)],
            "Cast .* is to the type 1; expected float64",
        ),
        (
            [LAYER, node("Gemm", "z W B", "Y", transB=1)],
            "3 inputs and 2 outputs before one for 3 inputs",
        ),
        (
            [node("Gemm", "X W C", "Y", transB=1)],
            "adds numbers of shape .3,.; expected one for each of 2 outputs",
        ),
        ([node("Gemm", "X W single", "Y", transB=1)], "expected one number type"),
        (
            [
                helper.make_node("Dropout", ["X", "", "yes"], ["x"]),
                node("Gemm", "x W B", "Y", transB=1),
            ],
            "Dropout is in training",
        ),
        (
            [
                node("Greater", "X X", "computed"),
                helper.make_node("Dropout", ["X", "", "computed"], ["x"]),
                node("Gemm", "x W B", "Y", transB=1),
            ],
            "Dropout is in training",
        ),
        (
            [helper.make_node("Dropout", ["X"], ["a", "x"]), node("Gemm", "x W B", "Y", transB=1)],
            "the mask of Dropout is used",
        ),
        (
            [
                LAYER,
                node("Softmax", "z", "p"),
                node("Sub", "one p", "q"),
                helper.make_node("Concat", ["q", "p"], ["Y"], axis=1),
            ],
            "two columns made of 2 outputs",
        ),
        (  # p − 1, whose parts change places in a sum only
            [
                node("Gemm", "X V", "z"),
                node("Sigmoid", "z", "p"),
                node("Sub", "p one", "q"),
                node("Concat", "q p", "Y", axis=1),
            ],
            "Concat .* is no part of a layer",
        ),
        ([LAYER, node("Relu", "z", "z")], "it has the value 'z' twice"),
        ([node("Relu", "z", "X")], "'X' is made by a node, too"),
        (
            [node("MatMul", "X Wt", "z"), node("Add", "z deep", "Y")],
            r"Add .* adds numbers of shape \(1, 1, 2\); expected one for each of 2",
        ),
        (
            [node("MatMul", "X Wt", "z"), node("Add", "z zero_3", "Y")],
            r"Add .* adds numbers of shape \(1, 1, 1\); expected one for each of 2",
        ),
        ([LAYER, node("Max", "z zero_3", "Y")], "Max .* is no part of a layer"),
        (
            [LAYER, node("Reshape", "z two", "Y")],
            r"Reshape .* has the shape \[2, -1\]; expected one of examples by numbers",
        ),
        (
            [
                node("Gemm", "X V", "z"),
                node("Sigmoid", "z", "p"),
                node("Reshape", "p all", "p1"),
                node("Sub", "one p1", "q"),
                node("Concat", "q p1", "Y", axis=1),
            ],
            r"Reshape .* has the shape \[1, -1\]; expected one of examples by numbers",
        ),
        (
            [LAYER, node("Cast", "z", "Y", to=TensorProto.FLOAT16)],
            "Cast .* is to the type 10; expected float32 or float64",
        ),
        (
            [node("MatMul", "X whole", "z"), node("Add", "z whole_b", "Y")],
            "it has weights of int64; expected floating point",
        ),
        (
            [node("Gemm", "X whole", "z"), node("Relu", "z", "Y")],
            "it has weights of int64; expected floating point",
        ),
        ([LAYER, node("ArgMax", "z", "Y", axis=1)], "it has 0 outputs besides labels; expected 1"),
        (
            [node("Constant", "", "b", sparse_value=SPARSE), node("Gemm", "X W b", "Y", transB=1)],
            "Constant .* has sparse_value b''; expected no such attribute",
        ),
        (
            [
                node("Gemm", "X V", "z"),
                node("Sigmoid", "z", "p"),
                node("Sub", "one p", "q"),
                node("Concat", "q p", "Y"),
            ],
            "Concat .* has axis None; expected -1 or 1",
        ),
        ([LAYER, node("ArgMax", "z", "Y")], "ArgMax .* has axis 0; expected -1 or 1"),
        (
            [LAYER, node("ArgMax", "z", "Y", axis=1, select_last_index=1)],
            "ArgMax .* has select_last_index 1; expected 0",
        ),
    ],
)
def test_graphs_that_are_no_network(nodes: list[Any], message: str, loaded: Loaded) -> None:
    """Each named by the operator where it ends, in one line."""
    tensors = {
        "W3": np.eye(3), "B3": np.ones(3), "C": np.ones(3), "four": np.array([-1, 4]),
        "same": np.array([0, -1]), "rows_0": np.array([0, 2]), "B2": B + 1,
        "W2": np.eye(2), "V": np.ones((3, 1)),
        "deep": B[None, None], "zero_3": np.zeros((1, 1, 1)),
        "two": np.array([2, -1]), "all": np.array([1, -1]),
        "whole": np.full((3, 2), 16777217), "whole_b": np.array([1, 2]),
        "single": B.astype(np.float32), "yes": np.array(True), "one": np.array(1.0),
    }  # fmt: skip
    with pytest.raises(ModelFileError, match=message.removeprefix("^")) as caught:
        loaded(model(*nodes, tensors=tensors))
    assert str(caught.value).startswith("path is ")
    assert "\n" not in str(caught.value)


# ---- labels --------------------------------------------------------------------------------------

AFTER = "ai.onnx.ml"
PLACE = node("ArgMax", "p", "place", axis=1, keepdims=0)
NAMED = node("Gather", "words place", "label")
ABOVE = [node("Greater", "p half", "above"), node("Cast", "above", "place", to=TensorProto.INT64)]
ZIPPED = {"domain": AFTER, "classlabels_strings": ["no", "yes"]}
LABEL = (
    "its label by {} is another class than the outputs say; expected ArgMax of several outputs, or "
    "whether a sigmoid's is above 0.5"
)


def labelled(*nodes: Any, single: bool = False, outputs: tuple[str, ...] = ("label", "p")) -> Any:
    """Two probabilities p, or a single one, and what is made of them."""
    layers = [LAYER, node("Softmax", "z", "p", axis=1)]
    if single:
        layers = [node("Gemm", "X V", "z"), node("Sigmoid", "z", "p")]
    tensors = {
        "words": np.array(["no", "yes"], object), "three": np.array(["a", "b", "c"], object),
        "numbers": np.array([3, 7]), "turn": np.array([1, 0]), "half": np.array([0.5]),
        "tenth": np.array(0.1), "V": W[:1].T, "flat": np.array([-1]), "one": np.array(1.0),
        "square": np.array([["no"], ["yes"]], object), "P": np.eye(2)[::-1],
        "counted": np.array([0, 1]), "float_words": np.array([0.0, 1.0]),
    }  # fmt: skip
    return model(*layers, *nodes, tensors=tensors, outputs=outputs)


@pytest.mark.parametrize(
    ("nodes", "single", "names"),
    [
        ([PLACE, NAMED], False, ("no", "yes")),
        ([node("ArgMax", "p", "place", axis=-1), NAMED], False, ("no", "yes")),
        ([node("ArgMax", "p", "label", axis=1)], False, None),
        ([PLACE, node("Gather", "numbers place", "label")], False, ("3", "7")),
        ([PLACE, node("Gather", "counted place", "label")], False, None),
        (
            [
                node("Identity", "p", "same"),
                node("ArgMax", "same", "first", axis=1),
                node("Cast", "first", "second", to=TensorProto.INT32),
                node("Reshape", "second flat", "place"),
                node("ArrayFeatureExtractor", "words place", "n", domain=AFTER),
                node("Reshape", "n flat", "r"),
                node("Cast", "r", "label", to=TensorProto.STRING),
            ],
            False,
            ("no", "yes"),
        ),
        ([PLACE, node("Cast", "place", "label", to=TensorProto.INT32)], False, None),
        ([*ABOVE, NAMED], True, ("no", "yes")),
        ([*ABOVE, node("Identity", "place", "label")], True, None),
        ([node("Binarizer", "p", "label", domain=AFTER, threshold=0.5)], True, None),
    ],
)
def test_names_of_labels(
    nodes: list[Any], single: bool, names: tuple[str, ...] | None, loaded: Loaded
) -> None:
    assert loaded(labelled(*nodes, single=single)).class_names == names


def test_a_label_of_what_the_output_is_cast_from(loaded: Loaded) -> None:
    last = node("Cast", "p", "Y", to=TensorProto.FLOAT)
    assert loaded(labelled(PLACE, NAMED, last, outputs=("label", "Y"))).class_names == ("no", "yes")


@pytest.mark.parametrize(
    ("nodes", "single", "message"),
    [
        ([node("Neg", "p", "q"), node("ArgMax", "q", "place", axis=1), NAMED], False, "ArgMax"),
        ([node("ArgMax", "X", "place", axis=1), NAMED], False, "ArgMax"),
        ([node("ArgMax", "z", "place", axis=1), NAMED], False, "ArgMax"),
        (
            [node("MatMul", "p P", "q"), node("ArgMax", "q", "place", axis=1), NAMED],
            False,
            "ArgMax",
        ),
        ([PLACE, NAMED], True, "ArgMax"),
        ([*ABOVE, NAMED], False, "Greater"),
        (
            [
                node("Sub", "one p", "other"),
                node("Concat", "other p", "Y", axis=1),
                node("Greater", "Y half", "label"),
            ],
            True,
            "Greater",
        ),
        ([node("Greater", "p tenth", "label")], True, "Greater"),
        ([node("Greater", "half p", "label")], True, "Greater"),
        ([node("Greater", "z half", "label")], True, "Greater"),
        ([node("Binarizer", "p", "label", domain=AFTER, threshold=0.1)], True, "Binarizer"),
        ([node("Binarizer", "p", "label", domain=AFTER)], True, "Binarizer"),
        (
            [
                PLACE,
                node("Gather", "turn place", "turned"),
                node("Gather", "words turned", "label"),
            ],
            False,
            "it has 2 outputs besides labels",
        ),
        (
            [PLACE, node("Cast", "place", "c", to=9), node("Gather", "words c", "label")],
            False,
            "it has 2 outputs besides labels",
        ),
        (
            [PLACE, node("Gather", "numbers place", "n"), node("Cast", "n", "label", to=1)],
            False,
            "it has 2 outputs besides labels",
        ),
        (
            [PLACE, node("Gather", "numbers place", "n"), node("Cast", "n", "label", to=6)],
            False,
            "it has 2 outputs besides labels",
        ),
        ([PLACE, node("Cast", "place", "label", to=9)], False, "it has 2 outputs"),
        ([PLACE, node("Gather", "square place", "label")], False, "it has 2 outputs"),
        ([PLACE, node("Gather", "float_words place", "label")], False, "it has 2 outputs"),
        (
            [PLACE, node("Gather", "three place", "label")],
            False,
            "its label by ArgMax .* has 3 names; expected 2",
        ),
    ],
)
def test_labels_that_say_another_class_are_refused(
    nodes: list[Any], single: bool, message: str, loaded: Loaded
) -> None:
    """Than the outputs themselves: their names would be wrong."""
    both = any("Y" in made.output for made in nodes)
    if " " not in message:
        message = LABEL.format(rf"(ai\.onnx\.ml\.)?{message} \(node '.*'\)")
    with pytest.raises(ModelFileError, match=message) as caught:
        loaded(labelled(*nodes, single=single, outputs=("label", "Y" if both else "p")))
    assert "\n" not in str(caught.value)


def test_several_names_are_the_same(loaded: Loaded) -> None:
    both = ("label", "zip")
    zipped = node("ZipMap", "p", "zip", **ZIPPED)
    assert loaded(labelled(PLACE, NAMED, zipped, outputs=both)).class_names == ("no", "yes")
    only_place = node("ArgMax", "p", "label", axis=1)
    assert loaded(labelled(only_place, zipped, outputs=both)).class_names == ("no", "yes")
    for other in (["yes", "no"], ["0", "1"]):
        zipped = node("ZipMap", "p", "zip", **ZIPPED | {"classlabels_strings": other})
        with pytest.raises(ModelFileError, match=r"its classes are .* expected the same names"):
            loaded(labelled(PLACE, NAMED, zipped, outputs=both))
    zipped = node("ZipMap", "p", "zip", **ZIPPED)
    with pytest.raises(ModelFileError, match="ZipMap has 2 names; expected 1"):
        loaded(labelled(*ABOVE, NAMED, zipped, single=True, outputs=both))
    several = node("Gather", "numbers place", "numbered")
    with pytest.raises(ModelFileError, match=r"its classes are .* expected the same names"):
        loaded(labelled(PLACE, NAMED, several, outputs=("label", "numbered", "p")))


# ---- hostile files -------------------------------------------------------------------------------


def changed(change: Callable[[Any], Any]) -> Any:
    """A good model, of which one thing is changed."""
    made = model(LAYER, node("Relu", "z", "Y"))
    change(made)
    return made


def set_external(tensor: Any) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: set_external(m.graph.initializer[0]), "tensor 'W' is in another file"),
        (
            lambda m: m.graph.initializer[0].external_data.add(key="location", value="W.bin"),
            "tensor 'W' is in another file",
        ),
        (
            lambda m: setattr(m.graph.initializer[0], "data_location", TensorProto.EXTERNAL),
            "tensor 'W' is in another file",
        ),
        (
            lambda m: m.graph.initializer[0].dims.__setitem__(0, 1 << 40),
            "has 6 numbers; expected 3298534883328",
        ),
        (
            lambda m: m.graph.initializer[0].dims.__setitem__(0, -2),
            "has shape .-2, 3.; expected at most 8 lengths",
        ),
        (
            lambda m: m.graph.initializer[0].dims.extend([1 << 62, 1 << 62, 0]),
            "expected at most 8 lengths",
        ),
        (lambda m: m.graph.initializer[0].dims.extend([1] * 9), "expected at most 8 lengths"),
        (
            lambda m: setattr(m.graph.initializer[2], "raw_data", np.array([np.nan, 1]).tobytes()),
            "has nan",
        ),
        (
            lambda m: setattr(m.graph.initializer[2], "raw_data", b"short"),
            "has 0.625 numbers; expected 2",
        ),
        (
            lambda m: m.graph.initializer.add().CopyFrom(m.graph.initializer[0]),
            "it has the value 'W' twice",
        ),
        (lambda m: setattr(m.graph.initializer[0], "name", ""), "it has a value without a name"),
        (
            lambda m: setattr(m.graph.initializer[0], "data_type", 17),
            "Gemm .* is no part of a layer",
        ),
        (lambda m: m.graph.sparse_initializer.add(), "it has sparse initialisers"),
        (lambda m: m.functions.add(name="Relu"), "it has 1 function of its own"),
        (
            lambda m: m.graph.input.add().CopyFrom(helper.make_tensor_value_info("Z", 1, [1])),
            "it has 2 inputs; expected 1",
        ),
        (lambda m: m.graph.ClearField("input"), "it has 0 inputs; expected 1"),
        (lambda m: m.graph.ClearField("output"), "it has 0 outputs besides labels"),
        (lambda m: m.graph.output.add(name="z"), "it has 2 outputs besides labels"),
        (lambda m: m.graph.input[0].ClearField("type"), "its input 'X' is no tensor"),
        (lambda m: m.graph.ClearField("node"), "it has no operators"),
        (lambda m: m.ClearField("graph"), "it has no operators"),
        (
            lambda m: setattr(m.opset_import[0], "version", 6),
            "of opset .6.; expected one, 7 or newer",
        ),
        (lambda m: m.ClearField("opset_import"), "of opset ..; expected one"),
        (
            lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", -3),
            r"dimensions \[None, -3\]",
        ),
        (
            lambda m: m.graph.node[0].attribute.add().CopyFrom(m.graph.node[0].attribute[0]),
            "Gemm has 'transB' more than once",
        ),
    ],
)
def test_hostile_models(change: Callable[[Any], Any], message: str, loaded: Loaded) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        loaded(changed(change))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_models(loaded: Loaded, tmp_path: Path) -> None:
    whole = model(LAYER, node("Relu", "z", "Y")).SerializeToString()
    for data in (
        b"",
        b"\0" * 100,
        b"hello",
        whole[:-1],
        whole[: len(whole) // 2],
        b"\x3a\xff\xff\xff\xff\x07",
    ):
        with pytest.raises(ModelFileError, match=r"it is no ONNX model|it has no operators"):
            loaded(data)
    with pytest.raises(ModelFileError, match=r"has the text b'(\\xff){4}'; expected UTF-8"):
        loaded(whole.replace(b"Relu", b"\xff" * 4))
    words = (DATA / "sklearn_words.onnx").read_bytes()
    with pytest.raises(ModelFileError, match=r"has the name of a class that is no UTF-8"):
        loaded(words.replace(b"middle", b"\xffiddle"))
    Network([2, 1]).save(tmp_path / "net.safetensors")
    with pytest.raises(ModelFileError, match="it is no ONNX model"):
        load(tmp_path / "net.safetensors")


def test_metadata_that_contradicts_the_graph_is_refused(loaded: Loaded, tmp_path: Path) -> None:
    net = Network([2, 3], "softmax", "cross_entropy", seed=0, class_names=["a", "b", "c"])
    export(net, tmp_path / "net.onnx")
    for key, text, message in (
        ("cost", "poison", "cost is 'poison'; expected one of"),
        ("cost", "cross_entropy", None),
        ("init", "best", "init is 'best'"),
        ("class_names", '["a","b"]', r"its class_names are '\[\"a\",\"b\"\]', its labels \['a'"),
        ("class_names", '["a","c","b"]', "its class_names are"),
        ("feature_names", '["a"]', "feature_names has 1 entries"),
        ("feature_names", "[", "feature_names is no JSON"),
        ("feature_names", "3", "its feature_names and class_names are 3"),
        ("metadata", '{"a":1}', r"metadata\['a'\] is 1"),
        ("scales", '{"scales.inputs.mean":[0.0,0.0]}', "expected scales.inputs.mean, "),
        ("scales", '{"scales.inputs.mean":["x"]}', r"its scales have \['x'\]"),
        ("scales", "[]", r"its scales are \[\]"),
    ):
        made = onnx.load(tmp_path / "net.onnx")
        helper.set_model_props(made, {e.key: e.value for e in made.metadata_props} | {key: text})
        if message is None:
            assert loaded(made).cost_function == text
            continue
        with pytest.raises(ModelFileError, match=message) as caught:
            loaded(made)
        assert "\n" not in str(caught.value)
    made = onnx.load(tmp_path / "net.onnx")
    made.metadata_props.add(key="cost", value="mse")
    with pytest.raises(ModelFileError, match="its metadata has 'cost' more than once"):
        loaded(made)


def test_metadata_of_another_program_is_its_own(loaded: Loaded, tmp_path: Path) -> None:
    net = Network([2, 3], "softmax", "poisson", seed=0, metadata={"unit": "mm"})
    export(net, tmp_path / "net.onnx")
    made = onnx.load(tmp_path / "net.onnx")
    made.producer_name = "pytorch"
    found = loaded(made)
    assert (found.cost_function, found.metadata) == ("cross_entropy", {})
    assert (found.parameters == net.parameters).all()


def test_a_small_file_cannot_ask_for_much_memory(loaded: Loaded) -> None:
    """One matrix of 8 kB in a thousand layers."""
    n = 32
    names = ["X", *(f"z{i}" for i in range(999)), "Y"]
    layers = [node("MatMul", f"{a} M", z) for a, z in pairwise(names)]
    with pytest.raises(ModelFileError, match=r"layers have \d+ parameters or more; expected"):
        loaded(model(*layers, tensors={"M": np.eye(n)}, shape=("n", n)))


def test_damaged_files_are_refused_or_read(loaded: Loaded, tmp_path: Path) -> None:
    """Bits turned, ends cut off, names and numbers exchanged: never another error."""
    export(Network([3, 4, 2], ["elu", "softmax"], seed=0, class_names=["a", "b"]), tmp_path / "a")
    wholes = [(tmp_path / "a").read_bytes(), *(path.read_bytes() for path in DATA.glob("*.onnx"))]
    rng = random.Random(0)
    messages: list[str] = []
    for _ in range(1000):
        data = bytearray(rng.choice(wholes))
        kind = rng.randrange(3)
        if kind == 0:
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[rng.randrange(len(data)) :]
        else:
            mutate(made := onnx.load_from_string(bytes(data)), rng)
            data[:] = made.SerializeToString()
        try:
            loaded(bytes(data))
        except ModelFileError as error:
            messages.append(str(error))
    assert 500 < len(messages) < 1000
    assert not [message for message in messages if "\n" in message]


def mutate(made: Any, rng: random.Random) -> None:
    """Exchange one word or number of a model for another one."""
    nodes, tensors = made.graph.node, made.graph.initializer
    names = [name for node in nodes for name in (*node.input, *node.output)] + [""]
    node, tensor = rng.choice(nodes), rng.choice(tensors)
    kind = rng.randrange(7)
    if kind == 0 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif kind == 1:
        node.output[0] = rng.choice(names)
    elif kind == 2:
        node.op_type = rng.choice(nodes).op_type
    elif kind == 3 and node.attribute:
        node.attribute[0].CopyFrom(
            helper.make_attribute("axis", rng.choice([0, 1.0, "x", [1], -1]))
        )
        node.attribute[0].name = rng.choice(
            ["axis", "to", "value", "value_floats", "transB", "perm"]
        )
    elif kind == 4:
        tensor.data_type = rng.randrange(17)
    elif kind == 5 and tensor.dims:
        tensor.dims[0] = rng.choice([-1, 0, 1, 1 << 40, (1 << 63) - 1])
    else:
        del nodes[rng.randrange(len(nodes))]


def test_nothing_is_taken_for_a_number_that_is_none(loaded: Loaded) -> None:
    """A slope of 0.02 is none of leaky_relu's, nor is a whole number."""
    for constant, expected in ((0.01, "leaky_relu"), (0.02, None), (math.nan, None), (0, None)):
        made = model(
            LAYER,
            node("Mul", "c z", "m"),
            node("Max", "m z", "Y"),
            tensors={"c": np.array(constant)},
        )
        if expected is not None:
            assert loaded(made).activations == (expected,)
            continue
        with pytest.raises(ModelFileError, match=r"Max .* is no part of a layer"):
            loaded(made)


def test_a_name_is_looked_up_once(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """One matrix behind many nodes that hand it on, in many layers."""
    looked_up = []
    only = Graph.only

    def counted(graph: Graph, one: Any) -> str:
        looked_up.append(one)
        return only(graph, one)

    monkeypatch.setattr(Graph, "only", counted)
    names = ["X", *(f"z{i}" for i in range(49)), "Y"]
    handing = [node("Identity", f"M{i}", f"M{i + 1}") for i in range(500)]
    layers = [node("MatMul", f"{a} M500", z) for a, z in pairwise(names)]
    net = loaded(model(*handing, *layers, tensors={"M0": np.ones((1, 1))}, shape=("n", 1)))
    assert len(net.activations) == 50
    assert len(looked_up) == 500
