// The choice of the instruction set.
#include "cpu/instruction_set.h"

namespace harness {
namespace {

InstructionSet find_instruction_set() {
#if defined(__x86_64__)
  const char* requested = std::getenv("HARNESS_ISA");
  const bool baseline_only = requested && !std::strcmp(requested, "baseline");
  const bool below_avx512 = baseline_only || (requested && !std::strcmp(requested, "avx2"));
  __builtin_cpu_init();
  if (!below_avx512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return InstructionSet::avx512;
  }
  if (!baseline_only && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::avx2;
#endif
  return InstructionSet::baseline;
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet found = find_instruction_set();
  return found;
}

const char* set_name(InstructionSet set) {
  return set == InstructionSet::avx512 ? "avx512" : set == InstructionSet::avx2 ? "avx2" : "baseline";
}

}  // namespace harness
