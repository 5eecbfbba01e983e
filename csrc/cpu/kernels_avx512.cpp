// The inner loops for AVX-512.
#include "cpu/kernels_headers.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")
#endif
#define HARNESS_ISA avx512
#define HARNESS_VECTOR_BYTES 64
#include "cpu/kernels_body.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
