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
#    chain. So a gradient's bits do not depend on how a call was cut up. A block's product is added to its chain as it
#    leaves the registers.
# e) Memory belongs to NumPy arrays that the engine holds; it is taken before the first number is changed.
# f) Lists grow by append, never in a comprehension: there Cython 3.3 frees the new entry twice if the list cannot grow.

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.string cimport memcpy
from libc.stdint cimport int64_t, uint64_t, uintptr_t

from cbackprop.kernels.in_use cimport (
    give_back, is_fit, is_for_call, is_inherited, is_own, set_fit, take, take_for_call, this_thread, watch_forks,
)
from cbackprop.kernels.simd cimport CBACKPROP_PREFETCH, HAS_FMA, LANES, VECTOR_BYTES, real, vec, vec_set1
from cbackprop.kernels.threads cimport MOST_THREADS, run_task, task_function

import numpy as np

cnp.import_array()

include "random.pyx"
include "layers.pyx"
include "per_example.pyx"

initialise_tiles()

if watch_forks() != 0:
    raise MemoryError("forks cannot be watched")

cdef enum:
    BLOCK = 256             # examples whose activations are held at once: they and a tile's panel fit the L2 cache
    GROUP_BLOCKS = 64
    SMALL = 512             # numbers that may be kept on the stack
    # Work is counted in multiply-adds; an activation counts as 100, a layer's overhead as 1,000.
    RELEASE_GIL_WORK = 20000        # about 2 microseconds at the least
    SIGNAL_WORK = 20000000          # between two looks for Ctrl-C: some milliseconds
    ELEMENT_WORK = 32               # of an activation in the caches, to see whether threads share it

cdef extern from *:
    """
    /* A piece of a gradient that stays in cache: so many numbers, half an L1 cache, and rows no wider than this. */
    #define CBACKPROP_HOT_NUMBERS (32768 / (int)sizeof(cbackprop_real))
    #define CBACKPROP_HOT_COLUMNS (2048 / (int)sizeof(cbackprop_real))
    """
    const int HOT_NUMBERS "CBACKPROP_HOT_NUMBERS"
    const int HOT_COLUMNS "CBACKPROP_HOT_COLUMNS"

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    bint PyLong_CheckExact(object)
    long PyLong_AsLongAndOverflow(object, int *overflow) except? -1

cdef extern from *:
    """
    #ifdef CBACKPROP_CHECKED
    #define CBACKPROP_CHECKED_BUILD 1
    #else
    #define CBACKPROP_CHECKED_BUILD 0
    #endif
    """
    const bint CHECKED_BUILD "CBACKPROP_CHECKED_BUILD"

# What lies behind the numbers of each allocation: the checked build watches it; AddressSanitizer is told of it, and
# given so much that NumPy does not keep the memory for its next small array.
cdef extern from *:
    """
    #ifndef __has_feature
    #define __has_feature(name) 0
    #endif
    #if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
    #include <sanitizer/asan_interface.h>
    #define CBACKPROP_GUARD 256
    #define CBACKPROP_FORBID(memory, n_bytes) ASAN_POISON_MEMORY_REGION(memory, n_bytes)
    #else
    #define CBACKPROP_GUARD 16
    #define CBACKPROP_FORBID(memory, n_bytes) ((void)(memory), (void)(n_bytes))
    #endif
    """
    const int GUARD "CBACKPROP_GUARD"   # numbers
    void FORBID "CBACKPROP_FORBID"(const void *memory, size_t n_bytes) noexcept nogil

cdef int REAL_TYPE = cnp.NPY_FLOAT32 if sizeof(real) == 4 else cnp.NPY_FLOAT64

dtype = np.dtype(np.float32 if sizeof(real) == 4 else np.float64)
lanes = LANES
vector_bytes = VECTOR_BYTES
has_fma = bool(HAS_FMA)
checked = bool(CHECKED_BUILD)


