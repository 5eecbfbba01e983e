// The inner loops for AVX2 and FMA.
#include "cpu/kernels_headers.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define HARNESS_ISA avx2
#define HARNESS_VECTOR_BYTES 32
#include "cpu/kernels_body.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
