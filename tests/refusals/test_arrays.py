"""Arrays as arguments: what is rejected, what is accepted, and that nothing has changed afterwards.

1. Calls that are rejected, one test for each row; rejections.py has the contract.
2. Accepted arrays: the same bits as the plain native copy.
3. Families of arrays, drawn: accepted with the right bits or rejected by name, nothing else.
4. `out=`, live views.
"""

from __future__ import annotations

import array
import decimal
import fractions
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rejections import (
    CURVATURE,
    FREE,
    FURTHER,
    MEANS,
    ONE_EXAMPLE_IS_FINE,
    PLAIN,
    SINE,
    SIZES,
    WITH_BOTH,
    WITH_X,
    ArrayOf,
    FailingProperty,
    Frame,
    NullableInteger,
    OtherNumber,
    Query,
    Row,
    Sparse,
    Unprintable,
    arrays_in,
    as_parameters,
    besides,
    check_rejected,
    contents,
    examples,
    label,
    misaligned,
    network,
    not_finite,
    numbers_of,
    odd_strides,
    pandas,
    put,
    read_only,
    results,
    reversed_axes,
    strided,
    torch,
    trained,
)
from support import BACKENDS, every_backend, state

from cbackprop import SGD, Activation, Adam, Cost, Network, validation

# C. What cannot be an array of numbers, whatever its shape: name, how to make it, error, message.
BAD_ARRAYS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("None", lambda: None, TypeError, r" is None; expected an array of numbers"),
    ("ragged", lambda: [[1, 2, 3, 4], [5]], ValueError, r" is \[\[1, 2, .*expected a rectangular"),
    (
        "arrays of two lengths",
        lambda: [np.zeros((2, 3)), np.zeros((3, 3))],
        ValueError,
        r" is \[array.*; expected a rectangular array of numbers",
    ),
    ("text", lambda: "abcd", TypeError, r" is 'abcd' \(str\); expected an array of numbers"),
    ("bytes", lambda: b"abcd", TypeError, r" is b'abcd' \(bytes\); expected an array"),
    ("list of text", lambda: [["1.5"] * 4], TypeError, r" has dtype [<>]U3; .*, not text"),
    ("one text", lambda: [[1.0, "2", 3.0, 4.0]], TypeError, r" has dtype [<>]U32; .*, not text"),
    ("array of text", lambda: np.full((6, 4), "1"), TypeError, r" has dtype [<>]U1; expected real"),
    ("array of bytes", lambda: np.full((6, 4), b"1"), TypeError, r" has dtype \|S1; expected"),
    (
        "object array of floats",
        lambda: np.ones((6, 4), object),
        TypeError,
        r" has dtype object; expected real numbers; use .+\.astype\(float\) if every entry is one$",
    ),
    (
        "object with None",
        lambda: [[1.0, None, 2.0, 3.0]],
        TypeError,
        r" has dtype object; expected real numbers; use np.asarray\(.+, float\) if every entry",
    ),
    (
        "objects that are text",
        lambda: np.array([["a", "b", None, "d"]], object),
        TypeError,
        r" has dtype object; expected real numbers, not text",
    ),
    ("Decimal", lambda: [[decimal.Decimal(1)] * 4], TypeError, r" has dtype object; expected"),
    ("Fraction", lambda: [[fractions.Fraction(1)] * 4], TypeError, r" has dtype object; expected"),
    (
        "10**400",
        lambda: [[10**400, 0, 0, 0]],
        ValueError,
        r" has an integer too large for a float; expected numbers up to 1.798e\+308",
    ),
    ("10**5000", lambda: [[10**5000, 0.5, 0, 0]], ValueError, r" has an integer too large for a"),
    ("complex", lambda: np.ones((6, 4), complex), TypeError, r" has dtype complex128; expected re"),
    ("complex list", lambda: [[1 + 0j] * 4], TypeError, r" has dtype complex128; expected real"),
    (
        "datetime64",
        lambda: np.zeros((6, 4), "datetime64[D]"),
        TypeError,
        r" has dtype datetime64\[D\]; expected real numbers",
    ),
    ("timedelta64", lambda: np.zeros((6, 4), "m8[s]"), TypeError, r" has dtype timedelta64\[s\];"),
    ("void", lambda: np.zeros((6, 4), "V8"), TypeError, r" has dtype \|V8; expected real numbers"),
    (
        "one-field structure",
        lambda: np.zeros((6, 4), [("a", "f8")]),
        TypeError,
        r" has dtype \[\('a', '[<>]f8'\)\]; expected real numbers",
    ),
    (
        "masked entries",
        lambda: np.ma.masked_array(np.ones((6, 4)), mask=np.eye(6, 4)),
        ValueError,
        r" has 4 masked entries; expected none",
    ),
    (
        "masked entry in a list of lists",
        lambda: [[1.0, np.ma.masked, 3.0, np.ma.masked], (4.0, 5.0, 6.0, np.ma.masked)],
        ValueError,
        r" has 3 masked entries; expected none",
    ),
    (
        "array of strings of any length",
        lambda: np.full((6, 4), "1", np.dtypes.StringDType()),
        TypeError,
        r" has dtype StringDType\(\); expected real numbers, not text",
    ),
    (
        "list of masked rows",
        lambda: [np.ma.masked_array(np.ones(4), mask=[0, 1, 0, 0])] * 6,
        ValueError,
        r" has 6 masked entries; expected none",
    ),
    ("dict", lambda: {0: [1, 2, 3, 4]}, TypeError, r" is \{0: .* \(dict\); expected an array"),
    ("set", lambda: {1.0}, TypeError, r" is \{1.0\} \(set\); expected an array of numbers"),
    (
        "generator",
        lambda: (i for i in range(4)),
        TypeError,
        r" is <generator .* \(generator\); exp",
    ),
    ("iterator", lambda: iter([1, 2, 3, 4]), TypeError, r" is <list_iter.* expected an array of"),
    ("object()", object, TypeError, r" is <object .* \(object\); expected an array of numbers"),
    ("a type", lambda: float, TypeError, r" is <class 'float'> \(type\); expected an array"),
    ("unprintable", Unprintable, TypeError, r" is an object of type Unprintable .*; expected an"),
    (
        "__array__ of a wrong type",
        lambda: ArrayOf(5),
        TypeError,
        r" is <.*ArrayOf .*which does not become an array .*; expected an array of numbers",
    ),
    (
        "__array__ that raises",
        lambda: ArrayOf(KeyError("why")),
        TypeError,
        r" is <.*ArrayOf .*which does not become an array \('why'\); expected an array of numbers",
    ),
    (
        "tensor that needs its gradient",
        lambda: ArrayOf(RuntimeError("call .detach() first")),
        TypeError,
        r" is <.*ArrayOf .*which does not become an array \(call .detach\(\) first\); expected",
    ),
    (
        "torch tensor that needs its gradient",
        lambda: torch().zeros((6, 4), requires_grad=True),
        TypeError,
        r" is tensor.*which does not become an array .*; expected",
    ),
    ("sparse look-alike", Sparse, TypeError, r" is a sparse Sparse; expected .* use .toarray\(\)"),
    (
        "frame with text",
        lambda: Frame({"a": [1.0], "b": ["x"]}, [np.dtype(float), np.dtype(object)]),
        TypeError,
        r" has dtype object in column 'b'; expected real numbers$",
    ),
    ("lazy frame", Query, TypeError, r" is a Query, which is a query; expected .* \.collect\(\)$"),
    (
        "columns that raise",
        lambda: FailingProperty("columns"),
        TypeError,
        r" is .*FailingProperty.*, whose columns cannot be read \(.not now.\); expected an array",
    ),
    (
        "dtypes that raise",
        lambda: FailingProperty("dtypes"),
        TypeError,
        r" is .*FailingProperty.*, whose dtypes cannot be read \(.not now.\); expected an array",
    ),
    (
        "pandas frame with text",
        lambda: pandas().DataFrame({"a": [1.0], "b": ["x"]}),
        TypeError,
        r" has dtype \w+ in column 'b'; expected real numbers",
    ),
    (
        "a broadcast row of 512 TiB",
        lambda: np.broadcast_to(np.zeros(4), (2**44, 4)),
        MemoryError,
        r" has shape \(17592186044416, 4\): a contiguous copy takes 562949953421312 bytes",
    ),
]


