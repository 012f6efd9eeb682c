/* What vector_*.h and the rest of the kernel need of C and of each other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLLED(i, count) _Pragma("clang loop unroll(full)") for (int i = 0; i < (count); i++)
#else
#define UNROLLED(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)
#endif
#define FOR_LANES(i, end) for (long i = 0; i < (end); i += LANES)
#define GROUP 64 /* packed numbers that share a scale */

typedef int32_t unaligned_int __attribute__((aligned(1), may_alias));

/* Of two groups of int16 activations: their scales, and -8 times their sums, which undoes the offset of 4-bit weights. */
typedef struct {
    float scale[2];
    int32_t offset[2];
} StepScales;

INLINE long min_long(long a, long b) { return a < b ? a : b; }
INLINE long round_up(long a, long step) { return (a + step - 1) / step * step; }
