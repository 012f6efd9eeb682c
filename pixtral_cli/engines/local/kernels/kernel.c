/* The functions that cpu.py calls through ctypes, and the choice of an instruction set. */
#include "kernel.h"

#include <string.h>

#if defined(__GNUC__)
extern const Kernel kernel_avx512, kernel_avx2_vnni, kernel_avx2, kernel_neon_bf16, kernel_neon_dotprod, kernel_neon;
static const Kernel *const kernels[] = { /* the fastest first */
#ifdef COMPILES_AVX512
    &kernel_avx512,
#endif
#ifdef COMPILES_AVX_VNNI
    &kernel_avx2_vnni,
#endif
#ifdef COMPILES_AVX2
    &kernel_avx2,
#endif
#ifdef COMPILES_NEON_DOTPROD
    &kernel_neon_bf16, &kernel_neon_dotprod,
#endif
#ifdef COMPILES_NEON
    &kernel_neon,
#endif
    0};
static const Kernel *selected;

int pixtral_version(void) { return KERNEL_VERSION; }

/* The name of instruction set `index`, or NULL; their order is that of speed. */
const char *pixtral_instruction_set(int index) {
    for (int i = 0; kernels[i]; i++)
        if (i == index) return kernels[i]->name;
    return 0;
}

int pixtral_supported(int index) { return kernels[index]->supported(); }

/* Of the instruction sets with that name, or whose name begins with it and a hyphen, take the first that this processor
 * has; of all where `name` is empty. Returns its name, or NULL. */
const char *pixtral_select(const char *name) {
    const size_t length = strlen(name);
    for (int i = 0; kernels[i]; i++) {
        const char *found = kernels[i]->name;
        const int named = !length || (!strncmp(found, name, length) && (found[length] == '-' || !found[length]));
        if (named && kernels[i]->supported()) return (selected = kernels[i])->name;
    }
    return 0;
}

/* y = x times the matrix, for `count` vectors of numbers of `itemsize` bytes: 2 for bfloat16, 4 for float32. Returns 1
 * where memory ran out, else 0. */
int pixtral_linear(const Matrix *matrix, const void *x, void *y, long count, int itemsize, int threads) {
    return selected->linear(matrix, x, y, count, itemsize, threads);
}

void pixtral_attend(Attention *attention, long inputs, long count, int threads) {
    selected->attend(attention, inputs, count, threads);
}

int pixtral_decoder_step(const Decoder *decoder, const Sequence *sequences, long n_sequences, char *x,
                         const float *rotations, const float *scales, long count, int threads) {
    return selected->decoder_step(decoder, sequences, n_sequences, x, rotations, scales, count, threads);
}
#endif
