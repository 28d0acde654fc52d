# One thread at a time has a network: its scratch is the engine's own. The lock word and its rules are in lock.h.

from cbackprop.kernels.lock cimport give_back, is_fit, is_for_call, is_inherited, is_own, take_for_call, watch_forks

if watch_forks() != 0:
    raise MemoryError("forks cannot be watched")


cdef int enter(Core core) except -1:
    """The begin of a call. RuntimeError if another one is under way, or another thread keeps the network."""
    if not take_for_call(&core.lock_word):
        if busy_or_not_own(core):
            refuse(core)
        core.busy = True
    core.work = 0
    core.cost_total = 0
    core.cost_correction = 0
    return 0


cdef int leave(Core core) except -1:
    """The end of a call. What it found must have been read before."""
    try:
        if CHECKED_BUILD:
            core.check_guards()
    finally:
        if is_for_call(&core.lock_word):
            give_back(&core.lock_word)
        else:
            core.busy = False
    return 0


cdef bint busy_or_not_own(Core core) noexcept:
    return not is_own(&core.lock_word) or core.busy


cdef int refuse(Core core) except -1:
    if is_inherited(&core.lock_word):
        raise RuntimeError("this network was in use when the process was forked, and what another thread did with "
                           "it will never be finished here; use a copy() made before the fork")
    if is_fit(&core.lock_word) and not is_own(&core.lock_word):
        raise RuntimeError("a fit of this network is running in another thread; use copy() to work on it at the "
                           "same time")
    raise RuntimeError("this network is already in use: another call on it is running, in another thread or "
                       "in a callback; use copy() to work on it at the same time")
