/* Who has a network: whoever reads it, together, or one that changes it, alone; with the GIL and without.
 *
 * a) A word says it all, so that one step decides between readers and writers. 0 is nobody. Odd: 4r + 1 while r reads
 *    are under way, and 2 more while one of them works in the network's own scratch; the others have some of their own.
 *    Even: 2 while a call changes it, 4n while thread number n keeps it for several calls, and 4n + 2 while these are a
 *    fit. Above stands the generation of the process, see c.
 * b) A writer changes 0, a reader 0 or an odd word, so that of two that cannot both go on one is refused, and nobody
 *    waits. It is given back with release order: who changes the network next has everything that was read or written
 *    behind it.
 * c) A forked child has but one thread. What another one changed at the fork stays taken for ever, because its numbers
 *    may be half written; what it read stays counted, so that it can be read there, and not changed. The generation, one
 *    more in each child, tells that from a call that will end.
 * d) A thread's number is its own for ever. The system's identifiers return: in a forked child a new thread may have
 *    that of one which the fork has left behind.
 * e) Whether a word is a thread's own, its number alone says, whatever the generation: a callback may fork, and the fit
 *    goes on in the child, too.
 */
#ifndef CBACKPROP_LOCK_H
#define CBACKPROP_LOCK_H

#include <Python.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)

#define CBACKPROP_THREAD_LOCAL __thread

static inline uintptr_t cbackprop_look(const uintptr_t *lock_word)
{
    return __atomic_load_n(lock_word, __ATOMIC_RELAXED);
}

static inline void cbackprop_put(uintptr_t *lock_word, uintptr_t next)
{
    __atomic_store_n(lock_word, next, __ATOMIC_RELEASE);
}

