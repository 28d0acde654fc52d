# Sums over examples, and whatever else is done block by block, by as many threads as come for the blocks.
#
# a) The examples lie in leaves of LEAF, the last of which may be shorter; each leaf is summed alone, by one thread. Two
#    neighbouring leaves make a node, two neighbouring nodes the next one, as a binary counter carries. What is left
#    when the leaves end is added from the shortest to the longest. So a sum is fixed by the number of examples alone;
#    and 2^k leaves from a multiple of 2^k on are one node, whoever sums them, and wherever.
# b) A node is added to its neighbour by the thread that has made the later of both: x + y and y + x are the same bits.
#    The other one waits.
# c) Leaves are begun in order, each with a ticket, which is room for its sums and is given back when a node is added to
#    another one. A thread comes for a leaf with a ticket in its hand: so leaves that are begun can end, those that wait
#    when none is under way are few, a node for each bit of their number, and there are tickets for these, two for every
#    thread and one more. Who has none left waits until a leaf under way ends, with no leaf begun.
# d) A thread works with a Core of its own: the caller with the call's, the others with its crew, twins that share the
#    parameters. They do not look for signals, nor share their products further.
# e) The first failure in the order of the examples is the call's, as on one thread.
# f) Where nothing is summed but costs, or nothing at all, the same goes on without sums; leaves then have any size.

from cbackprop.kernels.simd cimport real
from cbackprop.kernels.threads cimport MOST_THREADS, give_way, lock, run_task, unlock

cdef enum:
    LEAST_ROWS = 32  # of a piece, where nothing is summed over examples

