/* Replays recorded calls of the CPU kernel with every instruction set of this processor: replay FILE [SET COUNT].
 *
 * Prints a line for each set: its name and how many calls were checked. Exits with 1 at the first result that is further
 * from the recorded one than allowed, or that depends on how many vectors share a call. With SET and COUNT it only runs
 * the first call COUNT times, for counting instructions. The format is written by record() in test_arm.py. */
#include "kernel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *pixtral_instruction_set(int index);
int pixtral_supported(int index);
const char *pixtral_select(const char *name);
int pixtral_linear(const Matrix *matrix, const void *x, void *y, long count, int itemsize, int threads);
void pixtral_attend(Attention *attention, long inputs, long count, int threads);
int pixtral_decoder_step(const Decoder *decoder, const Sequence *sequences, long n_sequences, char *x,
                         const float *rotations, const float *scales, long count, int threads);

static FILE *file;

static long number(void) {
    int64_t value;
    if (fread(&value, sizeof value, 1, file) != 1) exit(2);
    return (long)value;
}

static double real(void) {
    double value;
    if (fread(&value, sizeof value, 1, file) != 1) exit(2);
    return value;
}

static void *bytes(void) {
    const size_t size = (size_t)number();
    char *data = malloc(size + 64);
    if (!data || (size && fread(data, size, 1, file) != 1)) exit(2);
    return data;
}

static double value_of(const void *data, long at, long itemsize) {
    if (itemsize == 4) return ((const float *)data)[at];
    union { uint32_t bits; float value; } number = {(uint32_t)((const uint16_t *)data)[at] << 16};
    return number.value;
}

static void compare(const char *what, const void *found, const float *expected, long count, long itemsize, double allowed) {
    for (long i = 0; i < count; i++) {
        const double value = value_of(found, i, itemsize), difference = fabs(value - (double)expected[i]);
        if (!(difference <= allowed * (1 + fabs((double)expected[i])))) {
            printf("%s: %g instead of %g at %ld\n", what, value, (double)expected[i], i);
            exit(1);
        }
    }
}

static void replay_linear(int repeat) {
    Matrix m = {0};
    m.format = number();
    const long itemsize = number(), count = (m.in = number(), m.out = number(), number());
    const double allowed = real();
    m.weights = bytes(), m.scales = bytes();
    const char *x = bytes();
    const float *expected = bytes();
    char *y = malloc((size_t)(count * m.out * itemsize)), *alone = malloc((size_t)(m.out * itemsize));
    for (int i = 0; i < repeat; i++) pixtral_linear(&m, x, y, count, (int)itemsize, 1);
    if (repeat > 1 || repeat == 0) exit(0);
    compare("linear", y, expected, count * m.out, itemsize, allowed);
    pixtral_linear(&m, x, y, count, (int)itemsize, 3);
    for (long n = 0; n < count && count <= MAX_GEMV_VECTORS; n++) {
        pixtral_linear(&m, x + n * m.in * itemsize, alone, 1, (int)itemsize, 1);
        if (memcmp(alone, y + n * m.out * itemsize, (size_t)(m.out * itemsize))) {
            printf("linear: vector %ld of %ld is another alone\n", n, count);
            exit(1);
        }
    }
}

static void replay_attention(void) {
    Attention a = {0};
    a.n_heads = number(), a.n_kv_heads = number(), a.head_dim = number(), a.itemsize = number();
    AttentionInput input = {0};
    input.count = number(), input.past = number();
    const double allowed = real();
    input.length = input.past + input.count;
    input.key_stride = a.head_dim * a.itemsize, input.head_stride = input.length * input.key_stride;
    input.query = bytes(), input.keys = bytes(), input.values = bytes();
    const float *expected = bytes();
    const long size = input.count * a.n_heads * a.head_dim;
    input.out = malloc((size_t)(size * a.itemsize));
    a.inputs = &input;
    pixtral_attend(&a, 1, input.count, 2);
    compare("attention", input.out, expected, size, a.itemsize, allowed);
}

static void replay_step(void) {
    Decoder m = {0};
    m.n_layers = number(), m.dim = number(), m.hidden_dim = number(), m.n_heads = number(), m.n_kv_heads = number();
    m.head_dim = number(), m.itemsize = number(), m.norm_eps = 1e-5f;
    Sequence sequence = {0, number(), number()};
    const long capacity = number(), format = number();
    const double allowed = real();
    Layer layers[8];
    KVLayer cache[8];
    for (long i = 0; i < m.n_layers; i++) {
        Matrix *const matrices[] = {&layers[i].query, &layers[i].key, &layers[i].value, &layers[i].out,
                                    &layers[i].gate,  &layers[i].up,  &layers[i].down};
        layers[i].attention_norm = bytes(), layers[i].ffn_norm = bytes();
        for (int j = 0; j < 7; j++) {
            Matrix *matrix = matrices[j];
            matrix->in = number(), matrix->out = number(), matrix->format = format;
            matrix->weights = bytes(), matrix->scales = bytes();
        }
        cache[i] = (KVLayer){bytes(), capacity};
    }
    m.layers = layers, sequence.layers = cache;
    char *x = bytes();
    const float *rotations = bytes(), *scales = bytes(), *expected = bytes();
    if (pixtral_decoder_step(&m, &sequence, 1, x, rotations, scales, sequence.count, 2)) exit(3);
    compare("step", x, expected, sequence.count * m.dim, m.itemsize, allowed);
}

int main(int argc, char **argv) {
    if (argc == 4) {
        file = fopen(argv[1], "rb");
        if (!pixtral_select(argv[2]) || number()) return 2;
        replay_linear(atoi(argv[3]));
    }
    const char *name;
    for (int i = 0; (name = pixtral_instruction_set(i)); i++) {
        if (!pixtral_supported(i)) continue;
        int calls = 0;
        pixtral_select(name);
        file = fopen(argv[1], "rb");
        for (long kind; (kind = number()) >= 0; calls++) kind == 0 ? replay_linear(1) : kind == 1 ? replay_attention() : replay_step();
        fclose(file);
        printf("%s %d\n", name, calls);
    }
    return 0;
}
