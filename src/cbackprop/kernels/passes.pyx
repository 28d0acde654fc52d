# One network's parameters, scratch and passes over examples, for one number type and one SIMD level.
#
# a) Included through engine.pyx once per level and type, by _v2_f32.pyx ... _generic_f64.pyx; which type, simd.h
#    decides. The tile's row counts are included before it.
# b) A layer's parameters are Wt (n_in + 1, ld): the transpose of W with the bias as its last row, ld = n_out padded to
#    whole 64-byte groups. All layers lie in one 64-byte-aligned block, `storage`. Gradient sums and optimiser slots
#    have the same layout, so an update is one loop. Padding is 0 and stays 0.
# c) Arguments are validated before they come here (validation.py). `pointer` checks once more what memory safety
#    needs: type, layout and size. Behind it the kernels are total: they cannot fail, only find numbers not finite.
# d) Sums over examples run in a fixed tree: chains of BLOCK examples, those in chains of GROUP_BLOCKS, those in one
#    chain. So a gradient's bits do not depend on how a call was cut up.
# e) Memory belongs to NumPy arrays that the engine holds; it is taken before the first number is changed.

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.string cimport memcpy, memset
from libc.stdint cimport int64_t, uintptr_t

from cbackprop.kernels.simd cimport CBACKPROP_PREFETCH, HAS_FMA, LANES, VECTOR_BYTES, real, stream_fence, vec, vec_set1

import numpy as np

cnp.import_array()

include "layers.pyx"
include "per_example.pyx"
include "updates.pyx"

initialise_tiles()

cdef enum:
    BLOCK = 128             # examples whose activations are held at once: they and a tile's panel fit the L2 cache
    GROUP_BLOCKS = 64
    GUARD = 16              # numbers behind each allocation that the checked build watches
    # Work is counted in multiply-adds; an activation counts as 100, a layer's overhead as 1,000.
    RELEASE_GIL_WORK = 20000        # about 2 microseconds at the least
    SIGNAL_WORK = 20000000          # between two looks for Ctrl-C: some milliseconds
    FUSED_WORK = 200000000          # the largest update that need not be looked into: about 20 milliseconds

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    unsigned long PyThread_get_thread_ident()

cdef extern from *:
    """
    #ifdef CBACKPROP_CHECKED
    #define CBACKPROP_CHECKED_BUILD 1
    #else
    #define CBACKPROP_CHECKED_BUILD 0
    #endif
    """
    const bint CHECKED_BUILD "CBACKPROP_CHECKED_BUILD"

cdef int REAL_TYPE = cnp.NPY_FLOAT32 if sizeof(real) == 4 else cnp.NPY_FLOAT64

dtype = np.dtype(np.float32 if sizeof(real) == 4 else np.float64)
lanes = LANES
vector_bytes = VECTOR_BYTES
has_fma = bool(HAS_FMA)
checked = bool(CHECKED_BUILD)


cdef struct Layer:
    Py_ssize_t n_in
    Py_ssize_t n_out
    Py_ssize_t ld_in        # row length of W, padded
    Py_ssize_t ld           # row length of Wt, z, a, da_dz, delta, padded
    Py_ssize_t offset       # of Wt in the parameter block
    int activation
    real *z                 # (BLOCK at most, ld), as the next three
    real *a
    real *da_dz
    real *delta
    real *W                 # (n_out, ld_in): Wt transposed, made anew by each backward pass


cdef Py_ssize_t padded(Py_ssize_t n) noexcept nogil:
    """n rounded up to whole 64-byte groups; one more where rows would lie whole kilobytes apart (one L1 set)."""
    cdef Py_ssize_t ld = (n + GROUP - 1) // GROUP * GROUP
    if ld * <Py_ssize_t> sizeof(real) % 1024 == 0:
        ld += GROUP
    return ld


cdef object aligned_zeros(Py_ssize_t count):
    """(count,) zeros on a 64-byte boundary; the checked build looks at the guard behind them."""
    if count < 0 or count > PY_SSIZE_T_MAX // 16 - 4 * GUARD:
        raise MemoryError(f"{count} numbers are more than can be addressed")
    cdef object raw = np.zeros((count + 2 * GUARD) * sizeof(real) + 64, dtype=np.uint8)
    cdef uintptr_t address = <uintptr_t> cnp.PyArray_DATA(<cnp.ndarray> raw)
    cdef Py_ssize_t start = <Py_ssize_t> ((64 - address % 64) % 64)
    return raw[start:start + count * <Py_ssize_t> sizeof(real)].view(dtype)


cdef real *data(object array) noexcept:
    return <real *> cnp.PyArray_DATA(<cnp.ndarray> array)


cdef bint is_plain(object array) noexcept:
    """Whether this is an ndarray (of no subclass) of the engine's type, C-contiguous, aligned, in native byte order."""
    return (
        cnp.PyArray_CheckExact(array)
        and cnp.PyArray_TYPE(<cnp.ndarray> array) == REAL_TYPE
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> array)
    )


cdef real *pointer(object array, Py_ssize_t size, bint writeable) except NULL:
    """The data of a plain array of `size` numbers."""
    if not is_plain(array) or (writeable and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> array)):
        raise TypeError(f"array is {type(array).__name__}; expected a contiguous native {dtype} array")
    if cnp.PyArray_SIZE(array) != size:
        raise ValueError(f"array has {array.size} numbers; expected {size}")
    return data(array)


