/* Threads that share the work of one call: cbackprop_run(task, context, pieces, threads, in_order) calls
 * task(context, worker, piece) once for every piece in 0 ... pieces - 1, each by whoever comes for it, and returns when
 * all of them are done. It starts threads when they are first needed.
 *
 * a) Pieces are small, so that a core that the system gives to somebody else costs the piece it is at and not a share of
 *    the whole. In order, the next piece is the first that nobody has begun. Otherwise worker w of T begins with the
 *    w-th of T equal ranges, so that a core finds in its cache what it left there, and then helps with the others'.
 * b) The caller is worker 0. A worker that has not begun when nothing is left is withdrawn: the caller waits for none but
 *    pieces that are under way. What a worker number stands for, such as scratch, is one thread's at a time.
 * c) A slot's state is all that caller and worker say to each other:
 *        IDLE -> OFFERED (caller) -> TAKEN (worker) -> IDLE (worker), or OFFERED -> IDLE (withdrawn).
 *    Who has waited 50 microseconds for a change of it goes to sleep, and says so in the state: a worker makes IDLE
 *    ASLEEP, the caller makes TAKEN AWAITED. Who replaces one of these wakes the other.
 * d) A worker reads the call's work only between TAKEN and IDLE; nothing of a call is touched after it.
 * e) One caller at a time has the workers. Another one, with its own network in another Python thread, does all of its
 *    pieces itself: it has no core to win.
 * f) Workers know nothing of Python. They block every signal, so that Ctrl-C reaches the interpreter's threads; they
 *    compute with the caller's rounding mode; and they are detached: a process that ends does not wait for them.
 * g) A forked child has no threads but the one that forked. It forgets the workers and starts its own when it needs
 *    some.
 * h) All of this is static, one set for each extension module. With threads of neither POSIX nor Windows, or with MSVC's
 *    own compiler, everything runs on the caller.
 */
#ifndef CBACKPROP_THREADS_H
#define CBACKPROP_THREADS_H

#define CBACKPROP_MOST_THREADS 64

typedef void (*cbackprop_task)(void *context, int worker, Py_ssize_t piece);

#if (defined(__GNUC__) || defined(__clang__)) && (defined(__unix__) || defined(__APPLE__) || defined(_WIN32))

#include <fenv.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)
#define CBACKPROP_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define CBACKPROP_PAUSE() __asm__ __volatile__("yield")
#else
#define CBACKPROP_PAUSE() ((void)0)
#endif

/* ---- of the system: a mutex with a condition, a clock, a thread ------------------------------- */

typedef struct cbackprop_slot cbackprop_slot;
static void cbackprop_work_in(cbackprop_slot *slot);

#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef SRWLOCK cbackprop_mutex;
typedef CONDITION_VARIABLE cbackprop_condition;

static void cbackprop_prepare(cbackprop_mutex *mutex, cbackprop_condition *changed)
{
    InitializeSRWLock(mutex);
    InitializeConditionVariable(changed);
}

static void cbackprop_enter(cbackprop_mutex *mutex) { AcquireSRWLockExclusive(mutex); }
static void cbackprop_leave(cbackprop_mutex *mutex) { ReleaseSRWLockExclusive(mutex); }
static void cbackprop_wake(cbackprop_condition *changed) { WakeConditionVariable(changed); }

static void cbackprop_sleep(cbackprop_condition *changed, cbackprop_mutex *mutex)
{
    SleepConditionVariableSRW(changed, mutex, INFINITE, 0);
}

static int64_t cbackprop_nanoseconds(void)
{
    LARGE_INTEGER now, per_second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&per_second);
    return (int64_t)((double)now.QuadPart * (1e9 / (double)per_second.QuadPart));
}

static void cbackprop_yield(void) { SwitchToThread(); }

static DWORD WINAPI cbackprop_begin(void *slot)
{
    cbackprop_work_in((cbackprop_slot *)slot);
    return 0;
}

/* Whether a thread works in the slot from now on. Ctrl-C starts a thread of its own here: nothing is to be blocked. */
static int cbackprop_start_thread(cbackprop_slot *slot)
{
    HANDLE thread = CreateThread(NULL, 0, cbackprop_begin, slot, 0, NULL);
    if (thread == NULL)
        return 0;
    CloseHandle(thread); /* the thread goes on */
    return 1;
}

