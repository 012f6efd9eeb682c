/* Vector operations for AVX-512 with BF16 and VNNI (Cooper Lake, Sapphire Rapids, Zen 4 and later).
 *
 * A vector has LANES float32 or as many units of 32 bits: a float32, or two bfloat16. Partial operations touch the first
 * n lanes in memory, n <= 0 being none, and read zeros in the others. */
#include <immintrin.h>

#define LANES 16
#define LANES_LOG2 4
#define GEMV_TILE 8                             /* vectors that share one pass over weights in registers */
#define GEMV_ROWS(count) ((count) < 7 ? 4 : 3)  /* rows of such a tile, so that the sums fit in registers */
#define PACKED_ROWS(count) ((count) < 5 ? 4 : 2)
#define ATTENTION_COLUMNS 4                     /* vectors of columns that attention's products sum at a time */
#define GEMM_VECTORS 2                          /* of rows, by GEMM_POSITIONS: a tile of products of many positions */
#define GEMM_POSITIONS 12
#define HAS_DOT_INT16                           /* one instruction adds two products of int16 to an int32 */
#define MAX_QUANTIZED 32767                     /* magnitude of an activation as int16 */

typedef __m512 vfloat;
typedef __m512i vint;

INLINE __mmask16 first(long n) { return n >= LANES ? 0xffff : n > 0 ? (__mmask16)((1u << n) - 1) : 0; }

INLINE vfloat vf_zero(void) { return _mm512_setzero_ps(); }
INLINE vfloat vf_set1(float x) { return _mm512_set1_ps(x); }
INLINE vfloat vf_add(vfloat a, vfloat b) { return _mm512_add_ps(a, b); }
INLINE vfloat vf_sub(vfloat a, vfloat b) { return _mm512_sub_ps(a, b); }
INLINE vfloat vf_mul(vfloat a, vfloat b) { return _mm512_mul_ps(a, b); }
INLINE vfloat vf_div(vfloat a, vfloat b) { return _mm512_div_ps(a, b); }
INLINE vfloat vf_max(vfloat a, vfloat b) { return _mm512_max_ps(a, b); } /* b where one is NaN */
INLINE vfloat vf_min(vfloat a, vfloat b) { return _mm512_min_ps(a, b); }
INLINE vfloat vf_abs(vfloat a) { return _mm512_abs_ps(a); }
INLINE vfloat vf_fma(vfloat a, vfloat b, vfloat sum) { return _mm512_fmadd_ps(a, b, sum); }
INLINE vfloat vf_fnma(vfloat a, vfloat b, vfloat sum) { return _mm512_fnmadd_ps(a, b, sum); }
INLINE vfloat vf_round(vfloat a) { return _mm512_roundscale_ps(a, 0); }
INLINE vfloat vf_exp2_scale(vfloat a, vfloat n) { return _mm512_scalef_ps(a, n); } /* a * 2^n of a whole n */
INLINE float vf_reduce_add(vfloat a) { return _mm512_reduce_add_ps(a); }
INLINE float vf_reduce_max(vfloat a) { return _mm512_reduce_max_ps(a); }
INLINE vfloat vf_first(long n, vfloat a, vfloat rest) { return _mm512_mask_mov_ps(rest, first(n), a); }

/* (even, odd) lanes: the real and imaginary parts of neighbouring pairs. */
INLINE vfloat vf_multiply_complex(vfloat a, vfloat b) {
    const vfloat crossed = _mm512_mul_ps(_mm512_permute_ps(a, 0xb1), _mm512_movehdup_ps(b));
    return _mm512_fmaddsub_ps(a, _mm512_moveldup_ps(b), crossed);
}

INLINE vfloat vf_load(const float *from) { return _mm512_loadu_ps(from); }
INLINE void vf_store(float *to, vfloat a) { _mm512_storeu_ps(to, a); }
INLINE vfloat vf_load_n(const float *from, long n) { return _mm512_maskz_loadu_ps(first(n), from); }
INLINE void vf_store_n(float *to, long n, vfloat a) { _mm512_mask_storeu_ps(to, first(n), a); }

