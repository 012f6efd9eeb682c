/* The kernel for Advanced SIMD, as every 64-bit Arm processor has it. */
#include "kernel.h"

#ifdef COMPILES_NEON
#define VECTOR_HEADER "vector_neon.h"
#include "kernel_template.h"

static int supported(void) { return 1; }

const Kernel kernel_neon = {"neon-base", supported, linear, attend, decoder_step};
#endif
