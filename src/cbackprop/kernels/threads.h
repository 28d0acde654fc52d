/* Threads that share the work of one call: cbackprop_run(task, context, parts) calls task(context, part) for every
 * part in 0 ... parts - 1, returns when all of them are done, and starts threads when they are first needed.
 *
 * a) The caller takes part 0, worker number p takes part p: so a core finds in its cache what it left there. A part
 *    whose worker has not begun when the caller is through with its own, because the system gave the core to somebody
 *    else, is withdrawn, and the caller takes it, too. It waits for none but parts that are under way.
 * b) A slot's state is all that caller and worker say to each other:
 *        IDLE -> OFFERED (caller) -> TAKEN (worker) -> IDLE (worker), or OFFERED -> IDLE (withdrawn).
 *    Who has waited 50 microseconds for a change of it goes to sleep, and says so in the state: a worker makes IDLE
 *    ASLEEP, the caller makes TAKEN AWAITED. Who replaces one of these wakes the other.
 * c) A worker reads the task and its context only between TAKEN and IDLE; nothing of a call is touched after it.
 * d) One caller at a time has the workers. Another one, with its own network in another Python thread, does all of its
 *    parts itself: it has no core to win.
 * e) Workers know nothing of Python. They block every signal, so that Ctrl-C reaches the interpreter's threads; they
 *    compute with the caller's rounding mode; and they are detached: a process that ends does not wait for them.
 * f) A forked child has no threads but the one that forked. It forgets the workers and starts its own when it needs
 *    some.
 * g) All of this is static, one set for each extension module. Without POSIX threads everything runs on the caller.
 */
#ifndef CBACKPROP_THREADS_H
#define CBACKPROP_THREADS_H

#define CBACKPROP_MOST_THREADS 64

typedef void (*cbackprop_task)(void *context, int part);

#if (defined(__GNUC__) || defined(__clang__)) && (defined(__unix__) || defined(__APPLE__))

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#if defined(__x86_64__) || defined(__i386__)
#define CBACKPROP_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define CBACKPROP_PAUSE() __asm__ __volatile__("yield")
#else
#define CBACKPROP_PAUSE() ((void)0)
#endif

enum { CBACKPROP_IDLE, CBACKPROP_ASLEEP, CBACKPROP_OFFERED, CBACKPROP_TAKEN, CBACKPROP_AWAITED };

typedef struct {
    /* On cache lines of its own: others' slots are spun upon. */
    int state __attribute__((aligned(128)));
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} cbackprop_slot;

static struct {
    int busy;
    int watches_forks;
    int started; /* workers 1 ... started are there */
    cbackprop_task task;
    void *context;
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
        pthread_mutex_lock(&slot->mutex);
        pthread_cond_signal(&slot->changed);
        pthread_mutex_unlock(&slot->mutex);
    }
}

/* Wait while the slot is in this state; after 50 microseconds in the sleeping one. */
static void cbackprop_wait(cbackprop_slot *slot, int state, int sleeping)
{
    struct timespec start, now;
    int round = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == state) {
        CBACKPROP_PAUSE();
        if (++round % 64 != 0)
            continue;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - start.tv_sec) * 1000000000LL + (now.tv_nsec - start.tv_nsec) < 50000)
            continue;
        pthread_mutex_lock(&slot->mutex);
        if (cbackprop_change(slot, state, sleeping))
            while (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == sleeping)
                pthread_cond_wait(&slot->changed, &slot->mutex);
        pthread_mutex_unlock(&slot->mutex);
    }
}

static void *cbackprop_work(void *argument)
{
    cbackprop_slot *slot = (cbackprop_slot *)argument;
    for (;;) {
        cbackprop_wait(slot, CBACKPROP_IDLE, CBACKPROP_ASLEEP);
        if (cbackprop_change(slot, CBACKPROP_OFFERED, CBACKPROP_TAKEN)) {
            fesetenv(&cbackprop_pool.rounding);
            cbackprop_pool.task(cbackprop_pool.context, (int)(slot - cbackprop_pool.slots));
            cbackprop_set(slot, CBACKPROP_IDLE, CBACKPROP_AWAITED);
        }
    }
    return NULL;
}

static void cbackprop_forget_workers(void)
{
    cbackprop_pool.started = 0;
    __atomic_store_n(&cbackprop_pool.busy, 0, __ATOMIC_RELEASE);
}

/* Have as many workers as can be had, up to this number. */
static void cbackprop_start_workers(int count)
{
    pthread_attr_t attributes;
    sigset_t every_signal, mask;
    if (!cbackprop_pool.watches_forks) {
        if (pthread_atfork(NULL, NULL, cbackprop_forget_workers) != 0)
            return;
        cbackprop_pool.watches_forks = 1;
    }
    if (pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&every_signal);
    pthread_sigmask(SIG_SETMASK, &every_signal, &mask);
    while (cbackprop_pool.started < count) {
        cbackprop_slot *slot = &cbackprop_pool.slots[cbackprop_pool.started + 1];
        pthread_t thread;
        slot->state = CBACKPROP_IDLE;
        pthread_mutex_init(&slot->mutex, NULL);
        pthread_cond_init(&slot->changed, NULL);
        if (pthread_create(&thread, &attributes, cbackprop_work, slot) != 0)
            break;
        cbackprop_pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    pthread_attr_destroy(&attributes);
}

static void cbackprop_run(cbackprop_task task, void *context, int parts)
{
    int part, offered = 0;
    if (parts > 1 && !__atomic_exchange_n(&cbackprop_pool.busy, 1, __ATOMIC_ACQUIRE)) {
        offered = parts - 1 < CBACKPROP_MOST_THREADS - 1 ? parts - 1 : CBACKPROP_MOST_THREADS - 1;
        if (cbackprop_pool.started < offered)
            cbackprop_start_workers(offered);
        if (cbackprop_pool.started < offered)
            offered = cbackprop_pool.started;
        cbackprop_pool.task = task;
        cbackprop_pool.context = context;
        fegetenv(&cbackprop_pool.rounding);
        for (part = 1; part <= offered; part++)
            cbackprop_set(&cbackprop_pool.slots[part], CBACKPROP_OFFERED, CBACKPROP_ASLEEP);
        task(context, 0);
        for (part = 1; part <= offered; part++)
            if (cbackprop_change(&cbackprop_pool.slots[part], CBACKPROP_OFFERED, CBACKPROP_IDLE))
                task(context, part);
        for (part = offered + 1; part < parts; part++)
            task(context, part);
        for (part = 1; part <= offered; part++)
            cbackprop_wait(&cbackprop_pool.slots[part], CBACKPROP_TAKEN, CBACKPROP_AWAITED);
        __atomic_store_n(&cbackprop_pool.busy, 0, __ATOMIC_RELEASE);
        return;
    }
    for (part = 0; part < parts; part++)
        task(context, part);
}

#else

static void cbackprop_run(cbackprop_task task, void *context, int parts)
{
    int part;
    for (part = 0; part < parts; part++)
        task(context, part);
}

#endif
#endif