INLINE vfloat vf_from_bf16(__m256i a) { return (vfloat)_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16); }
INLINE vfloat vf_load_bf16_n(const uint16_t *from, long n) {
    /* A masked load waits for what has just been stored there. */
    return vf_from_bf16(n >= LANES ? _mm256_loadu_si256((const void *)from) : _mm256_maskz_loadu_epi16(first(n), from));
}
INLINE void vf_store_bf16_n(uint16_t *to, long n, vfloat a) { /* the upper halves, of a rounded vector */
    _mm256_mask_storeu_epi16(to, first(n), _mm512_cvtepi32_epi16(_mm512_srli_epi32((vint)a, 16)));
}
/* To the nearest bfloat16, ties to even, as float32. */
INLINE vfloat vf_round_to_bf16(vfloat a) {
    const vint raw = (vint)a, half = _mm512_set1_epi32(0x7fff), upper = _mm512_set1_epi32(-65536);
    const vint odd = _mm512_and_si512(_mm512_srli_epi32(raw, 16), _mm512_set1_epi32(1));
    return (vfloat)_mm512_and_si512(_mm512_add_epi32(_mm512_add_epi32(raw, half), odd), upper);
}

INLINE vint vi_zero(void) { return _mm512_setzero_si512(); }
INLINE vint vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
INLINE vint vi_load(const void *from) { return _mm512_loadu_si512(from); }
INLINE vint vi_load_n(const void *from, long n) { return _mm512_maskz_loadu_epi32(first(n), from); }
INLINE vint vi_load_bytes(const void *from, long bytes) { /* an even number of them */
    return _mm512_maskz_loadu_epi16((1u << bytes / 2) - 1, from);
}
INLINE void vi_store(void *to, vint a) { _mm512_storeu_si512(to, a); }
INLINE vint vi_or(vint a, vint b) { return _mm512_or_si512(a, b); }
INLINE vint vi_max(vint a, vint b) { return _mm512_max_epi32(a, b); }
INLINE int32_t vi_reduce_max(vint a) { return _mm512_reduce_max_epi32(a); }
INLINE vint vi_shift_right_16(vint a) { return _mm512_srli_epi32(a, 16); }
INLINE vfloat vi_to_float(vint a) { return _mm512_cvtepi32_ps(a); }
/* Lanes of a and b in turn: those of their lower halves, of their upper ones. */
INLINE vint vi_zip_low(vint a, vint b) {
    return _mm512_permutex2var_epi32(a, _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0), b);
}
INLINE vint vi_zip_high(vint a, vint b) {
    return _mm512_permutex2var_epi32(
        a, _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8), b);
}

/* sum + a * b of float32 units; of bfloat16 ones both products of a unit are added to its sum. */
INLINE vfloat dot_units(vfloat sum, vint a, vint b, int itemsize) {
    if (itemsize == 2) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
    return _mm512_fmadd_ps((vfloat)a, (vfloat)b, sum);
}