static inline int cbackprop_exchange(uintptr_t *lock_word, uintptr_t expected, uintptr_t next)
{
    return __atomic_compare_exchange_n(lock_word, &expected, next, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

#elif defined(_MSC_VER)

#include <intrin.h>

#define CBACKPROP_THREAD_LOCAL __declspec(thread)

static inline uintptr_t cbackprop_look(const uintptr_t *lock_word) { return *(const volatile uintptr_t *)lock_word; }

static inline void cbackprop_put(uintptr_t *lock_word, uintptr_t next)
{
    _InterlockedExchangePointer((void *volatile *)lock_word, (void *)next);
}

static inline int cbackprop_exchange(uintptr_t *lock_word, uintptr_t expected, uintptr_t next)
{
    void *seen = _InterlockedCompareExchangePointer((void *volatile *)lock_word, (void *)next, (void *)expected);
    return seen == (void *)expected;
}

#else
#error "no atomic operations are known for this compiler"
#endif

/* Whether the word was 0, and now is `next`. Asked with the GIL held, where there is one. */
static inline int cbackprop_take_as(uintptr_t *lock_word, uintptr_t next)
{
#ifdef Py_GIL_DISABLED
    return cbackprop_exchange(lock_word, 0, next);
#else
    /* The GIL makes one step of two, and the second a quick one: an exchange takes some 5 nanoseconds. */
    if (cbackprop_look(lock_word) != 0)
        return 0;
    cbackprop_put(lock_word, next);
    return 1;
#endif
}

enum { CBACKPROP_READ = 1, CBACKPROP_SCRATCH = 2, CBACKPROP_CALL = 2, CBACKPROP_FIT = 2, CBACKPROP_ONE = 4 };

#define CBACKPROP_GENERATION_SHIFT (sizeof(uintptr_t) == 8 ? 48 : 24)
/* Of an even word the thread's number, of an odd one how many reads. */
#define CBACKPROP_COUNT_MASK ((((uintptr_t)1 << CBACKPROP_GENERATION_SHIFT) - 1) & ~(uintptr_t)3)

static uintptr_t cbackprop_generation; /* in its place in the word; changes in a forked child alone */

static CBACKPROP_THREAD_LOCAL uintptr_t cbackprop_own_number;

/* This thread's part of the word. */
static inline uintptr_t cbackprop_this_thread(void)
{
    static uintptr_t numbers;
    while (cbackprop_own_number == 0) {
        uintptr_t last = cbackprop_look(&numbers);
        if (cbackprop_exchange(&numbers, last, last + 1))
            cbackprop_own_number = last + 1;
    }
    return cbackprop_own_number * CBACKPROP_ONE;
}

/* Whether the network is being read, and by nobody changed. */
static inline int cbackprop_is_read(const uintptr_t *lock_word) { return (cbackprop_look(lock_word) & CBACKPROP_READ) != 0; }

enum { CBACKPROP_REFUSED, CBACKPROP_BESIDE, CBACKPROP_WITH_SCRATCH };

/* Read along where the network is being read: whether beside the others, or with its own scratch where that is asked for
 * and to be had; or not at all.
 */
static int cbackprop_read_along(uintptr_t *lock_word, int scratch)
{
    for (;;) {
        uintptr_t seen = cbackprop_look(lock_word), next = seen + CBACKPROP_ONE;
        if (seen == 0)
            next = cbackprop_generation | CBACKPROP_READ | CBACKPROP_ONE;
        else if ((seen & CBACKPROP_READ) == 0)
            return CBACKPROP_REFUSED;
        if (scratch)
            next |= CBACKPROP_SCRATCH;
        if (cbackprop_exchange(lock_word, seen, next))
            return scratch && (seen & CBACKPROP_SCRATCH) == 0 ? CBACKPROP_WITH_SCRATCH : CBACKPROP_BESIDE;
    }
}

/* The start of a call that reads: as above, and asking for the scratch. Mostly nobody else is there. */
static inline int cbackprop_read(uintptr_t *lock_word)
{
    uintptr_t alone = cbackprop_generation | CBACKPROP_READ | CBACKPROP_SCRATCH | CBACKPROP_ONE;
    return cbackprop_take_as(lock_word, alone) ? CBACKPROP_WITH_SCRATCH : cbackprop_read_along(lock_word, 1);
}

static inline uintptr_t cbackprop_one_read_less(uintptr_t seen, int scratch)
{
    uintptr_t left = seen - CBACKPROP_ONE - (scratch ? CBACKPROP_SCRATCH : 0);
    return (left & CBACKPROP_COUNT_MASK) != 0 ? left : 0;
}

/* The end of a read, for who has read, and whether with the network's own scratch. */
static inline void cbackprop_end_read(uintptr_t *lock_word, int scratch)
{
#ifdef Py_GIL_DISABLED
    uintptr_t seen;
    do
        seen = cbackprop_look(lock_word);
    while (!cbackprop_exchange(lock_word, seen, cbackprop_one_read_less(seen, scratch)));
#else
    cbackprop_put(lock_word, cbackprop_one_read_less(cbackprop_look(lock_word), scratch));
#endif
}

/* Whether it was free, and now is a call's that changes it. */
static inline int cbackprop_take_for_call(uintptr_t *lock_word)
{
    return cbackprop_take_as(lock_word, cbackprop_generation | CBACKPROP_CALL);
}

/* Whether it was free, and now this thread's. */
static inline int cbackprop_take(uintptr_t *lock_word)
{
    return cbackprop_take_as(lock_word, cbackprop_generation | cbackprop_this_thread());
}

/* For who has it to change it: not as a thread's own, but for one call. */
static inline int cbackprop_is_for_call(const uintptr_t *lock_word)
{
    return (cbackprop_look(lock_word) & CBACKPROP_COUNT_MASK) == 0;
}

/* Nobody else can make it so, nor change it. */
static inline int cbackprop_is_own(const uintptr_t *lock_word)
{
    uintptr_t seen = cbackprop_look(lock_word);
    return (seen & CBACKPROP_READ) == 0 && (seen & CBACKPROP_COUNT_MASK) == cbackprop_this_thread();
}

static inline int cbackprop_is_free(const uintptr_t *lock_word) { return cbackprop_look(lock_word) == 0; }

static inline int cbackprop_is_fit(const uintptr_t *lock_word)
{
    uintptr_t seen = cbackprop_look(lock_word);
    return (seen & (CBACKPROP_READ | CBACKPROP_FIT)) == CBACKPROP_FIT && (seen & CBACKPROP_COUNT_MASK) != 0;
}

/* For who has it as its own: whether it is a fit's, for others to see. */
static inline void cbackprop_set_fit(uintptr_t *lock_word, int fit)
{
    cbackprop_put(lock_word, (cbackprop_look(lock_word) & ~(uintptr_t)CBACKPROP_FIT) | (fit ? CBACKPROP_FIT : 0));
}

static inline void cbackprop_give_back(uintptr_t *lock_word) { cbackprop_put(lock_word, 0); }

/* Whether a process had it from which this one was forked. */
static inline int cbackprop_is_inherited(const uintptr_t *lock_word)
{
    uintptr_t seen = cbackprop_look(lock_word);
    return seen != 0 && seen >> CBACKPROP_GENERATION_SHIFT != cbackprop_generation >> CBACKPROP_GENERATION_SHIFT;
}

#if defined(__unix__) || defined(__APPLE__)

#include <pthread.h>

static inline void cbackprop_next_generation(void) { cbackprop_generation += (uintptr_t)1 << CBACKPROP_GENERATION_SHIFT; }

/* Once, when the module is loaded. 0, or an error's number. */
static inline int cbackprop_watch_forks(void) { return pthread_atfork(NULL, NULL, cbackprop_next_generation); }

#else

static inline int cbackprop_watch_forks(void) { return 0; }

#endif
#endif
