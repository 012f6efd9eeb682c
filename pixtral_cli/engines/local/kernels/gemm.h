/* Products of a matrix with many vectors ("positions").
 *
 * Blocks of weights are unpacked, transposed and multiplied while they are in cache; nothing larger is ever unpacked. A
 * unit is 32 bits: a float32, or, for packed weights where HAS_DOT_INT16, two int16 whose products are added in int32,
 * group by group. A tile of the result is GEMM_POSITIONS by GEMM_ROWS numbers in registers. */

#define GEMM_ROWS (GEMM_VECTORS * LANES)
#define GEMM_UNITS 256      /* of a row, in a block */
#define GEMM_TASK_PANELS 8  /* panels of GEMM_ROWS whose sums a thread keeps while it goes through the blocks */
#define GROUP_UNITS (GROUP / 2)

typedef struct {
    const Matrix *matrix;
    const char *x;
    void *y;
    long count;
    int itemsize;
    long tiles, units, groups; /* tiles of positions; units and groups of a row */
    uint32_t *x_units;         /* (blocks, tiles, GEMM_UNITS, GEMM_POSITIONS) */
    float *x_scales;           /* (tiles, groups, GEMM_POSITIONS), for packed weights */
    int *failed;
} Gemm;

typedef struct {
    uint32_t units[GEMM_UNITS * GEMM_ROWS];
    float scales[GEMM_UNITS / GROUP_UNITS * GEMM_ROWS];
} Panel;

/* Whether units are pairs of int16. */
INLINE int uses_int16(const Matrix *matrix) {
#ifdef HAS_DOT_INT16
    return matrix->format == INT8 || matrix->format == INT4;
#else
    return (void)matrix, 0;
#endif
}

/* `count` units of a row of weights from unit `start` on. */
static void unpack_units(const Gemm *job, long row, long start, long count, uint32_t *to) {
    const Matrix *m = job->matrix;
    const char *weights = m->weights;
    if (m->format == INT8) {
        const int8_t *from = (const int8_t *)weights + row * job->groups * GROUP;
        if (uses_int16(m)) for (long i = 0; i < 2 * count; i++) ((int16_t *)to)[i] = from[2 * start + i];
        else for (long i = 0; i < count; i++) ((float *)to)[i] = from[start + i];
    } else if (m->format == INT4 && uses_int16(m)) {
        const uint8_t *from = (const uint8_t *)weights + row * job->groups * GROUP / 2 + start;
        int16_t *numbers = (int16_t *)to;
        for (long g = 0; g < count / GROUP_UNITS; g++, from += GROUP / 2, numbers += GROUP) {
            for (int i = 0; i < GROUP / 2; i++) numbers[i] = (int16_t)((from[i] & 15) - 8);
            for (int i = 0; i < GROUP / 2; i++) numbers[i + GROUP / 2] = (int16_t)((from[i] >> 4) - 8);
        }
    } else if (m->format == INT4) {
        const uint8_t *from = (const uint8_t *)weights + (row * job->groups * GROUP + start) / 2;
        const uint16_t *scales = (const uint16_t *)m->scales + row * job->groups + start / GROUP;
        float *numbers = (float *)to;
        for (long g = 0; g * GROUP < count; g++, from += GROUP / 2, numbers += GROUP) {
            const union { uint32_t bits; float value; } scale = {(uint32_t)scales[g] << 16};
            for (int i = 0; i < GROUP / 2; i++) numbers[i] = (float)((from[i] & 15) - 8) * scale.value;
            for (int i = 0; i < GROUP / 2; i++) numbers[i + GROUP / 2] = (float)((from[i] >> 4) - 8) * scale.value;
        }
    } else if (m->format == FP8) {
        const uint8_t *from = (const uint8_t *)weights + row * m->in + start;
        for (long i = 0; i < count; i += FP8_STEP) {
            uint8_t part[FP8_STEP] = {0};
            vfloat numbers[FP8_STEP / LANES];
            Fp8Check check = fp8_check();
            memcpy(part, from + i, (size_t)min_long(count - i, FP8_STEP));
            fp8_load(part, numbers, &check);
            const int nan = fp8_has_nan(check);
            UNROLLED(k, FP8_STEP / LANES) vf_store((float *)to + i + LANES * k, nan ? vf_set1(NAN) : numbers[k]);
        }
    } else if (job->itemsize == 2) {
        const uint16_t *from = (const uint16_t *)weights + row * m->in + start;
        for (long i = 0; i < count; i++) to[i] = (uint32_t)from[i] << 16;
    } else {
        memcpy(to, (const float *)(const void *)weights + row * m->in + start, (size_t)count * 4);
    }
}

