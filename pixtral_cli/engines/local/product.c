/* Products of a few vectors with one matrix, at the speed of memory: what decoding on a CPU waits for.
 *
 * y[n][o] = sum over i of x[n][i] w[o][i], summed in float32. Each sum is taken in the same order however many vectors
 * there are, so that a sequence's logits do not depend on which others share its step. Called through ctypes.
 *
 * The matrix holds bfloat16, float32, or packed whole numbers of 8 or 4 bits with their scales.
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

/* Packed weights: whole numbers of 8 bits with a float32 scale a row, or of 4 with a bfloat16 scale a group. A row is
 * padded with zeros to whole groups of 64; of the 4 bits, byte i of a group's 32 holds number i and, above it, i + 32.
 * Vectors become whole numbers of 16 bits with a scale a group, so that a group's sum is exact.
 */
#define GROUP 64
#define PACKED __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

typedef struct {
    const uint8_t *w;
    const void *scales;
    const int16_t *x;       /* count by groups by 64 */
    const float *x_scales;  /* count by groups */
    void *y;
    long groups, out;
    int bits, size;
} PackedJob;

typedef struct {
    __m512i low, high;
} Group; /* 64 numbers of 16 bits */

INLINE float widened(uint16_t number) {
    union { uint32_t bits; float value; } all = {(uint32_t)number << 16};
    return all.value;
}

INLINE uint16_t narrowed(float number) {
    union { float value; uint32_t bits; } all = {number};
    return (uint16_t)((all.bits + 0x7fff + (all.bits >> 16 & 1)) >> 16);
}

INLINE PACKED Group group_of(const uint8_t *from, int bits) {
    static const int16_t numbers[32] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7,
                                        -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
    const __m256i first = _mm256_loadu_si256((const __m256i *)from);
    if (bits == 8)
        return (Group){_mm512_cvtepi8_epi16(first),
                       _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(from + GROUP / 2)))};
    const __m512i pairs = _mm512_cvtepu8_epi16(first), table = _mm512_loadu_si512(numbers);
    return (Group){_mm512_permutexvar_epi16(pairs, table),  /* looks at the last five bits: the table stands twice */
                   _mm512_permutexvar_epi16(_mm512_srli_epi16(pairs, 4), table)};
}

INLINE PACKED float scale_of(const void *scales, int bits, long row, long groups, long group) {
    return bits == 8 ? ((const float *)scales)[row] : widened(((const uint16_t *)scales)[row * groups + group]);
}

INLINE PACKED void tile_packed(const PackedJob *job, int bits, long row, int rows, long first, int count) {
    const long stride = job->groups * GROUP * bits / 8;
    const uint8_t *w = job->w + row * stride;
    const int16_t *x = job->x + first * job->groups * GROUP;
    const float *x_scales = job->x_scales + first * job->groups;
    __m512 sums[4][TILE];
    EACH(r, rows) EACH(n, count) sums[r][n] = _mm512_setzero_ps();
    for (long g = 0; g < job->groups; g++) {
        Group weights[4];
        __m512 scales[4];
        EACH(r, rows) {
            const uint8_t *from = w + r * stride + g * GROUP * bits / 8;
            weights[r] = group_of(from, bits);
            if (bits == 4) scales[r] = _mm512_set1_ps(scale_of(job->scales, bits, row + r, job->groups, g));
            _mm_prefetch((const char *)from + rows * stride, _MM_HINT_T0); /* the next tile: rows are short */
        }
        EACH(n, count) {
            const int16_t *vector = x + (n * job->groups + g) * GROUP;
            const __m512i low = _mm512_loadu_si512(vector), high = _mm512_loadu_si512(vector + GROUP / 2);
            const __m512 scale = _mm512_set1_ps(x_scales[n * job->groups + g]);
            EACH(r, rows) {
                __m512i sum = _mm512_dpwssd_epi32(_mm512_setzero_si512(), weights[r].low, low);
                sum = _mm512_dpwssd_epi32(sum, weights[r].high, high);
                const __m512 both = bits == 4 ? _mm512_mul_ps(scales[r], scale) : scale;
                sums[r][n] = _mm512_fmadd_ps(both, _mm512_cvtepi32_ps(sum), sums[r][n]);
            }
        }
    }
    EACH(r, rows) EACH(n, count) {
        float sum = _mm512_reduce_add_ps(sums[r][n]);
        if (bits == 8) sum *= scale_of(job->scales, bits, row + r, job->groups, 0);
        const long place = (first + n) * job->out + row + r;
        if (job->size == 2) ((uint16_t *)job->y)[place] = narrowed(sum);
        else ((float *)job->y)[place] = sum;
    }
}

#define tile_packed_8(job, row, rows, first, count) tile_packed(job, 8, row, rows, first, count)
#define tile_packed_4(job, row, rows, first, count) tile_packed(job, 4, row, rows, first, count)
#define SHARE_OF_PACKED(name, tile)                                                               \
    static PACKED void name(const PackedJob *job, long start, long stop, long first, int count) { \
        long row = start;                                                                         \
        switch (count) {                                                                          \
            CASE(tile, 4, 1) CASE(tile, 4, 2) CASE(tile, 4, 3) CASE(tile, 4, 4)                   \
            CASE(tile, 2, 5) CASE(tile, 2, 6) CASE(tile, 2, 7) CASE(tile, 2, 8)                   \
        }                                                                                         \
    }
