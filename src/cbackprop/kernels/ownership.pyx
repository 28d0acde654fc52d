# Many threads may read a network at the same time, one alone may change it. The lock word and its rules are in lock.h.
#
# a) A call works in a Core's scratch. The first that reads has the network's own, which is all that most networks ever
#    need. One that comes meanwhile, from another thread or from within a user's function, has a twin: another Core with
#    scratch of its own and the network's parameters.
# b) Twins are made when they are needed, and wait in a chain for the next, as long as the network lives: there are as
#    many as calls have been reading beside another one.
# c) No exception is caught where memory may fail: Cython's way of catching one takes memory, too.
# d) A thread that keeps the network by `with engine` reads and changes it by itself; `busy` and `changing` say which of
#    its calls is under way, `readings` that there are several which read: then it may not change the network, either.

from cython cimport critical_section

from cbackprop.kernels.lock cimport (
    BESIDE, REFUSED, end_read, give_back, is_fit, is_for_call, is_inherited, is_own, is_read, read, read_along,
    take_for_call, watch_forks,
)

if watch_forks() != 0:
    raise MemoryError("forks cannot be watched")


cdef Core enter_read(Core core):
    """The start of a call that reads: whose scratch it has. RuntimeError if somebody changes the network."""
    cdef Core used = core
    cdef int found = read(&core.lock_word)
    if found == REFUSED:
        if not is_own(&core.lock_word) or core.changing:
            refuse(core)
        if core.busy:
            used = spare_twin(core)
        else:
            core.busy = True
    elif found == BESIDE:
        used = None
        try:
            used = spare_twin(core)
        finally:
            if used is None:
                end_read(&core.lock_word, False)
    begin_sums(used)
    return used


cdef int leave_read(Core core, Core used) except -1:
    """The end of a call that read with this Core's scratch. What it found must have been read before."""
    try:
        if CHECKED_BUILD:
            used.check_guards()
    finally:
        if used is not core:
            keep_twin(core, used)
        if is_read(&core.lock_word):
            end_read(&core.lock_word, used is core)
        elif used is core:
            core.busy = False
    return 0


cdef bint may_change(Core core) noexcept:
    """Whether a network that somebody has is this thread's, and nothing of its own goes on that reads or changes it."""
    return is_own(&core.lock_word) and not core.busy and core.readings == 0


cdef int enter_change(Core core) except -1:
    """The start of a call that changes something. RuntimeError if another one is under way, or another thread keeps
    the network.
    """
    if not take_for_call(&core.lock_word):
        if not may_change(core):
            refuse(core)
        core.busy = core.changing = True
    begin_sums(core)
    return 0


cdef int leave_change(Core core) except -1:
    """The end of a call that changed something. What it found must have been read before."""
    try:
        if CHECKED_BUILD:
            core.check_guards()
    finally:
        if is_for_call(&core.lock_word):
            give_back(&core.lock_word)
        else:
            core.busy = core.changing = False
    return 0


cdef inline void begin_sums(Core core) noexcept:
    core.work = 0
    core.cost_total = 0
    core.cost_correction = 0


cdef Core spare_twin(Core core):
    """One that nobody uses, or a new one. MemoryError leaves all as it was."""
    cdef Core twin
    with critical_section(core):
        twin = core.next_twin
        if twin is not None:
            core.next_twin = twin.next_twin
            twin.next_twin = None
    if twin is None:
        twin = Core(core.sizes, core.activations, core.cost_function, dtype, core.threads, core)
    return twin


cdef int keep_twin(Core core, Core twin) except -1:
    """For the next that needs one."""
    with critical_section(core):
        twin.next_twin = core.next_twin
        core.next_twin = twin
    return 0


cdef class Reading:
    """`with engine.reading()`: nobody changes the network through several calls that read it."""

    cdef Core core

    def __cinit__(self, Core core):
        self.core = core

    def __enter__(self):
        cdef Core core = self.core
        if read_along(&core.lock_word, False) == REFUSED:
            if not is_own(&core.lock_word) or core.changing:
                refuse(core)
            core.depth += 1
            core.readings += 1

    def __exit__(self, kind, error, traceback):
        cdef Core core = self.core
        if is_read(&core.lock_word):
            end_read(&core.lock_word, False)
        else:
            core.readings -= 1
            keep_no_longer(core)


cdef int keep_no_longer(Core core) except -1:
    """The end of one `with` of the thread that keeps the network."""
    core.depth -= 1
    if core.depth == 0:
        give_back(&core.lock_word)
    return 0


cdef int refuse(Core core) except -1:
    if is_read(&core.lock_word) and is_inherited(&core.lock_word):
        raise RuntimeError("this network was in use when the process was forked, by threads that are not here and "
                           "read it: it can be read, but not changed; use a copy()")
    if is_inherited(&core.lock_word):
        raise RuntimeError("this network was in use when the process was forked, and what another thread did with "
                           "it will never be finished here; use a copy() made before the fork")
    if is_fit(&core.lock_word) and not is_own(&core.lock_word):
        raise RuntimeError("a fit of this network is running in another thread; use a copy() made before it "
                           "began to work at the same time")
    if is_read(&core.lock_word) or (is_own(&core.lock_word) and not core.changing):
        raise RuntimeError("this network is already in use: it cannot be changed while another call reads it, in "
                           "another thread or around this one; use copy() to work on it at the same time")
    raise RuntimeError("this network is already in use: another call on it is running, in another thread or "
                       "in a callback; use copy() to work on it at the same time")