def array_rows():
    """C. Every bad array as every argument that is one."""
    for kind in BAD_ARRAYS:
        for row in rows_of_kind(*kind):
            yield row._replace(group=f"array: {kind[0]}")


def rows_of_kind(name, make, error, pattern):
    if name.startswith(("pandas", "torch")):
        # The look-alikes go everywhere; the real ones only here, where they may be missing.
        yield Row(
            f"predict {name}", "predict", error, f"X{pattern}", lambda net, m=make: {"X": m()}
        )
        return
    for call in (*WITH_X, *WITH_BOTH):
        yield Row(f"{call} X {name}", call, error, f"X{pattern}", lambda net, m=make: {"X": m()})
    for call in WITH_BOTH:
        yield Row(f"{call} Y {name}", call, error, f"Y{pattern}", lambda net, m=make: {"Y": m()})
    if error is not MemoryError:
        for argument in ("x", "y"):
            yield Row(
                f"chain_rule {argument} {name}", "chain_rule", error, f"{argument}{pattern}",
                lambda net, a=argument, m=make: {a: m()},
            )  # fmt: skip
    for position in (0, 1):
        yield Row(
            f"fit validation_data[{position}] {name}",
            "fit",
            error,
            rf"validation_data\[{position}\]{pattern}",
            lambda net, m=make, p=position: {
                "validation_data": tuple(m() if i == p else examples()[i] for i in (0, 1))
            },
        )
    yield Row(
        f"parameters {name}", "parameters", error, f"parameters{pattern}",
        lambda net, m=make: {"parameters": m()},
    )  # fmt: skip
    for call in CURVATURE:
        yield Row(f"{call} v {name}", call, error, f"v{pattern}", lambda net, m=make: {"v": m()})
    if name != "None":
        for position, argument in enumerate(("X2", "Y2")):
            yield Row(
                f"gradient_gram {argument} {name}", "gradient_gram", error, f"{argument}{pattern}",
                lambda net, m=make, p=position: {
                    name: m() if i == p else examples()[i] for i, name in enumerate(("X2", "Y2"))
                },
            )  # fmt: skip
        for call in ("cost", "gradient"):
            yield Row(
                f"{call} sample_weight {name}", call, error, f"sample_weight{pattern}",
                lambda net, m=make: {"sample_weight": m()},
            )  # fmt: skip


def shape_rows():
    """D. Shapes that do not fit."""
    every = (*WITH_X, *WITH_BOTH)
    because = r"expected \(n, 4\) because sizes\[0\] is 4"
    for name, shape, hint in (
        ("(6, 3)", (6, 3), ""),
        ("(6, 5)", (6, 5), ""),
        ("(6, 0)", (6, 0), ""),
        ("(0, 3)", (0, 3), ""),
        ("transposed", (4, 6), "; the transpose has that shape"),
        ("3-D", (6, 4, 1), r"; use X.reshape\(len\(X\), -1\)"),
        ("pictures", (6, 2, 2), r"; use X.reshape\(len\(X\), -1\)"),
        ("one picture", (2, 2), r"; use X.reshape\(1, -1\) for one example"),
        ("3-D of others", (6, 4, 2), ""),
        ("a number", (), ""),
        ("(3,)", (3,), r", or \(4,\) for one example"),
        ("(0,)", (0,), r", or \(4,\) for one example"),
    ):
        for call in every:
            yield Row(
                f"{call} X {name}", call, ValueError,
                rf"X has shape {re.escape(str(shape))}; {because}{hint}$",
                lambda net, shape=shape: {"X": np.zeros(shape)},
            )  # fmt: skip
    yield Row(
        "fit one example", "fit", ValueError,
        r"X has shape \(4,\); expected \(n, 4\): use X.reshape\(1, -1\)",
        lambda net: {"X": np.zeros(4), "Y": np.zeros(3)},
    )  # fmt: skip
    for name, shape, hint in (
        ("(6, 2)", (6, 2), ""),
        ("(6, 0)", (6, 0), ""),
        ("transposed", (3, 6), "; the transpose has that shape"),
        ("3-D", (6, 3, 1), r"; use Y.reshape\(len\(Y\), -1\)"),
        ("column of labels", (6, 1), r"; .* by datasets.one_hot\(np.ravel\(Y\), 3\)"),
        ("a number", (), ""),
        ("labels", (6,), r"; class labels become targets by datasets.one_hot\(Y, 3\)"),
        ("(3,) for many", (3,), r"; class labels become targets by datasets.one_hot\(Y, 3\)"),
    ):
        for call in WITH_BOTH:
            yield Row(
                f"{call} Y {name}", call, ValueError,
                rf"Y has shape {re.escape(str(shape))}; expected \(n, 3\) because sizes\[-1\] is 3"
                rf"{hint}$",
                lambda net, shape=shape: {"Y": np.zeros(shape)},
            )  # fmt: skip
    for call in WITH_BOTH:
        yield Row(
            f"{call} Y 1-D of one output", call, ValueError,
            r"Y has shape \(6,\); expected \(n, 1\) because sizes\[-1\] is 1; "
            r"use Y.reshape\(-1, 1\)$",
            lambda net: {"Y": np.zeros(6)}, {"sizes": [4, 5, 1]},
        )  # fmt: skip
        for n in (0, 1, 5, 7):
            yield Row(
                f"{call} {n} rows of Y", call, ValueError,
                rf"Y has {n} rows? and X has 6; expected as many",
                lambda net, n=n: {"Y": np.zeros((n, 3))},
            )  # fmt: skip
    for call in ONE_EXAMPLE_IS_FINE:
        if call in WITH_BOTH:
            for shape in ((1, 3), (4,), (6, 3)):
                yield Row(
                    f"{call} one X, Y {shape}", call, ValueError,
                    rf"Y has shape {re.escape(str(shape))}; expected \(3,\) because sizes\[-1\]",
                    lambda net, shape=shape: {"X": np.zeros(4), "Y": np.zeros(shape)},
                )  # fmt: skip
    for call in ("fit", "partial_fit", "check_gradient", "score", "cost", "gradient", *MEANS):
        yield Row(
            f"{call} of nothing", call, ValueError, r"X has 0 examples; expected at least 1 for ",
            lambda net: {"X": np.zeros((0, 4)), "Y": np.zeros((0, 3))},
        )  # fmt: skip
    for name, pair, error, pattern in (
        ("text", "ab", TypeError, r" is 'ab' \(str\); expected a pair"),
        ("dict", {}, TypeError, r" is \{\} \(dict\); expected a pair"),
        ("array", np.zeros((2, 6, 4)), TypeError, r" is array.* \(ndarray\); expected a pair"),
        ("one", (np.zeros((2, 4)),), ValueError, r" has 1 entries; expected 2"),
        ("three", (*examples(), 1), ValueError, r" has 3 entries; expected 2"),
        ("no rows", (np.zeros((0, 4)), np.zeros((0, 3))), ValueError, r"\[0\] has 0 examples; exp"),
        (
            "one example",
            (np.zeros(4), np.zeros(3)),
            ValueError,
            r"\[0\] has shape \(4,\); expected",
        ),
        (
            "lengths",
            (np.zeros((2, 4)), np.zeros((3, 3))),
            ValueError,
            r"\[1\] has 3 rows and validation_data\[0\] has 2; expected as many",
        ),
        (
            "labels",
            (np.zeros((2, 4)), np.zeros(2)),
            ValueError,
            r"\[1\] has shape \(2,\); expected",
        ),
    ):
        yield Row(
            f"fit validation_data {name}", "fit", error, f"validation_data{pattern}",
            lambda net, pair=pair: {"validation_data": pair},
        )  # fmt: skip
    for argument, shapes in (
        ("x", ((2, 4), (1, 3), (3,), (), (1, 1, 4), (0, 4))),
        ("y", ((2, 3), (1, 4), (4,), (), (1, 1, 3), (0, 3))),
    ):
        for shape in shapes:
            # One row of a matrix has become a vector when its length is looked at.
            shown = shape[1:] if len(shape) == 2 and shape[0] == 1 else shape
            yield Row(
                f"chain_rule {argument} {shape}", "chain_rule", ValueError,
                rf"(?i:{argument}) has shape {re.escape(str(shown))}; expected",
                lambda net, a=argument, shape=shape: {a: np.zeros(shape)},
            )  # fmt: skip
    for shape in ((), (42,), (44,), (1, 43), (43, 1), (0,)):
        yield Row(
            f"parameters {shape}", "parameters", ValueError,
            rf"parameters has shape {re.escape(str(shape))}; expected \(43,\)",
            lambda net, shape=shape: {"parameters": np.zeros(shape)},
        )  # fmt: skip
    for call in ("cost", "gradient"):
        for shape in ((5,), (6, 1), ()):
            yield Row(
                f"{call} sample_weight {shape}", call, ValueError,
                rf"sample_weight has shape {re.escape(str(shape))}; expected \(6,\), one for each",
                lambda net, shape=shape: {"sample_weight": np.ones(shape)},
            )  # fmt: skip
    # 6,000,000 x 3,000,001 numbers: more than a 64-bit processor can address.
    yield Row(
        "gradient per example of 144 TB",
        lambda net, X: Network([1, 10**6, 1], init="zeros", backend=net.backend).gradient(
            X, X, per_example=True
        ),
        MemoryError,
        r"the gradient takes 144000048000000 bytes, more than can be had",
        lambda net: {"X": np.zeros((6_000_000, 1))},
    )
    yield Row(
        "jacobian of 144 TB",
        lambda net, X: Network([1, 10**6, 1], init="zeros", backend=net.backend).jacobian(X),
        MemoryError,
        r"the Jacobian takes 144000048000000 bytes, more than can be had",
        lambda net: {"X": np.zeros((6_000_000, 1))},
    )