/* Rows from `row` on, as many as there are of GEMM_ROWS, transposed: (units, GEMM_ROWS). */
static void pack_panel(const Gemm *job, long row, long start, long count, Panel *panel) {
    UNROLLED(v, GEMM_VECTORS) {
        uint32_t rows[LANES][GEMM_UNITS + GROUP];
        for (int r = 0; r < LANES; r++) {
            memset(rows[r] + count / LANES * LANES, 0, LANES * 4);
            if (row + v * LANES + r < job->matrix->out) unpack_units(job, row + v * LANES + r, start, count, rows[r]);
            else memset(rows[r], 0, (size_t)count * 4);
        }
        FOR_LANES(u, count) {
            vint block[LANES];
            UNROLLED(r, LANES) block[r] = vi_load(rows[r] + u);
            vi_transpose(block);
            UNROLLED(i, LANES) vi_store(panel->units + (u + i) * GEMM_ROWS + v * LANES, block[i]);
        }
    }
    if (job->matrix->format != INT4 || !uses_int16(job->matrix)) return;
    const uint16_t *scales = job->matrix->scales;
    for (long r = 0; r < GEMM_ROWS; r++) for (long g = 0; g < count / GROUP_UNITS; g++) {
        const long from = (row + r) * job->groups + start / GROUP_UNITS + g;
        union { uint32_t bits; float value; } scale = {row + r < job->matrix->out ? (uint32_t)scales[from] << 16 : 0};
        panel->scales[g * GEMM_ROWS + r] = scale.value;
    }
}

/* Positions as units, position by position interleaved in each tile. */
static void pack_positions(const void *argument, long start, long stop) {
    const Gemm *job = argument;
    const long in = job->matrix->in, width = round_up(job->units, GEMM_UNITS);
    uint32_t *row = malloc((size_t)width * 4 + 2 * GROUP);
    float *scales = malloc((size_t)(job->groups + 2) * 4);
    if (!row || !scales) *job->failed = 1;
    else for (long n = start * GEMM_POSITIONS; n < stop * GEMM_POSITIONS; n++) {
        const long tile = n / GEMM_POSITIONS, p = n % GEMM_POSITIONS;
        if (n >= job->count) memset(row, 0, (size_t)width * 4), memset(scales, 0, (size_t)job->groups * 4);
        else if (uses_int16(job->matrix))
            quantize_vector(job->x + n * in * job->itemsize, in, job->itemsize, (int16_t *)row, scales);
        else FOR_LANES(i, in) vf_store_n((float *)row + i, in - i, load_n(job->x, n * in + i, job->itemsize, in - i));
        for (long u = 0; u < job->units; u += GEMM_UNITS) {
            uint32_t *to = job->x_units + ((u / GEMM_UNITS) * job->tiles + tile) * GEMM_UNITS * GEMM_POSITIONS + p;
            const long count = min_long(job->units - u, GEMM_UNITS);
            for (long i = 0; i < count; i++) to[i * GEMM_POSITIONS] = row[u + i];
        }
        if (uses_int16(job->matrix)) for (long g = 0; g < job->groups; g++)
            job->x_scales[(tile * job->groups + g) * GEMM_POSITIONS + p] = scales[g];
    }
    free(row);
    free(scales);
}

