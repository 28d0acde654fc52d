# Memory: aligned arrays, what is asked of a caller's, and the scratch of a call.
#
# a) Memory belongs to NumPy arrays that the engine holds; it is taken before the first number is changed, so that a
#    MemoryError leaves everything as it was.
# b) Arguments are validated before they come here (validation/). `pointer` checks once more what memory safety
#    needs: type, layout and size. After it the kernels are total: they cannot fail, only find numbers not finite.
# c) Lists grow by append, never in a comprehension: there Cython 3.3 frees the new entry twice if the list cannot grow.
# d) Scratch only grows, that of a block in powers of two: one example more must not take memory anew each time.

cimport numpy as cnp
from cpython.pyport cimport PY_SSIZE_T_MAX
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy, memset

from cbackprop.kernels.simd cimport COMPILER, GROUP, HAS_FMA, LANES, VECTOR_BYTES, real

import numpy as np

cdef extern from *:
    """
    #ifdef CBACKPROP_CHECKED
    #define CBACKPROP_CHECKED_BUILD 1
    #else
    #define CBACKPROP_CHECKED_BUILD 0
    #endif
    """
    const bint CHECKED_BUILD "CBACKPROP_CHECKED_BUILD"

# What lies after the numbers of each allocation: the checked build watches it; AddressSanitizer is told of it, and
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
    const int GUARD "CBACKPROP_GUARD"  # numbers
    void FORBID "CBACKPROP_FORBID"(const void *memory, size_t n_bytes) noexcept nogil

cdef int REAL_TYPE = cnp.NPY_FLOAT32 if sizeof(real) == 4 else cnp.NPY_FLOAT64

dtype = np.dtype(np.float32 if sizeof(real) == 4 else np.float64)

lanes = LANES

examples_per_leaf = LEAF

vector_bytes = VECTOR_BYTES

has_fma = bool(HAS_FMA)
compiler = COMPILER.decode()

checked = bool(CHECKED_BUILD)


cdef Py_ssize_t padded(Py_ssize_t n) noexcept nogil:
    """n rounded up to whole 64-byte groups; one more where rows would lie whole kilobytes apart (one L1 set)."""
    cdef Py_ssize_t ld = (n + GROUP - 1) // GROUP * GROUP
    if ld * <Py_ssize_t> sizeof(real) % 1024 == 0:
        ld += GROUP
    return ld


cdef object aligned_zeros(Py_ssize_t count):
    """(count,) zeros on a 64-byte boundary; the checked build looks at the guard after them."""
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


cdef inline int neuron_axis(object array, Py_ssize_t width, Py_ssize_t *n) noexcept:
    """The axis of the neurons of a plain array that is one example, (width,), or n of them, (n, width), BLOCK at most;
    -1 of any other.
    """
    cdef int axis
    if not is_plain(array):
        return -1
    axis = cnp.PyArray_NDIM(array) - 1
    n[0] = cnp.PyArray_DIM(array, 0) if axis == 1 else 1
    if axis < 0 or axis > 1 or n[0] < 1 or n[0] > BLOCK or cnp.PyArray_DIM(array, axis) != width:
        return -1
    return axis


cdef real *pointer(object array, Py_ssize_t size, bint writeable) except NULL:
    """The data of a plain array of `size` numbers."""
    if not is_plain(array) or (writeable and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> array)):
        raise TypeError(f"array is {type(array).__name__}; expected a contiguous native {dtype} array")
    if cnp.PyArray_SIZE(array) != size:
        raise ValueError(f"array has {array.size} numbers; expected {size}")
    return data(array)


cdef double *weights_pointer(object array, Py_ssize_t size) except NULL:
    """The data of a plain array of `size` float64 numbers, whatever the engine's type."""
    if (not cnp.PyArray_CheckExact(array) or cnp.PyArray_TYPE(<cnp.ndarray> array) != cnp.NPY_FLOAT64
            or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> array)):
        raise TypeError(f"array is {type(array).__name__}; expected a contiguous native float64 array")
    if cnp.PyArray_SIZE(array) != size:
        raise ValueError(f"array has {array.size} numbers; expected {size}")
    return <double *> cnp.PyArray_DATA(<cnp.ndarray> array)


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


cdef object plain_copy(const real *block, Py_ssize_t ld, Py_ssize_t n, Py_ssize_t width):
    """(n, width) of a block with rows ld apart, read-only, for a user's function: it may keep them (passes.pyx)."""
    array = np.empty((n, width), dtype)
    copy_rows(data(array), width, block, ld, n, width)
    array.flags.writeable = False
    return array


cdef inline void copy_out(
    real *target, const real *block, const Layer *layer, Py_ssize_t start, Py_ssize_t n,
) noexcept nogil:
    """A block's n rows of one layer into rows start ... of a caller's (., n_out) array; NULL is left out."""
    if target != NULL:
        copy_rows(target + start * layer.n_out, layer.n_out, block, layer.ld, n, layer.n_out)


