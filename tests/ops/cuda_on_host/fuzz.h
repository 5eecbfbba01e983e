// What the random tests of the CUDA kernels share: random numbers, tensors in memory of their exact size, comparison.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/elements.cuh"

namespace fuzz {

using Wide = long double;  // of the references

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}

  uint64_t bits() {  // splitmix64
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int64_t between(int64_t least, int64_t most) { return least + int64_t(bits() % uint64_t(most - least + 1)); }
  double uniform() { return double(bits() >> 11) * 0x1p-53; }
  bool chance(double probability) { return uniform() < probability; }
  double normal() { return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(6.283185307179586 * uniform()); }
  // A size of about the same probability in each power of two.
  int64_t size(int64_t most) { return std::min<int64_t>(most, int64_t(std::exp(uniform() * std::log(most + 1.0)))); }
  template <typename T>
  T choice(std::initializer_list<T> values) {
    return values.begin()[between(0, int64_t(values.size()) - 1)];
  }

 private:
  uint64_t state_;
};

struct Mismatch : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename T>
Wide wide(T value) {
  return Wide(harness::cuda::widen(value));
}

template <typename T>
T narrow(double value) {
  return harness::cuda::narrow<T>(harness::cuda::sum_t<T>(value));
}

// The relative rounding error of a number stored as T, and the absolute error of its smallest numbers.
template <typename T>
constexpr double rounding = std::numeric_limits<T>::epsilon() / 2;
template <>
constexpr double rounding<__nv_bfloat16> = 0x1p-8;
template <>
constexpr double rounding<__half> = 0x1p-11;
template <typename T>
constexpr double smallest = 0;
template <>
constexpr double smallest<__half> = 0x1p-24;

// The relative error allowed to sums of T: their dtype's rounding and that of its exponentials.
template <typename T>
constexpr double sum_error = sizeof(harness::cuda::sum_t<T>) == 8 ? 2e-15 : 1e-6;

// Rows of T at any alignment and stride, in memory that ends after the last element.
template <typename T>
struct Rows {
  int64_t count, width, stride, offset;
  std::unique_ptr<T[]> memory;

  Rows(Random& random, int64_t count, int64_t width)
      : Rows(count, width, width + (random.chance(0.5) ? 0 : random.between(1, 40)), random.between(0, 9)) {}
  Rows(int64_t count, int64_t width, int64_t stride, int64_t offset)
      : count(count), width(width), stride(stride), offset(offset), memory(new T[size()]) {
    for (int64_t i = 0; i < size(); ++i) memory[i] = gap();
  }

  int64_t size() const { return offset + (count > 0 ? (count - 1) * stride + width : 0); }
  T* data() { return memory.get() + offset; }
  T* row(int64_t n) { return data() + n * stride; }
  static T gap() { return narrow<T>(-77.0); }

  Rows copy() const {
    Rows other(count, width, stride, offset);
    std::copy_n(memory.get(), size(), other.memory.get());
    return other;
  }

  // Checks that nothing before, between and after the rows was written.
  void check_gaps(const char* name) {
    for (int64_t i = 0; i < size(); ++i) {
      const int64_t column = (i - offset) % stride;
      const bool outside = i < offset || column >= width;
      if (outside && wide(memory[i]) != wide(gap())) throw Mismatch(std::string(name) + " was written outside its rows");
    }
  }
};

// The largest share of its allowed error that any value of a case has.
class Comparison {
 public:
  // Checks a value: NaN where NaN is expected, infinity where infinity is, else within the allowed error.
  void check(const char* name, int64_t row, int64_t column, Wide value, Wide expected, Wide allowed) {
    if (std::isnan(expected) ? std::isnan(value) : value == expected) return;
    const Wide share = std::fabs(value - expected) / allowed;
    if (!(share <= 1)) {
      throw Mismatch(
          std::string(name) + " of row " + std::to_string(row) + ", column " + std::to_string(column) + ": expected " +
          std::to_string(expected) + " within " + std::to_string(allowed) + "; got " + std::to_string(value));
    }
    largest_ = std::max(largest_, double(share));
  }
  double largest() const { return largest_; }

 private:
  double largest_ = 0;
};

// A kind of case: runs one case of it, and returns the largest share of the allowed error.
using Run = double (*)(Random& random);

struct Kind {
  std::string name;
  Run run;
};

inline std::vector<Kind>& kinds() {
  static std::vector<Kind> all;
  return all;
}

struct Register {
  Register(const std::string& name, Run run) { kinds().push_back({name, run}); }
};

}  // namespace fuzz

// Registers a case `run<T>` of an op for every dtype, or for float alone.
#define FUZZ_TYPE(op, run, type) const fuzz::Register register_##run##type{op " " #type, &run<type>};
#ifdef FUZZ_FLOAT_ONLY
#define FUZZ(op, run) FUZZ_TYPE(op, run, float)
#else
#define FUZZ(op, run)                \
  FUZZ_TYPE(op, run, float)          \
  FUZZ_TYPE(op, run, __nv_bfloat16)  \
  FUZZ_TYPE(op, run, __half)         \
  FUZZ_TYPE(op, run, double)
#endif
