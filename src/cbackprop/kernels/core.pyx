# One network: its parameters, its scratch and the state of the call under way. Everything else is functions of it.
#
# a) Compiled once for each SIMD level and number type; which, simd.h decides.
# b) A layer's parameters are Wt (n_in + 1, ld): the transpose of W with the bias as its last row, ld = n_out padded to
#    whole 64-byte groups. All layers lie in one 64-byte-aligned block, `storage`. Gradient sums and optimiser slots
#    have the same layout, so an update is one loop. Padding is 0 and stays 0.
# c) Functions over a Core return 0, or 1 after `fail`; -1 is a Python exception.
# d) State and functions stand apart because Cython cannot divide a class over files; and a function of the Core is
#    called directly, a method through a table.

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pyport cimport PY_SSIZE_T_MAX
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint64_t, uintptr_t

from cbackprop.kernels.simd cimport GROUP, LANES, SQUARE, real
from cbackprop.kernels.threads cimport MOST_THREADS

import numpy as np

from cbackprop import functions

cdef enum:
    SMALL = 512             # numbers that may be kept on the stack
    # Work is counted in multiply-adds; an activation counts as 100, a layer's overhead as 1,000.
    RELEASE_GIL_WORK = 20000        # about 2 microseconds at the least
    SIGNAL_WORK = 20000000          # between two looks for Ctrl-C: some milliseconds
    ELEMENT_WORK = 32               # of an activation in the caches, to see whether threads share it

# What a call may find not finite, in one order: `fail` takes the number, `failure_of` gives Python the text.
cdef enum:
    QUANTITY_Z, QUANTITY_A, QUANTITY_DELTA, QUANTITY_PARAMETERS, QUANTITY_NORM, QUANTITY_JACOBIAN, QUANTITY_GRAM
    QUANTITY_MOMENTS, QUANTITY_CURVATURE

QUANTITIES = ("z", "a", "delta", "parameters", "norm", "jacobian", "gram", "moments", "curvature")


cdef struct Layer:
    Py_ssize_t n_in
    Py_ssize_t n_out
    Py_ssize_t width              # n_out in whole vectors: what is computed of a row
    Py_ssize_t ld                 # row length of Wt, z, a, da_dz, delta, padded
    Py_ssize_t offset             # of Wt in the parameter block
    Py_ssize_t start              # of W in the documented order
    Py_ssize_t neurons            # in the layers below it, the input left out
    Py_ssize_t w_rowmajor_offset  # of W in `w_rowmajor`, where the network is tiny
    int activation
    bint can_overflow  # a may be infinite, z being finite
    bint is_frozen     # while a pass of training goes on in which the layer does not learn
    real *z            # (BLOCK at most, ld), as all that follow
    real *a
    real *da_dz
    real *log_a        # ln a of a softmax, in the memory of da_dz, which it has none of
    real *delta
    real *dC_da        # in the memory of delta, until the product with da_dz is taken


# R{.} of one layer over a block.
cdef struct Tangent:
    real *z
    real *a
    real *delta


cdef struct GramScratch  # see gram.pyx

# What one call works on: the caller's arrays, judged, and NULL for what it has not. Written is what is not const.
cdef struct Call:
    Py_ssize_t n
    Py_ssize_t rows              # of a piece of the call, where nothing is summed over examples
    const real *X                # (n, n_0); NULL where the rows are sparse
    SparseBlock sparse
    const real *Y                # (n, n_L)
    const double *sample_weight  # (n,)
    const int64_t *order         # (n,): the rows of the pass; NULL for 0 ... n - 1
    double total_weight          # what the sums are divided by
    double clip_norm             # each dC_i is shortened to it; 0 for none
    real *C                      # (n,)
    real *out                    # in the shape that the call gives it
    bint new_memory              # whether the system has yet to give the pages of `out` (per_example.pyx, note c)
    real *variance               # (P,)
    real **z                     # of each layer (n, n_l) or NULL, as the next three
    real **a
    real **da_dz
    real **delta
    real **dC_da                 # of the input and each layer
    const real *v                # (P,), a direction of the parameters, and in `packed` in their layout; or NULL
    const real *dX               # (n, n_0), one of the inputs, or NULL
    real *by_inputs              # (n, n_0): derivatives by the inputs
    real *sums                   # those that moments are made from
    bint gauss_newton
    real *packed                 # scratch in the layout of the parameters
    const Call *second           # the other set of a Gram matrix; NULL for the same one
    GramScratch *gram_scratch