SHARE_OF_PACKED(share_packed_8, tile_packed_8)
SHARE_OF_PACKED(share_packed_4, tile_packed_4)

/* One vector as whole numbers. What is no number makes its group's scale, and so every sum, none. */
static PACKED void whole_numbers(const void *x, long width, int size, int16_t *to, float *scales) {
    for (long start = 0; start < width; start += GROUP, to += GROUP, scales++) {
        __m512 numbers[4];
        __m512i most = _mm512_setzero_si512();
        EACH(k, 4) {
            const long at = start + 16 * k, left = width - at;
            const __mmask16 mask = left >= 16 ? 0xffff : left > 0 ? (__mmask16)((1 << left) - 1) : 0;
            numbers[k] = size == 4 ? _mm512_maskz_loadu_ps(mask, (const float *)x + at)
                                   : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(
                                         _mm256_maskz_loadu_epi16(mask, (const uint16_t *)x + at)), 16));
            most = _mm512_max_epi32(most, _mm512_castps_si512(_mm512_abs_ps(numbers[k])));
        }
        union { int32_t bits; float value; } largest = {_mm512_reduce_max_epi32(most)};
        const __m512 over = _mm512_set1_ps(largest.value > 1e-30f ? 32767 / largest.value : 0);
        EACH(k, 4) {
            const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(numbers[k], over));
            _mm256_storeu_si256((__m256i *)(to + 16 * k), _mm512_cvtsepi32_epi16(rounded));
        }
        *scales = largest.value / 32767;
    }
}

static PACKED void unpack_row(const uint8_t *w, const void *scales, long row, long groups, long width, int bits,
                              int size, void *y) {
    for (long g = 0; g < groups; g++) {
        const __m512 scale = _mm512_set1_ps(scale_of(scales, bits, row, groups, g));
        const Group all = group_of(w + (row * groups + g) * GROUP * bits / 8, bits);
        EACH(k, 4) {
            const long at = g * GROUP + 16 * k, left = width - at;
            const __mmask16 mask = left >= 16 ? 0xffff : left > 0 ? (__mmask16)((1 << left) - 1) : 0;
            const __m512i half = k < 2 ? all.low : all.high;
            const __m256i part = k % 2 ? _mm512_extracti64x4_epi64(half, 1) : _mm512_castsi512_si256(half);
            const __m512 numbers = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(part)));
            const __m512i raw = _mm512_castps_si512(numbers), one = _mm512_set1_epi32(1);
            const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(raw, 16), one);
            const __m512i up = _mm512_add_epi32(_mm512_add_epi32(raw, _mm512_set1_epi32(0x7fff)), odd);
            if (size == 4) _mm512_mask_storeu_ps((float *)y + at, mask, numbers);
            else _mm256_mask_storeu_epi16((uint16_t *)y + at, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16)));
        }
    }
}

int pixtral_has_packed(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

/* `bits`: of a packed number. `size`: bytes of a number in x and y. `scratch`: count by groups, of 64 int16 and a float. */
void pixtral_packed(const void *w, const void *scales, const void *x, void *y, void *scratch, long width, long out,
                    long count, int bits, int size, int threads) {
    const long groups = (width + GROUP - 1) / GROUP;
    float *x_scales = (float *)scratch;
    int16_t *numbers = (int16_t *)(x_scales + count * groups);
    for (long n = 0; n < count; n++)
        whole_numbers((const char *)x + n * width * size, width, size, numbers + n * groups * GROUP, x_scales + n * groups);
    const PackedJob job = {w, scales, numbers, x_scales, y, groups, out, bits, size};
#pragma omp parallel for schedule(static) num_threads(threads) if (width * out > 1 << 16)
    for (long start = 0; start < out; start += SHARE) {
        long stop = start + SHARE < out ? start + SHARE : out;
        for (long first = 0; first < count; first += TILE) {
            int vectors = count - first < TILE ? (int)(count - first) : TILE;
            (bits == 8 ? share_packed_8 : share_packed_4)(&job, start, stop, first, vectors);
        }
    }
}

/* Rows [start, stop) times their scales, as numbers of `size` bytes. */
void pixtral_unpack(const void *w, const void *scales, void *y, long start, long stop, long width, int bits, int size,
                    int threads) {
    const long groups = (width + GROUP - 1) / GROUP;
#pragma omp parallel for schedule(static) num_threads(threads) if (width * (stop - start) > 1 << 16)
    for (long row = start; row < stop; row++)
        unpack_row(w, scales, row, groups, width, bits, size, (char *)y + (row - start) * width * size);
}

#else /* torch's own product then */

int pixtral_has_product(void) { return 0; }
void pixtral_product(const void *w, const void *x, void *y, long in, long out, long count, int size, int threads) {}
int pixtral_has_packed(void) { return 0; }
void pixtral_packed(const void *w, const void *scales, const void *x, void *y, void *scratch, long width, long out,
                    long count, int bits, int size, int threads) {}
void pixtral_unpack(const void *w, const void *scales, void *y, long start, long stop, long width, int bits, int size,
                    int threads) {}

#endif
