/* Vector operations for AVX2 with FMA and F16C (Haswell, Zen and later), and with AVX-VNNI where HAS_VNNI is defined.
 * See vector_avx512.h for what they do. */
#include <immintrin.h>

#define LANES 8
#define LANES_LOG2 3
#define GEMV_TILE 4
#define GEMV_ROWS(count) ((count) < 3 ? 4 : 2)
#define PACKED_ROWS(count) ((count) < 3 ? 2 : 1)
#define ATTENTION_COLUMNS 2
#define GEMM_VECTORS 2
#define GEMM_POSITIONS 6
#ifdef HAS_VNNI
#define HAS_DOT_INT16
#endif
#define MAX_QUANTIZED 32767                     /* magnitude of an activation as int16 */

typedef __m256 vfloat;
typedef __m256i vint;

INLINE vint first(long n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < LANES ? n < 0 ? 0 : (int)n : LANES), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
}

INLINE vfloat vf_zero(void) { return _mm256_setzero_ps(); }
INLINE vfloat vf_set1(float x) { return _mm256_set1_ps(x); }
INLINE vfloat vf_add(vfloat a, vfloat b) { return _mm256_add_ps(a, b); }
INLINE vfloat vf_sub(vfloat a, vfloat b) { return _mm256_sub_ps(a, b); }
INLINE vfloat vf_mul(vfloat a, vfloat b) { return _mm256_mul_ps(a, b); }
INLINE vfloat vf_div(vfloat a, vfloat b) { return _mm256_div_ps(a, b); }
INLINE vfloat vf_max(vfloat a, vfloat b) { return _mm256_max_ps(a, b); }
INLINE vfloat vf_min(vfloat a, vfloat b) { return _mm256_min_ps(a, b); }
INLINE vfloat vf_abs(vfloat a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
INLINE vfloat vf_fma(vfloat a, vfloat b, vfloat sum) { return _mm256_fmadd_ps(a, b, sum); }
INLINE vfloat vf_fnma(vfloat a, vfloat b, vfloat sum) { return _mm256_fnmadd_ps(a, b, sum); }
INLINE vfloat vf_round(vfloat a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vfloat vf_exp2_scale(vfloat a, vfloat n) { /* |n| < 128; NaN stays, as a is NaN with n */
    return _mm256_mul_ps(a, (vfloat)_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
INLINE float vf_reduce_add(vfloat a) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
INLINE float vf_reduce_max(vfloat a) {
    __m128 max = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    max = _mm_max_ps(max, _mm_movehl_ps(max, max));
    return _mm_cvtss_f32(_mm_max_ss(max, _mm_movehdup_ps(max)));
}
INLINE vfloat vf_first(long n, vfloat a, vfloat rest) { return _mm256_blendv_ps(rest, a, (vfloat)first(n)); }

INLINE vfloat vf_multiply_complex(vfloat a, vfloat b) {
    const vfloat crossed = _mm256_mul_ps(_mm256_permute_ps(a, 0xb1), _mm256_movehdup_ps(b));
    return _mm256_fmaddsub_ps(a, _mm256_moveldup_ps(b), crossed);
}

INLINE vfloat vf_load(const float *from) { return _mm256_loadu_ps(from); }
INLINE void vf_store(float *to, vfloat a) { _mm256_storeu_ps(to, a); }
INLINE vfloat vf_load_n(const float *from, long n) {
    return n >= LANES ? vf_load(from) : _mm256_maskload_ps(from, first(n));
}
INLINE void vf_store_n(float *to, long n, vfloat a) {
    if (n >= LANES) vf_store(to, a);
    else _mm256_maskstore_ps(to, first(n), a);
}

INLINE vfloat vf_from_bf16(__m128i a) { return (vfloat)_mm256_slli_epi32(_mm256_cvtepu16_epi32(a), 16); }
INLINE vfloat vf_load_bf16_n(const uint16_t *from, long n) {
    if (n >= LANES) return vf_from_bf16(_mm_loadu_si128((const void *)from));
    uint16_t part[LANES] = {0};
    for (long i = 0; i < n; i++) part[i] = from[i];
    return vf_from_bf16(_mm_loadu_si128((const void *)part));
}
INLINE void vf_store_bf16_n(uint16_t *to, long n, vfloat a) {
    const vint upper = _mm256_srli_epi32((vint)a, 16);
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
    if (n >= LANES) {
        _mm_storeu_si128((void *)to, packed);
        return;
    }
    uint16_t part[LANES];
    _mm_storeu_si128((void *)part, packed);
    for (long i = 0; i < n; i++) to[i] = part[i];
}
INLINE vfloat vf_round_to_bf16(vfloat a) {
    const vint raw = (vint)a, half = _mm256_set1_epi32(0x7fff), upper = _mm256_set1_epi32(-65536);
    const vint odd = _mm256_and_si256(_mm256_srli_epi32(raw, 16), _mm256_set1_epi32(1));
    return (vfloat)_mm256_and_si256(_mm256_add_epi32(_mm256_add_epi32(raw, half), odd), upper);
}

INLINE vint vi_zero(void) { return _mm256_setzero_si256(); }
INLINE vint vi_set1(int32_t x) { return _mm256_set1_epi32(x); }
INLINE vint vi_load(const void *from) { return _mm256_loadu_si256(from); }
INLINE vint vi_load_n(const void *from, long n) {
    return n >= LANES ? vi_load(from) : _mm256_maskload_epi32(from, first(n));
}
INLINE vint vi_load_bytes(const void *from, long bytes) {
    char part[4 * LANES] = {0};
    memcpy(part, from, (size_t)bytes);
    return vi_load(part);
}
INLINE void vi_store(void *to, vint a) { _mm256_storeu_si256(to, a); }
INLINE vint vi_or(vint a, vint b) { return _mm256_or_si256(a, b); }
INLINE vint vi_max(vint a, vint b) { return _mm256_max_epi32(a, b); }
INLINE int32_t vi_reduce_max(vint a) {
    __m128i max = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    max = _mm_max_epi32(max, _mm_shuffle_epi32(max, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(max, _mm_shuffle_epi32(max, 0xb1)));
}
INLINE vint vi_shift_right_16(vint a) { return _mm256_srli_epi32(a, 16); }
INLINE vfloat vi_to_float(vint a) { return _mm256_cvtepi32_ps(a); }
INLINE vint vi_zip_low(vint a, vint b) {
    return _mm256_permute2x128_si256(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b), 0x20);
}
INLINE vint vi_zip_high(vint a, vint b) {
    return _mm256_permute2x128_si256(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b), 0x31);
}

INLINE vfloat bf16_even(vint a) { return (vfloat)_mm256_slli_epi32(a, 16); }
INLINE vfloat bf16_odd(vint a) { return (vfloat)_mm256_and_si256(a, _mm256_set1_epi32(-65536)); }
INLINE vfloat dot_units(vfloat sum, vint a, vint b, int itemsize) {
    if (itemsize == 4) return _mm256_fmadd_ps((vfloat)a, (vfloat)b, sum);
    return _mm256_fmadd_ps(bf16_odd(a), bf16_odd(b), _mm256_fmadd_ps(bf16_even(a), bf16_even(b), sum));
}

#define FP8_STEP 32
typedef uint64_t Fp8Check; /* not zero where a number was NaN */
INLINE Fp8Check fp8_check(void) { return 0; }
INLINE int fp8_has_nan(Fp8Check check) { return check != 0; }
INLINE void fp8_load(const uint8_t *from, vfloat to[FP8_STEP / LANES], Fp8Check *check) {
    const __m256i raw = _mm256_loadu_si256((const void *)from), magnitude = _mm256_set1_epi8(0x7f);
    const __m256i sign_once = _mm256_set1_epi16((short)0xbfff), zero = _mm256_setzero_si256();
    const __m256i outer = _mm256_and_si256(_mm256_srai_epi16(_mm256_unpacklo_epi8(zero, raw), 1), sign_once);
    const __m256i inner = _mm256_and_si256(_mm256_srai_epi16(_mm256_unpackhi_epi8(zero, raw), 1), sign_once);
    to[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(outer));
    to[1] = _mm256_cvtph_ps(_mm256_castsi256_si128(inner));
    to[2] = _mm256_cvtph_ps(_mm256_extracti128_si256(outer, 1));
    to[3] = _mm256_cvtph_ps(_mm256_extracti128_si256(inner, 1));
    const __m256i nan = _mm256_cmpeq_epi8(_mm256_and_si256(raw, magnitude), magnitude);
    *check |= (uint32_t)_mm256_movemask_epi8(nan);
}

INLINE vint dot_int16(vint sum, vint a, vint b) {
#ifdef HAS_VNNI
    return _mm256_dpwssd_avx_epi32(sum, a, b);
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
#endif
}

typedef struct { vint part[8]; } Int8Step, Int4Step;
typedef struct { vfloat group[2]; } Int4Scales;

INLINE void pack_for_int8(const int16_t *from, int16_t *to) { memcpy(to, from, 256); }
INLINE void pack_for_int4(const int16_t *from, int16_t *to) { /* part p of a group holds nibble p of every 16 bits */
    for (int p = 0; p < 8; p++)
        for (int i = 0; i < 16; i++) to[16 * p + i] = from[p / 4 * 64 + i * 2 + p % 4 / 2 + p % 2 * 32];
}
INLINE Int8Step int8_load(const int8_t *from) {
    Int8Step step;
    UNROLLED(p, 8) step.part[p] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(from + 16 * p)));
    return step;
}
INLINE Int4Step int4_load(const uint8_t *from) {
    const __m256i nibble = _mm256_set1_epi16(15);
    Int4Step step;
    UNROLLED(g, 2) {
        const __m256i raw = _mm256_loadu_si256((const void *)(from + 32 * g));
        step.part[4 * g] = _mm256_and_si256(raw, nibble);
        step.part[4 * g + 1] = _mm256_and_si256(_mm256_srli_epi16(raw, 4), nibble);
        step.part[4 * g + 2] = _mm256_and_si256(_mm256_srli_epi16(raw, 8), nibble);
        step.part[4 * g + 3] = _mm256_srli_epi16(raw, 12);
    }
    return step;
}
INLINE Int4Scales int4_scales(const uint16_t *from) {
    const vint both = _mm256_set1_epi32(*(const unaligned_int *)from);
    return (Int4Scales){{bf16_even(both), bf16_odd(both)}};
}
INLINE vfloat int8_multiply_add(vfloat sum, Int8Step w, const int16_t *x, const StepScales *scales) {
    UNROLLED(g, 2) {
        vint dot = _mm256_madd_epi16(w.part[4 * g], vi_load(x + 64 * g));
        UNROLLED(p, 3) dot = dot_int16(dot, w.part[4 * g + p + 1], vi_load(x + 64 * g + 16 * (p + 1)));
        sum = _mm256_fmadd_ps(_mm256_set1_ps(scales->scale[g]), _mm256_cvtepi32_ps(dot), sum);
    }
    return sum;
}
INLINE vfloat int4_multiply_add(vfloat sum, Int4Step w, Int4Scales w_scales, const int16_t *x, const StepScales *scales) {
    UNROLLED(g, 2) {
        vint dot = _mm256_zextsi128_si256(_mm_cvtsi32_si128(scales->offset[g]));
        UNROLLED(p, 4) dot = dot_int16(dot, w.part[4 * g + p], vi_load(x + 64 * g + 16 * p));
        const vfloat scale = _mm256_mul_ps(w_scales.group[g], _mm256_set1_ps(scales->scale[g]));
        sum = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(dot), sum);
    }
    return sum;
}
INLINE void vf_store_int16(int16_t *to, vfloat a) {
    const vint whole = _mm256_cvtps_epi32(a);
    _mm_storeu_si128((void *)to, _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
}