def layout_rows():
    """E. What `out` must not be."""

    def row(name, error, pattern, make, call="predict"):
        return Row(f"{call} out {name}", call, error, pattern, lambda net: {"out": make(net)})

    good = np.zeros((6, 3))
    for call, shape in (("predict", (6, 3)), ("gradient", (43,)), ("jacobian", (6, 3, 43))):
        width = shape[-1]
        yield row("list", TypeError, r"out is list; expected a NumPy array", lambda net: [0], call)
        # A mask could keep the results out; a matrix has rows of its own.
        for kind in (np.ma.MaskedArray, np.matrix, np.recarray):
            yield row(
                f"{kind.__name__}", TypeError, rf"out is {kind.__name__}; expected a NumPy array",
                lambda net, s=shape, k=kind: np.zeros(s if k is not np.matrix else (6, 3)).view(k),
                call,
            )  # fmt: skip
        swapped = np.dtype(float).newbyteorder()
        for dtype in ("float32", "int64", swapped, "complex128", object):
            shown = re.escape(str(np.dtype(dtype)))
            yield row(
                f"{dtype}", TypeError, rf"out has dtype {shown}; expected float64",
                lambda net, s=shape, d=dtype: np.zeros(s, d), call,
            )  # fmt: skip
        for wrong in ((*shape[:-1], width + 1), (*shape, 1), (), (0,), (*shape[::-1], 1)):
            yield row(
                f"{wrong}", ValueError,
                rf"out has shape {re.escape(str(wrong))}; expected {re.escape(str(shape))}",
                lambda net, w=wrong: np.zeros(w), call,
            )  # fmt: skip
        yield row(
            "strided", ValueError, r"out has strides .*; expected a C-contiguous, aligned array",
            lambda net, s=shape: np.zeros((*s[:-1], 2 * s[-1]))[..., ::2], call,
        )  # fmt: skip
        yield row(
            "reversed", ValueError, r"out has strides .*; expected a C-contiguous, aligned array",
            lambda net, s=shape: np.zeros(s)[..., ::-1], call,
        )  # fmt: skip
        yield row(
            "misaligned", ValueError, r"out has strides .*; expected a C-contiguous, aligned array",
            lambda net, s=shape: misaligned(np.zeros(s)), call,
        )  # fmt: skip
        yield row(
            "read-only", ValueError, r"out is read-only; expected a writeable array",
            lambda net, s=shape: read_only(np.zeros(s)), call,
        )  # fmt: skip
    yield row(
        "Fortran", ValueError, r"out has strides \(8, 48\); expected a C-contiguous, aligned array",
        lambda net: np.asfortranarray(good),
    )  # fmt: skip

    def overlapping(call, name, offset):
        """X (or Y) and out in one block of memory, `offset` numbers apart."""

        def make(net):
            X, Y = examples()
            size = {"X": 24, "Y": 18}[name]
            block = np.zeros(2000)
            start = 1000 if offset < 0 else 0
            given = block[start : start + size].reshape(6, -1)
            given[...] = X if name == "X" else Y
            shapes = {"predict": (6, 3), "gradient": (43,), "jacobian": (6, 3, 43)}
            shape = shapes.get(call, (6, 43))
            out = block[start + offset :][: int(np.prod(shape))]
            return {name: given, "out": out.reshape(shape)}

        return make

    for call, name, offset in (
        ("predict", "X", 0), ("predict", "X", 23), ("predict", "X", -17),
        ("gradient", "X", 0), ("gradient", "X", 23), ("gradient", "X", -42),
        ("gradient", "Y", 0), ("gradient", "Y", 17), ("gradient", "Y", -42),
        ("jacobian", "X", 0), ("jacobian", "X", 23), ("jacobian", "X", -773),
    ):  # fmt: skip
        yield Row(
            f"{call} out overlaps {name} at {offset}", call, ValueError,
            rf"out overlaps {name}; expected memory of its own", overlapping(call, name, offset),
        )  # fmt: skip
    yield Row(
        "predict out is a bias", lambda net, x, out: net.predict(x, out=out), ValueError,
        r"out overlaps the parameters; expected memory of its own",
        lambda net: {"x": np.zeros(4), "out": net.biases[1]},
    )  # fmt: skip
    yield Row(
        "predict out is the weights", lambda net, X, out: net.predict(X, out=out), ValueError,
        r"out overlaps the parameters; expected memory of its own",
        lambda net: {"X": np.zeros((3, 1)), "out": net.weights[0]},
        {"sizes": [1, 3, 1], "activation": "tanh"},
    )  # fmt: skip
    yield Row(
        "predict out of one example", lambda net, x, out: net.predict(x, out=out), ValueError,
        r"out has shape \(1, 3\); expected \(3,\)",
        lambda net: {"x": np.zeros(4), "out": np.zeros((1, 3))},
    )  # fmt: skip
    yield Row(
        "jacobian out is the parameters", lambda net, x, out: net.jacobian(x, out=out), ValueError,
        r"out overlaps the parameters; expected memory of its own",
        lambda net: {"x": np.zeros(1), "out": net._model.storage[:2].reshape(1, 2)},
        {"sizes": [1, 1], "activation": "tanh"},
    )  # fmt: skip
    yield Row(
        "jacobian out of one example", lambda net, x, out: net.jacobian(x, out=out), ValueError,
        r"out has shape \(1, 3, 43\); expected \(3, 43\)",
        lambda net: {"x": np.zeros(4), "out": np.zeros((1, 3, 43))},
    )  # fmt: skip
    yield Row(
        "gradient out is the parameters", lambda net, x, y, out: net.gradient(x, y, out=out),
        ValueError, r"out overlaps the parameters; expected memory of its own",
        lambda net: {"x": np.zeros(1), "y": np.zeros(1), "out": net._model.storage[:2]},
        {"sizes": [1, 1], "activation": "tanh"},
    )  # fmt: skip
    for name, make, error, pattern in (
        ("float32", lambda: np.zeros((6, 43), "f4"), TypeError, r"out has dtype float32; expected"),
        ("strided", lambda: np.zeros((6, 86))[:, ::2], ValueError, r"out has strides"),
        ("Fortran", lambda: np.zeros((43, 6)).T, ValueError, r"out has strides"),
        ("read-only", lambda: read_only(np.zeros((6, 43))), ValueError, r"out is read-only; exp"),
        ("one row", lambda: np.zeros((1, 43)), ValueError, r"out has shape \(1, 43\); expected"),
    ):
        yield Row(
            f"gradient per example out {name}", "gradient", error, pattern,
            lambda net, m=make: {"per_example": True, "out": m()},
        )  # fmt: skip
    for name in ("X", "Y"):
        yield Row(
            f"gradient per example out overlaps {name}", "gradient", ValueError,
            rf"out overlaps {name}; expected memory of its own",
            lambda net, n=name: {
                **overlapping("per example", n, -257)(net), "per_example": True
            },
        )  # fmt: skip
    yield Row(
        "gradient out per example", "gradient", ValueError,
        r"out has shape \(43,\); expected \(6, 43\)",
        lambda net: {"per_example": True, "out": np.zeros(43)},
    )  # fmt: skip


