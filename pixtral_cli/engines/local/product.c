/* Products of a few vectors with one matrix, at the speed of memory: what decoding on a CPU waits for.
 *
 * y[n][o] = sum over i of x[n][i] w[o][i], summed in float32. Each sum is taken in the same order however many vectors
 * there are, so that a sequence's logits do not depend on which others share its step. Called through ctypes.
 */
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define TILE 8   /* vectors that share one pass over the weights in registers */
#define SHARE 24 /* rows that a thread takes at a time */
#define WIDE __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define EACH(i, count) _Pragma("GCC unroll 8") for (int i = 0; i < (count); i++)
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    const void *w, *x;
    void *y;
    long in, out;
} Job;

INLINE WIDE uint16_t rounded(__m512 sums) {
    return (uint16_t)_mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set_ss(_mm512_reduce_add_ps(sums))), 0);
}

/* One step of a tile: `LANES` numbers of each row and vector from `i` on, `load` giving them. */
#define STEP(type, load, add)                                            \
    {                                                                    \
        type weights[4];                                                 \
        EACH(r, rows) weights[r] = load(w + r * job->in + i);            \
        EACH(n, count) {                                                 \
            type vector = load(x + n * job->in + i);                     \
            EACH(r, rows) sums[r][n] = add(sums[r][n], weights[r], vector); \
        }                                                                \
    }

/* `rows` rows from `row` on, by `count` vectors from `first` on. */
#define TILE_OF(name, number, lanes, type, whole, part, add, store)                                              \
    INLINE WIDE void name(const Job *job, long row, int rows, long first, int count) {                           \
        const number *w = (const number *)job->w + row * job->in, *x = (const number *)job->x + first * job->in; \
        __m512 sums[4][TILE];                                                                                    \
        EACH(r, rows) EACH(n, count) sums[r][n] = _mm512_setzero_ps();                                           \
        long i = 0;                                                                                              \
        for (; i + lanes <= job->in; i += lanes) STEP(type, whole, add)                                          \
        if (i < job->in) {                                                                                       \
            const unsigned mask = (1u << (job->in - i)) - 1;                                                     \
            STEP(type, part, add)                                                                                \
        }                                                                                                        \
        EACH(r, rows) EACH(n, count)((number *)job->y)[(first + n) * job->out + row + r] = store(sums[r][n]);    \
    }

#define WHOLE_BF16(from) ((__m512bh)_mm512_loadu_si512(from))
#define PART_BF16(from) ((__m512bh)_mm512_maskz_loadu_epi16(mask, from))
#define WHOLE_F32(from) _mm512_loadu_ps(from)
#define PART_F32(from) _mm512_maskz_loadu_ps(mask, from)
#define ADD_F32(sum, weights, vector) _mm512_fmadd_ps(weights, vector, sum)
TILE_OF(tile_bf16, uint16_t, 32, __m512bh, WHOLE_BF16, PART_BF16, _mm512_dpbf16_ps, rounded)
TILE_OF(tile_f32, float, 16, __m512, WHOLE_F32, PART_F32, ADD_F32, _mm512_reduce_add_ps)

/* The compiler makes a loop without branches of every number of vectors. */
#define ROWS(tile, rows, count) \
    for (; row + rows <= stop; row += rows) tile(job, row, rows, first, count);
#define CASE(tile, rows, count)              \
    case count:                              \
        ROWS(tile, rows, count)              \
        ROWS(tile, 1, count)                 \
        break;
#define SHARE_OF(name, tile)                                                                \
    static WIDE void name(const Job *job, long start, long stop, long first, int count) {   \
        long row = start;                                                                   \
        switch (count) {                                                                    \
            CASE(tile, 4, 1) CASE(tile, 4, 2) CASE(tile, 4, 3) CASE(tile, 4, 4)             \
            CASE(tile, 4, 5) CASE(tile, 4, 6) CASE(tile, 3, 7) CASE(tile, 3, 8)             \
        }                                                                                   \
    }
SHARE_OF(share_bf16, tile_bf16)
SHARE_OF(share_f32, tile_f32)

int pixtral_has_product(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

/* `size`: bytes of a number, 2 for bfloat16 and 4 for float32; the same in w, x and y. */
void pixtral_product(const void *w, const void *x, void *y, long in, long out, long count, int size, int threads) {
    Job job = {w, x, y, in, out};
#pragma omp parallel for schedule(static) num_threads(threads) if (in * out > 1 << 16)
    for (long start = 0; start < out; start += SHARE) {
        long stop = start + SHARE < out ? start + SHARE : out;
        for (long first = 0; first < count; first += TILE) {
            int vectors = count - first < TILE ? (int)(count - first) : TILE;
            (size == 2 ? share_bf16 : share_f32)(&job, start, stop, first, vectors);
        }
    }
}

#else /* torch's own product then */

int pixtral_has_product(void) { return 0; }
void pixtral_product(const void *w, const void *x, void *y, long in, long out, long count, int size, int threads) {}

#endif
