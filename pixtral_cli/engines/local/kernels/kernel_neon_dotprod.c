/* The kernel for Advanced SIMD with dot products of bytes. */
#include "kernel.h"

#ifdef COMPILES_NEON_DOTPROD
#include "arm_features.h"

#if defined(__clang__)
#define INSTRUCTION_SET "dotprod"
#else
#define INSTRUCTION_SET "arch=armv8.2-a+dotprod"
#endif
#define HAS_DOTPROD
#define VECTOR_HEADER "vector_neon.h"
#include "kernel_template.h"

static int supported(void) { return has_dotprod(); }

const Kernel kernel_neon_dotprod = {"neon-dotprod", supported, linear, attend, decoder_step};
#endif