# What is done with n examples of a call from `start`. sums: room for what they add, in the call's layout, or NULL.
# Returns 0, or 1 after `fail`.
ctypedef int (*leaf_function)(
    Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil
# The same, whose -1 is handed on as a number: it is the caller's exception, and the caller's to tell.
ctypedef int (*quiet_leaf_function)(
    Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) noexcept nogil
# sums += other, of left and right neighbours of so many examples.
ctypedef void (*join_function)(
    Core core, real *sums, const real *other, Py_ssize_t n, Py_ssize_t n_other) noexcept nogil

cdef struct Node:
    real *sums
    double cost_total, cost_correction
    Py_ssize_t place, level  # leaves place * 2^level ...
    Py_ssize_t n             # examples

cdef struct Tree:
    void **crew
    const Call *call
    quiet_leaf_function leaf
    join_function join
    Py_ssize_t first, n, leaf_rows
    int guard  # of all that follows
    Node waiting[MOST_TICKETS]
    int n_waiting
    real *tickets[MOST_TICKETS]
    int n_tickets
    real *own[MOST_THREADS]  # each thread's ticket
    bint interrupted         # by the caller's exception
    Py_ssize_t failed_start  # of the first leaf that failed; n for none
    int failed_quantity
    Py_ssize_t failed_layer


cdef void join_costs(Node *node, const Node *other) noexcept nogil:
    node.cost_correction = node.cost_correction + other.cost_correction
    add_compensated(&node.cost_total, &node.cost_correction, other.cost_total)


cdef bint take_neighbour(Tree *tree, const Node *node, Node *neighbour) noexcept nogil:
    """The node's neighbour, if it waits; otherwise the node waits for it."""
    cdef int i
    cdef bint found = False
    lock(&tree.guard)
    for i in range(tree.n_waiting):
        if tree.waiting[i].level == node.level and tree.waiting[i].place == node.place ^ 1:
            neighbour[0] = tree.waiting[i]
            tree.n_waiting -= 1
            tree.waiting[i] = tree.waiting[tree.n_waiting]
            found = True
            break
    if not found:
        tree.waiting[tree.n_waiting] = node[0]
        tree.n_waiting += 1
    unlock(&tree.guard)
    return found


cdef void take_ticket(Tree *tree, real **sums) noexcept nogil:
    """Room for the sums of a leaf still to be begun, NULL where there are none; or the call has failed meanwhile."""
    cdef bint done = False
    while not done:
        lock(&tree.guard)
        if tree.n_tickets > 0:
            tree.n_tickets -= 1
            sums[0] = tree.tickets[tree.n_tickets]
            done = True
        done = done or tree.interrupted or tree.failed_start < tree.n
        unlock(&tree.guard)
        if not done:
            give_way()


cdef void give_ticket(Tree *tree, real *sums) noexcept nogil:
    lock(&tree.guard)
    tree.tickets[tree.n_tickets] = sums
    tree.n_tickets += 1
    unlock(&tree.guard)


cdef void stop(Tree *tree, Core core, int answer, Py_ssize_t start) noexcept nogil:
    """A leaf was interrupted, or has failed."""
    lock(&tree.guard)
    if answer < 0:
        tree.interrupted = True
    elif start < tree.failed_start:
        tree.failed_start = start
        tree.failed_quantity = core.failed_quantity
        tree.failed_layer = core.failed_layer
    unlock(&tree.guard)


cdef bint is_needed(Tree *tree, Py_ssize_t start) noexcept nogil:
    """Whether this leaf is to be done still: those before the first that failed might be the first."""
    cdef bint needed
    lock(&tree.guard)
    needed = not tree.interrupted and start < tree.failed_start
    unlock(&tree.guard)
    return needed


cdef void do_leaf(void *context, int worker, Py_ssize_t place) noexcept nogil:
    cdef Tree *tree = <Tree *> context
    if is_needed(tree, place * tree.leaf_rows):
        add_leaf(<Core> tree.crew[worker], tree, &tree.own[worker], place)


cdef void add_leaf(Core core, Tree *tree, real **own, Py_ssize_t place) noexcept nogil:
    """Do a leaf with the thread's own ticket, join it and what it completes, and have a ticket for the next one."""
    cdef Py_ssize_t start = place * tree.leaf_rows
    cdef int answer
    cdef Node node, neighbour
    node.sums = own[0]
    node.place, node.level, node.n = place, 0, min(tree.n - start, tree.leaf_rows)
    core.cost_total = core.cost_correction = 0
    answer = tree.leaf(core, tree.call, tree.first + start, node.n, node.sums)
    if answer != 0:
        stop(tree, core, answer, start)
        return
    node.cost_total, node.cost_correction = core.cost_total, core.cost_correction
    while take_neighbour(tree, &node, &neighbour):
        if tree.join != NULL:
            tree.join(core, node.sums, neighbour.sums, node.n, neighbour.n)
        give_ticket(tree, neighbour.sums)
        join_costs(&node, &neighbour)
        node.n += neighbour.n
        node.level += 1
        node.place >>= 1
    take_ticket(tree, own)


cdef int do_leaves(
    Core core, const Call *call, leaf_function leaf, join_function join,
    Py_ssize_t first, Py_ssize_t n, Py_ssize_t leaf_rows,
    real **sums,  # OUT where the sums are, if anything is joined
) except -1 nogil:
    """The leaf for all of n examples of the call from `first`, and the sum of their costs added to the Core's."""
    cdef Tree tree
    cdef Node node, total
    cdef int i
    cdef double cost_total = core.cost_total, cost_correction = core.cost_correction
    if n <= leaf_rows:
        if join != NULL:
            sums[0] = core.sums
        return 0 if n == 0 else leaf(core, call, first, n, core.sums)
    tree.crew, tree.call, tree.leaf, tree.join = core.crew, call, <quiet_leaf_function> leaf, join
    tree.first, tree.n, tree.leaf_rows = first, n, leaf_rows
    tree.guard = tree.n_waiting = tree.interrupted = 0
    tree.failed_start = n
    tree.n_tickets = core.n_tickets
    for i in range(core.n_tickets):
        tree.tickets[i] = core.sums + i * core.sums_size if join != NULL else NULL
    if core.crew_size > 1:
        core.panels.threads = 1
        brief_crew(core)
    for i in range(core.crew_size):
        take_ticket(&tree, &tree.own[i])
    run_task(do_leaf, &tree, pieces_of(n, leaf_rows), core.crew_size, True)
    core.panels.threads = core.threads
    core.cost_total, core.cost_correction = cost_total, cost_correction
    if tree.interrupted:
        return -1
    if tree.failed_start < n:
        return fail(core, tree.failed_quantity, tree.failed_layer)
    # From the shortest, which is the last, to the longest.
    total = take_shortest(&tree)
    while tree.n_waiting > 0:
        node = take_shortest(&tree)
        if join != NULL:
            join(core, total.sums, node.sums, total.n, node.n)
        join_costs(&total, &node)
        total.n += node.n
    if join != NULL:
        sums[0] = total.sums
    core.cost_correction += total.cost_correction
    add_compensated(&core.cost_total, &core.cost_correction, total.cost_total)
    return 0


cdef Node take_shortest(Tree *tree) noexcept nogil:
    cdef int i, shortest = 0
    cdef Node node
    for i in range(1, tree.n_waiting):
        if tree.waiting[i].level < tree.waiting[shortest].level:
            shortest = i
    node = tree.waiting[shortest]
    tree.n_waiting -= 1
    tree.waiting[shortest] = tree.waiting[tree.n_waiting]
    return node


cdef void brief_crew(Core core) noexcept nogil:
    """What the call's Core knows of the pass under way, for those that help with it."""
    cdef int i
    for i in range(1, core.crew_size):
        brief(core, <Core> core.crew[i])


cdef void brief(Core core, Core helper) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(core.n_layers):
        helper.layers[l].is_frozen = core.layers[l].is_frozen
    helper.lowest = core.lowest
    helper.missing_targets = core.missing_targets
    helper.dropping, helper.dropout_key = core.dropping, core.dropout_key
    helper.dropout_threshold, helper.dropout_scale = core.dropout_threshold, core.dropout_scale
    helper.weight_shift, helper.crew_size = core.weight_shift, core.crew_size


cdef void join_sums(Core core, real *sums, const real *other, Py_ssize_t n, Py_ssize_t n_other) noexcept nogil:
    add(sums, other, core.storage_size)