cdef void copy_rows(
    real *target, Py_ssize_t target_ld, const real *source, Py_ssize_t source_ld, Py_ssize_t n, Py_ssize_t width,
) noexcept nogil:
    """n rows of `width` numbers between a padded block and a plain array."""
    cdef Py_ssize_t i
    for i in range(n):
        memcpy(target + i * target_ld, source + i * source_ld, width * sizeof(real))


cdef inline void hand_out(
    real *target, const real *block, const Layer *layer, Py_ssize_t start, Py_ssize_t n,
) noexcept nogil:
    """A block's n rows of one layer into rows start ... of a caller's (., n_out) array; NULL is left out."""
    if target != NULL:
        copy_rows(target + start * layer.n_out, layer.n_out, block, layer.ld, n, layer.n_out)


cdef object pointer_table(list arrays):
    """Their data pointers as an array of addresses, NULL for None."""
    return np.array([0 if array is None else <uintptr_t> data(array) for array in arrays], dtype=np.uintp)


cdef class Passes:
    """Parameters, scratch and passes of one network. A pass returns 0, or 1 after `fail`; -1 is a Python exception."""

    cdef Py_ssize_t n_layers
    cdef Py_ssize_t n_parameters
    cdef Py_ssize_t storage_size
    cdef Layer *layers
    cdef int cost_kind
    cdef tuple activations
    cdef object user_cost
    # Arrays that own the memory behind the pointers.
    cdef object layer_memory, storage_array, scratch_array, W_array, gathered_array, sums_array, constants_array
    cdef object backup_array
    cdef list slot_arrays
    cdef real *slot_data[2]
    cdef Py_ssize_t n_slots
    cdef real *storage
    cdef real *backup           # storage and slots as they were before a step
    cdef real *sums             # (3, storage_size): the block's sum, the group's, the total
    cdef real *zeros
    cdef real *output_mask
    cdef real *output_scratch
    cdef real *dC_da_output     # (BLOCK at most, ld)
    cdef real *input_row            # (ld_in of the first layer,)
    cdef real *gathered_X
    cdef real *gathered_Y
    cdef Py_ssize_t block_capacity, sums_capacity, gathered_capacity
    cdef bint has_W, has_input_W
    # The optimiser.
    cdef int rule
    cdef readonly str rule_name
    cdef readonly tuple hyper_parameters
    cdef double momentum, beta1, beta2, epsilon
    cdef public double learning_rate
    cdef public int64_t step_count
    # The call under way.
    cdef readonly bint busy
    cdef public unsigned long owner     # the thread whose fit goes on between calls, too; 0 for none
    cdef double cost_total, cost_correction
    cdef int failed_quantity
    cdef Py_ssize_t failed_layer
    cdef Py_ssize_t work

    def __cinit__(self, tuple sizes, tuple activations, cost, dtype_name):
        cdef Py_ssize_t l, offset = 0, ld_max = 0
        cdef Layer *layer
        if np.dtype(dtype_name) != dtype:
            raise TypeError(f"dtype is {dtype_name}; this engine computes in {dtype}")
        if sum((n_in + 1) * (n_out + 2 * GROUP) for n_in, n_out in zip(sizes, sizes[1:])) > PY_SSIZE_T_MAX // 64:
            raise MemoryError(f"layers of {sizes} neurons are more than can be addressed")
        self.n_layers = len(sizes) - 1
        self.layer_memory = np.zeros(self.n_layers * sizeof(Layer), dtype=np.uint8)
        self.layers = <Layer *> cnp.PyArray_DATA(<cnp.ndarray> self.layer_memory)
        self.activations = activations
        self.n_parameters = 0
        for l in range(self.n_layers):
            layer = &self.layers[l]
            layer.n_in = sizes[l]
            layer.n_out = sizes[l + 1]
            layer.ld_in = padded(layer.n_in)
            layer.ld = padded(layer.n_out)
            layer.offset = offset
            layer.activation = ACTIVATIONS[activations[l]] if isinstance(activations[l], str) else USER_ACTIVATION
            offset += (layer.n_in + 1) * layer.ld
            self.n_parameters += (layer.n_in + 1) * layer.n_out
            ld_max = max(ld_max, layer.ld, layer.ld_in)
        self.cost_kind = COSTS[cost] if isinstance(cost, str) else USER_COST
        self.user_cost = cost
        self.storage_size = offset
        self.storage_array = aligned_zeros(offset)
        self.storage = data(self.storage_array)
        layer = &self.layers[self.n_layers - 1]
        self.constants_array = aligned_zeros(ld_max + 4 * layer.ld + self.layers[0].ld_in)
        self.zeros = data(self.constants_array)
        self.output_mask = self.zeros + ld_max
        self.output_scratch = self.output_mask + layer.ld
        self.input_row = self.output_scratch + 3 * layer.ld
        for l in range(layer.n_out):
            self.output_mask[l] = 1
        self.slot_arrays = []
        self.rule = NO_RULE

    def check_guards(self):
        """In the checked build: no number was written behind an allocation, and the padding is still 0."""
        cdef Py_ssize_t l
        cdef Layer *layer
        for array in (self.storage_array, self.scratch_array, self.W_array, self.gathered_array, self.sums_array,
                      self.constants_array, self.backup_array, *self.slot_arrays):
            if array is not None:
                raw = array.base
                start = array.ctypes.data - raw.ctypes.data + array.nbytes
                if raw[start:].any():
                    raise AssertionError("numbers were written behind an allocation")
        for array in (self.storage_array, *self.slot_arrays):
            for l in range(self.n_layers):
                layer = &self.layers[l]
                block = array[layer.offset:layer.offset + (layer.n_in + 1) * layer.ld]
                if block.reshape(layer.n_in + 1, layer.ld)[:, layer.n_out:].any():
                    raise AssertionError(f"the padding of layer {l + 1} is not 0")

    # ---- memory, taken before a call starts -------------------------------------------------------------------------

    cdef int reserve(self, Py_ssize_t n, bint backward, bint input_gradient) except -1:
        cdef Py_ssize_t rows = 1, total = 0, l
        cdef Layer *layer
        cdef real *p
        while rows < min(n, BLOCK):
            rows *= 2
        if rows > self.block_capacity:
            for l in range(self.n_layers):
                total += 4 * rows * self.layers[l].ld
            total += rows * self.layers[self.n_layers - 1].ld
            scratch = aligned_zeros(total)
            self.scratch_array = scratch
            p = data(scratch)
            for l in range(self.n_layers):
                layer = &self.layers[l]
                layer.z = p
                layer.a = layer.z + rows * layer.ld
                layer.da_dz = layer.a + rows * layer.ld
                layer.delta = layer.da_dz + rows * layer.ld
                p = layer.delta + rows * layer.ld
            self.dC_da_output = p
            self.block_capacity = rows
        if (backward and not self.has_W) or (input_gradient and not self.has_input_W):
            total = 0
            for l in range(0 if input_gradient else 1, self.n_layers):
                total += self.layers[l].n_out * self.layers[l].ld_in
            W = aligned_zeros(total)
            self.W_array = W
            p = data(W)
            for l in range(0 if input_gradient else 1, self.n_layers):
                layer = &self.layers[l]
                layer.W = p
                p += layer.n_out * layer.ld_in
            self.has_W = True
            self.has_input_W = input_gradient
        return 0

    cdef int reserve_sums(self, Py_ssize_t n) except -1:
        cdef Py_ssize_t count = 1 if n <= BLOCK else 2 if n <= BLOCK * GROUP_BLOCKS else 3
        if count > self.sums_capacity:
            sums = aligned_zeros(count * self.storage_size)
            self.sums_array = sums
            self.sums = data(sums)
            self.sums_capacity = count
        return 0

    cdef int reserve_gathered(self, Py_ssize_t n) except -1:
        cdef Py_ssize_t rows = min(n, BLOCK)
        cdef Py_ssize_t n_0 = self.layers[0].n_in, n_L = self.layers[self.n_layers - 1].n_out
        if rows > self.gathered_capacity:
            gathered = aligned_zeros(rows * (n_0 + n_L))
            self.gathered_array = gathered
            self.gathered_X = data(gathered)
            self.gathered_Y = self.gathered_X + rows * n_0
            self.gathered_capacity = rows
        return 0

    cdef int reserve_training(self, Py_ssize_t n, Py_ssize_t batch_size, bint gathered) except -1:
        if self.rule == NO_RULE:
            raise RuntimeError("no optimiser is set")
        self.reserve(min(n, batch_size), True, False)
        self.reserve_sums(min(n, batch_size))
        if gathered:
            self.reserve_gathered(min(n, batch_size))
        return 0

    cdef int enter(self) except -1:
        """One call at a time: the scratch is the engine's own. The GIL is held here, so the flag cannot be missed."""
        if self.owner != 0 and self.owner != PyThread_get_thread_ident():
            raise RuntimeError("a fit of this network is running in another thread; use copy() to work on it at the "
                               "same time")
        if self.busy:
            raise RuntimeError("this network is already in use: another call on it is running, in another thread or "
                               "in a callback; use copy() to work on it at the same time")
        self.busy = True
        self.work = 0
        self.cost_total = 0
        self.cost_correction = 0
        return 0

    cdef int leave(self) except -1:
        self.busy = False
        if CHECKED_BUILD:
            self.check_guards()
        return 0

    # ---- one block of at most BLOCK examples ------------------------------------------------------------------------

    cdef int fail(self, int quantity, Py_ssize_t layer) noexcept nogil:
        self.failed_quantity = quantity
        self.failed_layer = layer
        return 1

    cdef int forward_block(self, const real *X, Py_ssize_t n, bint derivative) except -1 nogil:
        """z, a (and da_dz) of every layer for the n examples of X (n, n_0). 0, or 1 after `fail`."""
        cdef Py_ssize_t l, i, j, width
        cdef const real *a = X
        cdef Py_ssize_t lda = self.layers[0].n_in
        cdef Layer *layer
        cdef real *Wt
        for l in range(self.n_layers):
            layer = &self.layers[l]
            Wt = self.storage + layer.offset
            j = 0
            while j < layer.ld:
                width = self.columns_between_looks(layer.ld - j, n * layer.n_in)
                multiply_rows(layer.z + j, layer.ld, a, lda, Wt + j, layer.ld, Wt + layer.n_in * layer.ld + j, 0,
                              n, width, layer.n_in)
                self.look_for_signals(width * n * layer.n_in)
                j += width
            # NaN and infinities in X, in the parameters or from overflow all end in z, and nowhere else unseen.
            if not all_finite(layer.z, n * layer.ld):
                return self.fail(0, l + 1)
            if layer.activation == SOFTMAX:
                for i in range(n):
                    softmax_row(layer.a + i * layer.ld, layer.da_dz + i * layer.ld if derivative else NULL,
                                layer.z + i * layer.ld, layer.n_out, layer.ld)
            elif layer.activation == USER_ACTIVATION:
                self.apply_user_activation(l, n, derivative)
            else:
                activate(layer.activation, layer.a, layer.da_dz if derivative else NULL, layer.z, n * layer.ld)
            # Of the named activations these two can leave the finite numbers: exp, and selu with its factor 1.05.
            if layer.activation == EXPONENTIAL or layer.activation == SELU or layer.activation == USER_ACTIVATION:
                if not all_finite(layer.a, n * layer.ld):
                    return self.fail(1, l + 1)
            self.look_for_signals(1000 + 100 * n * layer.ld)
            a = layer.a
            lda = layer.ld
        return 0

    cdef int output_block(self, real *C, const real *Y, Py_ssize_t n) except -1 nogil:
        """C_i, dC/da and delta of the output layer for the n examples of Y (n, n_L). 0, or 1 after `fail`."""
        cdef Py_ssize_t i
        cdef Layer *layer = &self.layers[self.n_layers - 1]
        cdef Py_ssize_t ld = layer.ld
        if self.cost_kind == USER_COST:
            self.apply_user_cost(C, Y, n)
        else:
            for i in range(n):
                C[i] = output_row(self.cost_kind, layer.activation, layer.n_out, ld, layer.delta + i * ld,
                                  self.dC_da_output + i * ld, layer.z + i * ld, layer.a + i * ld, layer.da_dz + i * ld,
                                  Y + i * layer.n_out, self.output_mask, self.output_scratch)
        if not all_finite(layer.delta, n * ld) or not all_finite(C, n):
            return self.fail(2, self.n_layers)
        return 0

    cdef int propagate_product(self, Py_ssize_t l, Py_ssize_t n) except -1 nogil:
        """dC/da of layer l (counted from 0) from delta of layer l + 1, in the place of its delta."""
        cdef Layer *layer = &self.layers[l]
        cdef Layer *above = &self.layers[l + 1]
        cdef Py_ssize_t j = 0, width
        while j < layer.ld:
            width = self.columns_between_looks(layer.ld - j, n * above.n_out)
            propagate_delta(layer.delta + j, layer.ld, above.delta, above.ld, above.W + j, above.ld_in,
                            n, width, above.n_out, self.zeros)
            self.look_for_signals(width * n * above.n_out)
            j += width
        return 0

    cdef int finish_delta(self, Py_ssize_t l, Py_ssize_t n) noexcept nogil:
        """delta = dC/da . da/dz of layer l. 0, or 1 after `fail`."""
        cdef Layer *layer = &self.layers[l]
        multiply_by_derivative(layer.delta, layer.da_dz, n * layer.ld)
        if not all_finite(layer.delta, n * layer.ld):
            return self.fail(2, l + 1)
        return 0

    cdef void transpose_layer(self, Py_ssize_t l) noexcept nogil:
        cdef Layer *layer = &self.layers[l]
        transpose_weights(layer.W, layer.ld_in, self.storage + layer.offset, layer.ld, layer.n_in, layer.n_out)

    cdef int apply_user_activation(self, Py_ssize_t l, Py_ssize_t n, bint derivative) except -1 with gil:
        cdef Layer *layer = &self.layers[l]
        z = np.empty((n, layer.n_out), dtype)
        copy_rows(data(z), layer.n_out, layer.z, layer.ld, n, layer.n_out)
        z.flags.writeable = False
        a = self.activations[l].checked_value(z)
        copy_rows(layer.a, layer.ld, pointer(a, n * layer.n_out, False), layer.n_out, n, layer.n_out)
        if derivative:
            da_dz = self.activations[l].checked_derivative(z)
            copy_rows(layer.da_dz, layer.ld, pointer(da_dz, n * layer.n_out, False), layer.n_out, n, layer.n_out)
        return 0

    cdef int apply_user_cost(self, real *C, const real *Y, Py_ssize_t n) except -1 with gil:
        cdef Layer *layer = &self.layers[self.n_layers - 1]
        cdef Py_ssize_t i, n_out = layer.n_out
        a = np.empty((n, n_out), dtype)
        y = np.empty((n, n_out), dtype)
        copy_rows(data(a), n_out, layer.a, layer.ld, n, n_out)
        copy_rows(data(y), n_out, Y, n_out, n, n_out)
        a.flags.writeable = False
        y.flags.writeable = False
        value = self.user_cost.checked_value(a, y)
        dC_da = self.user_cost.checked_gradient(a, y)
        memcpy(C, pointer(value, n, False), n * sizeof(real))
        copy_rows(self.dC_da_output, layer.ld, pointer(dC_da, n * n_out, False), n_out, n, n_out)
        if layer.activation == SOFTMAX:
            for i in range(n):
                softmax_delta_row(layer.delta + i * layer.ld, layer.a + i * layer.ld, Y + i * n_out,
                                  self.dC_da_output + i * layer.ld, n_out, USER_COST, self.output_scratch, layer.ld)
        else:
            copy_rows(layer.delta, layer.ld, self.dC_da_output, layer.ld, n, n_out)
            multiply_by_derivative(layer.delta, layer.da_dz, n * layer.ld)
        return 0

    cdef void count_cost(self, const real *C, const real *sample_weight, Py_ssize_t n) noexcept nogil:
        """Neumaier's compensated sum in float64: the mean cost keeps its digits over any number of examples."""
        cdef Py_ssize_t i
        cdef double term, sum
        for i in range(n):
            term = <double> C[i] * (<double> sample_weight[i] if sample_weight != NULL else 1.0)
            sum = self.cost_total + term
            if abs(self.cost_total) >= abs(term):
                self.cost_correction += (self.cost_total - sum) + term
            else:
                self.cost_correction += (term - sum) + self.cost_total
            self.cost_total = sum

    cdef bint cost_is_finite(self) noexcept nogil:
        """Whether the sum of the costs fits a float64; otherwise after `fail`."""
        if (self.cost_total + self.cost_correction) * 0 == 0:
            return True
        self.fail(2, self.n_layers)
        return False

    cdef int look_for_signals(self, Py_ssize_t work) except -1 nogil:
        """Ctrl-C arrives here, between two pieces of work."""
        self.work += work
        if self.work >= SIGNAL_WORK:
            self.work = 0
            with gil:
                PyErr_CheckSignals()
        return 0

    cdef Py_ssize_t columns_between_looks(self, Py_ssize_t columns, Py_ssize_t work_per_column) noexcept nogil:
        """As many of the columns, whole groups of them, as SIGNAL_WORK allows; at least one pair of vectors' worth."""
        cdef Py_ssize_t most = SIGNAL_WORK // (work_per_column + 1) // (4 * GROUP) * (4 * GROUP)
        return min(columns, max(most, 4 * GROUP))

    # ---- calls over all examples ------------------------------------------------------------------------------------

    cdef int forward_all(
        self, const real *X, Py_ssize_t n, real **z, real **a, real *C, const real *Y,
    ) except -1 nogil:
        """Weighted inputs and activations of all layers (where asked for), or the costs C_i (with Y)."""
        cdef Py_ssize_t start = 0, m, l
        cdef Layer *layer
        cdef Layer *output = &self.layers[self.n_layers - 1]
        while start < n:
            m = min(n - start, BLOCK)
            if self.forward_block(X + start * self.layers[0].n_in, m, C != NULL):
                return 1
            for l in range(self.n_layers):
                layer = &self.layers[l]
                if z != NULL:
                    hand_out(z[l], layer.z, layer, start, m)
                if a != NULL:
                    hand_out(a[l], layer.a, layer, start, m)
            if C != NULL:
                if self.output_block(C + start, Y + start * output.n_out, m):
                    return 1
            self.look_for_signals(0)
            start += m
        return 0

    cdef int backward_all(
        self, const real *X, const real *Y, Py_ssize_t n, real **z, real **a, real **da_dz, real **delta, real **dC_da,
        real *C,
    ) except -1 nogil:
        """All of the chain rule's factors; dC_da has n_layers + 1 entries, its first the input gradient."""
        cdef Py_ssize_t start = 0, m, l
        cdef Layer *layer
        for l in range(0 if dC_da[0] != NULL else 1, self.n_layers):
            self.transpose_layer(l)
        while start < n:
            m = min(n - start, BLOCK)
            if self.forward_block(X + start * self.layers[0].n_in, m, True):
                return 1
            layer = &self.layers[self.n_layers - 1]
            if self.output_block(C + start, Y + start * layer.n_out, m):
                return 1
            l = self.n_layers - 1
            hand_out(dC_da[l + 1], self.dC_da_output, layer, start, m)
            while l >= 0:
                layer = &self.layers[l]
                if l < self.n_layers - 1:
                    self.propagate_product(l, m)
                    hand_out(dC_da[l + 1], layer.delta, layer, start, m)
                    if self.finish_delta(l, m):
                        return 1
                hand_out(z[l], layer.z, layer, start, m)
                hand_out(a[l], layer.a, layer, start, m)
                hand_out(da_dz[l], layer.da_dz, layer, start, m)
                hand_out(delta[l], layer.delta, layer, start, m)
                l -= 1
            if dC_da[0] != NULL:
                self.input_gradient_block(dC_da[0] + start * self.layers[0].n_in, m)
                if not all_finite(dC_da[0] + start * self.layers[0].n_in, m * self.layers[0].n_in):
                    return self.fail(2, 1)
            self.look_for_signals(0)
            start += m
        return 0

    cdef void input_gradient_block(self, real *dC_dx, Py_ssize_t n) noexcept nogil:
        """dC_i/dx, one example after the other through a row as wide as the padded input."""
        cdef Layer *layer = &self.layers[0]
        cdef Py_ssize_t i
        cdef real *row = self.input_row
        for i in range(n):
            propagate_delta(row, layer.ld_in, layer.delta + i * layer.ld, layer.ld, layer.W, layer.ld_in,
                            1, layer.ld_in, layer.n_out, self.zeros)
            memcpy(dC_dx + i * layer.n_in, row, layer.n_in * sizeof(real))

    cdef int deltas_block(self, const real *X, const real *Y, real *C, Py_ssize_t n) except -1 nogil:
        """Forward and backward: delta of every layer. W of the layers above the first must be transposed."""
        cdef Py_ssize_t l = self.n_layers - 2
        if self.forward_block(X, n, True) or self.output_block(C, Y, n):
            return 1
        while l >= 0:
            self.propagate_product(l, n)
            if self.finish_delta(l, n):
                return 1
            l -= 1
        return 0

    cdef const real *gather(
        self, real *gathered, const real *rows, Py_ssize_t width, const int64_t *order, Py_ssize_t start, Py_ssize_t n,
        Py_ssize_t total,
    ) noexcept nogil:
        """Rows start ... start + n of the pass: in place, or in the order given, brought together."""
        cdef Py_ssize_t i, k
        cdef const real *next
        if order == NULL:
            return rows + start * width
        for i in range(n):
            memcpy(gathered + i * width, rows + order[start + i] * width, width * sizeof(real))
            # Random rows are not foreseen by the processor: ask for those of the next batch now.
            if start + n + i < total:
                next = rows + order[start + n + i] * width
                k = 0
                while k < width:
                    CBACKPROP_PREFETCH(next + k)
                    k += GROUP
        return gathered

    cdef int gradient_sums(
        self, const real *X, const real *Y, const real *sample_weight, const int64_t *order,
        Py_ssize_t first, Py_ssize_t n, Py_ssize_t total_rows, real **sums,
    ) except -1 nogil:
        """sum_i w_i dC_i/dparameters over n of all rows from `first`, left in sums[0]; the fixed tree of note d."""
        cdef Py_ssize_t start = 0, m, l, j, width, blocks = 0, lda
        cdef real C[BLOCK]
        cdef const real *block_X
        cdef const real *block_Y
        cdef const real *a
        cdef const real *weight = NULL
        cdef Layer *layer
        cdef real *block_sum
        cdef real *group_sum = self.sums + self.storage_size
        cdef real *total = self.sums + 2 * self.storage_size
        for l in range(1, self.n_layers):
            self.transpose_layer(l)
        while start < n:
            m = min(n - start, BLOCK)
            block_X = self.gather(self.gathered_X, X, self.layers[0].n_in, order, first + start, m, total_rows)
            block_Y = self.gather(self.gathered_Y, Y, self.layers[self.n_layers - 1].n_out, order, first + start, m,
                                  total_rows)
            if self.deltas_block(block_X, block_Y, C, m):
                return 1
            if sample_weight != NULL:
                weight = sample_weight + first + start
            self.count_cost(C, weight, m)
            a = block_X
            lda = self.layers[0].n_in
            for l in range(self.n_layers):
                layer = &self.layers[l]
                if weight != NULL:
                    scale_rows(layer.delta, layer.ld, weight, m)
                j = 0
                while j < layer.ld:
                    width = self.columns_between_looks(layer.ld - j, m * layer.n_in)
                    accumulate_gradient(self.sums + layer.offset + j, layer.ld, a, lda, layer.delta + j, m, layer.n_in,
                                        width, self.zeros, False, 0)
                    self.look_for_signals(width * m * layer.n_in)
                    j += width
                a = layer.a
                lda = layer.ld
            block_sum = self.sums
            if n > BLOCK:
                if blocks % GROUP_BLOCKS == 0:
                    if blocks == GROUP_BLOCKS:
                        memcpy(total, group_sum, self.storage_size * sizeof(real))
                    elif blocks > 0:
                        add(total, group_sum, self.storage_size)
                    memcpy(group_sum, block_sum, self.storage_size * sizeof(real))
                else:
                    add(group_sum, block_sum, self.storage_size)
            blocks += 1
            self.look_for_signals(0)
            start += m
        if blocks > GROUP_BLOCKS:
            add(total, group_sum, self.storage_size)
        sums[0] = total if blocks > GROUP_BLOCKS else group_sum if blocks > 1 else self.sums
        return 0

    cdef int per_example_gradients(
        self, const real *X, const real *Y, Py_ssize_t n, real *gradients, bint fresh, real *C,
    ) except -1 nogil:
        """Every example's own gradient, (n, P), one row after the other; `fresh` says that it is new memory."""
        cdef Py_ssize_t start = 0, m, l, i
        cdef const real *block_X
        cdef const real *end = gradients + n * self.n_parameters
        cdef bint stream = past_the_caches(n * self.n_parameters, fresh)
        for l in range(1, self.n_layers):
            self.transpose_layer(l)
        while start < n:
            m = min(n - start, BLOCK)
            block_X = X + start * self.layers[0].n_in
            if self.deltas_block(block_X, Y + start * self.layers[self.n_layers - 1].n_out, C + start, m):
                return 1
            if not self.outer_products_are_finite(block_X, m, 1, 0, m):
                return 1
            for i in range(m):
                self.outer_products(gradients + (start + i) * self.n_parameters, end, block_X, i, m, i, stream)
                self.look_for_signals(self.n_parameters)
            start += m
        return 0

    cdef const real *a_below(self, const real *block_X, Py_ssize_t l, Py_ssize_t i) noexcept nogil:
        """The activations that enter layer l (counted from 0), of example i of the block."""
        if l == 0:
            return block_X + i * self.layers[0].n_in
        return self.layers[l - 1].a + i * self.layers[l - 1].ld

    cdef bint outer_products_are_finite(
        self, const real *block_X, Py_ssize_t n, Py_ssize_t seeds, Py_ssize_t first, Py_ssize_t rows,
    ) noexcept nogil:
        """Whether every a_k delta_j is, for `rows` rows of delta and the n examples of the block; otherwise after
        `fail`. Row r of delta is of example (first + r) / seeds.

        The largest numbers of the block (its padding included) settle it nearly always.
        """
        cdef Py_ssize_t l, r, i
        cdef const real *a
        cdef Layer *layer
        for l in range(self.n_layers):
            layer = &self.layers[l]
            a = self.a_below(block_X, l, 0)
            if product_is_finite(largest(a, n * (layer.n_in if l == 0 else self.layers[l - 1].ld)),
                                 largest(layer.delta, rows * layer.ld)):
                continue
            for r in range(rows):
                i = (first + r) // seeds
                if not product_is_finite(largest(self.a_below(block_X, l, i), layer.n_in),
                                         largest(layer.delta + r * layer.ld, layer.n_out)):
                    self.fail(2, l + 1)
                    return False
        return True

    cdef void outer_products(
        self, real *row, const real *end,                               # OUT (P,), in an array that ends at `end`
        const real *block_X, Py_ssize_t i, Py_ssize_t n, Py_ssize_t r,  # IN  example i of n, row r of delta
        bint stream,
    ) noexcept nogil:
        """All the derivatives with respect to parameters that one row of delta makes."""
        cdef Py_ssize_t l, readable, size = sizeof(real)
        cdef bint stream_layer, streamed = False
        cdef Layer *layer
        for l in range(self.n_layers):
            layer = &self.layers[l]
            readable = (n - i) * layer.n_in if l == 0 else layer.ld_in
            stream_layer = stream and layer.n_in >= GROUP and layer.n_in * layer.n_out * size >= STREAM_LAYER_BYTES
            streamed = streamed or stream_layer
            per_example_gradient_row(row, end, self.a_below(block_X, l, i), readable, layer.delta + r * layer.ld,
                                     layer.n_in, layer.n_out, stream_layer)
            row += (layer.n_in + 1) * layer.n_out
        if streamed:
            stream_fence()

    cdef int gradient_norms_all(self, const real *X, const real *Y, Py_ssize_t n, real *norms) except -1 nogil:
        """The Euclidean norm of every example's gradient, which is not made."""
        cdef Py_ssize_t start = 0, m, l, i
        cdef real C[BLOCK]
        cdef const real *block_X
        for l in range(1, self.n_layers):
            self.transpose_layer(l)
        while start < n:
            m = min(n - start, BLOCK)
            block_X = X + start * self.layers[0].n_in
            if self.deltas_block(block_X, Y + start * self.layers[self.n_layers - 1].n_out, C, m):
                return 1
            for i in range(m):
                norms[start + i] = <real> self.gradient_norm(block_X, i)
            if not all_finite(norms + start, m):
                return self.fail(4, 0)
            self.look_for_signals(0)
            start += m
        return 0

    cdef double gradient_norm(self, const real *block_X, Py_ssize_t i) noexcept nogil:
        """sqrt(sum_l |delta|^2 (|a|^2 + 1)) of example i of the block."""
        cdef Py_ssize_t l
        cdef double total = 0, delta_squares, scale = 0, sum = 0
        cdef bint plain = True
        cdef Layer *layer
        for l in range(self.n_layers):
            layer = &self.layers[l]
            delta_squares = sum_of_squares(layer.delta + i * layer.ld, layer.n_out)
            # A sum of float32's squares is 0 only if they are.
            plain = plain and (delta_squares >= LEAST_SUM_OF_SQUARES or (delta_squares == 0 and sizeof(real) == 4))
            total += delta_squares * (sum_of_squares(self.a_below(block_X, l, i), layer.n_in) + 1)
        if plain and total - total == 0:
            return sqrt(total)
        for l in range(self.n_layers):
            layer = &self.layers[l]
            add_to_norm(&scale, &sum, layer_norm(self.a_below(block_X, l, i), layer.delta + i * layer.ld,
                                                 layer.n_in, layer.n_out))
        return scale * sqrt(sum)

    cdef int jacobian_all(self, const real *X, Py_ssize_t n, real *jacobian, bint fresh) except -1 nogil:
        """da_j/dparameters of every example and output j, (n, n_L, P); `fresh` says that it is new memory.

        Each pair of them is a row of delta that starts as da_j/dz and is propagated as any other; the n_L rows of an
        example share its a and da_dz.
        """
        cdef Py_ssize_t start = 0, first, rows, m, l, r, i
        cdef Layer *output = &self.layers[self.n_layers - 1]
        cdef Py_ssize_t seeds = output.n_out
        cdef const real *block_X
        cdef const real *end = jacobian + n * seeds * self.n_parameters
        cdef bint stream = past_the_caches(n * seeds * self.n_parameters, fresh)
        for l in range(1, self.n_layers):
            self.transpose_layer(l)
        while start < n:
            m = min(n - start, BLOCK)
            block_X = X + start * self.layers[0].n_in
            if self.forward_block(block_X, m, True):
                return 1
            first = 0
            while first < m * seeds:
                rows = min(m * seeds - first, BLOCK)
                if self.seeded_deltas(first, rows) or not self.outer_products_are_finite(block_X, m, seeds, first,
                                                                                         rows):
                    self.failed_quantity = 5
                    return 1
                for r in range(rows):
                    i = (first + r) // seeds
                    self.outer_products(jacobian + (start * seeds + first + r) * self.n_parameters, end, block_X, i,
                                        m, r, stream)
                    self.look_for_signals(self.n_parameters)
                first += rows
            start += m
        return 0

    cdef int seeded_deltas(self, Py_ssize_t first, Py_ssize_t rows) except -1 nogil:
        """delta of every layer for `rows` pairs (example i, output j), counted from `first` with j fast: da_j/dz."""
        cdef Layer *layer = &self.layers[self.n_layers - 1]
        cdef Py_ssize_t seeds = layer.n_out, l = self.n_layers - 2, r, i, j
        memset(layer.delta, 0, rows * layer.ld * sizeof(real))
        for r in range(rows):
            i = (first + r) // seeds
            j = (first + r) - i * seeds
            if layer.activation == SOFTMAX:
                softmax_jacobian_row(layer.delta + r * layer.ld, layer.a + i * layer.ld, seeds, j)
            else:
                layer.delta[r * layer.ld + j] = layer.da_dz[i * layer.ld + j]
        if not all_finite(layer.delta, rows * layer.ld):
            return self.fail(2, self.n_layers)
        while l >= 0:
            self.propagate_product(l, rows)
            layer = &self.layers[l]
            if seeds == 1:
                multiply_by_derivative(layer.delta, layer.da_dz + first * layer.ld, rows * layer.ld)
            else:
                for r in range(rows):
                    i = (first + r) // seeds
                    multiply_by_derivative(layer.delta + r * layer.ld, layer.da_dz + i * layer.ld, layer.ld)
            if not all_finite(layer.delta, rows * layer.ld):
                return self.fail(2, l + 1)
            l -= 1
        return 0

    # ---- training ---------------------------------------------------------------------------------------------------

    cdef int fused_step(self, const real *X, const real *Y, Py_ssize_t n) except -1 nogil:
        """Plain gradient descent on at most BLOCK examples: each layer's update inside its gradient's product.

        Every delta is there before the first weight changes.
        """
        cdef real C[BLOCK]
        cdef real factor = <real> (-self.learning_rate / <double> n)
        cdef Py_ssize_t l
        cdef Layer *layer
        for l in range(1, self.n_layers):
            self.transpose_layer(l)
        if self.deltas_block(X, Y, C, n):
            return 1
        self.count_cost(C, NULL, n)
        for l in range(self.n_layers):
            layer = &self.layers[l]
            accumulate_gradient(self.storage + layer.offset, layer.ld, X if l == 0 else self.layers[l - 1].a,
                                layer.n_in if l == 0 else self.layers[l - 1].ld, layer.delta, n, layer.n_in,
                                layer.ld, self.zeros, True, factor)
        self.step_count += 1
        return 0

    cdef void update(self, const real *sums, Py_ssize_t n) noexcept nogil:
        """One step of the optimiser along the mean gradient sums / n."""
        cdef double t, root
        self.step_count += 1
        if self.rule == SGD:
            sgd_update(self.storage, sums, self.storage_size, <real> (-self.learning_rate / <double> n))
        elif self.rule == ADAM:
            t = <double> self.step_count
            root = (1 - self.beta2 ** t) ** 0.5
            adam_update(self.storage, self.slot_data[0], self.slot_data[1], sums, self.storage_size, <real> n,
                        <real> self.beta1, <real> (1 - self.beta1), <real> self.beta2, <real> (1 - self.beta2),
                        <real> (self.learning_rate / (1 - self.beta1 ** t) * root), <real> (self.epsilon * root))
        else:
            momentum_update(self.storage, self.slot_data[0], sums, self.storage_size, <real> n,
                            <real> self.learning_rate, <real> self.momentum, self.rule == NESTEROV)

    cdef int train_pass(
        self, const real *X, const real *Y, const int64_t *order, Py_ssize_t n, Py_ssize_t batch_size,
    ) except -1 nogil:
        cdef Py_ssize_t start = 0, m
        cdef Py_ssize_t n_0 = self.layers[0].n_in, n_L = self.layers[self.n_layers - 1].n_out
        cdef real *sums
        while start < n:
            m = min(batch_size, n - start)
            if self.rule == SGD and m <= BLOCK and m * self.n_parameters <= FUSED_WORK:
                if self.fused_step(self.gather(self.gathered_X, X, n_0, order, start, m, n),
                                   self.gather(self.gathered_Y, Y, n_L, order, start, m, n), m):
                    return 1
                self.look_for_signals(m * self.n_parameters)
            else:
                if self.gradient_sums(X, Y, NULL, order, start, m, n, &sums):
                    return 1
                self.update(sums, m)
                self.look_for_signals(self.n_parameters)
            start += m
        return 0

    cdef bint meets_storage(self, const real *x, Py_ssize_t count) noexcept nogil:
        """Whether these numbers lie among the parameters."""
        return x < self.storage + self.storage_size and self.storage < x + count

    cdef bint targets_are_valid(self, const real *y, Py_ssize_t count) noexcept nogil:
        """Finite, and in the range the cost asks for (as validation.targets)."""
        cdef Py_ssize_t i
        if not all_finite(y, count):
            return False
        if self.cost_kind == CROSS_ENTROPY or self.cost_kind == POISSON:
            for i in range(count):
                if y[i] < 0 or (y[i] > 1 and self.cost_kind == CROSS_ENTROPY):
                    return False
        return True

    cdef bint state_is_finite(self) noexcept nogil:
        """Whether every parameter and all of the optimiser's state is."""
        cdef Py_ssize_t i
        if not all_finite(self.storage, self.storage_size):
            return False
        for i in range(self.n_slots):
            if not all_finite(self.slot_data[i], self.storage_size):
                return False
        return True

    cdef int step_or_restore(self, const real *X, const real *Y, Py_ssize_t n) except -1 nogil:
        cdef Py_ssize_t i
        cdef size_t size = self.storage_size * sizeof(real)
        cdef int64_t step_count = self.step_count
        cdef real *backup = self.backup
        memcpy(backup, self.storage, size)
        for i in range(self.n_slots):
            memcpy(backup + (i + 1) * self.storage_size, self.slot_data[i], size)
        if not self.train_pass(X, Y, NULL, n, n) and self.state_is_finite() and self.cost_is_finite():
            return 0
        memcpy(self.storage, backup, size)
        for i in range(self.n_slots):
            memcpy(self.slot_data[i], backup + (i + 1) * self.storage_size, size)
        self.step_count = step_count
        return 1