def direction_rows():
    """max_norm, v, a second set of examples, missing second derivatives, and what overflows."""
    number = r"\(\w+\); expected a real number"
    for value, error, pattern in (
        (0, ValueError, r" is 0.0; expected a number > 0"),
        (-0.0, ValueError, r" is -0.0; expected a number > 0"),
        (-1.0, ValueError, r" is -1.0; expected a number > 0"),
        (np.nan, ValueError, r" is nan; expected a finite number"),
        (np.inf, ValueError, r" is inf; expected a finite number"),
        (-np.inf, ValueError, r" is -inf; expected a finite number"),
        (10**400, ValueError, r" is 1000.*; expected a finite number"),
        (True, TypeError, rf" is True {number}"),
        ("1", TypeError, rf" is '1' {number}"),
        (None, TypeError, rf" is None {number}"),
        (1j, TypeError, rf" is 1j {number}"),
        (decimal.Decimal(1), TypeError, rf" is Decimal.* {number}"),
        (np.ones(6), TypeError, rf" is array.* {number}"),
        (np.ma.masked, TypeError, rf" is masked {number}"),
        *not_finite(number),
    ):
        yield Row(
            f"clipped_gradient max_norm={label(value)}", "clipped_gradient", error,
            f"max_norm{pattern}", lambda net, v=value: {"max_norm": v},
        )  # fmt: skip
    yield Row(
        "clipped_gradient without max_norm",
        lambda net: net.clipped_gradient(*examples()), TypeError,
        r".*missing 1 required positional argument: 'max_norm'", lambda net: {},
    )  # fmt: skip
    for call in CURVATURE:
        for shape in ((), (42,), (44,), (1, 43), (43, 1), (0,), (6, 43)):
            yield Row(
                f"{call} v {shape}", call, ValueError,
                rf"v has shape {re.escape(str(shape))}; expected \(43,\)",
                lambda net, shape=shape: {"v": np.zeros(shape)},
            )  # fmt: skip
        yield Row(
            f"{call} v gradients per example", call, ValueError,
            r"v has shape \(6, 43\); expected \(43,\)",
            lambda net: {"v": net.gradient(*examples(), per_example=True)},
        )  # fmt: skip
        for value in (np.nan, np.inf, -np.inf):
            yield Row(
                f"{call} v {value}", call, ValueError,
                rf"v has {value} at \[42\]; expected finite numbers",
                lambda net, v=value: {"v": put(43, 42, v)},
            )  # fmt: skip
        yield Row(
            f"{call} v float32", call, ValueError,
            r"v has .*-1e\+39.* at \[7\], which overflows float32; expected numbers up to",
            lambda net: {"v": put(43, 7, -1e39)}, {"dtype": "float32"},
        )  # fmt: skip
        yield Row(
            f"{call} without a cost's second derivatives", call, ValueError,
            r"cost 'free' has no hessian_vector_product; expected "
            r"Cost\(value, gradient, hessian_vector_product=...\) for this call",
            lambda net: {}, {"cost": FREE},
        )  # fmt: skip
    for layer, activations in ((1, [PLAIN, "tanh"]), (2, [SINE, PLAIN])):
        yield Row(
            f"hessian_vector_product without second derivative in layer {layer}",
            "hessian_vector_product", ValueError,
            rf"activation 'plain' of layer {layer} has no second_derivative; expected "
            r"Activation\(value, derivative, second_derivative=...\) for this call",
            lambda net: {}, {"activation": activations},
        )  # fmt: skip
    for name, make in (
        ("second_derivative", lambda: Activation(np.sin, np.cos, second_derivative=1.0)),
        ("hessian_vector_product", lambda: Cost(np.sin, np.cos, hessian_vector_product="no")),
    ):
        yield Row(
            f"{name} that is no function", lambda net, m=make: m(), TypeError,
            rf"{name} is (float|str); expected a function of", lambda net: {},
        )  # fmt: skip


