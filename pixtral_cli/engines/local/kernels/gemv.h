/* Products of a matrix with a few vectors, which take as long as reading the matrix does.
 *
 * Every sum is accumulated in float32 in the same order however many vectors there are, so that the logits of a sequence
 * do not depend on which others share its step. */

#define BLOCK_ROWS 24         /* rows that stay in cache between two passes of vectors */
#define FP8_BLOCK 64          /* FP8 weights of a row that a line of the cache holds */
#define GRAIN_BYTES (1 << 17) /* of weights that a thread takes at a time */

typedef struct Gemv {
    void (*rows)(const struct Gemv *job, long start, long stop, long first, int count);
    const Matrix *matrix;
    const void *x; /* as `rows` reads it: activations, float32 for FP8 weights, int16 for packed ones */
    const StepScales *x_scales;
    void *y;
    long groups;   /* of a packed row */
    long count;
    int itemsize;  /* of activations and results */
} Gemv;

static void gemv_range(const void *argument, long start, long stop) {
    const Gemv *job = argument;
    for (long row = start; row < stop; row += BLOCK_ROWS)
        for (long first = 0; first < job->count; first += GEMV_TILE)
            job->rows(job, row, min_long(row + BLOCK_ROWS, stop), first, (int)min_long(job->count - first, GEMV_TILE));
}

/* A function `name` for rows [start, stop) by `count` vectors from `first` on, tile by tile, with a branch-free loop for
 * every number of vectors. */
#if GEMV_TILE == 8
#define MORE_COUNTS(name)                                    \
    case 5: name##_by(job, start, stop, first, 5); break;    \
    case 6: name##_by(job, start, stop, first, 6); break;    \
    case 7: name##_by(job, start, stop, first, 7); break;    \
    case 8: name##_by(job, start, stop, first, 8); break;
#else
#define MORE_COUNTS(name)
#endif
#define DEFINE_GEMV_ROWS(name, tile, type, tile_rows)                                              \
    INLINE void name##_by(const Gemv *job, long row, long stop, long first, int count) {           \
        const int rows = tile_rows(count);                                                         \
        for (; row + rows <= stop; row += rows) tile(job, type, row, rows, first, count);          \
        for (; row < stop; row++) tile(job, type, row, 1, first, count);                           \
    }                                                                                              \
    static void name(const Gemv *job, long start, long stop, long first, int count) {              \
        switch (count) {                                                                           \
        case 1: name##_by(job, start, stop, first, 1); break;                                      \
        case 2: name##_by(job, start, stop, first, 2); break;                                      \
        case 3: name##_by(job, start, stop, first, 3); break;                                      \
        case 4: name##_by(job, start, stop, first, 4); break;                                      \
        MORE_COUNTS(name)                                                                          \
        }                                                                                          \
    }

/* `rows` rows from `row` on, by `count` vectors from `first` on; weights and activations are both of `itemsize` bytes. */
INLINE void gemv_tile(const Gemv *job, int itemsize, long row, int rows, long first, int count) {
    const long bytes = job->matrix->in * itemsize;
    const char *w = (const char *)job->matrix->weights + row * bytes, *x = (const char *)job->x + first * bytes;
    vfloat sums[4][GEMV_TILE];
    UNROLLED(r, rows) UNROLLED(n, count) sums[r][n] = vf_zero();
    long at = 0;
    UNROLLED(tail, 2) for (; tail ? at < bytes : at + 4 * LANES <= bytes; at += 4 * LANES) {
        vint weights[4];
        UNROLLED(r, rows) {
            const char *from = w + r * bytes + at;
            weights[r] = tail ? vi_load_bytes(from, bytes - at) : vi_load(from);
        }
        /* The next tile: processors foresee some rows or none, and stop where a page ends. */
        UNROLLED(r, rows) __builtin_prefetch(w + (rows + r) * bytes + at);
        UNROLLED(n, count) {
            const char *from = x + n * bytes + at;
            const vint vector = tail ? vi_load_bytes(from, bytes - at) : vi_load(from);
            UNROLLED(r, rows) sums[r][n] = dot_units(sums[r][n], weights[r], vector, itemsize);
        }
    }
    UNROLLED(r, rows) UNROLLED(n, count) {
        const vfloat sum = vf_set1(vf_reduce_add(sums[r][n]));
        store_n(job->y, (first + n) * job->matrix->out + row + r, itemsize, 1, sum);
    }
}

DEFINE_GEMV_ROWS(gemv_rows_bf16, gemv_tile, 2, GEMV_ROWS)
DEFINE_GEMV_ROWS(gemv_rows_f32, gemv_tile, 4, GEMV_ROWS)

/* FP8 weights by float32 vectors, which are padded with zeros to whole steps. */
INLINE void fp8_tile(const Gemv *job, int unused, long row, int rows, long first, int count) {
    (void)unused;
    const long in = job->matrix->in, stride = round_up(in, FP8_STEP);
    const uint8_t *w = (const uint8_t *)job->matrix->weights + row * in;
    const float *x = (const float *)job->x + first * stride;
    const float *scales = (const float *)job->matrix->scales + row;
    vfloat sums[4][GEMV_TILE];
    Fp8Check check[4];
    UNROLLED(r, rows) check[r] = fp8_check();
    UNROLLED(r, rows) UNROLLED(n, count) sums[r][n] = vf_zero();
    long at = 0;
    UNROLLED(tail, 2) while (tail ? at < in : at + FP8_BLOCK <= in) {
        UNROLLED(r, rows) if (!tail) __builtin_prefetch(w + (rows + r) * in + at);
        for (const long end = at + (tail ? FP8_STEP : FP8_BLOCK); at < end; at += FP8_STEP) UNROLLED(r, rows) {
            vfloat weights[FP8_STEP / LANES];
            uint8_t last[FP8_STEP] = {0};
            const uint8_t *from = w + r * in + at;
            if (tail) memcpy(last, from, (size_t)min_long(in - at, FP8_STEP)), from = last;
            fp8_load(from, weights, &check[r]);
            UNROLLED(n, count) UNROLLED(k, FP8_STEP / LANES)
                sums[r][n] = vf_fma(weights[k], vf_load(x + n * stride + at + LANES * k), sums[r][n]);
        }
    }
    UNROLLED(r, rows) UNROLLED(n, count) {
        const float sum = fp8_has_nan(check[r]) ? NAN : vf_reduce_add(sums[r][n]) * (scales[r] * 256); /* see fp8_load */
        store_n(job->y, (first + n) * job->matrix->out + row + r, job->itemsize, 1, vf_set1(sum));
    }
}

DEFINE_GEMV_ROWS(gemv_rows_fp8, fp8_tile, FP8, GEMV_ROWS)