cdef struct Layer:
    Py_ssize_t n_in
    Py_ssize_t n_out
    Py_ssize_t width        # n_out in whole vectors: what is computed of a row
    Py_ssize_t ld           # row length of Wt, z, a, da_dz, delta, padded
    Py_ssize_t offset       # of Wt in the parameter block
    Py_ssize_t start        # of W in the documented order
    Py_ssize_t neurons      # in the layers below it, the input left out
    Py_ssize_t mirror_offset  # of W in the mirror of a tiny network
    int activation
    real *z                 # (BLOCK at most, ld), as the next three
    real *a
    real *da_dz
    real *delta


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
    cdef Py_ssize_t end = start + count * <Py_ssize_t> sizeof(real)
    FORBID(<const void *> (address + <uintptr_t> end), cnp.PyArray_SIZE(raw) - end)
    return raw[start:end].view(dtype)


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


cdef bint overlap(const real *x, Py_ssize_t x_count, const real *y, Py_ssize_t y_count) noexcept nogil:
    """Whether these numbers and those share memory."""
    return x < y + y_count and y < x + x_count


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
    cdef cnp.ndarray table = np.zeros(len(arrays), dtype=np.uintp)
    cdef uintptr_t *addresses = <uintptr_t *> cnp.PyArray_DATA(table)
    cdef Py_ssize_t i
    for i in range(len(arrays)):
        if arrays[i] is not None:
            addresses[i] = <uintptr_t> data(arrays[i])
    return table


