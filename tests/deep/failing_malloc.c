/* An allocator that fails when it is told to, to be preloaded over the C library's (glibc's).
 *
 * a) fail_allocations(first, last): of the calling thread's allocations from now on, those with the
 *    numbers first ... last, counted from 0, get no memory. Other threads' always do.
 * b) end_failures(): how many this thread has asked for since; ends (a).
 * c) live_blocks(): blocks that all threads have been given and have not given back, since the start.
 *
 * With PYTHONMALLOC=malloc Python's objects come from here, too: then every allocation of a call can
 * be made to fail, NumPy's and the compiled core's included.
 */
#include <errno.h>
#include <limits.h>
#include <stddef.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

static __thread long asked = LONG_MIN, first_to_fail = LONG_MAX, last_to_fail = LONG_MAX;
static long live;

static int fails(void)
{
    long number;
    if (asked == LONG_MIN)
        return 0;
    number = asked++;
    if (number < first_to_fail || number > last_to_fail)
        return 0;
    errno = ENOMEM;
    return 1;
}

static void *counted(void *block)
{
    if (block != NULL)
        __atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
    return block;
}

void fail_allocations(long first, long last)
{
    first_to_fail = first;
    last_to_fail = last;
    asked = 0;
}

long end_failures(void)
{
    long count = asked;
    asked = LONG_MIN;
    return count;
}

long live_blocks(void)
{
    return __atomic_load_n(&live, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    void *moved;
    if (fails())
        return NULL;
    moved = __libc_realloc(block, size);
    if (block == NULL)
        return counted(moved);
    if (moved == NULL && size == 0)
        __atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
    return moved;
}

void *memalign(size_t alignment, size_t size)
{
    return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    void *found = memalign(alignment, size);
    if (found == NULL)
        return ENOMEM;
    *block = found;
    return 0;
}

void free(void *block)
{
    if (block != NULL)
        __atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
    __libc_free(block);
}
