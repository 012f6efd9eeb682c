/* Attention over blocks of keys with a running maximum and sum of each row, after Milakov and Gimelshein 2018, "Online
 * normalizer calculation for softmax", and Dao et al. 2022, "FlashAttention".
 *
 * A row is one head at one position. The query heads of a key-value head are handled together, position by position, in
 * tiles of TILE_ROWS. Both products work on units of 32 bits, a float32 or two bfloat16, into whose order a block of keys
 * and values is copied once for each tile. */

#define BLOCK_KEYS 64
#define TILE_ROWS 128
#define MAX_HEAD_DIM 256 /* as in cpu.py */

typedef struct {
    _Alignas(64) uint32_t keys[MAX_HEAD_DIM * BLOCK_KEYS]; /* (units of a key, BLOCK_KEYS) */
    uint32_t values[BLOCK_KEYS * MAX_HEAD_DIM];            /* (units of BLOCK_KEYS, head_dim) */
    float sums[TILE_ROWS * MAX_HEAD_DIM], largest[TILE_ROWS], total[TILE_ROWS];
} AttentionScratch;

/* Byte offset of a row, counted over positions and the query heads of one key-value head. */
INLINE long row_offset(const Attention *a, long kv_head, long row) {
    const long shared = a->n_heads / a->n_kv_heads;
    return (row / shared * a->n_heads + kv_head * shared + row % shared) * a->head_dim * a->itemsize;
}

/* How many keys a row sees. */
INLINE long keys_of_row(const Attention *a, const AttentionInput *input, long row) {
    return min_long(input->past + row / (a->n_heads / a->n_kv_heads) + 1, input->length);
}

static void copy_keys(AttentionScratch *scratch, const Attention *a, const char *keys, long stride, long count) {
    const long units = a->head_dim * a->itemsize / 4;
    FOR_LANES(k, BLOCK_KEYS) FOR_LANES(u, units) {
        vint rows[LANES];
        UNROLLED(i, LANES) {
            const char *from = keys + (k + i) * stride + 4 * u;
            rows[i] = vi_load_n(from, k + i < count ? units - u : 0);
            __builtin_prefetch(from + BLOCK_KEYS * stride);
        }
        vi_transpose(rows);
        UNROLLED(i, LANES) vi_store(scratch->keys + (u + i) * BLOCK_KEYS + k, rows[i]);
    }
}

static void copy_values(AttentionScratch *scratch, const Attention *a, const char *values, long stride, long count) {
    const long width = round_up(a->head_dim, 64), per_unit = 4 / a->itemsize;
    for (long k = 0; k < BLOCK_KEYS; k += per_unit) FOR_LANES(d, width) {
        vint unit = vi_zero();
        for (long i = k; i < k + per_unit; i++) {
            const vfloat value = load_n(values + i * stride, d, a->itemsize, i < count ? a->head_dim - d : 0);
            unit = vi_or(vi_shift_right_16(unit), (vint)value);
            __builtin_prefetch(values + (i + BLOCK_KEYS) * stride + d * a->itemsize);
        }
        vi_store(scratch->values + k / per_unit * width + d, unit);
    }
}

/* sums += rows (count, units) times columns (units, 64), `stride` units apart. */
INLINE void multiply(const void *const rows[4], int count, int itemsize, const uint32_t *columns, long stride, long units,
                     vfloat sums[4][64 / LANES]) {
    UNROLLED(part, 64 / LANES / ATTENTION_COLUMNS) {
        const uint32_t *column = columns + part * ATTENTION_COLUMNS * LANES;
        vfloat part_sums[4][ATTENTION_COLUMNS];
        UNROLLED(r, count) UNROLLED(k, ATTENTION_COLUMNS) part_sums[r][k] = sums[r][part * ATTENTION_COLUMNS + k];
        for (long u = 0; u < units; u++, column += stride) UNROLLED(r, count) {
            const vint unit = vi_set1(((const int32_t *)rows[r])[u]);
            UNROLLED(k, ATTENTION_COLUMNS)
                part_sums[r][k] = dot_units(part_sums[r][k], unit, vi_load(column + LANES * k), itemsize);
        }
        UNROLLED(r, count) UNROLLED(k, ATTENTION_COLUMNS) sums[r][part * ATTENTION_COLUMNS + k] = part_sums[r][k];
    }
}

