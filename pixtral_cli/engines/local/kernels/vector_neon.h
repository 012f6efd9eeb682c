/* Vector operations for Arm's Advanced SIMD, with the dot product instructions where HAS_DOTPROD is defined and those for
 * bfloat16 where HAS_BF16 is. See vector_avx512.h for what they do. */
#include <arm_neon.h>

#define LANES 4
#define LANES_LOG2 2
#define GEMV_TILE 4
#define GEMV_ROWS(count) 4
#define PACKED_ROWS(count) ((count) < 3 ? 2 : 1)
#define INT8_ROWS(count) ((count) == 1 ? 4 : PACKED_ROWS(count)) /* share what is loaded of the vector */
#define ATTENTION_COLUMNS 4
#define GEMM_VECTORS 2
#define GEMM_POSITIONS 12
#ifdef HAS_DOTPROD
#define MAX_QUANTIZED 32639 /* of which the upper byte is at most 127 when the lower one is signed */
#else
#define MAX_QUANTIZED 32767
#endif

typedef float32x4_t vfloat;
typedef int32x4_t vint;

INLINE vint first(long n) {
    static const int32_t lanes[LANES] = {0, 1, 2, 3};
    return (vint)vcltq_s32(vld1q_s32(lanes), vdupq_n_s32(n < LANES ? (int32_t)n : LANES));
}

