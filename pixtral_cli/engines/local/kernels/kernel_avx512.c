/* The kernel for AVX-512 with BF16 and VNNI. */
#include "kernel.h"

#ifdef COMPILES_AVX512
#define INSTRUCTION_SET "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c"
#define VECTOR_HEADER "vector_avx512.h"
#include "kernel_template.h"

static int supported(void) {
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}

const Kernel kernel_avx512 = {"avx512", supported, linear, attend, decoder_step};
#endif