/* `count` rows, numbered from `row` on and from `slot` on in the tile, over the block of keys from `start` on. */
INLINE void attend_block(const Attention *a, const AttentionInput *input, AttentionScratch *scratch, int count,
                         int itemsize, long kv_head, long row, long slot, long start) {
    const long width = round_up(a->head_dim, 64);
    const vfloat scale = vf_set1(1 / sqrtf((float)a->head_dim));
    const void *rows[4];
    uint32_t weights[4][BLOCK_KEYS];
    vfloat sums[4][BLOCK_KEYS / LANES], rescale[4];
    UNROLLED(r, count) UNROLLED(k, BLOCK_KEYS / LANES) sums[r][k] = vf_zero();
    UNROLLED(r, count) rows[r] = input->query + row_offset(a, kv_head, row + r);
    multiply(rows, count, itemsize, scratch->keys, BLOCK_KEYS, a->head_dim * itemsize / 4, sums);
    UNROLLED(r, count) {
        const long end = keys_of_row(a, input, row + r) - start;
        const vfloat before = vf_set1(scratch->largest[slot + r]);
        vfloat largest = before, total = vf_zero();
        UNROLLED(k, BLOCK_KEYS / LANES) {
            sums[r][k] = vf_first(end - LANES * k, vf_mul(sums[r][k], scale), vf_set1(-INFINITY));
            largest = vf_max(largest, sums[r][k]);
        }
        largest = vf_set1(scratch->largest[slot + r] = vf_reduce_max(largest));
        UNROLLED(k, BLOCK_KEYS / LANES) {
            const vfloat weight = vf_first(end - LANES * k, vf_exp(vf_sub(sums[r][k], largest)), vf_zero());
            store_n(weights[r], LANES * k, itemsize, LANES, weight);
            total = vf_add(total, weight);
        }
        rescale[r] = vf_exp(vf_sub(before, largest));
        float factor[LANES];
        vf_store(factor, rescale[r]);
        scratch->total[slot + r] = fmaf(scratch->total[slot + r], factor[0], vf_reduce_add(total));
        rows[r] = weights[r];
    }
    for (long d = 0; d < width; d += 64) {
        float *const to = scratch->sums + slot * width + d;
        UNROLLED(r, count) UNROLLED(k, 64 / LANES)
            sums[r][k] = vf_mul(vf_load(to + r * width + LANES * k), rescale[r]);
        multiply(rows, count, itemsize, scratch->values + d, width, BLOCK_KEYS * itemsize / 4, sums);
        UNROLLED(r, count) UNROLLED(k, 64 / LANES) vf_store(to + r * width + LANES * k, sums[r][k]);
    }
}

static void attend_tile(const Attention *a, const AttentionInput *input, AttentionScratch *scratch, long kv_head,
                        long first, long rows) {
    const long shared = a->n_heads / a->n_kv_heads, length = keys_of_row(a, input, first + rows - 1);
    const long width = round_up(a->head_dim, 64);
    for (long r = 0; r < rows; r++) scratch->largest[r] = -INFINITY, scratch->total[r] = 0;
    for (long i = 0; i < rows * width; i++) scratch->sums[i] = 0;
    for (long start = 0; start < length; start += BLOCK_KEYS) {
        const long offset = kv_head * input->head_stride + start * input->key_stride;
        copy_keys(scratch, a, input->keys + offset, input->key_stride, length - start);
        copy_values(scratch, a, input->values + offset, input->key_stride, length - start);
        for (long slot = 0, count; slot < rows; slot += count) {
            const long row = first + slot;
            count = rows - slot < 4 ? 1 : 4;
            if (input->past + (row + count - 1) / shared < start) continue; /* none of them sees this block */
            if (count == 4 && a->itemsize == 2) attend_block(a, input, scratch, 4, 2, kv_head, row, slot, start);
            else if (count == 4) attend_block(a, input, scratch, 4, 4, kv_head, row, slot, start);
            else if (a->itemsize == 2) attend_block(a, input, scratch, 1, 2, kv_head, row, slot, start);
            else attend_block(a, input, scratch, 1, 4, kv_head, row, slot, start);
        }
    }
    for (long r = 0; r < rows; r++) FOR_LANES(d, a->head_dim) {
        const vfloat mean = vf_div(vf_load(scratch->sums + r * width + d), vf_set1(scratch->total[r]));
        store_n(input->out + row_offset(a, kv_head, first + r), d, a->itemsize, a->head_dim - d, mean);
    }
}

static void attend_range(const void *argument, long start, long stop) {
    const Attention *a = argument;
    AttentionScratch scratch;
    for (long i = start; i < stop; i++) {
        const AttentionInput *input = a->inputs + i / a->tiles / a->n_kv_heads;
        const long first = i % a->tiles * TILE_ROWS;
        const long rows = min_long(input->count * (a->n_heads / a->n_kv_heads) - first, TILE_ROWS);
        if (rows > 0) attend_tile(a, input, &scratch, i / a->tiles % a->n_kv_heads, first, rows);
    }
}

/* Attention of `inputs` sequences, each of which has at most `count` positions. */
static void attend(Attention *a, long inputs, long count, int threads) {
    a->tiles = (count * (a->n_heads / a->n_kv_heads) + TILE_ROWS - 1) / TILE_ROWS;
    parallel_for(attend_range, a, inputs * a->n_kv_heads * a->tiles, 1, threads);
}
