# The threads of threads.h, as Cython sees them.

cdef extern from "threads.h" nogil:
    enum:
        MOST_THREADS "CBACKPROP_MOST_THREADS"

    ctypedef void (*task_function "cbackprop_task")(void *context, int worker, Py_ssize_t piece) noexcept nogil

    void run_task "cbackprop_run"(
        task_function task, void *context, Py_ssize_t pieces, int threads, bint in_order) noexcept
    void lock "cbackprop_lock"(int *lock) noexcept
    void unlock "cbackprop_unlock"(int *lock) noexcept
    void give_way "cbackprop_yield"() noexcept
