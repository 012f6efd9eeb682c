/* The kernel for Advanced SIMD with dot products of bytes and of bfloat16. */
#include "kernel.h"

#ifdef COMPILES_NEON_DOTPROD
#include "arm_features.h"

#if defined(__clang__)
#define INSTRUCTION_SET "dotprod,bf16"
#else
#define INSTRUCTION_SET "arch=armv8.2-a+dotprod+bf16"
#endif
#define HAS_DOTPROD
#define HAS_BF16
#define VECTOR_HEADER "vector_neon.h"
#include "kernel_template.h"

static int supported(void) { return has_dotprod() && has_bf16(); }

const Kernel kernel_neon_bf16 = {"neon-bf16", supported, linear, attend, decoder_step};
#endif