INLINE vfloat vf_zero(void) { return vdupq_n_f32(0); }
INLINE vfloat vf_set1(float x) { return vdupq_n_f32(x); }
INLINE vfloat vf_add(vfloat a, vfloat b) { return vaddq_f32(a, b); }
INLINE vfloat vf_sub(vfloat a, vfloat b) { return vsubq_f32(a, b); }
INLINE vfloat vf_mul(vfloat a, vfloat b) { return vmulq_f32(a, b); }
INLINE vfloat vf_div(vfloat a, vfloat b) { return vdivq_f32(a, b); }
INLINE vfloat vf_max(vfloat a, vfloat b) { return vmaxq_f32(a, b); } /* NaN where one is NaN */
INLINE vfloat vf_min(vfloat a, vfloat b) { return vminq_f32(a, b); }
INLINE vfloat vf_abs(vfloat a) { return vabsq_f32(a); }
INLINE vfloat vf_fma(vfloat a, vfloat b, vfloat sum) { return vfmaq_f32(sum, a, b); }
INLINE vfloat vf_fnma(vfloat a, vfloat b, vfloat sum) { return vfmsq_f32(sum, a, b); }
INLINE vfloat vf_round(vfloat a) { return vrndnq_f32(a); }
INLINE vfloat vf_exp2_scale(vfloat a, vfloat n) {
    return vmulq_f32(a, (vfloat)vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
INLINE float vf_reduce_add(vfloat a) { return vaddvq_f32(a); }
INLINE float vf_reduce_max(vfloat a) { return vmaxvq_f32(a); }
INLINE vfloat vf_first(long n, vfloat a, vfloat rest) { return vbslq_f32((uint32x4_t)first(n), a, rest); }

INLINE vfloat vf_multiply_complex(vfloat a, vfloat b) {
    static const float signs[LANES] = {-1, 1, -1, 1};
    const vfloat crossed = vmulq_f32(vrev64q_f32(a), vtrn2q_f32(b, b));
    return vfmaq_f32(vmulq_f32(crossed, vld1q_f32(signs)), a, vtrn1q_f32(b, b));
}

INLINE vfloat vf_load(const float *from) { return vld1q_f32(from); }
INLINE void vf_store(float *to, vfloat a) { vst1q_f32(to, a); }
INLINE vfloat vf_load_n(const float *from, long n) {
    if (n >= LANES) return vf_load(from);
    float part[LANES] = {0};
    for (long i = 0; i < n; i++) part[i] = from[i];
    return vf_load(part);
}
INLINE void vf_store_n(float *to, long n, vfloat a) {
    float part[LANES];
    if (n >= LANES) {
        vf_store(to, a);
        return;
    }
    vf_store(part, a);
    for (long i = 0; i < n; i++) to[i] = part[i];
}

INLINE vfloat vf_load_bf16_n(const uint16_t *from, long n) {
    if (n >= LANES) return (vfloat)vshll_n_u16(vld1_u16(from), 16);
    uint16_t part[LANES] = {0};
    for (long i = 0; i < n; i++) part[i] = from[i];
    return (vfloat)vshll_n_u16(vld1_u16(part), 16);
}
INLINE void vf_store_bf16_n(uint16_t *to, long n, vfloat a) {
    const uint16x4_t upper = vshrn_n_u32((uint32x4_t)a, 16);
    if (n >= LANES) {
        vst1_u16(to, upper);
        return;
    }
    uint16_t part[LANES];
    vst1_u16(part, upper);
    for (long i = 0; i < n; i++) to[i] = part[i];
}
INLINE vfloat vf_round_to_bf16(vfloat a) {
    const uint32x4_t raw = (uint32x4_t)a, odd = vandq_u32(vshrq_n_u32(raw, 16), vdupq_n_u32(1));
    return (vfloat)vandq_u32(vaddq_u32(vaddq_u32(raw, vdupq_n_u32(0x7fff)), odd), vdupq_n_u32(0xffff0000));
}

INLINE vint vi_zero(void) { return vdupq_n_s32(0); }
INLINE vint vi_set1(int32_t x) { return vdupq_n_s32(x); }
INLINE vint vi_load(const void *from) { return (vint)vld1q_u8(from); }
INLINE vint vi_load_bytes(const void *from, long bytes) {
    char part[4 * LANES] = {0};
    memcpy(part, from, (size_t)bytes);
    return vi_load(part);
}
INLINE vint vi_load_n(const void *from, long n) {
    return n >= LANES ? vi_load(from) : vi_load_bytes(from, n < 0 ? 0 : 4 * n);
}
INLINE void vi_store(void *to, vint a) { vst1q_u8(to, (uint8x16_t)a); }
INLINE vint vi_or(vint a, vint b) { return vorrq_s32(a, b); }
INLINE vint vi_max(vint a, vint b) { return vmaxq_s32(a, b); }
INLINE int32_t vi_reduce_max(vint a) { return vmaxvq_s32(a); }
INLINE vint vi_shift_right_16(vint a) { return (vint)vshrq_n_u32((uint32x4_t)a, 16); }
INLINE vfloat vi_to_float(vint a) { return vcvtq_f32_s32(a); }
INLINE vint vi_zip_low(vint a, vint b) { return vzip1q_s32(a, b); }
INLINE vint vi_zip_high(vint a, vint b) { return vzip2q_s32(a, b); }

INLINE vfloat dot_units(vfloat sum, vint a, vint b, int itemsize) {
    if (itemsize == 4) return vfmaq_f32(sum, (vfloat)a, (vfloat)b);
#ifdef HAS_BF16
    return vbfdotq_f32(sum, (bfloat16x8_t)a, (bfloat16x8_t)b);
#else
    const vint upper = vdupq_n_s32(-65536);
    sum = vfmaq_f32(sum, (vfloat)vshlq_n_s32(a, 16), (vfloat)vshlq_n_s32(b, 16));
    return vfmaq_f32(sum, (vfloat)vandq_s32(a, upper), (vfloat)vandq_s32(b, upper));
#endif
}

#define FP8_STEP 32
typedef uint8x16_t Fp8Check; /* the largest magnitudes; that of NaN is larger than any other */
INLINE Fp8Check fp8_check(void) { return vdupq_n_u8(0); }
INLINE int fp8_has_nan(Fp8Check check) { return vmaxvq_u8(check) == 0x7f; }
INLINE void fp8_load(const uint8_t *from, vfloat to[FP8_STEP / LANES], Fp8Check *check) {
    const int16x8_t sign_once = vdupq_n_s16((int16_t)0xbfff);
    UNROLLED(i, FP8_STEP / 16) {
        const uint8x16_t raw = vld1q_u8(from + 16 * i);
        const int16x8_t low = vandq_s16(vshll_n_s8(vget_low_s8((int8x16_t)raw), 7), sign_once);
        const int16x8_t high = vandq_s16(vshll_high_n_s8((int8x16_t)raw, 7), sign_once);
        to[4 * i] = vcvt_f32_f16(vget_low_f16((float16x8_t)low));
        to[4 * i + 1] = vcvt_high_f32_f16((float16x8_t)low);
        to[4 * i + 2] = vcvt_f32_f16(vget_low_f16((float16x8_t)high));
        to[4 * i + 3] = vcvt_high_f32_f16((float16x8_t)high);
        *check = vmaxq_u8(*check, vandq_u8(raw, vdupq_n_u8(0x7f)));
    }
}

/* Eight vectors of 16 packed numbers. With dot products of bytes an activation is 256 times its upper byte plus its lower
 * one, both signed: two groups are 128 upper bytes and then the lower ones. */
typedef struct { int8x16_t part[8]; } Int8Step, Int4Step;
typedef struct { vfloat group[2]; } Int4Scales;

INLINE void pack_for_int8(const int16_t *from, int16_t *to) {
#ifdef HAS_DOTPROD
    int8_t *bytes = (int8_t *)to;
    for (int i = 0; i < 128; i++) {
        bytes[i + 128] = (int8_t)from[i];
        bytes[i] = (int8_t)((from[i] - bytes[i + 128]) >> 8);
    }
#else
    memcpy(to, from, 256);
#endif
}
INLINE void pack_for_int4(const int16_t *from, int16_t *to) { pack_for_int8(from, to); }
INLINE Int8Step int8_load(const int8_t *from) {
    Int8Step step;
    UNROLLED(p, 8) step.part[p] = vld1q_s8(from + 16 * p);
    return step;
}
INLINE Int4Step int4_load(const uint8_t *from) {
    Int4Step step;
    UNROLLED(g, 2) UNROLLED(i, 2) {
        const uint8x16_t raw = vld1q_u8(from + 32 * g + 16 * i);
        step.part[4 * g + i] = (int8x16_t)vandq_u8(raw, vdupq_n_u8(15));
        step.part[4 * g + 2 + i] = (int8x16_t)vshrq_n_u8(raw, 4);
    }
    return step;
}
INLINE Int4Scales int4_scales(const uint16_t *from) {
    return (Int4Scales){{(vfloat)vdupq_n_u32((uint32_t)from[0] << 16), (vfloat)vdupq_n_u32((uint32_t)from[1] << 16)}};
}
/* sum + w * x of group g. */
INLINE vint group_dot(vint sum, Int8Step w, const int16_t *x, int g) {
#ifdef HAS_DOTPROD
    const int8_t *bytes = (const int8_t *)x;
    vint upper = vdupq_n_s32(0);
    UNROLLED(p, 4) {
        upper = vdotq_s32(upper, w.part[4 * g + p], vld1q_s8(bytes + 64 * g + 16 * p));
        sum = vdotq_s32(sum, w.part[4 * g + p], vld1q_s8(bytes + 128 + 64 * g + 16 * p));
    }
    return vaddq_s32(sum, vshlq_n_s32(upper, 8));
#else
    UNROLLED(p, 4) {
        const int16x8_t low = vmovl_s8(vget_low_s8(w.part[4 * g + p])), high = vmovl_high_s8(w.part[4 * g + p]);
        const int16x8_t x_low = vld1q_s16(x + 64 * g + 16 * p), x_high = vld1q_s16(x + 64 * g + 16 * p + 8);
        sum = vmlal_high_s16(vmlal_s16(sum, vget_low_s16(low), vget_low_s16(x_low)), low, x_low);
        sum = vmlal_high_s16(vmlal_s16(sum, vget_low_s16(high), vget_low_s16(x_high)), high, x_high);
    }
    return sum;
#endif
}
INLINE vfloat int8_multiply_add(vfloat sum, Int8Step w, const int16_t *x, const StepScales *scales) {
    UNROLLED(g, 2) sum = vfmaq_n_f32(sum, vcvtq_f32_s32(group_dot(vdupq_n_s32(0), w, x, g)), scales->scale[g]);
    return sum;
}
INLINE vfloat int4_multiply_add(vfloat sum, Int4Step w, Int4Scales w_scales, const int16_t *x, const StepScales *scales) {
    UNROLLED(g, 2) {
        const vint dot = group_dot(vsetq_lane_s32(scales->offset[g], vdupq_n_s32(0), 0), w, x, g);
        sum = vfmaq_f32(sum, vcvtq_f32_s32(dot), vmulq_n_f32(w_scales.group[g], scales->scale[g]));
    }
    return sum;
}
INLINE void vf_store_int16(int16_t *to, vfloat a) { vst1_s16(to, vqmovn_s32(vcvtnq_s32_f32(a))); }
