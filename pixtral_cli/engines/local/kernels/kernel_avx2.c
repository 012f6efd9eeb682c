/* The kernel for AVX2 with FMA and F16C. */
#include "kernel.h"

#ifdef COMPILES_AVX2
#include <cpuid.h>
#define INSTRUCTION_SET "avx2,fma,f16c"
#define VECTOR_HEADER "vector_avx2.h"
#include "kernel_template.h"

static int supported(void) {
    unsigned a, b, c, d;
    const int has_f16c = __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
    return has_f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const Kernel kernel_avx2 = {"avx2-fma", supported, linear, attend, decoder_step};
#endif
