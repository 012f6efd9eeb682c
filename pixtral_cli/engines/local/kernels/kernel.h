/* Types and functions of the CPU kernel. Structures are mirrored with ctypes in cpu.py: change VERSION in both with them. */
#ifndef PIXTRAL_KERNEL_H
#define PIXTRAL_KERNEL_H

#include <stdint.h>

#define KERNEL_VERSION 6

/* What this compiler can compile for. */
#if defined(__x86_64__) && defined(__GNUC__)
#define COMPILES_AVX512 1 /* with BF16 */
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#define COMPILES_AVX_VNNI 1
#endif
#define COMPILES_AVX2 1
#elif defined(__aarch64__) && defined(__GNUC__)
#define COMPILES_NEON 1
#if !defined(__clang__) || __clang_major__ >= 16 /* before that, arm_neon.h declares nothing for other targets */
#define COMPILES_NEON_DOTPROD 1
#endif
#endif
#define MAX_GEMV_VECTORS 32 /* up to which a product takes as long as reading the weights does; as in cpu.py */

/* How weights are stored. PLAIN: as activations are; FP8: float8_e4m3fn with a float32 scale for each row; the packed
 * formats of gemv_packed.h. */
enum { PLAIN = 0, FP8 = 1, INT4 = 4, INT8 = 8 };

/* Row-major weights of a linear layer without bias. */
typedef struct {
    const void *weights, *scales;
    long in, out; /* columns and rows */
    long format;
} Matrix;

typedef struct {
    const void *attention_norm, *ffn_norm;
    Matrix query, key, value, out, gate, up, down;
} Layer;

typedef struct {
    const Layer *layers;
    long n_layers, dim, hidden_dim, n_heads, n_kv_heads, head_dim;
    long itemsize; /* of activations: 2 for bfloat16, 4 for float32 */
    float norm_eps;
} Decoder;

/* Keys, then values, of one layer: (n_kv_heads, capacity, head_dim) each. */
typedef struct {
    char *data;
    long capacity;
} KVLayer;

/* `count` new positions of a sequence that has `past` already; one KVLayer for each layer of the decoder. */
typedef struct {
    const KVLayer *layers;
    long past, count;
} Sequence;

/* Causal attention of one sequence: query n of `count` attends to keys 0 to past + n, of which there are `length`.
 * Queries and output are (count, n_heads, head_dim); strides of keys and values are in bytes. */
typedef struct {
    const char *query, *keys, *values;
    char *out;
    long count, past, length, head_stride, key_stride;
} AttentionInput;

typedef struct {
    const AttentionInput *inputs;
    long n_heads, n_kv_heads, head_dim, itemsize;
    long tiles; /* of query rows, for each key-value head of each input */
} Attention;

/* The operations, compiled for one instruction set. Those that return int return 1 where memory ran out, else 0. */
typedef struct {
    const char *name;
    int (*supported)(void); /* whether this processor has the instructions */
    int (*linear)(const Matrix *matrix, const void *x, void *y, long count, int itemsize, int threads);
    void (*attend)(Attention *attention, long inputs, long count, int threads);
    int (*decoder_step)(const Decoder *decoder, const Sequence *sequences, long n_sequences, char *x,
                        const float *rotations, const float *scales, long count, int threads);
} Kernel;

#endif
