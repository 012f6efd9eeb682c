/* A pool of threads that are started when first needed and wait for the next task.
 *
 * Each thread has a contiguous range of its own, because memory is read fastest in order, and takes pieces of the other
 * ranges when its own is finished: a thread that the operating system has suspended delays no other. Waiting threads spin for
 * about 100 microseconds, so that consecutive products of one token find them awake, and then sleep. */
#include "thread_pool.h"

#if defined(__GNUC__)
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define MAX_THREADS 256
#define CLOSED (1 << 20) /* is subtracted from `active` while there is no task to enter */
#define SPINS 4000       /* before a waiting thread sleeps */
#define SPINS_OF_CALLER 1000

typedef struct {
    atomic_long next;
    long stop;
    char padding[48]; /* to a cache line of its own */
} Range;

static struct {
    pthread_mutex_t in_use;  /* held by the caller whose task is running */
    pthread_mutex_t sleep_mutex;
    pthread_cond_t wake;
    atomic_long generation;  /* of tasks: raised with each */
    atomic_int active;       /* workers inside the task, less CLOSED while it cannot be entered */
    atomic_int sleeping;
    int workers;             /* started; the caller is not among them */
    int threads;             /* that work on the current task */
    RangeTask task;
    const void *argument;
    long grain;
    Range ranges[MAX_THREADS];
} pool;

static inline void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* At start, and again in a forked child, which has none of its parent's threads. */
__attribute__((constructor)) static void reset_pool(void) {
    static int registered;
    pthread_mutex_init(&pool.in_use, 0);
    pthread_mutex_init(&pool.sleep_mutex, 0);
    pthread_cond_init(&pool.wake, 0);
    pool.active = -CLOSED;
    pool.sleeping = pool.workers = 0;
    if (!registered++) pthread_atfork(0, 0, reset_pool);
}

static void work(long thread) {
    for (int i = 0; i < pool.threads; i++) {
        Range *range = &pool.ranges[(thread + i) % pool.threads];
        for (long start; (start = atomic_fetch_add(&range->next, pool.grain)) < range->stop;) {
            const long stop = start + pool.grain;
            pool.task(pool.argument, start, stop < range->stop ? stop : range->stop);
        }
    }
}

static void wait_for_task(long generation) {
    for (int i = 0; i < SPINS && pool.generation == generation; i++) cpu_relax();
    if (pool.generation != generation) return;
    pthread_mutex_lock(&pool.sleep_mutex);
    for (pool.sleeping++; pool.generation == generation;) pthread_cond_wait(&pool.wake, &pool.sleep_mutex);
    pthread_mutex_unlock(&pool.sleep_mutex);
    pool.sleeping--;
}

static void *run_worker(void *number) {
    for (long generation = 0;;) {
        wait_for_task(generation);
        generation = pool.generation;
        if (atomic_fetch_add(&pool.active, 1) >= 0 && (long)number < pool.threads) work((long)number);
        pool.active--;
    }
    return 0;
}

/* Signals are left to the threads that were there before. Returns whether a thread could be started. */
static int start_worker(void) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int started = !pthread_create(&thread, 0, run_worker, (void *)(long)(pool.workers + 1));
    pthread_sigmask(SIG_SETMASK, &before, 0);
    if (!started) return 0;
    pthread_detach(thread);
    pool.workers++;
    return 1;
}

static void divide(long count) {
    const long pieces = (count + pool.grain - 1) / pool.grain;
    for (long i = 0; i < pool.threads; i++) {
        pool.ranges[i].next = pieces * i / pool.threads * pool.grain;
        pool.ranges[i].stop = i < pool.threads - 1 ? pieces * (i + 1) / pool.threads * pool.grain : count;
    }
}

void parallel_for(RangeTask task, const void *argument, long count, long grain, int threads) {
    if (threads < 2 || count <= grain || pthread_mutex_trylock(&pool.in_use)) {
        task(argument, 0, count);
        return;
    }
    pool.task = task, pool.argument = argument, pool.grain = grain;
    pool.threads = threads < MAX_THREADS ? threads : MAX_THREADS;
    while (pool.workers < pool.threads - 1 && start_worker()) {}
    divide(count);
    pool.active += CLOSED;
    pool.generation++;
    if (pool.sleeping) {
        pthread_mutex_lock(&pool.sleep_mutex);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep_mutex);
    }
    work(0);
    pool.active -= CLOSED;
    for (long i = 0; pool.active != -CLOSED; i++) {
        if (i < SPINS_OF_CALLER) cpu_relax();
        else sched_yield();
    }
    pthread_mutex_unlock(&pool.in_use);
}

#endif