def second_set_rows():
    """X2 and Y2 of gradient_gram: named as such, and as what goes with them."""

    def row(name, pattern, make, **options):
        return Row(
            f"gradient_gram {name}", "gradient_gram", ValueError, pattern, lambda net: make(),
            options,
        )  # fmt: skip

    X, Y = examples(n=5)
    yield row("X2 alone", r"Y2 is None with X2 given; expected both or neither", lambda: {"X2": X})
    yield row("Y2 alone", r"X2 is None with Y2 given; expected both or neither", lambda: {"Y2": Y})
    for shape, hint in (
        ((5, 3), ""),
        ((5, 5), ""),
        ((4, 5), "; the transpose has that shape"),
        ((5, 4, 1), r"; use X2.reshape\(len\(X2\), -1\)"),
        ((3,), r", or \(4,\) for one example"),
    ):
        yield row(
            f"X2 {shape}",
            rf"X2 has shape {re.escape(str(shape))}; expected \(n, 4\) because sizes\[0\] is 4"
            rf"{hint}$",
            lambda shape=shape: {"X2": np.zeros(shape), "Y2": Y},
        )
    for shape, hint in (
        ((5, 4), ""),
        ((3, 5), "; the transpose has that shape"),
        ((5,), r"; class labels become targets by datasets.one_hot\(Y2, 3\)"),
    ):
        yield row(
            f"Y2 {shape}",
            rf"Y2 has shape {re.escape(str(shape))}; expected \(n, 3\) because sizes\[-1\] is 3"
            rf"{hint}$",
            lambda shape=shape: {"X2": X, "Y2": np.zeros(shape)},
        )
    yield row(
        "Y2 of one X2", r"Y2 has shape \(1, 3\); expected \(3,\) because sizes\[-1\] is 3",
        lambda: {"X2": X[0], "Y2": Y[:1]},
    )  # fmt: skip
    yield row(
        "rows of Y2", r"Y2 has 4 rows and X2 has 5; expected as many of one as of the other",
        lambda: {"X2": X, "Y2": Y[:4]},
    )  # fmt: skip
    for value in (np.nan, np.inf, -np.inf):
        yield row(
            f"X2 {value}", rf"X2 has {value} at \[2, 1\]; expected finite numbers",
            lambda v=value: {"X2": put((5, 4), (2, 1), v), "Y2": Y},
        )  # fmt: skip
        yield row(
            f"Y2 {value}", rf"Y2 has {value} at \[2, 1\]; expected finite numbers",
            lambda v=value: {"X2": X, "Y2": put((5, 3), (2, 1), v)},
        )  # fmt: skip
        yield row(
            f"X {value} with X2", rf"X has {value} at \[2, 1\]; expected finite numbers",
            lambda v=value: {"X": put((6, 4), (2, 1), v), "X2": X, "Y2": Y},
        )  # fmt: skip
    yield row(
        "X2 float32", r"X2 has .*1e\+300\)? at \[2, 1\], which overflows float32; expected",
        lambda: {"X2": put((5, 4), (2, 1), 1e300), "Y2": Y}, dtype="float32",
    )  # fmt: skip
    yield row(
        "cross-entropy target in Y2",
        r"Y2 has 1.5 at \[2, 1\]; expected numbers in \[0, 1\] because the cost is 'cross_entropy'",
        lambda: {"X2": X, "Y2": put((5, 3), (2, 1), 1.5)}, cost="cross_entropy",
    )  # fmt: skip
    yield Row(
        "gradient_gram of 288 TB",
        lambda net, X: Network([1, 1], backend=net.backend).gradient_gram(X, X), MemoryError,
        r"the Gram matrix takes 288000000000000 bytes, more than can be had",
        lambda net: {"X": np.zeros((6_000_000, 1))},
    )  # fmt: skip
    yield Row(
        "input_jacobian of 144 TB",
        lambda net, X: Network([1, 10**6], init="zeros", backend=net.backend).input_jacobian(X),
        MemoryError, r"the Jacobian takes 144000000000000 bytes, more than can be had",
        lambda net: {"X": np.zeros((18_000_000, 1))},
    )  # fmt: skip


@pytest.mark.parametrize(
    "rows",
    as_parameters(
        [*array_rows(), *shape_rows(), *layout_rows(), *direction_rows(), *second_set_rows()]
    ),
)
def test_rejected(rows, capfd):
    for row in rows:
        check_rejected(row, capfd)


# ---- accepted arrays -----------------------------------------------------------------------------


def plain(values, dtype):
    """The contiguous native copy, made number by number."""
    values = np.asarray(values)
    numbers = [np.dtype(dtype).type(float(value)) for value in values.ravel().tolist()]
    return np.array(numbers, dtype).reshape(values.shape)


def whole(n, width):
    """Small whole numbers, which every number type has."""
    return np.arange(n * width).reshape(n, width) * 7 % 5


def memory_mapped(values, folder):
    path = folder / "values.bin"
    path.write_bytes(values.tobytes())
    return np.memmap(path, values.dtype, "r", shape=values.shape)