static int cbackprop_watch_children(void (*in_child)(void))
{
    (void)in_child; /* nothing forks */
    return 1;
}

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

typedef pthread_mutex_t cbackprop_mutex;
typedef pthread_cond_t cbackprop_condition;

static void cbackprop_prepare(cbackprop_mutex *mutex, cbackprop_condition *changed)
{
    pthread_mutex_init(mutex, NULL);
    pthread_cond_init(changed, NULL);
}

static void cbackprop_enter(cbackprop_mutex *mutex) { pthread_mutex_lock(mutex); }
static void cbackprop_leave(cbackprop_mutex *mutex) { pthread_mutex_unlock(mutex); }
static void cbackprop_wake(cbackprop_condition *changed) { pthread_cond_signal(changed); }
static void cbackprop_sleep(cbackprop_condition *changed, cbackprop_mutex *mutex) { pthread_cond_wait(changed, mutex); }

static int64_t cbackprop_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void cbackprop_yield(void) { sched_yield(); }

static void *cbackprop_begin(void *slot)
{
    cbackprop_work_in((cbackprop_slot *)slot);
    return NULL;
}

/* Whether a thread works in the slot from now on. */
static int cbackprop_start_thread(cbackprop_slot *slot)
{
    pthread_attr_t attributes;
    sigset_t every_signal, mask;
    pthread_t thread;
    int started;
    if (pthread_attr_init(&attributes) != 0)
        return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&every_signal);
    pthread_sigmask(SIG_SETMASK, &every_signal, &mask);
    started = pthread_create(&thread, &attributes, cbackprop_begin, slot) == 0;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

static int cbackprop_watch_children(void (*in_child)(void)) { return pthread_atfork(NULL, NULL, in_child) == 0; }

#endif

/* ---- workers ---------------------------------------------------------------------------------- */

enum { CBACKPROP_IDLE, CBACKPROP_ASLEEP, CBACKPROP_OFFERED, CBACKPROP_TAKEN, CBACKPROP_AWAITED };

struct cbackprop_slot {
    /* On cache lines of its own: others' slots are spun upon. */
    int state __attribute__((aligned(128)));
    cbackprop_mutex mutex;
    cbackprop_condition changed;
};

/* The work of one call. Range w is what is left of the pieces that worker w begins with. */
typedef struct {
    cbackprop_task task;
    void *context;
    int ranges;
    struct {
        Py_ssize_t next, end;
    } range[CBACKPROP_MOST_THREADS];
} cbackprop_work;

static struct {
    int busy;
    int watches_forks;
    int started; /* workers 1 ... started are there */
    cbackprop_work *work;
    fenv_t rounding;
    cbackprop_slot slots[CBACKPROP_MOST_THREADS];
} cbackprop_pool;