cdef class Core:
    """Parameters, scratch and state of one network; of a twin (see ownership.pyx) the scratch alone is its own."""

    cdef tuple sizes
    cdef Py_ssize_t n_layers, n_0, n_L
    cdef readonly Py_ssize_t n_parameters
    cdef Py_ssize_t n_neurons  # of all layers, the input left out
    cdef Py_ssize_t storage_size
    cdef Layer *layers
    cdef int cost_kind
    cdef real least_target, most_target  # what y the cost is for; infinite where any is
    cdef tuple activations
    cdef readonly object cost_function  # the cost's name, or the user's own Cost
    # Arrays that own the memory that the pointers lead to.
    cdef object layer_memory, storage_array, scratch_array, input_array, gathered_array, sums_array, constants_array
    cdef object piece_array, w_rowmajor_array, tangent_array
    cdef real *storage
    cdef real *sums     # (n_tickets, sums_size): sums over examples, see tree.pyx
    cdef Py_ssize_t sums_size
    cdef int n_tickets
    # Who does a call's leaves: this Core, and twins that share its parameters and do nothing else.
    cdef void *crew[MOST_THREADS]
    cdef int crew_size  # of the call under way
    cdef list helpers
    cdef int place  # in the crew; 0 for the caller
    cdef bint has_user_functions
    cdef real *piece    # (threads, piece_size): a piece of a gradient on its way into an update
    cdef Py_ssize_t piece_size
    cdef real *w_rowmajor  # W of each layer but the first, where the network is tiny
    cdef real *zeros
    cdef Panels panels  # see tile.pyx; its threads are one while the crew works
    cdef readonly int threads
    cdef real *output_mask
    cdef real *output_scratch
    cdef real *dC_da_output  # (BLOCK at most, ld)
    cdef real *dC_dx         # (BLOCK at most, ld_input)
    cdef real *gathered_X    # also sparse rows made dense
    cdef real *gathered_Y
    cdef Py_ssize_t block_capacity, input_capacity, gathered_capacity
    cdef Py_ssize_t sums_capacity  # in numbers
    cdef Py_ssize_t ld_input  # row length of dC_dx, padded
    cdef SparseBlock sparse  # of the block under way, where X is NULL in what follows from it
    # Rows of X still to be asked for, see prefetch_rows.
    cdef const real *prefetch_X
    cdef const int64_t *prefetch_order
    cdef Py_ssize_t prefetch_left, prefetch_place
    # Rows after those of the block under way, and how many lines of them the block's first product asks for.
    cdef const real *prefetch_block
    cdef Py_ssize_t prefetch_block_lines
    # Dropout, while a pass of training goes on that has it; where the call's first row and the block stand in the pass.
    cdef bint dropping
    cdef uint64_t dropout_key, dropout_threshold
    cdef real dropout_scale
    cdef Py_ssize_t first_row, block_row
    # Who has the network, see lock.h. The next four are for a thread that keeps it alone to read and to change.
    cdef uintptr_t lock_word
    cdef bint busy         # a call is under way, with the scratch that lies here
    cdef bint changing     # and changes something
    cdef Py_ssize_t depth, readings  # how many `with` the thread keeps it by, and in how many of them nothing changes
    cdef Core next_twin    # the first of those that nobody uses, or the next of them, see ownership.pyx
    # The call under way.
    cdef double cost_total, cost_correction
    cdef int failed_quantity
    cdef Py_ssize_t failed_layer
    cdef Py_ssize_t work
    # Curvature, see curvature.pyx.
    cdef object tangents_memory
    cdef Tangent *tangents      # of each layer
    cdef const real *direction  # v in the layout of the parameters
    cdef real *d2a_dz2          # (BLOCK at most, ld of the widest layer)
    cdef real *tangent_scratch  # (4, ld) for a softmax row, (BLOCK at most, ld) three times: t, R{a}, R{dC/da}
    cdef Py_ssize_t tangent_capacity
    # The optimiser and its steps, see updates.pyx and steps.pyx.
    cdef public double learning_rate  # the factor of every step, until another is set
    cdef public int64_t step_count    # since set_optimizer
    cdef public double previous_cost  # of the last step's batch, for a rule that looks at it; infinite before the first
    cdef UpdateRule update_rule
    cdef readonly object rule  # the update_rules.UpdateRule that it was read from, or None
    cdef list slot_arrays
    cdef real *slot_data[MOST_SLOTS]
    cdef Py_ssize_t n_slots
    cdef bint is_tiny
    cdef public bint missing_targets  # in a fit whose targets may be NaN
    # Of the pass under way: 0 for none of each.
    cdef double l1, l2, max_norm, clip_norm, clip_gradient_norm, noise
    cdef uint64_t noise_key
    cdef Py_ssize_t batch, lowest  # the lowest layer that learns, from 0
    cdef int weight_shift  # the weights of the batch are taken times 2 to it
    cdef bint is_private, rule_alone  # whether there is noise; none of these, no weights and no dropout
    cdef object watcher    # of the pass under way, or None

    def __cinit__(self, tuple sizes, tuple activations, cost, dtype_name, int threads, Core network=None):
        cdef Py_ssize_t l, offset = 0, ld_max = 0, depth_max = 0
        cdef double size = 0
        cdef bint gathers
        cdef Layer *layer
        if np.dtype(dtype_name) != dtype:
            raise TypeError(f"dtype is {dtype_name}; this engine computes in {dtype}")
        if len(sizes) < 2 or len(activations) != len(sizes) - 1:
            raise ValueError(f"{len(activations)} activations with sizes {sizes}; expected one for each layer")
        for n in sizes:
            if type(n) is not int or n < 1:
                raise ValueError(f"sizes is {sizes}; expected integers from 1 on")
        for l in range(len(sizes) - 1):
            size += (<double> sizes[l] + 1) * (<double> sizes[l + 1] + 2 * GROUP)
        if size > <double> (PY_SSIZE_T_MAX // 64):
            raise MemoryError(f"layers of {sizes} neurons are more than can be addressed")
        self.n_layers = len(sizes) - 1
        self.layer_memory = np.zeros(self.n_layers * sizeof(Layer), dtype=np.uint8)
        self.layers = <Layer *> cnp.PyArray_DATA(<cnp.ndarray> self.layer_memory)
        self.sizes, self.activations = sizes, activations
        self.n_0, self.n_L = sizes[0], sizes[self.n_layers]
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
            layer.activation, layer.can_overflow = USER_ACTIVATION, True
            if isinstance(activations[l], str):
                layer.activation = ACTIVATIONS[activations[l]]
                layer.can_overflow = functions.ACTIVATIONS[activations[l]].can_overflow
            offset += (layer.n_in + 1) * layer.ld
            self.n_parameters += (layer.n_in + 1) * layer.n_out
            ld_max = max(ld_max, layer.ld)
            depth_max = max(depth_max, layer.n_in, layer.n_out)
        self.cost_kind = USER_COST
        self.least_target, self.most_target = <real> -INFINITY, <real> INFINITY
        if isinstance(cost, str):
            self.cost_kind = COSTS[cost]
            self.least_target, self.most_target = functions.COSTS[cost].target_range
        self.cost_function = cost
        self.storage_size = offset
        self.storage_array = aligned_zeros(offset) if network is None else network.storage_array
        self.storage = data(self.storage_array)
        layer = &self.layers[self.n_layers - 1]
        self.ld_input = padded(self.n_0)
        # Room for gathered columns of A, which small layers have none of.
        gathers = depth_max > 2 * TILE_ROWS
        depth_max = min(CHUNK, (max(depth_max, BLOCK) + SQUARE - 1) // SQUARE * SQUARE)
        ld_max = max(ld_max, self.ld_input)
        self.panels.size = depth_max * 2 * LANES
        if gathers:
            self.panels.gathered = self.panels.size
            self.panels.size += GATHERED_COLUMNS * GATHERED_DEPTH + GROUP
        self.threads = self.panels.threads = max(1, min(threads, MOST_THREADS))
        self.constants_array = aligned_zeros(ld_max + 4 * layer.ld + self.panels.threads * self.panels.size)
        self.zeros = data(self.constants_array)
        self.output_mask = self.zeros + ld_max
        self.output_scratch = self.output_mask + layer.ld
        self.panels.first = self.output_scratch + 3 * layer.ld
        for l in range(layer.n_out):
            self.output_mask[l] = 1
        self.crew[0] = <void *> self
        self.crew_size = 1
        self.helpers = []
        self.has_user_functions = self.cost_kind == USER_COST
        for l in range(self.n_layers):
            self.has_user_functions = self.has_user_functions or self.layers[l].activation == USER_ACTIVATION
        self.slot_arrays = []
        self.update_rule.kind = NO_RULE
        self.previous_cost = INFINITY
        self.rule_alone = True
        if network is None:
            set_up_tiny(self)

    def check_guards(self):
        """In the checked build: no number was written after the end of an allocation, and the padding is still 0."""
        cdef Py_ssize_t l
        cdef Layer *layer
        for array in (self.storage_array, self.scratch_array, self.input_array, self.gathered_array, self.sums_array,
                      self.constants_array, self.piece_array, self.w_rowmajor_array, self.tangent_array,
                      *self.slot_arrays):
            if array is not None:
                raw = array.base
                start = array.ctypes.data - raw.ctypes.data + array.nbytes
                if raw[start:].any():
                    raise AssertionError("numbers were written behind an allocation")
        for helper in self.helpers:
            (<Core> helper).check_guards()
        for array in (self.storage_array, *self.slot_arrays):
            for l in range(self.n_layers):
                layer = &self.layers[l]
                block = array[layer.offset:layer.offset + (layer.n_in + 1) * layer.ld]
                padding = block.reshape(layer.n_in + 1, layer.ld)[:, layer.n_out:]
                # A step that overflows leaves NaN there, too (infinity times 0): the caller undoes it.
                if padding.any() and np.isfinite(padding).all():
                    raise AssertionError(f"the padding of layer {l + 1} is not 0")


# Returns 0, or 1 after `fail`.
ctypedef int (*call_function)(Core core, const Call *call) except -1 nogil


cdef int fail(Core core, int quantity, Py_ssize_t layer) noexcept nogil:
    """Note which quantity of which layer (from 1; 0 for none alone) is not finite. 1, to return."""
    core.failed_quantity = quantity
    core.failed_layer = layer
    return 1


cdef object failure_of(Core core, bint failed):
    """What a call returns: None, or what `fail` has noted of it."""
    return (QUANTITIES[core.failed_quantity], core.failed_layer) if failed else None


cdef inline int look_for_signals(Core core, Py_ssize_t work) except -1 nogil:
    """Ctrl-C arrives here, between two pieces of work, and whoever watches a pass hears how many batches are done."""
    core.work += work
    # Apart, so that the steps of tiny networks have no more than the question in them.
    return meet_signals(core) if core.work >= SIGNAL_WORK else 0


cdef int meet_signals(Core core) except -1 nogil:
    core.work = 0
    # A helper's thread is none of Python's.
    if core.place > 0:
        return 0
    with gil:
        PyErr_CheckSignals()
        if core.watcher is not None:
            core.watcher(core.batch)
    return 0


cdef Py_ssize_t columns_between_looks(Core core, Py_ssize_t columns, Py_ssize_t work_per_column) noexcept nogil:
    """As many of the columns, whole groups of them, as SIGNAL_WORK allows each thread; at least a pair of vectors'
    worth.
    """
    cdef Py_ssize_t most = SIGNAL_WORK // (work_per_column + 1) // (4 * GROUP) * (4 * GROUP)
    return min(columns, core.panels.threads * max(most, 4 * GROUP))