cdef inline real **pointers(object table) noexcept:
    return <real **> cnp.PyArray_DATA(<cnp.ndarray> table)


cdef object pointer_table(Core core, list arrays, Py_ssize_t n, Py_ssize_t below):
    """Where the numbers are of arrays (n, n_l) to fill, for all layers and for `below` of the input: NULL for None."""
    cdef Py_ssize_t i
    if len(arrays) != core.n_layers + below:
        raise ValueError(f"{len(arrays)} arrays or None; expected {core.n_layers + below}")
    table = np.zeros(len(arrays), dtype=np.uintp)
    for i in range(core.n_layers + below):
        if arrays[i] is not None:
            width = core.n_0 if i < below else core.layers[i - below].n_out
            pointers(table)[i] = pointer(arrays[i], n * width, True)
    return table


# ---- scratch, taken before a call starts -----------------------------------------------------------------------------

cdef int reserve(Core core, Py_ssize_t n) except -1:
    """The scratch of a block of n examples, BLOCK at most."""
    cdef Py_ssize_t rows = 1, total = 0, l
    cdef Layer *layer
    cdef real *p
    while rows < min(n, BLOCK):
        rows *= 2
    if rows > core.block_capacity:
        for l in range(core.n_layers):
            total += 4 * rows * core.layers[l].ld
        total += rows * core.layers[core.n_layers - 1].ld
        core.scratch_array = aligned_zeros(total)
        p = data(core.scratch_array)
        for l in range(core.n_layers):
            layer = &core.layers[l]
            layer.z = p
            layer.a = layer.z + rows * layer.ld
            layer.da_dz = layer.a + rows * layer.ld
            layer.log_a = layer.da_dz
            layer.delta = layer.da_dz + rows * layer.ld
            layer.dC_da = layer.delta
            p = layer.delta + rows * layer.ld
        core.dC_da_output = p
        core.block_capacity = rows
    return 0


cdef int reserve_input_gradient(Core core, Py_ssize_t n) except -1:
    cdef Py_ssize_t rows = min(n, INPUT_GRADIENT_ROWS)
    if rows > core.input_capacity:
        core.input_array = aligned_zeros(rows * core.ld_input)
        core.dC_dx = data(core.input_array)
        core.input_capacity = rows
    return 0


# What some calls need besides the scratch of a block.
cdef enum:
    NEEDS_LEAVES = 1  # something is summed over examples
    NEEDS_SUMS = 2    # of the parameters' size; with NEEDS_LEAVES
    NEEDS_INPUT_GRADIENT = 4
    NEEDS_CURVATURE = 8
    NEEDS_GATHERED = 16
    WRITES_PARAMETERS = 32  # for each example numbers of the parameters' size
    MOST_TICKETS = 64 + 2 * MOST_THREADS  # of a call: as many as there can be levels, and some for each thread