static int cbackprop_change(cbackprop_slot *slot, int state, int next)
{
    return __atomic_compare_exchange_n(&slot->state, &state, next, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Put the slot into the next state and wake who sleeps in the last. */
static void cbackprop_set(cbackprop_slot *slot, int next, int sleeping)
{
    if (__atomic_exchange_n(&slot->state, next, __ATOMIC_ACQ_REL) == sleeping) {
        cbackprop_enter(&slot->mutex);
        cbackprop_wake(&slot->changed);
        cbackprop_leave(&slot->mutex);
    }
}

/* Wait while the slot is in this state; after 50 microseconds in the sleeping one. */
static void cbackprop_wait(cbackprop_slot *slot, int state, int sleeping)
{
    int64_t start = cbackprop_nanoseconds();
    int round = 0;
    while (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == state) {
        CBACKPROP_PAUSE();
        if (++round % 64 != 0)
            continue;
        if (cbackprop_nanoseconds() - start < 50000)
            continue;
        cbackprop_enter(&slot->mutex);
        if (cbackprop_change(slot, state, sleeping))
            while (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == sleeping)
                cbackprop_sleep(&slot->changed, &slot->mutex);
        cbackprop_leave(&slot->mutex);
    }
}

/* Do pieces until none is left that nobody has begun. */
static void cbackprop_do_pieces(cbackprop_work *work, int worker)
{
    int i;
    for (i = 0; i < work->ranges; i++) {
        int at = (worker + i) % work->ranges;
        Py_ssize_t piece;
        while ((piece = __atomic_fetch_add(&work->range[at].next, 1, __ATOMIC_RELAXED)) < work->range[at].end)
            work->task(work->context, worker, piece);
    }
}

static void cbackprop_work_in(cbackprop_slot *slot)
{
    for (;;) {
        cbackprop_wait(slot, CBACKPROP_IDLE, CBACKPROP_ASLEEP);
        if (cbackprop_change(slot, CBACKPROP_OFFERED, CBACKPROP_TAKEN)) {
            fesetenv(&cbackprop_pool.rounding);
            cbackprop_do_pieces(cbackprop_pool.work, (int)(slot - cbackprop_pool.slots));
            cbackprop_set(slot, CBACKPROP_IDLE, CBACKPROP_AWAITED);
        }
    }
}

static void cbackprop_forget_workers(void)
{
    cbackprop_pool.started = 0;
    __atomic_store_n(&cbackprop_pool.busy, 0, __ATOMIC_RELEASE);
}

/* Have as many workers as can be had, up to this number. */
static void cbackprop_start_workers(int count)
{
    if (!cbackprop_pool.watches_forks)
        cbackprop_pool.watches_forks = cbackprop_watch_children(cbackprop_forget_workers);
    while (cbackprop_pool.watches_forks && cbackprop_pool.started < count) {
        cbackprop_slot *slot = &cbackprop_pool.slots[cbackprop_pool.started + 1];
        slot->state = CBACKPROP_IDLE;
        cbackprop_prepare(&slot->mutex, &slot->changed);
        if (!cbackprop_start_thread(slot))
            break;
        cbackprop_pool.started++;
    }
}

static void cbackprop_run(cbackprop_task task, void *context, Py_ssize_t pieces, int threads, int in_order)
{
    Py_ssize_t piece;
    if (threads > pieces)
        threads = (int)pieces;
    if (threads > 1 && !__atomic_exchange_n(&cbackprop_pool.busy, 1, __ATOMIC_ACQUIRE)) {
        cbackprop_work work;
        int worker, offered = (threads < CBACKPROP_MOST_THREADS ? threads : CBACKPROP_MOST_THREADS) - 1;
        if (cbackprop_pool.started < offered)
            cbackprop_start_workers(offered);
        if (cbackprop_pool.started < offered)
            offered = cbackprop_pool.started;
        work.task = task;
        work.context = context;
        work.ranges = in_order ? 1 : offered + 1;
        for (worker = 0; worker < work.ranges; worker++) {
            work.range[worker].next = pieces * worker / work.ranges;
            work.range[worker].end = pieces * (worker + 1) / work.ranges;
        }
        cbackprop_pool.work = &work;
        fegetenv(&cbackprop_pool.rounding);
        for (worker = 1; worker <= offered; worker++)
            cbackprop_set(&cbackprop_pool.slots[worker], CBACKPROP_OFFERED, CBACKPROP_ASLEEP);
        cbackprop_do_pieces(&work, 0);
        for (worker = 1; worker <= offered; worker++)
            if (!cbackprop_change(&cbackprop_pool.slots[worker], CBACKPROP_OFFERED, CBACKPROP_IDLE))
                cbackprop_wait(&cbackprop_pool.slots[worker], CBACKPROP_TAKEN, CBACKPROP_AWAITED);
        __atomic_store_n(&cbackprop_pool.busy, 0, __ATOMIC_RELEASE);
        return;
    }
    for (piece = 0; piece < pieces; piece++)
        task(context, 0, piece);
}

/* A lock for a few instructions. Who holds it may have lost its core: others then give up theirs. */
static void cbackprop_lock(int *lock)
{
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
        cbackprop_yield();
}

static void cbackprop_unlock(int *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#else

static void cbackprop_run(cbackprop_task task, void *context, Py_ssize_t pieces, int threads, int in_order)
{
    Py_ssize_t piece;
    (void)threads, (void)in_order;
    for (piece = 0; piece < pieces; piece++)
        task(context, 0, piece);
}

static void cbackprop_lock(int *lock) { (void)lock; }
static void cbackprop_unlock(int *lock) { (void)lock; }
static void cbackprop_yield(void) {}

#endif
#endif
