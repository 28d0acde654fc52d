# The threads of threads.h, as Cython sees them.

cdef extern from "threads.h" nogil:
    enum:
        MOST_THREADS "CBACKPROP_MOST_THREADS"

    ctypedef void (*task_function "cbackprop_task")(void *context, int part) noexcept nogil

    void run_task "cbackprop_run"(task_function task, void *context, int parts) noexcept
