// The instruction sets that inner loops are compiled for. cpu/each_instruction_set.h compiles an op's loops for each.
#pragma once

// Headers of the loops: before any `target` pragma, so that the functions in these headers run on every machine.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

namespace harness {

struct bfloat16 {
  uint16_t bits;
};

enum class InstructionSet { baseline, avx2, avx512 };

// The best set of this machine, found at the first call. HARNESS_ISA=avx2 or baseline asks for less, for tests.
InstructionSet instruction_set();

// "avx512", "avx2" or "baseline".
const char* set_name(InstructionSet set);

template <typename Function>
Function* select_function(Function* baseline, Function* avx2, Function* avx512) {
  const InstructionSet set = instruction_set();
  return set == InstructionSet::avx512 ? avx512 : set == InstructionSet::avx2 ? avx2 : baseline;
}

}  // namespace harness

// The version of a function template of row.h, as HARNESS_LOOP(gelu_row<T, A>), for this machine.
#if defined(__x86_64__)
#define HARNESS_LOOP(...) \
  harness::select_function(&baseline::__VA_ARGS__, &avx2::__VA_ARGS__, &avx512::__VA_ARGS__)
#else
#define HARNESS_LOOP(...) (&baseline::__VA_ARGS__)
#endif
