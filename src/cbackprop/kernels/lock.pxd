# The lock word of lock.h, which says who has a network, as Cython sees it.

from libc.stdint cimport uintptr_t

cdef extern from "lock.h" nogil:
    enum:
        REFUSED "CBACKPROP_REFUSED"
        BESIDE "CBACKPROP_BESIDE"

    int read "cbackprop_read"(uintptr_t *lock_word) noexcept
    int read_along "cbackprop_read_along"(uintptr_t *lock_word, bint scratch) noexcept
    void end_read "cbackprop_end_read"(uintptr_t *lock_word, bint scratch) noexcept
    bint is_read "cbackprop_is_read"(const uintptr_t *lock_word) noexcept
    bint take_for_call "cbackprop_take_for_call"(uintptr_t *lock_word) noexcept
    bint take "cbackprop_take"(uintptr_t *lock_word) noexcept
    void give_back "cbackprop_give_back"(uintptr_t *lock_word) noexcept
    void set_fit "cbackprop_set_fit"(uintptr_t *lock_word, bint fit) noexcept
    bint is_free "cbackprop_is_free"(const uintptr_t *lock_word) noexcept
    bint is_for_call "cbackprop_is_for_call"(const uintptr_t *lock_word) noexcept
    bint is_own "cbackprop_is_own"(const uintptr_t *lock_word) noexcept
    bint is_fit "cbackprop_is_fit"(const uintptr_t *lock_word) noexcept
    bint is_inherited "cbackprop_is_inherited"(const uintptr_t *lock_word) noexcept
    int watch_forks "cbackprop_watch_forks"() noexcept