KINDS = {
    **{f"dtype {code}": lambda v, code=code: v.astype(code) for code in "bBhHiIlLqQefdg?"},
    **{f"dtype {code}": lambda v, code=code: v.astype(code) for code in (">f8", ">f4", ">i2")},
    **{f"dtype {code}": lambda v, code=code: v.astype(code) for code in ("<f8", ">f2", ">i8")},
    "list": lambda v: v.tolist(),
    "tuple of tuples": lambda v: tuple(tuple(row) for row in v.tolist()),
    "list of arrays": lambda v: list(v),
    "list of booleans": lambda v: (v > 1).tolist(),
    "Fortran order": lambda v: np.asfortranarray(v.astype(float)),
    "strided": lambda v: strided(v.astype(float)),
    "strided float32": lambda v: strided(v.astype("f4")),
    "reversed": lambda v: reversed_axes(v.astype(float)),
    "misaligned": lambda v: misaligned(v.astype(float)),
    "misaligned float32": lambda v: misaligned(v.astype("f4")),
    "read-only": lambda v: read_only(v.astype(float)),
    "rows repeated by stride 0": lambda v: np.broadcast_to(v[:1].astype(float), v.shape),
    "masked array, empty mask": lambda v: np.ma.masked_array(v.astype(float), mask=v > 99),
    "masked array, no mask": lambda v: np.ma.masked_array(v.astype(float)),
    "np.matrix": lambda v: v.astype(float).view(np.matrix),
    "__array__": lambda v: ArrayOf(v.astype(float)),
    "memoryview": lambda v: memoryview(v.astype(float)),
    "list of array.array": lambda v: [array.array("d", row) for row in v],
    "frame": lambda v: Frame({k: list(v[:, k]) for k in range(v.shape[1])}, [np.dtype(int)] * 9),
    "frame of its own number type": lambda v: Frame(
        {k: list(v[:, k]) for k in range(v.shape[1])}, [NullableInteger()] * 9
    ),
    "frame without NumPy's types": lambda v: Frame(
        {k: list(v[:, k]) for k in range(v.shape[1])}, [OtherNumber()] * 9
    ),
    "pandas frame": lambda v: pandas().DataFrame(v.astype(float)),
    "pandas frame of columns of two types": lambda v: (
        pandas().DataFrame(v.astype(float)).astype({0: "float32", 1: "int8"})
    ),
    "torch tensor": lambda v: torch().tensor(v.astype(float)),
    "negative zeros": lambda v: np.where(v == 0, -0.0, v.astype(float)),
    "denormal numbers": lambda v: np.where(v == 0, 5e-324, v.astype(float)),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@every_backend
@pytest.mark.filterwarnings("ignore:Y has 2 at:UserWarning")  # whole numbers, which tanh never is
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_accepted_kinds_give_the_bits_of_the_plain_copy(kind, dtype, backend):
    X, Y = KINDS[kind](whole(9, 4)), KINDS[kind](whole(9, 3))
    owned = [v for v in (X, Y) if isinstance(v, np.ndarray)]
    before = contents(owned)
    net, twin = (network(backend, dtype=dtype, activation="tanh") for _ in "ab")
    plain_X, plain_Y = plain(X, dtype), plain(Y, dtype)
    predicted = net.predict(X)
    assert type(predicted) is np.ndarray
    assert predicted.dtype == np.dtype(dtype)
    assert results(net, X, Y) == results(twin, plain_X, plain_Y)
    assert contents(owned) == before
    x, y = KINDS[kind](whole(1, 4)), KINDS[kind](whole(1, 3))
    rules = [net.chain_rule(x, y), twin.chain_rule(plain(x, dtype), plain(y, dtype))]
    values = [rule.weight(1, 2, 3).value for rule in rules]
    changes = [rule.weight(1, 2, 3).nudge().measured for rule in rules]
    assert values[0] == values[1]
    assert changes[0] == changes[1]


@every_backend
def test_accepted_memory_map(backend, tmp_path):
    X, Y = examples()
    mapped = memory_mapped(X, tmp_path)
    assert not mapped.flags.writeable
    nets = [network(backend) for _ in "ab"]
    assert results(nets[0], mapped, Y) == results(nets[1], X, Y)


@every_backend
def test_accepted_integers_above_64_bits(backend):
    net = network(backend)
    for X in ([[2**80, -(10**30), 0, 1]], [[2**80, 0.5, True, -1]], [2**64, -1, 10**308, 3]):
        assert net.predict(X).tobytes() == net.predict(plain_list(X)).tobytes()


def plain_list(values):
    return [plain_list(v) if isinstance(v, list) else float(v) for v in values]


@every_backend
@pytest.mark.parametrize("n", [1, 2, 7])
def test_accepted_odd_strides_on_axes_of_length_1(n, backend):
    X, Y = examples(n=n, n_in=1, n_out=1)
    nets = [network(backend, sizes=[1, 3, 1]) for _ in "ab"]
    assert results(nets[0], odd_strides(X), odd_strides(Y)) == results(nets[1], X, Y)


@every_backend
def test_accepted_float64_is_rounded_once_for_a_float32_network(backend):
    X, Y = examples()
    nets = [network(backend, dtype="float32") for _ in "ab"]
    rounded = [values.astype("f4") for values in (X, Y)]
    assert results(nets[0], X, Y) == results(nets[1], *rounded)


@every_backend
def test_one_example_is_the_first_row_of_a_batch_of_one(backend):
    X, Y = examples(n=1)
    net = trained(backend)
    assert net.predict(X[0]).tobytes() == net.predict(X).tobytes()
    assert net.predict(X[0]).shape == (3,)
    assert net.forward(X[0]).a[1].shape == (5,)
    assert net.cost(X[0], Y[0]) == net.cost(X, Y)
    assert net.backward(X[0], Y[0]).delta[2].shape == (3,)
    np.testing.assert_array_equal(net.gradient(X[0], Y[0]).vector, net.gradient(X, Y).vector)
    twin = net.copy()
    net.partial_fit(X[0], Y[0])
    twin.partial_fit(X, Y)
    assert state(net) == state(twin)


@every_backend
def test_one_example_per_example_gradient(backend):
    X, Y = examples(n=1)
    net = trained(backend)
    one, batch = (net.gradient(*pair, per_example=True) for pair in ((X[0], Y[0]), (X, Y)))
    assert one.vector.shape == (43,)
    assert one.vector.tobytes() == batch.vector.tobytes()


@every_backend
def test_one_examples_norm_and_jacobian(backend):
    X, Y = examples(n=1)
    net = trained(backend)
    norm, norms = net.gradient_norms(X[0], Y[0]), net.gradient_norms(X, Y)
    assert (np.shape(norm), norms.shape) == ((), (1,))
    assert norm == norms[0]
    one, batch = net.jacobian(X[0]), net.jacobian(X)
    assert (one.shape, batch.shape) == ((3, 43), (1, 3, 43))
    assert one.tobytes() == batch.tobytes()


@every_backend
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_kind_of_direction_and_limit(dtype, backend):
    X, Y = examples()
    net = trained(backend, dtype=dtype)
    whole = (np.arange(43) * 7 % 5).astype(dtype)
    for call in CURVATURE:
        product = getattr(net, call)
        expected = product(X, Y, whole).tobytes()
        for kind in (
            np.float32, np.float64, np.int8, np.uint64, ">f4", ">i2", "g", "f2", list, tuple,
            strided, reversed_axes, misaligned, read_only,
        ):  # fmt: skip
            v = kind(whole) if callable(kind) and not isinstance(kind, type) else whole
            if isinstance(kind, (str, type)):
                v = whole.tolist() if kind in (list, tuple) else whole.astype(kind)
            before = contents(arrays_in(v))
            assert product(X, Y, v).tobytes() == expected, kind
            assert contents(arrays_in(v)) == before
        gradient = net.gradient(X, Y)
        assert product(X, Y, gradient).tobytes() == product(X, Y, gradient.vector).tobytes()
        assert product(X, Y, np.arange(43) > 20).shape == (43,)
    for limit in (1, np.float32(1), np.int8(1), np.array(1.0), np.array(1)):
        got = net.clipped_gradient(X, Y, limit).vector
        assert got.tobytes() == net.clipped_gradient(X, Y, 1.0).vector.tobytes()


@every_backend
def test_a_direction_that_is_the_parameters_themselves(backend):
    """A view of w and b where they stand, whatever lies between them."""
    net = network(backend, sizes=[1, 1])
    X, Y = examples(n_in=1, n_out=1)
    W, b = net.weights[0], net.biases[0]
    net.parameters = [0.75, -0.5]
    apart = b.ctypes.data - W.ctypes.data
    v = np.lib.stride_tricks.as_strided(W[0], (2,), (apart,))
    assert v.tolist() == [0.75, -0.5]
    for call in CURVATURE:
        expected = getattr(net, call)(X, Y, net.parameters)
        assert getattr(net, call)(X, Y, v).tobytes() == expected.tobytes()
    assert net.parameters.tolist() == [0.75, -0.5]


@every_backend
def test_no_examples_give_empty_results(backend):
    net = trained(backend)
    before = state(net)
    X, Y = np.zeros((0, 4)), np.zeros((0, 3))
    assert net.predict(X).shape == (0, 3)
    assert net.predict(X, out=np.zeros((0, 3))).shape == (0, 3)
    assert [a.shape for a in net.forward(X).a] == [(0, 4), (0, 5), (0, 3)]
    assert net.cost(X, Y, per_example=True).shape == (0,)
    assert net.gradient(X, Y, per_example=True).vector.shape == (0, 43)
    assert net.gradient_norms(X, Y).shape == (0,)
    assert net.jacobian(X).shape == net.jacobian(X, out=np.zeros((0, 3, 43))).shape == (0, 3, 43)
    out = np.zeros((0, 43))
    assert net.gradient(X, Y, per_example=True, out=out).vector is out
    assert net.input_gradient(X, Y).shape == (0, 4)
    assert net.input_jacobian(X).shape == (0, 3, 4)
    some = examples(n=2)
    assert net.gradient_gram(X, Y).shape == (0, 0)
    assert net.gradient_gram(X, Y, *some).shape == (0, 2)
    assert net.gradient_gram(*some, X, Y).shape == (2, 0)
    assert net.gradient_gram(some[0][0], some[1][0], X, Y).shape == (0,)
    assert [d.shape for d in net.backward(X, Y).dC_da] == [(0, 4), (0, 5), (0, 3)]
    assert state(net) == before


@every_backend
def test_gradients_change_nothing_and_rows_keep_their_bits(backend):
    X, Y = examples(n=9)
    net = trained(backend)
    before = state(net)
    batch = net.gradient(X, Y)
    each = net.gradient(X, Y, per_example=True)
    # A mean of 9: a few ulp of the largest entry.
    atol = 4e-16 * np.abs(each.vector).max()
    np.testing.assert_allclose(each.vector.mean(axis=0), batch.vector, rtol=1e-14, atol=atol)
    net.backward(X, Y)
    for call in FURTHER:
        getattr(net, call)(X, Y, **besides(net, call))
    net.input_jacobian(X)
    net.check_gradient(X, Y)
    net.score(X, Y)
    net.chain_rule(X[0], Y[0]).activation(0, 1).nudge()
    assert state(net) == before
    if backend == "compiled":  # the reference does not promise it
        order = [5, 2, 8, 0, 7, 1, 3, 6, 4]
        permuted = net.gradient(X[order], Y[order], per_example=True).vector
        assert permuted.tobytes() == each.vector[order].tobytes()
        for i in range(9):
            alone = net.gradient(X[i : i + 1], Y[i : i + 1], per_example=True).vector
            assert alone.tobytes() == each.vector[i].tobytes()


# ---- families of arrays, drawn -------------------------------------------------------------------

DTYPES = ["<f8", ">f8", "<f4", ">f4", "<f2", "g", "b", "<u8", ">i4", "?", "<c16", "<U2", "O", "V8"]
NUMBERS = [0.0, -0.0, 1.0, -2.5, 0.1, 3e4, 5e-324, 1e-40, 1e39, np.nan, np.inf]
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": lambda v: v.copy(),
    "Fortran": lambda v: v.copy(order="F"),
    "strided": strided,
    "reversed": reversed_axes,
    "read-only": read_only,
    "odd": lambda v: odd_strides(np.ascontiguousarray(v)),
    "misaligned": lambda v: v.copy() if v.dtype.hasobject else misaligned(v),
}