/* Eight bits of float8_e4m3fn as the float16 that is 2^8 times smaller; NaN becomes 1.875. */
INLINE __m512i fp8_to_half(__m256i a) {
    return _mm512_and_si512(_mm512_slli_epi16(_mm512_cvtepi8_epi16(a), 7), _mm512_set1_epi16((short)0xbfff));
}
/* FP8_STEP float8_e4m3fn as vectors of float32, 2^8 times smaller. `check` remembers whether one was NaN. */
#define FP8_STEP 64
typedef uint64_t Fp8Check; /* not zero where a number was NaN */
INLINE Fp8Check fp8_check(void) { return 0; }
INLINE int fp8_has_nan(Fp8Check check) { return check != 0; }
INLINE void fp8_load(const uint8_t *from, vfloat to[FP8_STEP / LANES], Fp8Check *check) {
    const __m512i raw = _mm512_loadu_si512((const void *)from), magnitude = _mm512_set1_epi8(0x7f);
    UNROLLED(i, 2) {
        const __m512i halves = fp8_to_half(_mm256_loadu_si256((const void *)(from + 32 * i)));
        to[2 * i] = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
        to[2 * i + 1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
    }
    *check |= _mm512_cmpeq_epi8_mask(_mm512_and_si512(raw, magnitude), magnitude);
}

/* Two groups of 64 packed numbers, to be multiplied with int16; see gemv_packed.h. */
typedef struct { vint part[4]; } Int8Step, Int4Step;
typedef vfloat Int4Scales;

/* 128 int16 as the products with int8 and with int4 read them. */
INLINE void pack_for_int8(const int16_t *from, int16_t *to) { memcpy(to, from, 256); }
INLINE void pack_for_int4(const int16_t *from, int16_t *to) { /* part p holds nibble p of every 16 bits of both groups */
    for (int p = 0; p < 4; p++)
        for (int i = 0; i < 32; i++) to[32 * p + i] = from[i / 16 * 64 + i % 16 * 2 + p / 2 + p % 2 * 32];
}

INLINE Int8Step int8_load(const int8_t *from) {
    Int8Step step;
    UNROLLED(p, 4) step.part[p] = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)(from + 32 * p)));
    return step;
}
INLINE Int4Step int4_load(const uint8_t *from) { /* 0 to 15 */
    const __m512i raw = _mm512_loadu_si512((const void *)from), nibble = _mm512_set1_epi16(15);
    return (Int4Step){{
        _mm512_and_si512(raw, nibble), _mm512_and_si512(_mm512_srli_epi16(raw, 4), nibble),
        _mm512_and_si512(_mm512_srli_epi16(raw, 8), nibble), _mm512_srli_epi16(raw, 12)}};
}
/* Two bfloat16, each for eight lanes. */
INLINE Int4Scales int4_scales(const uint16_t *from) {
    const __m512i index = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(0x10000), 1);
    return (vfloat)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, index, _mm512_set1_epi32(*(const unaligned_int *)from));
}
/* sum + w * x of two groups. */
INLINE vfloat int8_multiply_add(vfloat sum, Int8Step w, const int16_t *x, const StepScales *scales) {
    UNROLLED(g, 2) {
        vint dot = _mm512_dpwssd_epi32(_mm512_setzero_si512(), w.part[2 * g], vi_load(x + 64 * g));
        dot = _mm512_dpwssd_epi32(dot, w.part[2 * g + 1], vi_load(x + 64 * g + 32));
        sum = _mm512_fmadd_ps(_mm512_set1_ps(scales->scale[g]), _mm512_cvtepi32_ps(dot), sum);
    }
    return sum;
}
INLINE vfloat int4_multiply_add(vfloat sum, Int4Step w, Int4Scales w_scales, const int16_t *x, const StepScales *scales) {
    const __m512i halves = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(1), 1);
    const __m512i both = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)scales));
    const vfloat scale = _mm512_mul_ps(w_scales, (vfloat)_mm512_permutexvar_epi32(halves, both));
    vint dot = _mm512_maskz_permutexvar_epi32(0x0101, _mm512_add_epi32(halves, _mm512_set1_epi32(2)), both);
    UNROLLED(p, 4) dot = _mm512_dpwssd_epi32(dot, w.part[p], vi_load(x + 32 * p));
    return _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(dot), sum);
}
/* sum + a * b of pairs of int16. */
INLINE vint dot_int16(vint sum, vint a, vint b) { return _mm512_dpwssd_epi32(sum, a, b); }
/* To the nearest int16, for numbers in its range. */
INLINE void vf_store_int16(int16_t *to, vfloat a) {
    _mm512_mask_cvtsepi32_storeu_epi16(to, 0xffff, _mm512_cvtps_epi32(a));
}