/* sums (GEMM_POSITIONS, GEMM_ROWS) += x (units, GEMM_POSITIONS) times the panel. */
static void float_tile(const Panel *panel, const float *x, long units, float *sums) {
    const float *w = (const float *)panel->units;
    vfloat tile[GEMM_POSITIONS][GEMM_VECTORS];
    UNROLLED(p, GEMM_POSITIONS) UNROLLED(v, GEMM_VECTORS) tile[p][v] = vf_load(sums + p * GEMM_ROWS + v * LANES);
    for (long u = 0; u < units; u++, w += GEMM_ROWS, x += GEMM_POSITIONS) {
        vfloat weights[GEMM_VECTORS];
        UNROLLED(v, GEMM_VECTORS) weights[v] = vf_load(w + v * LANES);
        UNROLLED(p, GEMM_POSITIONS) {
            const vfloat value = vf_set1(x[p]);
            UNROLLED(v, GEMM_VECTORS) tile[p][v] = vf_fma(weights[v], value, tile[p][v]);
        }
    }
    UNROLLED(p, GEMM_POSITIONS) UNROLLED(v, GEMM_VECTORS) vf_store(sums + p * GEMM_ROWS + v * LANES, tile[p][v]);
}

#ifdef HAS_DOT_INT16
/* Sums of this type stay in registers: GCC 12 stores those of the type vint to the stack at every step. */
typedef int32_t Int32Lanes __attribute__((vector_size(4 * LANES)));

/* The same for packed weights, group by group. Scales of int8 rows are left for later. */
INLINE void packed_gemm_tile(const Panel *panel, const uint32_t *x, const float *x_scales, long groups, int format,
                             float *sums) {
    const uint32_t *w = panel->units;
    for (long g = 0; g < groups; g++, x_scales += GEMM_POSITIONS) {
        Int32Lanes tile[GEMM_POSITIONS][GEMM_VECTORS];
        UNROLLED(p, GEMM_POSITIONS) UNROLLED(v, GEMM_VECTORS) tile[p][v] = (Int32Lanes){0};
        for (int u = 0; u < GROUP_UNITS; u++, w += GEMM_ROWS, x += GEMM_POSITIONS) {
            vint weights[GEMM_VECTORS];
            UNROLLED(v, GEMM_VECTORS) weights[v] = vi_load(w + v * LANES);
            UNROLLED(p, GEMM_POSITIONS) {
                const vint value = vi_set1((int32_t)x[p]);
                UNROLLED(v, GEMM_VECTORS)
                    tile[p][v] = (Int32Lanes)dot_int16((vint)tile[p][v], weights[v], value);
            }
        }
        UNROLLED(p, GEMM_POSITIONS) UNROLLED(v, GEMM_VECTORS) {
            float *to = sums + p * GEMM_ROWS + v * LANES;
            vfloat scale = vf_set1(x_scales[p]);
            if (format == INT4) scale = vf_mul(scale, vf_load(panel->scales + g * GEMM_ROWS + v * LANES));
            vf_store(to, vf_fma(scale, vi_to_float((vint)tile[p][v]), vf_load(to)));
        }
    }
}
static void int8_gemm_tile(const Panel *panel, const uint32_t *x, const float *x_scales, long groups, float *sums) {
    packed_gemm_tile(panel, x, x_scales, groups, INT8, sums);
}
static void int4_gemm_tile(const Panel *panel, const uint32_t *x, const float *x_scales, long groups, float *sums) {
    packed_gemm_tile(panel, x, x_scales, groups, INT4, sums);
}
#endif

