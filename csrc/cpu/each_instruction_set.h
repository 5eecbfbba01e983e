// Compiles the inner loops of one op for each instruction set. Before it, the including file opens the op's namespace and
// sets HARNESS_ROW to the op's row.h; the loops are then in the namespaces baseline, avx2 and avx512.

namespace baseline {
namespace {
#define HARNESS_VECTOR_BYTES 16
#include "cpu/vector.h"
#include HARNESS_ROW
#undef HARNESS_VECTOR_BYTES
}  // namespace
}  // namespace baseline

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
namespace {
#define HARNESS_VECTOR_BYTES 32
#include "cpu/vector.h"
#include HARNESS_ROW
#undef HARNESS_VECTOR_BYTES
}  // namespace
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")
#endif
namespace avx512 {
namespace {
#define HARNESS_VECTOR_BYTES 64
#include "cpu/vector.h"
#include HARNESS_ROW
#undef HARNESS_VECTOR_BYTES
}  // namespace
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