class Drawn(NamedTuple):
    """An array, and what there is to say about it."""

    value: Any
    is_real: bool
    numbers: Any  # the numbers meant, in the network's dtype, where it is_real
    overflows: bool


@st.composite
def drawn_arrays(draw, width, dtype):
    """An array that is often right and sometimes wrong in one way or several."""
    code = draw(st.sampled_from(DTYPES[:10] if draw(st.integers(0, 9)) else DTYPES))
    n = draw(st.sampled_from([0, 1, 2, 3, 5]))
    columns = width if draw(st.integers(0, 9)) else draw(st.integers(0, 5))
    shape = {0: (n, columns, 1), 1: (columns,), 2: ()}.get(draw(st.integers(0, 19)), (n, columns))
    harmless = draw(st.integers(0, 3))
    pool = NUMBERS[:6] if harmless else NUMBERS
    size = int(np.prod(shape))
    numbers = draw(st.lists(st.sampled_from(pool), min_size=size, max_size=size))
    kind = np.dtype(code).kind
    if kind == "f":
        with np.errstate(over="ignore"):
            values = np.array(numbers, float).astype(code).reshape(shape)
    elif kind in "iu?b":
        values = np.array([abs(int(v)) % 100 if np.isfinite(v) else 3 for v in numbers])
        values = values.astype(code).reshape(shape)
    else:
        values = np.zeros(shape, code)
    value = LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))](values)
    is_real = kind in "fiub"
    meant = None
    overflows = False
    if is_real:
        with np.errstate(over="ignore", under="ignore"):
            meant = np.array(values.ravel().tolist(), float).astype(dtype).reshape(shape)
        overflows = bool((np.isinf(meant) & np.isfinite(values)).any())
    return Drawn(value, is_real, meant, overflows)


def fits_one(array, width):
    return array.value.shape == (width,)


def fits_rows(array, width):
    return array.value.ndim == 2 and array.value.shape[1] == width


def must_be_accepted(call, X, Y):
    if not X.is_real or X.overflows:
        return False
    single = fits_one(X, 4) and call in (*ONE_EXAMPLE_IS_FINE, "check_gradient", "score")
    if not (single or fits_rows(X, 4)) or not np.isfinite(X.numbers).all():
        return False
    if call in WITH_X:
        return True
    if not Y.is_real or Y.overflows or not np.isfinite(Y.numbers).all():
        return False
    if single:
        return fits_one(Y, 3)
    n = len(X.value)
    needs_rows = call in (
        "cost", "gradient", *MEANS, "check_gradient", "score", "partial_fit", "fit"
    )  # fmt: skip
    return fits_rows(Y, 3) and len(Y.value) == n and not (needs_rows and n == 0)


def outcome(net, call, X, Y):
    """The bits that a call gives, and what it leaves behind."""
    keywords = {"epochs": 2, "batch_size": 2} if call == "fit" else {}
    arguments = (X,) if call in WITH_X else (X, Y)
    result = getattr(net, call)(*arguments, **keywords, **besides(net, call))
    if call == "forward":
        result = np.concatenate([np.ravel(a) for a in result.a])
    elif call == "backward":
        result = np.concatenate([np.ravel(a) for a in (*result.dC_da, *result.delta[1:])])
    elif call == "check_gradient":
        result = result.gradient
    elif call in ("fit", "partial_fit"):
        result = net.parameters
    numbers = numbers_of(result)
    return numbers.shape, numbers.tobytes()