/* Sums of a panel from `row` on, to the result. */
static void store_sums(const Gemm *job, long row, const float *sums) {
    const Matrix *m = job->matrix;
    float scales[GEMM_ROWS];
    const int has_row_scales = m->format == INT8 || m->format == FP8;
    const float factor = m->format == FP8 ? 256 : 1; /* see fp8_load */
    for (long r = 0; r < GEMM_ROWS; r++)
        scales[r] = !has_row_scales ? 1 : row + r < m->out ? ((const float *)m->scales)[row + r] * factor : 0;
    for (long n = 0; n < job->count; n++, sums += GEMM_ROWS) FOR_LANES(i, min_long(GEMM_ROWS, m->out - row)) {
        const vfloat value = vf_mul(vf_load(sums + i), vf_load(scales + i));
        store_n(job->y, n * m->out + row + i, job->itemsize, m->out - row - i, value);
    }
}

static void multiply_panels(const Gemm *job, long start, long stop, Panel *panel, float *sums) {
    const long tile_size = GEMM_POSITIONS * GEMM_ROWS, panel_size = job->tiles * tile_size;
    memset(sums, 0, (size_t)((stop - start) * panel_size) * sizeof(float));
    for (long unit = 0; unit < job->units; unit += GEMM_UNITS) {
        const long count = min_long(job->units - unit, GEMM_UNITS);
        for (long i = start; i < stop; i++) {
            const uint32_t *x = job->x_units + unit / GEMM_UNITS * job->tiles * GEMM_UNITS * GEMM_POSITIONS;
            float *to = sums + (i - start) * panel_size;
            pack_panel(job, i * GEMM_ROWS, unit, count, panel);
            for (long t = 0; t < job->tiles; t++, x += GEMM_UNITS * GEMM_POSITIONS, to += tile_size) {
#ifdef HAS_DOT_INT16
                const float *scales = job->x_scales + (t * job->groups + unit / GROUP_UNITS) * GEMM_POSITIONS;
                if (job->matrix->format == INT8) int8_gemm_tile(panel, x, scales, count / GROUP_UNITS, to);
                else if (job->matrix->format == INT4) int4_gemm_tile(panel, x, scales, count / GROUP_UNITS, to);
                else
#endif
                    float_tile(panel, (const float *)x, count, to);
            }
        }
    }
    for (long i = start; i < stop; i++) store_sums(job, i * GEMM_ROWS, sums + (i - start) * panel_size);
}

static void gemm_range(const void *argument, long start, long stop) {
    const Gemm *job = argument;
    Panel *panel = malloc(sizeof(Panel));
    float *sums = malloc((size_t)(GEMM_TASK_PANELS * job->tiles * GEMM_POSITIONS * GEMM_ROWS) * sizeof(float));
    if (!panel || !sums) *job->failed = 1;
    else for (; start < stop; start += GEMM_TASK_PANELS)
        multiply_panels(job, start, min_long(start + GEMM_TASK_PANELS, stop), panel, sums);
    free(panel);
    free(sums);
}

static int gemm(const Matrix *matrix, const void *x, void *y, long count, int itemsize, int threads) {
    const long groups = (matrix->in + GROUP - 1) / GROUP, tiles = (count + GEMM_POSITIONS - 1) / GEMM_POSITIONS;
    const long units = uses_int16(matrix) ? groups * GROUP_UNITS : matrix->in;
    const long panels = (matrix->out + GEMM_ROWS - 1) / GEMM_ROWS;
    int failed = 0;
    Gemm job = {matrix, x, y, count, itemsize, tiles, units, groups, 0, 0, &failed};
    job.x_units = malloc((size_t)(round_up(units, GEMM_UNITS) * tiles * GEMM_POSITIONS) * 4);
    job.x_scales = malloc((size_t)(groups * tiles * GEMM_POSITIONS) * sizeof(float));
    if (!job.x_units || !job.x_scales) failed = 1;
    if (!failed) parallel_for(pack_positions, &job, tiles, 4, threads);
    const long share = (panels + 2 * threads - 1) / (2 * threads);
    if (!failed) parallel_for(gemm_range, &job, panels, min_long(share, GEMM_TASK_PANELS), threads);
    free(job.x_units);
    free(job.x_scales);
    return failed;
}
