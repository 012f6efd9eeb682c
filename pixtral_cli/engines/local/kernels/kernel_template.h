/* The whole kernel for the instruction set that the including file names. */
#include "thread_pool.h"

#define PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define COMPILE_FOR(set) PRAGMA(clang attribute push(__attribute__((target(set))), apply_to = function))
#else
#define COMPILE_FOR(set) PRAGMA(GCC target(set))
#endif
#ifdef INSTRUCTION_SET
COMPILE_FOR(INSTRUCTION_SET)
#endif

#include "common.h"
#include VECTOR_HEADER
#include "vector.h"
#include "gemv.h"
#include "gemv_packed.h"
#include "gemm.h"
#include "linear.h"
#include "attention.h"
#include "decoder_step.h"

#if defined(__clang__) && defined(INSTRUCTION_SET)
#pragma clang attribute pop
#endif