# Which numbers are drawn is hypothesis's affair, and changes with its versions.
@pytest.mark.filterwarnings("ignore:Y has .* outputs are between 0 and 1:UserWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("call", [*WITH_X, *WITH_BOTH])
def test_any_array_is_accepted_with_the_right_bits_or_rejected_by_name(call, dtype):
    nets = {backend: trained(backend, dtype=dtype) for backend in BACKENDS}

    @settings(max_examples=35, deadline=None, derandomize=True, database=None)
    @given(X=drawn_arrays(4, dtype), Y=drawn_arrays(3, dtype))
    def check(X, Y):
        messages = set()
        for original in nets.values():
            net, twin = original.copy(), original.copy()
            before = contents([X.value, Y.value])
            if must_be_accepted(call, X, Y):
                got = outcome(net, call, X.value, Y.value)
                assert got == outcome(twin, call, X.numbers, Y.numbers)
            else:
                with pytest.raises((TypeError, ValueError)) as failure:
                    outcome(net, call, X.value, Y.value)
                messages.add(str(failure.value))
                assert re.match(r"[XY] (has|is) .*; expected ", str(failure.value))
                if call != "fit":
                    assert state(net) == state(original)
                np.testing.assert_array_equal(net.parameters, original.parameters)
            assert contents([X.value, Y.value]) == before
        assert len(messages) <= 1, messages

    check()


SMALL = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-2, 2)
    | st.sampled_from(["1", "x", b"1", 1j, 2**80, 10**400, np.nan, np.inf]),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(
        st.integers(0, 2), inner, max_size=2
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(value=SMALL)
def test_any_nest_of_python_objects_is_accepted_or_rejected_by_name(value):
    """Every argument: TypeError or ValueError that begins with its name, or it is fine."""
    X, Y = examples(n=2)
    net = trained(BACKENDS[0])
    before = state(net)

    def tries(name, function):
        try:
            function()
        except (TypeError, ValueError) as error:
            assert re.match(rf"{name}[\[ ]", str(error)), (name, str(error))  # noqa: PT017
            assert state(net) == before

    tries("X", lambda: net.predict(value))
    tries("Y", lambda: net.cost(X, value))
    tries("sample_weight", lambda: net.gradient(X, Y, sample_weight=value))
    tries("per_example", lambda: net.gradient(X, Y, per_example=value))
    tries("out", lambda: net.predict(X, out=value))
    tries("max_norm", lambda: net.clipped_gradient(X, Y, value))
    tries("v", lambda: net.hessian_vector_product(X, Y, value))
    tries("(X2|Y2)", lambda: net.gradient_gram(X, Y, value, Y))
    tries("(X2|Y2)", lambda: net.gradient_gram(X, Y, X, value))
    tries("[xX]", lambda: net.chain_rule(value, Y[0]))
    tries("(layer|j|k)", lambda: net.chain_rule(X[0], Y[0]).weight(1, value, 0))
    tries("size", lambda: net.chain_rule(X[0], Y[0]).bias(1, 0).nudge(value))
    tries("activation", lambda: Network(SIZES, activation=value))
    tries("cost", lambda: Network(SIZES, cost=value))
    tries("dtype", lambda: Network(SIZES, dtype=value))
    tries("init", lambda: Network(SIZES, init=value))
    tries("seed", lambda: Network(SIZES, seed=value))
    tries("threads", lambda: Network(SIZES, threads=value))
    tries("backend", lambda: Network(SIZES, backend=value))
    tries("sizes", lambda: Network(value))
    tries("learning_rate", lambda: SGD(value))
    tries("momentum", lambda: SGD(0.1, value))
    tries("nesterov", lambda: SGD(0.1, 0.5, value))
    tries("beta1", lambda: Adam(beta1=value))
    tries("epsilon", lambda: Adam(epsilon=value))
    twin = net.copy()
    for name in ("epochs", "batch_size", "shuffle", "validation_data", "metrics", "callbacks"):
        if name == "validation_data" and value is None:
            continue
        with pytest.raises((TypeError, ValueError), match=rf"^({name}|optimizer)[\[ ]"):
            twin.fit(X, Y, **{name: value, "optimizer": "stop here"})
    assert state(twin) == before


# ---- out= and live views -------------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_out_takes_the_result_and_nothing_around_it(dtype, backend):
    X, Y = examples()
    net = trained(backend, dtype=dtype)
    calls = {
        (6, 3): lambda out: net.predict(X, out=out),
        (3,): lambda out: net.predict(X[0], out=out),
        (43,): lambda out: net.gradient(X, Y, out=out).vector,
        (6, 43): lambda out: net.gradient(X, Y, per_example=True, out=out).vector,
        (6, 3, 43): lambda out: net.jacobian(X, out=out),
        (3, 43): lambda out: net.jacobian(X[0], out=out),
    }
    for shape, call in calls.items():
        size = int(np.prod(shape))
        block = np.full(size + 20, 77, dtype)
        out = block[10 : 10 + size].reshape(shape)
        assert np.shares_memory(call(out), out)
        assert out.tobytes() == np.asarray(call(None)).tobytes()
        assert set(block[:10]) == set(block[-10:]) == {77}
        assert call(odd_strides(out)).tobytes() == out.tobytes()


@every_backend
def test_out_may_be_a_file_in_memory(backend, tmp_path):
    X, Y = examples()
    net = trained(backend)
    calls = {
        (6, 3): lambda out: net.predict(X, out=out),
        (43,): lambda out: net.gradient(X, Y, out=out).vector,
        (6, 43): lambda out: net.gradient(X, Y, per_example=True, out=out).vector,
        (6, 3, 43): lambda out: net.jacobian(X, out=out),
    }
    for shape, call in calls.items():
        # A file each: Windows does not shorten one that is in memory.
        path = tmp_path / f"{len(shape)} {shape[-1]}"
        out = np.memmap(path, np.float64, "w+", shape=shape)
        result = call(out)
        assert type(result) is np.ndarray
        assert np.shares_memory(result, out)
        out.flush()
        assert path.read_bytes() == call(None).tobytes()


@every_backend
def test_out_beside_x_in_one_block_is_fine(backend):
    X, _ = examples()
    block = np.zeros(42)
    block[:24] = X.ravel()
    net = trained(backend)
    net.predict(block[:24].reshape(6, 4), out=block[24:].reshape(6, 3))
    assert block[24:].tobytes() == net.predict(X).tobytes()


@every_backend
def test_a_failed_predict_leaves_out_as_it_was(backend):
    net = network(backend)
    overflowing = np.full((6, 4), 1e308) * np.sign(net.weights[0][0])
    for X, error in (
        (put((6, 4), (5, 3), np.nan), ValueError),
        (overflowing, FloatingPointError),
    ):
        out = np.full((6, 3), 77.0)
        with pytest.raises(error):
            net.predict(X, out=out)
        assert set(out.ravel()) == {77.0}


@every_backend
def test_live_views_and_assigned_parameters(backend):
    X, Y = examples()
    net = trained(backend)
    before = net.predict(X)
    net.weights[0][1, 2] += 1.0
    assert not np.array_equal(net.predict(X), before)
    assert net.parameters[1 * 4 + 2] == net.weights[0][1, 2]
    vector = net.parameters
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1.0
    # Assigned from any array, and independent of it afterwards.
    mine = np.arange(43.0)[::-1]
    net.parameters = mine
    mine[...] = -1
    np.testing.assert_array_equal(net.parameters, np.arange(43.0)[::-1])
    net.parameters = net.gradient(X, Y)
    net.parameters = list(range(43))
    np.testing.assert_array_equal(net.parameters, np.arange(43.0))


ALIASED = {
    # X, or Y, is a live view of the parameters that the batches change.
    "X weights": ([1, 6, 3], lambda net: (net.weights[0], examples(n=6)[1])),
    "X weights of a square": ([4, 4, 3], lambda net: (net.weights[0], examples(n=4)[1])),
    "Y weights": ([4, 5, 1], lambda net: (examples(n=5)[0], net.weights[1].T)),
    "X bias": ([5, 5, 3], lambda net: (net.biases[0], examples()[1][0])),
    "Y bias": ([4, 5, 3], lambda net: (examples()[0][0], net.biases[1])),
}


@every_backend
@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize("name", list(ALIASED))
def test_a_live_view_as_data_is_taken_as_it_is_when_the_call_starts(name, batch_size, backend):
    sizes, make = ALIASED[name]
    nets = [network(backend, sizes=sizes) for _ in "ab"]
    for net in nets:
        net.partial_fit(*examples(n_in=sizes[0], n_out=sizes[-1]), optimizer=SGD(0.5))
    views, copies = make(nets[0]), [values.copy() for values in make(nets[1])]
    assert nets[0].predict(views[0]).tobytes() == nets[1].predict(copies[0]).tobytes()
    nets[0].partial_fit(*views, batch_size=batch_size)
    nets[1].partial_fit(*copies, batch_size=batch_size)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


# ---- what is no array ----------------------------------------------------------------------------


class Failing:
    """Something that becomes no array."""

    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error


def test_no_memory_for_an_array_is_no_fault_of_its_kind():
    error = MemoryError("no room")
    with pytest.raises(MemoryError) as raised:
        Network([3, 2]).predict(Failing(error))
    assert raised.value is error


def test_numbers_that_no_float_holds():
    with pytest.raises(ValueError, match=r"^X has an integer too large for a float; expected"):
        Network([3, 2]).predict(Failing(OverflowError("int too large to convert to float")))


def test_results_with_more_numbers_than_an_array_can_have():
    most = validation.LARGEST_ARRAY
    validation.result_size("the Jacobian", most // 8, 8)
    with pytest.raises(
        ValueError,
        match=rf"^X has {most} examples: the Jacobian would have {2 * most} numbers; expected at "
        rf"most {most}$",
    ):
        validation.result_size("the Jacobian", most, 2)


@pytest.mark.parametrize("wrong", [(np.nan,), (np.inf,), (-np.inf, np.inf)])
def test_one_number_among_many(wrong):
    """Many numbers are looked at by their sum first, which may itself overflow."""
    net = Network([4, 2], seed=0)
    X, Y = np.zeros((5_000, 4)), np.zeros((5_000, 2))
    X[:2] = 1e308  # whose sum is infinite, and each is finite
    validation.require_finite("X", X)
    for row, number in zip((3_001, 4_002), wrong, strict=False):
        X[row, 2] = number
    with pytest.raises(ValueError, match=rf"^X has {wrong[0]} at \[3001, 2\]"):
        validation.require_finite("X", X)
    Y[4_321, 1] = wrong[0]
    with pytest.raises(ValueError, match=rf"^Y has {wrong[0]} at \[4321, 1\]"):
        net.cost(np.zeros((5_000, 4)), Y)