cdef Py_ssize_t reserve_call(
    Core core, Py_ssize_t n, Py_ssize_t rows, Py_ssize_t passes, int needs, Py_ssize_t extra=0,
) except -1:
    """What a call on n examples needs: the scratch of a block of `rows`, who does it, and sums of a gradient's numbers
    and `extra` ones. `passes`: how often each example passes through all parameters. Returns the rows of a leaf.
    """
    cdef int sharers = 1
    cdef Py_ssize_t leaf_rows = LEAF, leaves, share, size
    # Who calls a user's functions must be a thread of Python's, and only one of them goes on at a time.
    if core.threads > 1 and not core.has_user_functions:
        sharers = sharers_of(n * (passes * core.n_parameters + ELEMENT_WORK * core.n_neurons), core.threads)
    if sharers > 1:
        if not needs & NEEDS_LEAVES:
            leaf_rows = min(LEAF, max(balanced(n, n // (PIECES_EACH * sharers) + 1), LEAST_ROWS))
        leaves = pieces_of(n, leaf_rows)
        share = (leaves + sharers - 1) // sharers * leaf_rows  # of the thread that does most
        # Where few rows meet large layers, or leaves would leave threads without work, the layers are shared instead.
        if (is_wide(core, min(n, LEAF)) and not needs & WRITES_PARAMETERS
                and (n <= LEAF or 4 * sharers * share > 5 * n)):
            sharers = 1
            leaf_rows = LEAF
    core.crew_size = 1
    # Without sums they take no memory.
    core.n_tickets = 1 if needs & NEEDS_SUMS else MOST_TICKETS
    reserve_scratch(core, rows, needs)
    if n > leaf_rows:
        reserve_crew(core, pieces_of(n, leaf_rows), sharers, rows, needs)
    if needs & NEEDS_SUMS:
        size = core.storage_size + (extra + GROUP - 1) // GROUP * GROUP
        if core.n_tickets * size > core.sums_capacity:
            # Pages that no sum comes to are never there.
            core.sums_array = aligned_zeros(core.n_tickets * size)
            core.sums = data(core.sums_array)
            core.sums_capacity = core.n_tickets * size
        elif size != core.sums_size:
            # Where sums lay otherwise their numbers stand in the padding, which is 0 and is never written.
            memset(core.sums, 0, core.sums_capacity * sizeof(real))
        core.sums_size = size
    return leaf_rows


cdef bint is_wide(Core core, Py_ssize_t n) noexcept nogil:
    """Whether some layer's product over n examples is worth being shared by all threads, column by column."""
    cdef Py_ssize_t l
    for l in range(core.n_layers):
        if (core.layers[l].width >= 2 * GROUP * core.threads
                and n * core.layers[l].n_in * core.layers[l].width >= PIECES_EACH * LEAST_SHARE * core.threads):
            return True
    return False


cdef int reserve_crew(Core core, Py_ssize_t leaves, int sharers, Py_ssize_t rows, int needs) except -1:
    """Helpers with scratch of their own, and how many tickets all of them need (tree.pyx, note c)."""
    cdef int i
    cdef Core helper
    core.crew_size = <int> min(<Py_ssize_t> sharers, leaves)
    for i in range(1, core.crew_size):
        if len(core.helpers) < i:
            helper = Core(core.sizes, core.activations, core.cost_function, dtype, 1, core)
            helper.place = i
            core.helpers.append(helper)
        helper = core.helpers[i - 1]
        core.crew[i] = <void *> helper
        reserve_scratch(helper, rows, needs)
    if needs & NEEDS_SUMS:
        core.n_tickets = 2 if core.crew_size == 1 else 2 + 2 * core.crew_size
        while leaves > 1:
            leaves = (leaves + 1) // 2
            core.n_tickets += 1
    return 0


cdef int reserve_scratch(Core core, Py_ssize_t rows, int needs) except -1:
    """The scratch of a block of `rows` examples, BLOCK at most."""
    reserve(core, rows)
    if needs & NEEDS_INPUT_GRADIENT:
        reserve_input_gradient(core, rows)
    if needs & NEEDS_CURVATURE:
        reserve_curvature(core, rows)
    if needs & NEEDS_GATHERED:
        reserve_gathered(core, rows)
    return 0


cdef int reserve_gathered(Core core, Py_ssize_t n) except -1:
    cdef Py_ssize_t rows = min(n, BLOCK)
    if rows > core.gathered_capacity:
        core.gathered_array = aligned_zeros(rows * (core.n_0 + core.n_L))
        core.gathered_X = data(core.gathered_array)
        core.gathered_Y = core.gathered_X + rows * core.n_0
        core.gathered_capacity = rows
    return 0


cdef int reserve_curvature(Core core, Py_ssize_t n) except -1:
    """The scratch of a block of n examples, BLOCK at most, besides that of `reserve`."""
    cdef Py_ssize_t rows = min(n, BLOCK), l, total = 0, ld_max = 0
    cdef Py_ssize_t ld = core.layers[core.n_layers - 1].ld
    cdef real *p
    if rows <= core.tangent_capacity:
        return 0
    for l in range(core.n_layers):
        total += 3 * rows * core.layers[l].ld
        ld_max = max(ld_max, core.layers[l].ld)
    array = aligned_zeros(total + rows * ld_max + (4 + 3 * rows) * ld)
    memory = np.zeros(core.n_layers * sizeof(Tangent), dtype=np.uint8)
    core.tangent_array = array
    core.tangents_memory = memory
    core.tangents = <Tangent *> cnp.PyArray_DATA(<cnp.ndarray> memory)
    p = data(array)
    for l in range(core.n_layers):
        core.tangents[l].z = p
        core.tangents[l].a = p + rows * core.layers[l].ld
        core.tangents[l].delta = p + 2 * rows * core.layers[l].ld
        p += 3 * rows * core.layers[l].ld
    core.d2a_dz2 = p
    core.tangent_scratch = p + rows * ld_max
    core.tangent_capacity = rows
    return 0


cdef int reserve_training(Core core, Py_ssize_t n, Py_ssize_t batch_size, bint gathered) except -1:
    cdef Py_ssize_t l, columns
    if core.update_rule.kind == NO_RULE:
        raise RuntimeError("no optimiser is set")
    n = min(n, batch_size)
    # What a step on few rows needs is there since the last one.
    if n <= core.block_capacity and core.piece_array is not None and not gathered and not needs_sums(core, n):
        return 0
    reserve_call(core, n, n, 3, NEEDS_LEAVES | (NEEDS_GATHERED if gathered else 0)
                 | (NEEDS_SUMS if needs_sums(core, n) else 0))
    if core.piece_array is None:
        core.piece_size = PIECE_COLUMNS
        for l in range(core.n_layers):
            # A thread's share may be narrower, its pieces then have more rows.
            columns = min(core.layers[l].width, PIECE_COLUMNS)
            core.piece_size = max(core.piece_size, min(columns * core.layers[l].n_in,
                                                       max(columns * 4 * TILE_ROWS, PIECE_NUMBERS)))
        core.piece_array = aligned_zeros(core.threads * core.piece_size)
        core.piece = data(core.piece_array)
    return 0
