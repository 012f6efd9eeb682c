/* Products of packed matrices with a few vectors.
 *
 * Weights are int8 with a float32 scale for each row, or 4 bits (offset by 8) with a bfloat16 scale for each group of 64 in
 * a row, byte i of whose 32 holds number i and, in its upper half, number i + 32. Rows are padded with zeros to whole
 * groups. Activations are rounded to int16 with a scale for each group, so that the sum over a group is exact.
 *
 * A step is two groups: a cache line of 4-bit weights. */

/* One vector as int16 and the scales of its groups. A NaN or an infinity makes its group's scale, and so every sum, NaN. */
static void quantize_vector(const void *x, long width, long itemsize, int16_t *to, float *scales) {
    for (long start = 0; start < width; start += GROUP, to += GROUP, scales++) {
        vfloat values[GROUP / LANES];
        vint largest_bits = vi_zero();
        UNROLLED(k, GROUP / LANES) {
            values[k] = load_n(x, start + LANES * k, itemsize, width - start - LANES * k);
            largest_bits = vi_max(largest_bits, (vint)vf_abs(values[k]));
        }
        union { int32_t bits; float value; } largest = {vi_reduce_max(largest_bits)};
        const vfloat inverse = vf_set1(largest.value > 1e-30f ? MAX_QUANTIZED / largest.value : 0);
        UNROLLED(k, GROUP / LANES) vf_store_int16(to + LANES * k, vf_mul(values[k], inverse));
        *scales = largest.value / MAX_QUANTIZED;
    }
}

/* One vector as the steps of its products with weights of that format. */
static void prepare_vector(const void *x, long width, long itemsize, int format, int16_t *to, StepScales *scales) {
    for (long start = 0; start < width; start += 2 * GROUP, to += 2 * GROUP, scales++) {
        int16_t values[2 * GROUP] = {0};
        *scales = (StepScales){{0, 0}, {0, 0}};
        const char *from = (const char *)x + start * itemsize;
        quantize_vector(from, min_long(width - start, 2 * GROUP), itemsize, values, scales->scale);
        if (format == INT8) {
            pack_for_int8(values, to);
        } else {
            for (int i = 0; i < 2 * GROUP; i++) scales->offset[i / GROUP] -= 8 * values[i];
            pack_for_int4(values, to);
        }
    }
}

/* Tiles ahead from which weights are prefetched: as in gemv.h the next, but rows of 4-bit weights are short. */
#define PREFETCH_TILES(format, count) ((format) == INT4 && (count) == 1 ? 2 : 1)

INLINE void packed_tile(const Gemv *job, int format, long row, int rows, long first, int count) {
    const long stride = job->groups * GROUP * format / 8, steps = (job->groups + 1) / 2;
    const uint8_t *w = (const uint8_t *)job->matrix->weights + row * stride;
    const uint16_t *w_scales = (const uint16_t *)job->matrix->scales + row * job->groups;
    const int16_t *x = (const int16_t *)job->x + first * steps * 2 * GROUP;
    const StepScales *x_scales = job->x_scales + first * steps;
    vfloat sums[4][GEMV_TILE];
    UNROLLED(r, rows) UNROLLED(n, count) sums[r][n] = vf_zero();
    UNROLLED(tail, 2) for (long s = tail ? job->groups / 2 : 0; s < (tail ? steps : job->groups / 2); s++) {
        UNROLLED(r, rows) {
            uint8_t last[2 * GROUP] = {0}; /* where the number of groups is odd */
            uint16_t last_scale[2] = {0};
            const uint8_t *from = w + r * stride + s * 2 * GROUP * format / 8;
            const uint16_t *scale = w_scales + r * job->groups + 2 * s;
            if (tail) {
                memcpy(last, from, GROUP * (size_t)format / 8), from = last;
                if (format == INT4) last_scale[0] = *scale, scale = last_scale;
            } else {
                const uint8_t *ahead = from + PREFETCH_TILES(format, count) * rows * stride;
                UNROLLED(line, 2 * GROUP * format / 8 / 64) __builtin_prefetch(ahead + 64 * line);
            }
            if (format == INT8) {
                const Int8Step step = int8_load((const int8_t *)from);
                UNROLLED(n, count) {
                    const long at = n * steps + s;
                    sums[r][n] = int8_multiply_add(sums[r][n], step, x + at * 2 * GROUP, x_scales + at);
                }
            } else {
                const Int4Step step = int4_load(from);
                const Int4Scales scales = int4_scales(scale);
                UNROLLED(n, count) {
                    const long at = n * steps + s;
                    sums[r][n] = int4_multiply_add(sums[r][n], step, scales, x + at * 2 * GROUP, x_scales + at);
                }
            }
        }
    }
    UNROLLED(r, rows) UNROLLED(n, count) {
        float sum = vf_reduce_add(sums[r][n]);
        if (format == INT8) sum *= ((const float *)job->matrix->scales)[row + r];
        store_n(job->y, (first + n) * job->matrix->out + row + r, job->itemsize, 1, vf_set1(sum));
    }
}

#ifndef INT8_ROWS
#define INT8_ROWS PACKED_ROWS
#endif
DEFINE_GEMV_ROWS(gemv_rows_int8, packed_tile, INT8, INT8_ROWS)
DEFINE_GEMV_ROWS(gemv_rows_int4, packed_tile, INT4, PACKED_ROWS)
