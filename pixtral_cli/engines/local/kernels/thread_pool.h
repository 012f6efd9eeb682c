/* Threads that work through ranges of indices together. */
#ifndef PIXTRAL_THREAD_POOL_H
#define PIXTRAL_THREAD_POOL_H

typedef void (*RangeTask)(const void *argument, long start, long stop);

/* Run `task` over [0, count) in pieces of `grain` on up to `threads` threads, the caller among them; returns when all is
 * done. Runs on the calling thread alone while another caller has the pool. */
void parallel_for(RangeTask task, const void *argument, long count, long grain, int threads);

#endif
