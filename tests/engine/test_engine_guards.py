"""What the compiled engine itself refuses. Validation comes first, no public call gets this far:
a mistake in the Python above must end in an exception, not in memory that is somebody else's.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import DTYPES

from cbackprop import backend
from cbackprop.update_rules import StepOptions, UpdateRule

if backend.simd_level() is None:
    pytest.skip("the compiled core is not built", allow_module_level=True)

SIZES = (3, 4, 2)


def engine_of(dtype, sizes=SIZES, kernels_dtype=None):
    kind = backend.kernels(kernels_dtype or dtype).Engine
    engine = kind(sizes, ("tanh",) * (len(sizes) - 1), "quadratic", dtype, 1)
    weights, biases, _ = engine.parameter_arrays()
    for array in (*weights, *biases):  # not the padding, which stays 0
        array[...] = 0.25
    return engine


def examples(dtype, n=5):
    random = np.random.default_rng(0)
    return tuple(random.normal(size=(n, width)).astype(dtype) for width in (SIZES[0], SIZES[-1]))


def not_plain(X):
    """Arrays of the same numbers that a pointer to the first of them does not describe."""
    wide = np.repeat(X, 2, axis=1)
    shifted = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)
    return {
        "of the other number type": X.astype("float32" if X.dtype == "float64" else "float64"),
        "in the other byte order": X.astype(X.dtype.newbyteorder()),
        "by columns": np.asfortranarray(X),
        "with gaps": wide[:, ::2],
        "misaligned": shifted,
        "of a subclass": np.ma.masked_array(X),
        "of integers": X.astype(np.int64),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", not_plain(np.zeros((2, 2))))
def test_an_array_that_is_not_plain(dtype, kind):
    engine, (X, Y) = engine_of(dtype), examples(dtype)
    C = np.full(5, 7, dtype)
    message = f"; expected a contiguous native {dtype} array$"
    with pytest.raises(TypeError, match=message):
        engine.cost(not_plain(X)[kind], Y, C, None)
    with pytest.raises(TypeError, match=message):
        engine.cost(X, not_plain(Y)[kind], C, None)
    a = not_plain(np.full((5, 2), 7, dtype))[kind]
    before = np.array(a)
    with pytest.raises(TypeError, match=message):
        engine.forward(X, [None, None], [None, a])
    assert np.array_equal(a, before)
    assert (C == 7).all()
    assert engine.cost(X, Y, C, None)[0] is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_where_nothing_may_be_written(dtype):
    engine, (X, _) = engine_of(dtype), examples(dtype)
    a = np.full((5, 2), 7, dtype)
    a.flags.writeable = False
    with pytest.raises(TypeError, match="array is ndarray; expected a contiguous native"):
        engine.forward(X, [None, None], [None, a])
    assert (a == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 4, 6])
def test_an_array_of_another_size(dtype, n):
    engine, (X, Y) = engine_of(dtype), examples(dtype)
    with pytest.raises(ValueError, match=f"^array has {2 * n} numbers; expected 10$"):
        engine.cost(X, np.zeros((n, 2), dtype), np.zeros(5, dtype), None)
    with pytest.raises(ValueError, match=f"^array has {n} numbers; expected 5$"):
        engine.cost(X, Y, np.zeros(n, dtype), None)
    with pytest.raises(ValueError, match=f"^array has {n} numbers; expected 5$"):
        engine.cost(X, Y, np.zeros(5, dtype), np.zeros(n))
    with pytest.raises(TypeError, match=r"^array is ndarray; expected a contiguous native float64"):
        engine.cost(X, Y, np.zeros(5, dtype), np.zeros(5, np.float32))
    a = np.full((n, 2), 7, dtype)
    with pytest.raises(ValueError, match=f"^array has {2 * n} numbers; expected 10$"):
        engine.forward(X, [None, None], [None, a])
    assert (a == 7).all()


def train(engine, X, Y, order):
    return engine.train(X, Y, order, 2, None, None, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_order_that_leads_outside(dtype):
    engine, (X, Y) = engine_of(dtype), examples(dtype)
    engine.set_optimizer(UpdateRule("sgd", {}, ()))
    engine.learning_rate = 0.1
    before = engine.parameter_arrays()[2].copy()
    for order in (
        np.arange(5, dtype=np.int32),
        np.arange(5.0),
        np.arange(4),
        np.arange(6),
        np.arange(10)[::2],
        np.arange(5)[::-1],
        np.arange(5).astype(np.dtype(np.int64).newbyteorder()),
        [0, 1, 2, 3, 4],
    ):
        with pytest.raises(TypeError):
            train(engine, X, Y, order)
    for place, value in ((0, -1), (4, 5), (2, 2**62)):
        order = np.arange(5)
        order[place] = value
        with pytest.raises(ValueError, match=r"^order has entries outside 0 \.\.\. 4$"):
            train(engine, X, Y, order)
    assert np.array_equal(engine.parameter_arrays()[2], before)
    assert train(engine, X, Y, np.arange(5)[::-1].copy())[0] is None
    assert not np.array_equal(engine.parameter_arrays()[2], before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first_batch", [-1, 2**62])
def test_batches_before_that_cannot_have_been(dtype, first_batch):
    engine, (X, Y) = engine_of(dtype), examples(dtype)
    engine.set_optimizer(UpdateRule("sgd", {}, ()))
    before = engine.parameter_arrays()[2].copy()
    with pytest.raises(ValueError, match=f"^first_batch is {first_batch}; expected a number of"):
        engine.train(X, Y, None, 2, None, None, 0, None, first_batch)
    assert np.array_equal(engine.parameter_arrays()[2], before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_to_freeze_that_are_not_there_or_are_all(dtype):
    (X, Y), engines = examples(dtype), [engine_of(dtype) for _ in range(2)]
    for engine in engines:
        engine.set_optimizer(UpdateRule("sgd", {}, ()))
        engine.learning_rate = 0.1
    engine, again = engines
    before = engine.parameter_arrays()[2].copy()

    def train(engine, *frozen):
        return engine.train(X, Y, None, 2, None, StepOptions(frozen=frozen), 0)[0]

    for wrong in (0, -1, 3, -(2**62), 2**62):
        for frozen in ((wrong,), (1, wrong)):
            with pytest.raises(
                ValueError, match=f"^frozen has {wrong}; expected layers from 1 to 2$"
            ):
                train(engine, *frozen)
    for frozen in ((1, 2), (2, 1, 2)):
        with pytest.raises(ValueError, match=r"^frozen has all 2 layers; expected one at least"):
            train(engine, *frozen)
    assert np.array_equal(engine.parameter_arrays()[2], before)
    # Nothing of it is left for the next pass; and a layer may be named twice.
    assert train(engine, 1, 1) is None
    assert train(again, 1) is None
    after = engine.parameter_arrays()[2]
    assert np.array_equal(after, again.parameter_arrays()[2])
    assert not np.array_equal(after, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_optimiser_is_set(dtype):
    engine, (X, Y) = engine_of(dtype), examples(dtype)
    before = engine.parameter_arrays()[2].copy()
    with pytest.raises(RuntimeError, match=r"^no optimiser is set$"):
        train(engine, X, Y, None)
    assert np.array_equal(engine.parameter_arrays()[2], before)
    # The engine is free again.
    with engine:
        assert not engine.is_fitting


def test_an_engine_of_the_other_number_type():
    with pytest.raises(TypeError, match=r"^dtype is float32; this engine computes in .*float64"):
        engine_of("float32", kernels_dtype="float64")
    with pytest.raises(TypeError, match=r"^dtype is float64; this engine computes in .*float32"):
        engine_of("float64", kernels_dtype="float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(2**31, 2**31), (3, 2**40, 2**40), (2**62, 1)])
def test_layers_whose_size_overflows(dtype, sizes):
    with pytest.raises(MemoryError, match=r"neurons are more than can be addressed$"):
        engine_of(dtype, sizes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shuffle_wants_both_arrays_as_it_reads_them(dtype):
    shuffle = backend.kernels(dtype).shuffle
    words = np.arange(5, dtype=np.uint64) << np.uint64(40)
    for wrong in (
        np.arange(5, dtype=np.int32),
        np.arange(10)[::2],
        np.arange(6),
        np.arange(5).astype(np.dtype(np.int64).newbyteorder()),
    ):
        before = wrong.copy()
        with pytest.raises(TypeError, match="contiguous int64 and uint64 arrays of one length"):
            shuffle(wrong, words)
        assert np.array_equal(wrong, before)
    order = np.arange(5)
    for wrong in (words.astype(np.int64), np.repeat(words, 2)[::2], words[:4]):
        with pytest.raises(TypeError, match="contiguous int64 and uint64 arrays of one length"):
            shuffle(order, wrong)
    order.flags.writeable = False
    with pytest.raises(TypeError, match="contiguous int64 and uint64 arrays of one length"):
        shuffle(order, words)
    assert np.array_equal(order, np.arange(5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_activation_values_wants_whole_vectors_and_one_number_at_a_time(dtype):
    kernels = backend.kernels(dtype)
    n = kernels.lanes
    z, a, da_dz = (np.full(n, 7, dtype) for _ in range(3))
    with pytest.raises(ValueError, match=r"^name is 'softmax'; expected an elementwise"):
        kernels.activation_values("softmax", z, a, da_dz)
    if n > 1:
        with pytest.raises(ValueError, match=f"^z has {n - 1} numbers; expected a multiple of {n}"):
            kernels.activation_values("tanh", z[1:], a[1:], da_dz[1:])
    assert (a == 7).all()
    assert (da_dz == 7).all()
