/* The kernel for AVX2 with FMA and F16C, and AVX-VNNI. */
#include "kernel.h"

#ifdef COMPILES_AVX_VNNI
#include <cpuid.h>
#define INSTRUCTION_SET "avx2,fma,f16c,avxvnni"
#define HAS_VNNI
#define VECTOR_HEADER "vector_avx2.h"
#include "kernel_template.h"

static int supported(void) {
    unsigned a, b, c, d;
    const int has_f16c = __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
    const int has_vnni = __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & 1 << 4;
    return has_f16c && has_vnni && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const Kernel kernel_avx2_vnni = {"avx2-vnni", supported, linear, attend, decoder_step};
#endif