cdef Py_ssize_t piece_rows(Py_ssize_t columns) noexcept nogil:
    """Rows of a piece of a gradient: whole tiles, HOT_NUMBERS together where that is more than four tiles."""
    return max(4 * TILE_ROWS, HOT_NUMBERS // columns // TILE_ROWS * TILE_ROWS)


# A layer's numbers, for threads that share what is done to each of them alone.
cdef struct Elements:
    int activation
    real *a                 # (count,), or delta
    real *da_dz
    const real *z
    Py_ssize_t count, share
    bint finite[MOST_THREADS]   # of each part


cdef void activate_part(void *context, int part) noexcept nogil:
    cdef Elements *layer = <Elements *> context
    cdef Py_ssize_t i = part * layer.share
    layer.finite[part] = activate(layer.activation, layer.a + i, NULL if layer.da_dz == NULL else layer.da_dz + i,
                                  layer.z + i, min(layer.share, layer.count - i))


cdef void multiply_part(void *context, int part) noexcept nogil:
    cdef Elements *layer = <Elements *> context
    cdef Py_ssize_t i = part * layer.share
    layer.finite[part] = multiply_by_derivative(layer.a + i, layer.da_dz + i, min(layer.share, layer.count - i))


cdef bint on_elements(task_function task, Elements *layer, int threads) noexcept nogil:
    """The task on every part of the layer. Whether all of them were finite."""
    cdef int part
    layer.share = shared_out(layer.count, ELEMENT_WORK * layer.count, threads)
    run_task(task, layer, parts_of(layer.count, layer.share))
    for part in range(parts_of(layer.count, layer.share)):
        if not layer.finite[part]:
            return False
    return True


cdef Py_ssize_t balanced(Py_ssize_t n, Py_ssize_t most) noexcept nogil:
    """The size of n's pieces, at most `most`, when they are cut as evenly as can be."""
    cdef Py_ssize_t pieces = (n + most - 1) // most
    return (n + pieces - 1) // pieces


cdef inline void add_compensated(double *total, double *correction, double term) noexcept nogil:
    """Neumaier's compensated sum: total + correction is the sum."""
    cdef double sum = total[0] + term
    if abs(total[0]) >= abs(term):
        correction[0] += (total[0] - sum) + term
    else:
        correction[0] += (term - sum) + total[0]
    total[0] = sum


cdef class Passes:
    """Parameters, scratch and passes of one network. A pass returns 0, or 1 after `fail`; -1 is a Python exception."""

    cdef Py_ssize_t n_layers
    cdef Py_ssize_t n_parameters
    cdef Py_ssize_t n_neurons       # of all layers, the input left out
    cdef Py_ssize_t storage_size
    cdef Layer *layers
    cdef int cost_kind
    cdef tuple activations
    cdef object user_cost
    # Arrays that own the memory behind the pointers.
    cdef object layer_memory, storage_array, scratch_array, input_array, gathered_array, sums_array, constants_array
    cdef object hot_array, mirror_array, moved_array
    cdef real *storage
    cdef real *sums             # (2, storage_size): the group's sum, the total
    cdef real *squares          # of deviations, where gradient_moments_all left them
    cdef real *hot              # (threads, hot_size): a piece of a gradient on its way into an update, each thread's
    cdef Py_ssize_t hot_size
    cdef real *mirror           # W of each layer but the first, where the network is tiny
    cdef real *zeros
    cdef Panels panels          # see tile.pyx
    cdef real *output_mask
    cdef real *output_scratch
    cdef real *dC_da_output     # (BLOCK at most, ld)
    cdef real *dC_dx            # (BLOCK at most, ld_input)
    cdef real *gathered_X
    cdef real *gathered_Y
    cdef Py_ssize_t block_capacity, input_capacity, sums_capacity, gathered_capacity
    cdef Py_ssize_t ld_input        # row length of dC_dx, padded
    # Rows of X not yet asked for, see ask_for_rows.
    cdef const real *next_X
    cdef const int64_t *next_order
    cdef Py_ssize_t next_rows, next_place
    # Rows behind those of the block under way, and how many lines of them the block's first product asks for.
    cdef const real *following
    cdef Py_ssize_t following_lines
    # Dropout, while a pass of training goes on that has it; the block's place in the pass.
    cdef bint dropping
    cdef uint64_t dropout_key, dropout_threshold
    cdef real dropout_scale
    cdef Py_ssize_t block_row
    # Who has the network, see in_use.h. The next two are for that thread alone to read and to change.
    cdef uintptr_t word
    cdef bint busy              # a call is under way on a network that the thread keeps
    cdef Py_ssize_t depth       # how many `with` the thread keeps it by
    # The call under way.
    cdef double cost_total, cost_correction
    cdef int failed_quantity
    cdef Py_ssize_t failed_layer
    cdef uintptr_t failed_by            # the thread whose call it was
    cdef Py_ssize_t work

    def __cinit__(self, tuple sizes, tuple activations, cost, dtype_name, int threads):
        cdef Py_ssize_t l, offset = 0, ld_max = 0, depth_max = 0
        cdef double size = 0
        cdef Layer *layer
        if np.dtype(dtype_name) != dtype:
            raise TypeError(f"dtype is {dtype_name}; this engine computes in {dtype}")
        for l in range(len(sizes) - 1):
            size += (<double> sizes[l] + 1) * (<double> sizes[l + 1] + 2 * GROUP)
        if size > <double> (PY_SSIZE_T_MAX // 64):
            raise MemoryError(f"layers of {sizes} neurons are more than can be addressed")
        self.n_layers = len(sizes) - 1
        self.layer_memory = np.zeros(self.n_layers * sizeof(Layer), dtype=np.uint8)
        self.layers = <Layer *> cnp.PyArray_DATA(<cnp.ndarray> self.layer_memory)
        self.activations = activations
        self.n_parameters = 0
        self.n_neurons = 0
        for l in range(self.n_layers):
            layer = &self.layers[l]
            layer.n_in = sizes[l]
            layer.n_out = sizes[l + 1]
            layer.width = (layer.n_out + LANES - 1) // LANES * LANES
            layer.ld = padded(layer.n_out)
            layer.offset = offset
            layer.start = self.n_parameters
            layer.neurons = self.n_neurons
            self.n_neurons += layer.n_out
            layer.activation = ACTIVATIONS[activations[l]] if isinstance(activations[l], str) else USER_ACTIVATION
            offset += (layer.n_in + 1) * layer.ld
            self.n_parameters += (layer.n_in + 1) * layer.n_out
            ld_max = max(ld_max, layer.ld)
            depth_max = max(depth_max, layer.n_in, layer.n_out)
        self.cost_kind = COSTS[cost] if isinstance(cost, str) else USER_COST
        self.user_cost = cost
        self.storage_size = offset
        self.storage_array = aligned_zeros(offset)
        self.storage = data(self.storage_array)
        layer = &self.layers[self.n_layers - 1]
        self.ld_input = padded(self.layers[0].n_in)
        depth_max = min(CHUNK, (max(depth_max, BLOCK) + SQUARE - 1) // SQUARE * SQUARE)
        ld_max = max(ld_max, self.ld_input)
        self.panels.size = depth_max * 2 * LANES
        self.panels.threads = max(1, min(threads, MOST_THREADS))
        self.constants_array = aligned_zeros(ld_max + 4 * layer.ld + self.panels.threads * self.panels.size)
        self.zeros = data(self.constants_array)
        self.output_mask = self.zeros + ld_max
        self.output_scratch = self.output_mask + layer.ld
        self.panels.first = self.output_scratch + 3 * layer.ld
        for l in range(layer.n_out):
            self.output_mask[l] = 1

    def check_guards(self):
        """In the checked build: no number was written behind an allocation, and the padding is still 0."""
        cdef Py_ssize_t l
        cdef Layer *layer
        for array in (self.storage_array, self.scratch_array, self.input_array, self.gathered_array, self.sums_array,
                      self.constants_array, self.hot_array, self.mirror_array, self.moved_array, *self.slots):
            if array is not None:
                raw = array.base
                start = array.ctypes.data - raw.ctypes.data + array.nbytes
                if raw[start:].any():
                    raise AssertionError("numbers were written behind an allocation")
        for array in (self.storage_array, *self.slots):
            for l in range(self.n_layers):
                layer = &self.layers[l]
                block = array[layer.offset:layer.offset + (layer.n_in + 1) * layer.ld]
                padding = block.reshape(layer.n_in + 1, layer.ld)[:, layer.n_out:]
                # A step that overflows leaves NaN there, too (infinity times 0): the caller undoes it.
                if padding.any() and np.isfinite(padding).all():
                    raise AssertionError(f"the padding of layer {l + 1} is not 0")

    # ---- memory, taken before a call starts -------------------------------------------------------------------------

    cdef int reserve(self, Py_ssize_t n) except -1:
        """The scratch of a block of n examples, BLOCK at most."""
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
        return 0

    cdef int reserve_input_gradient(self, Py_ssize_t n) except -1:
        cdef Py_ssize_t rows = min(n, BLOCK)
        if rows > self.input_capacity:
            array = aligned_zeros(rows * self.ld_input)
            self.input_array = array
            self.dC_dx = data(array)
            self.input_capacity = rows
        return 0

    cdef int reserve_sums(self, Py_ssize_t n) except -1:
        cdef Py_ssize_t count = 1 if n <= BLOCK * GROUP_BLOCKS else 2
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

    # ---- one thread at a time: the scratch is the engine's own ------------------------------------------------------

    cdef int enter(self) except -1:
        """The begin of a call. RuntimeError if another one is under way, or another thread keeps the network."""
        if not take_for_call(&self.word):
            if self.busy_or_not_own():
                self.refuse()
            self.busy = True
        self.work = 0
        self.cost_total = 0
        self.cost_correction = 0
        return 0

    cdef int leave(self) except -1:
        """The end of a call. What it found must have been read before."""
        try:
            if CHECKED_BUILD:
                self.check_guards()
        finally:
            if is_for_call(&self.word):
                give_back(&self.word)
            else:
                self.busy = False
        return 0

    cdef bint busy_or_not_own(self) noexcept:
        return not is_own(&self.word) or self.busy

    cdef int refuse(self) except -1:
        if is_inherited(&self.word):
            raise RuntimeError("this network was in use when the process was forked, and what another thread did with "
                               "it will never be finished here; use a copy() made before the fork")
        if is_fit(&self.word) and not is_own(&self.word):
            raise RuntimeError("a fit of this network is running in another thread; use copy() to work on it at the "
                               "same time")
        raise RuntimeError("this network is already in use: another call on it is running, in another thread or "
                           "in a callback; use copy() to work on it at the same time")

    def __enter__(self):
        """Keep the network for this thread through several calls; may be nested. RuntimeError as in `enter`."""
        if take(&self.word):
            self.depth = 1
        elif self.busy_or_not_own():
            self.refuse()
        else:
            self.depth += 1
        return self

    def __exit__(self, kind, error, traceback):
        self.depth -= 1
        if self.depth == 0:
            give_back(&self.word)

    @property
    def is_fitting(self):
        """Whether this thread keeps the network for a fit."""
        return is_own(&self.word) and is_fit(&self.word)

    def begin_fit(self):
        """Say that what this thread keeps the network for is a fit; until the outermost `with` ends."""
        if not is_own(&self.word):
            raise RuntimeError("a fit begins inside `with engine`")
        set_fit(&self.word, True)

    # ---- one block of at most BLOCK examples ------------------------------------------------------------------------

    cdef int fail(self, int quantity, Py_ssize_t layer) noexcept nogil:
        self.failed_quantity = quantity
        self.failed_layer = layer
        self.failed_by = this_thread()
        return 1

    cdef int forward_block(self, const real *X, Py_ssize_t n, bint derivative) except -1 nogil:
        """z, a (and da_dz) of every layer for the n examples of X (n, n_0). 0, or 1 after `fail`."""
        cdef Py_ssize_t l, i, j, width
        cdef const real *a = X
        cdef Py_ssize_t lda = self.layers[0].n_in
        cdef Layer *layer
        cdef real *Wt
        cdef Elements elements
        cdef bint finite
        for l in range(self.n_layers):
            layer = &self.layers[l]
            Wt = self.storage + layer.offset
            j = 0
            while j < layer.width:
                width = self.columns_between_looks(layer.width - j, n * layer.n_in)
                multiply_rows(layer.z + j, layer.ld, a, lda, Wt + j, layer.ld, Wt + layer.n_in * layer.ld + j, 0,
                              n, width, layer.n_in, self.panels, self.following, self.following_lines)
                self.following_lines = 0
                self.look_for_signals(width * n * layer.n_in)
                j += width
            # NaN and infinities in X, in the parameters or from overflow all end in z, and nowhere else unseen.
            if layer.activation >= SOFTMAX:
                finite = all_finite(layer.z, n * layer.ld)
            else:
                elements.activation = layer.activation
                elements.a, elements.da_dz, elements.z = layer.a, layer.da_dz if derivative else NULL, layer.z
                elements.count = n * layer.ld
                finite = on_elements(activate_part, &elements, self.panels.threads)
            if not finite:
                return self.fail(0, l + 1)
            if layer.activation == SOFTMAX:
                for i in range(n):
                    softmax_row(layer.a + i * layer.ld, layer.da_dz + i * layer.ld if derivative else NULL,
                                layer.z + i * layer.ld, layer.n_out, layer.ld)
            elif layer.activation == USER_ACTIVATION:
                self.apply_user_activation(l, n, derivative)
            # Of the named activations these two can leave the finite numbers: exp, and selu with its factor 1.05.
            if layer.activation == EXPONENTIAL or layer.activation == SELU or layer.activation == USER_ACTIVATION:
                if not all_finite(layer.a, n * layer.ld):
                    return self.fail(1, l + 1)
            if self.dropping and l < self.n_layers - 1:
                drop_out(layer.a, layer.da_dz, layer.ld, n, layer.n_out, self.dropout_key,
                         self.block_row * self.n_neurons + layer.neurons, self.n_neurons, self.dropout_threshold,
                         self.dropout_scale)
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
        cdef const real *Wt = self.storage + above.offset
        cdef Py_ssize_t j = 0, width
        while j < layer.width:
            width = self.columns_between_looks(layer.width - j, n * above.n_out)
            propagate_delta(layer.delta + j, layer.ld, above.delta, above.ld, Wt + j * above.ld, above.n_in - j,
                            n, width, above.n_out, self.zeros, self.panels)
            self.look_for_signals(width * n * above.n_out)
            j += width
        return 0

    cdef int finish_delta(self, Py_ssize_t l, Py_ssize_t n) noexcept nogil:
        """delta = dC/da . da/dz of layer l. 0, or 1 after `fail`."""
        cdef Layer *layer = &self.layers[l]
        cdef Elements elements
        elements.a, elements.da_dz, elements.count = layer.delta, layer.da_dz, n * layer.ld
        if not on_elements(multiply_part, &elements, self.panels.threads):
            return self.fail(2, l + 1)
        return 0

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
        """In float64 and compensated: the mean cost keeps its digits over any number of examples."""
        cdef Py_ssize_t i
        for i in range(n):
            add_compensated(&self.cost_total, &self.cost_correction,
                            <double> C[i] * (<double> sample_weight[i] if sample_weight != NULL else 1.0))

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
        """As many of the columns, whole groups of them, as SIGNAL_WORK allows each thread; at least a pair of vectors'
        worth.
        """
        cdef Py_ssize_t most = SIGNAL_WORK // (work_per_column + 1) // (4 * GROUP) * (4 * GROUP)
        return min(columns, self.panels.threads * max(most, 4 * GROUP))

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
        """dC_i/dx (n, n_0)."""
        cdef Layer *layer = &self.layers[0]
        propagate_delta(self.dC_dx, self.ld_input, layer.delta, layer.ld, self.storage + layer.offset, layer.n_in,
                        n, (layer.n_in + LANES - 1) // LANES * LANES, layer.n_out, self.zeros, self.panels)
        copy_rows(dC_dx, layer.n_in, self.dC_dx, self.ld_input, n, layer.n_in)

    cdef int deltas_block(self, const real *X, const real *Y, real *C, Py_ssize_t n) except -1 nogil:
        """Forward and backward: delta of every layer."""
        cdef Py_ssize_t l = self.n_layers - 2
        if self.forward_block(X, n, True) or self.output_block(C, Y, n):
            return 1
        while l >= 0:
            self.propagate_product(l, n)
            if self.finish_delta(l, n):
                return 1
            l -= 1
        return 0

    cdef const real *a_below(self, const real *block_X, Py_ssize_t l, Py_ssize_t i) noexcept nogil:
        """The activations that enter layer l (counted from 0), of example i of the block."""
        if l == 0:
            return block_X + i * self.layers[0].n_in
        return self.layers[l - 1].a + i * self.layers[l - 1].ld

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

    cdef int weigh_block(
        self, const real *block_X, const real *C, Py_ssize_t n,
        const real *sample_weight, const int64_t *order, Py_ssize_t start, double clip_norm,
    ) noexcept nogil:
        """Count the costs of the block's n examples, rows `start` ... of the pass, and multiply their deltas: by their
        weights where they have any, and with clip_norm > 0 by min(1, clip_norm / |dC_i|). 0, or 1 after `fail`.
        """
        cdef Py_ssize_t i, l
        cdef double norm
        cdef real weights[BLOCK]
        cdef double factors[BLOCK]
        if sample_weight == NULL and clip_norm == 0:
            self.count_cost(C, NULL, n)
            return 0
        for i in range(BLOCK):
            weights[i] = 1
        for i in range(n):
            if sample_weight != NULL:
                weights[i] = sample_weight[start + i if order == NULL else order[start + i]]
            factors[i] = <double> weights[i]
        self.count_cost(C, weights, n)
        if clip_norm > 0:
            for i in range(n):
                norm = self.gradient_norm(block_X, i)
                if not norm - norm == 0:
                    return self.fail(4, 0)
                if norm > clip_norm:
                    factors[i] = factors[i] * (clip_norm / norm)
        for l in range(self.n_layers):
            scale_rows(self.layers[l].delta, self.layers[l].ld, factors, n)
        return 0

    cdef const real *gather(
        self, real *gathered, const real *rows, Py_ssize_t width, const int64_t *order, Py_ssize_t start, Py_ssize_t n,
    ) noexcept nogil:
        """Rows start ... start + n of the pass: in place, or in the order given, brought together."""
        cdef Py_ssize_t i
        if order == NULL:
            return rows + start * width
        for i in range(n):
            memcpy(gathered + i * width, rows + order[start + i] * width, width * sizeof(real))
        return gathered

    cdef void foresee_rows(self, const real *X, const int64_t *order, Py_ssize_t rows) noexcept nogil:
        """The next rows needed are those of X that the first `rows` entries of `order` name, or the first of X."""
        self.next_X = X
        self.next_order = order
        self.next_rows = rows if order != NULL else 0
        self.next_place = 0
        if order == NULL:
            self.following = X
            self.following_lines = (rows * self.layers[0].n_in + GROUP - 1) // GROUP

    cdef void ask_for_rows(self, Py_ssize_t lines) noexcept nogil:
        """Ask memory for so many cache lines of the rows foreseen: the processor cannot guess an order drawn at random.

        A few at a time, between products: the fill buffers hold about twenty.
        """
        cdef const real *row
        cdef Py_ssize_t width = self.layers[0].n_in
        while lines > 0 and self.next_rows > 0:
            row = self.next_X + self.next_order[0] * width
            while lines > 0 and self.next_place < width:
                CBACKPROP_PREFETCH(row + self.next_place)
                self.next_place += GROUP
                lines -= 1
            if self.next_place >= width:
                self.next_place = 0
                self.next_order += 1
                self.next_rows -= 1

    cdef Py_ssize_t lines_a_piece(self, Py_ssize_t n_in, Py_ssize_t rows) noexcept nogil:
        """Cache lines to ask for with each piece of `rows` of n_in, so that all are asked for in the end."""
        return self.next_rows * ((self.layers[0].n_in + GROUP - 1) // GROUP) * rows // n_in + 1

    cdef int sum_block(self, real *sums, const real *X, Py_ssize_t n, bint first) except -1 nogil:
        """Add (or, for the first block, store) the block's sum_i dC_i/dparameters."""
        cdef Py_ssize_t l, j, k, m, rows, lines, width, lda = self.layers[0].n_in
        cdef const real *a = X
        cdef Layer *layer
        for l in range(self.n_layers):
            layer = &self.layers[l]
            rows = layer.n_in if self.next_rows == 0 else balanced(layer.n_in, piece_rows(layer.width))
            lines = self.lines_a_piece(layer.n_in, rows)
            j = 0
            while j < layer.width:
                width = self.columns_between_looks(layer.width - j, n * layer.n_in)
                k = 0
                while k < layer.n_in:
                    m = min(rows, layer.n_in - k)
                    accumulate_gradient(sums + layer.offset + k * layer.ld + j, layer.ld, a + k, lda, layer.delta + j,
                                        layer.ld, n, m, width, self.zeros, not first, 1, self.panels)
                    self.ask_for_rows(lines)
                    k += m
                self.look_for_signals(width * n * layer.n_in)
                j += width
            accumulate_bias_gradient(sums + layer.offset + layer.n_in * layer.ld, layer.delta, layer.ld, n, layer.width,
                                     not first, 1)
            a = layer.a
            lda = layer.ld
        return 0

    cdef void begin_block(self, Py_ssize_t blocks) noexcept nogil:
        """Before a block is added to the sums, `blocks` having been added: where a chain of them is full, fold it into
        the total (note d). The block is to be stored, not added, where blocks % GROUP_BLOCKS is 0.
        """
        cdef real *total = self.sums + self.storage_size
        if blocks == GROUP_BLOCKS:
            memcpy(total, self.sums, self.storage_size * sizeof(real))
        elif blocks > 0 and blocks % GROUP_BLOCKS == 0:
            add(total, self.sums, self.storage_size)

    cdef real *folded(self, Py_ssize_t blocks) noexcept nogil:
        """The sums over all of the `blocks` blocks."""
        cdef real *total = self.sums + self.storage_size
        if blocks <= GROUP_BLOCKS:
            return self.sums
        add(total, self.sums, self.storage_size)
        return total

    cdef int gradient_sums(
        self, const real *X, const real *Y, const real *sample_weight, double clip_norm, const int64_t *order,
        Py_ssize_t first, Py_ssize_t n, real **sums,
    ) except -1 nogil:
        """sum_i w_i dC_i/dparameters over n of all rows from `first`, left in sums[0]; the fixed tree of note d.

        With clip_norm > 0 every dC_i is first shortened to that length at most.
        """
        cdef Py_ssize_t start = 0, m, last, blocks = 0
        cdef real C[BLOCK]
        cdef const real *block_X
        cdef const real *block_Y
        while start < n:
            m = min(n - start, BLOCK)
            block_X = self.gather(self.gathered_X, X, self.layers[0].n_in, order, first + start, m)
            block_Y = self.gather(self.gathered_Y, Y, self.layers[self.n_layers - 1].n_out, order, first + start, m)
            last = first + start + m
            if order == NULL:
                self.foresee_rows(block_X + m * self.layers[0].n_in, NULL, min(n - start - m, BLOCK))
            else:
                self.foresee_rows(X, order + last, min(n - start - m, BLOCK))
            self.block_row = first + start
            if self.deltas_block(block_X, block_Y, C, m):
                return 1
            if self.weigh_block(block_X, C, m, sample_weight, order, first + start, clip_norm):
                return 1
            self.begin_block(blocks)
            self.sum_block(self.sums, block_X, m, blocks % GROUP_BLOCKS == 0)
            blocks += 1
            self.look_for_signals(0)
            start += m
        sums[0] = self.folded(blocks)
        return 0
