/* One step of the decoder: a few positions, of one sequence or several, through every layer. Intermediate results are
 * rounded where PyTorch rounds them. */

/* RMSNorm after a residual connection: each of `count` vectors x becomes x + y, and y the norm of that. */
static void add_and_norm(const Decoder *m, const void *weight, char *x, char *y, long count) {
    const long dim = m->dim, itemsize = m->itemsize;
    for (; count--; x += dim * itemsize, y += dim * itemsize) {
        vfloat squares = vf_zero();
        FOR_LANES(i, dim) {
            const vfloat sum = vf_add(load_n(x, i, itemsize, dim - i), load_n(y, i, itemsize, dim - i));
            const vfloat rounded = round_to(itemsize, sum);
            store_n(x, i, itemsize, dim - i, rounded);
            squares = vf_fma(rounded, rounded, squares);
        }
        const vfloat scale = vf_set1(1 / sqrtf(vf_reduce_add(squares) / (float)dim + m->norm_eps));
        FOR_LANES(i, dim) {
            const vfloat normed = vf_mul(load_n(x, i, itemsize, dim - i), scale);
            store_n(y, i, itemsize, dim - i, vf_mul(normed, load_n(weight, i, itemsize, dim - i)));
        }
    }
}

/* gate = silu(gate) * up */
static void swiglu(void *gate, const void *up, long count, long itemsize) {
    FOR_LANES(i, count) {
        const vfloat x = load_n(gate, i, itemsize, count - i);
        const vfloat silu = vf_div(x, vf_add(vf_set1(1), vf_exp(vf_sub(vf_zero(), x))));
        store_n(gate, i, itemsize, count - i, vf_mul(round_to(itemsize, silu), load_n(up, i, itemsize, count - i)));
    }
}

/* RoPE over neighbouring pairs: `count` heads of x, one after the other, to y, where they are `stride` bytes apart.
 * `rotation` holds a cosine and a sine for each pair. */
static void rotate(const Decoder *m, const float *rotation, const char *x, char *y, long count, long stride) {
    const long head = m->head_dim, itemsize = m->itemsize;
    for (; count--; x += head * itemsize, y += stride) FOR_LANES(i, head) {
        const vfloat pairs = load_n(x, i, itemsize, head - i);
        store_n(y, i, itemsize, head - i, vf_multiply_complex(pairs, vf_load_n(rotation + i, head - i)));
    }
}

/* x *= factor, rounded once more: the queries of a position after their rotation. */
static void scale_queries(char *x, float factor, long count, long itemsize) {
    FOR_LANES(i, count) store_n(x, i, itemsize, count - i, vf_mul(load_n(x, i, itemsize, count - i), vf_set1(factor)));
}

/* Rotate queries and keys of one sequence's new positions and append its keys and values to the cache. `scales` are
 * factors of the queries, or null. */
static AttentionInput append_to_cache(const Decoder *m, const Sequence *sequence, long layer, char *query, const char *key,
                                      const char *value, char *attended, const float *rotation, const float *scales) {
    const KVLayer kv = sequence->layers[layer];
    const long row = m->head_dim * m->itemsize, head_stride = kv.capacity * row;
    char *const keys = kv.data, *const values = keys + m->n_kv_heads * head_stride;
    const long past = sequence->past, count = sequence->count;
    for (long n = 0; n < count; n++) {
        const float *turn = rotation + n * m->head_dim;
        char *q = query + n * m->n_heads * row, *to = values + (past + n) * row;
        const char *k = key + n * m->n_kv_heads * row, *v = value + n * m->n_kv_heads * row;
        rotate(m, turn, q, q, m->n_heads, row);
        if (scales && scales[n] != 1) scale_queries(q, scales[n], m->n_heads * m->head_dim, m->itemsize);
        rotate(m, turn, k, keys + (past + n) * row, m->n_kv_heads, head_stride);
        for (long h = 0; h < m->n_kv_heads; h++) memcpy(to + h * head_stride, v + h * row, (size_t)row);
    }
    return (AttentionInput){query, keys, values, attended, count, past, past + count, head_stride, row};
}

/* x (count, dim) becomes the output of the last layer, and the positions' keys and values are appended to the caches.
 * `rotations` are cosines and sines, (count, head_dim / 2, 2), `scales` factors of the queries (count), or null. Returns 1 where memory ran out, else 0. */
static int decoder_step(const Decoder *m, const Sequence *sequences, long n_sequences, char *x, const float *rotations,
                        const float *scales, long count, int threads) {
    const long itemsize = m->itemsize, wide = m->n_heads * m->head_dim * itemsize;
    const long narrow = m->n_kv_heads * m->head_dim * itemsize;
    char *y = calloc((size_t)count, (size_t)((m->dim + 2 * m->hidden_dim) * itemsize + 2 * (wide + narrow)));
    if (!y) return 1;
    char *query = y + count * m->dim * itemsize, *attended = query + count * wide, *key = attended + count * wide;
    char *value = key + count * narrow, *gate = value + count * narrow, *up = gate + count * m->hidden_dim * itemsize;
    AttentionInput inputs[n_sequences];
    Attention attention = {inputs, m->n_heads, m->n_kv_heads, m->head_dim, itemsize, 0};
    int failed = 0;
#define LINEAR(matrix, from, to) failed |= linear(&layer->matrix, from, to, count, (int)itemsize, threads)
    for (long index = 0; index < m->n_layers && !failed; index++) {
        const Layer *layer = m->layers + index;
        add_and_norm(m, layer->attention_norm, x, y, count); /* y: output of the layer before, at first zeros */
        LINEAR(query, y, query);
        LINEAR(key, y, key);
        LINEAR(value, y, value);
        for (long s = 0, n = 0; s < n_sequences; n += sequences[s].count, s++)
            inputs[s] = append_to_cache(m, sequences + s, index, query + n * wide, key + n * narrow, value + n * narrow,
                                        attended + n * wide, rotations + n * m->head_dim, scales ? scales + n : 0);
        attend(&attention, n_sequences, count, threads);
        LINEAR(out, attended, y);
        add_and_norm(m, layer->ffn_norm, x, y, count);
        LINEAR(gate, y, gate);
        LINEAR(up, y, up);
        swiglu(gate, up, count * m->hidden_dim, itemsize);
        LINEAR(down, gate, y);
    }
#undef LINEAR
    if (!failed) add_and_norm(m, m->layers->ffn_norm, x, y, count); /* for the sum; the norm is not used */
    free(y);
    return failed;
}
