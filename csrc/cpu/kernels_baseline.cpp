// The inner loops for any machine, and the choice among all.
#include "cpu/kernels_headers.h"

#define HARNESS_ISA baseline
#define HARNESS_VECTOR_BYTES 16
#include "cpu/kernels_body.h"

namespace harness {
#if defined(__x86_64__)
namespace avx512 {
template <typename T, typename A>
Kernels<T, A> table();
}
namespace avx2 {
template <typename T, typename A>
Kernels<T, A> table();
}

namespace {
enum class Level { baseline, avx2, avx512 };

// HARNESS_ISA=avx2 or baseline asks for less than the machine has, for tests.
Level level() {
  const char* asked = std::getenv("HARNESS_ISA");
  const bool below_512 = asked && (!std::strcmp(asked, "avx2") || !std::strcmp(asked, "baseline"));
  const bool below_2 = asked && !std::strcmp(asked, "baseline");
  __builtin_cpu_init();
  if (!below_512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return Level::avx512;
  }
  return !below_2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? Level::avx2 : Level::baseline;
}

template <typename T, typename A>
Kernels<T, A> choose() {
  switch (level()) {
    case Level::avx512: return avx512::table<T, A>();
    case Level::avx2: return avx2::table<T, A>();
    default: return baseline::table<T, A>();
  }
}
}  // namespace

const char* instruction_set() {
  static const Level chosen = level();
  return chosen == Level::avx512 ? "avx512" : chosen == Level::avx2 ? "avx2" : "baseline";
}
#else
namespace {
template <typename T, typename A>
Kernels<T, A> choose() {
  return baseline::table<T, A>();
}
}  // namespace

const char* instruction_set() { return "baseline"; }
#endif

template <typename T, typename A>
const Kernels<T, A>& kernels() {
  static const Kernels<T, A> chosen = choose<T, A>();
  return chosen;
}

template const Kernels<float, float>& kernels<float, float>();
template const Kernels<bfloat16, float>& kernels<bfloat16, float>();
template const Kernels<double, double>& kernels<double, double>();
}  // namespace harness
