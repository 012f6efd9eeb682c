/* Linear layers without bias: y = x times the matrix, for `count` vectors of numbers of `itemsize` bytes. */

static int gemv_fp8(Gemv *job, long grain, int threads) {
    const long in = job->matrix->in, stride = round_up(in, FP8_STEP);
    float *x = calloc((size_t)(job->count * stride), sizeof(float));
    if (!x) return 1;
    for (long n = 0; n < job->count; n++) FOR_LANES(i, in)
        vf_store_n(x + n * stride + i, in - i, load_n(job->x, n * in + i, job->itemsize, in - i));
    job->rows = gemv_rows_fp8, job->x = x;
    parallel_for(gemv_range, job, job->matrix->out, grain, threads);
    free(x);
    return 0;
}

static int gemv_packed(Gemv *job, long grain, int threads) {
    const Matrix *matrix = job->matrix;
    const long steps = (job->groups + 1) / 2, step = 2 * GROUP;
    int16_t *x = malloc((size_t)(job->count * steps) * (step * sizeof(int16_t) + sizeof(StepScales)));
    if (!x) return 1;
    StepScales *scales = (StepScales *)(x + job->count * steps * step);
    for (long n = 0; n < job->count; n++) {
        const char *from = (const char *)job->x + n * matrix->in * job->itemsize;
        prepare_vector(from, matrix->in, job->itemsize, (int)matrix->format, x + n * steps * step, scales + n * steps);
    }
    job->rows = matrix->format == INT8 ? gemv_rows_int8 : gemv_rows_int4;
    job->x = x, job->x_scales = scales;
    parallel_for(gemv_range, job, matrix->out, grain, threads);
    free(x);
    return 0;
}

static int gemv(const Matrix *matrix, const void *x, void *y, long count, int itemsize, int threads) {
    const long groups = (matrix->in + GROUP - 1) / GROUP;
    Gemv job = {itemsize == 2 ? gemv_rows_bf16 : gemv_rows_f32, matrix, x, 0, y, groups, count, itemsize};
    const long row_bytes = matrix->format == PLAIN ? matrix->in * itemsize
                           : matrix->format == FP8 ? matrix->in
                                                   : groups * GROUP * matrix->format / 8;
    const long blocks = GRAIN_BYTES / row_bytes / BLOCK_ROWS, grain = (blocks > 1 ? blocks : 1) * BLOCK_ROWS;
    if (matrix->format == FP8) return gemv_fp8(&job, grain, threads);
    if (matrix->format != PLAIN) return gemv_packed(&job, grain, threads);
    parallel_for(gemv_range, &job, matrix->out, grain, threads);
    return 0;
}

static int linear(const Matrix *matrix, const void *x, void *y, long count, int itemsize, int threads) {
    return (count > MAX_GEMV_VECTORS ? gemm : gemv)(matrix, x, y, count, itemsize, threads);
}
