// Conversion of elements to and from the type of sums, and runs of 16 bytes of elements. No torch headers.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

// Starts a kernel. The tests that run the kernels on a CPU define it before.
#ifndef HARNESS_LAUNCH
#define HARNESS_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#endif

namespace harness::cuda {

template <typename T>
struct Sum {
  using Type = float;
};

template <>
struct Sum<double> {
  using Type = double;
};

template <typename T>
using sum_t = typename Sum<T>::Type;

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(__half x) { return __half2float(x); }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ T narrow(sum_t<T> x);
template <>
__device__ inline float narrow<float>(float x) { return x; }
template <>
__device__ inline double narrow<double>(double x) { return x; }
template <>
__device__ inline __half narrow<__half>(float x) { return __float2half_rn(x); }
template <>
__device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

constexpr int kRunBytes = 16;

template <typename T>
constexpr int run_length = kRunBytes / sizeof(T);

// Sixteen bytes of elements, read or written in one access.
template <typename T>
struct alignas(kRunBytes) Run {
  T values[run_length<T>];
};

template <typename T>
__device__ Run<T> load_run(const T* from) {
  return *reinterpret_cast<const Run<T>*>(from);
}

// In PTX: the compiler splits the store of a struct of small elements. The compiler may move loads over this store, so that
// no thread may read an element after it wrote it.
template <typename T>
__device__ void store_run(T* to, const Run<T>& run) {
#ifdef __CUDA_ARCH__
  unsigned words[4];
  memcpy(words, &run, sizeof(words));
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(words[0]),
               "r"(words[1]), "r"(words[2]), "r"(words[3]));
#else
  *reinterpret_cast<Run<T>*>(to) = run;
#endif
}

template <typename T>
__host__ __device__ bool is_aligned(const T* row) {
  return reinterpret_cast<uintptr_t>(row) % kRunBytes == 0;
}

// Returns the number of elements before the first 16-byte boundary.
template <typename T>
__device__ int64_t head_length(const T* row) {
  return ((kRunBytes - reinterpret_cast<uintptr_t>(row) % kRunBytes) % kRunBytes) / sizeof(T);
}

template <typename T>
__device__ bool same_phase(const T* left, const T* right) {
  return (reinterpret_cast<uintptr_t>(left) ^ reinterpret_cast<uintptr_t>(right)) % kRunBytes == 0;
}

// Returns exp of arguments near or below zero; below -126 ln 2 zero.
__device__ inline float exponential(float x) {
#ifdef __CUDA_ARCH__
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * 1.44269504f));
  return power;
#else
  const float power = exp2f(x * 1.44269504f);  // on a CPU, for tests
  return power < 0x1p-126f ? 0.0f : power;
#endif
}

__device__ inline double exponential(double x) { return exp(x); }

__device__ inline float reciprocal(float x) {
#ifdef __CUDA_ARCH__
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#else
  return 1 / x;
#endif
}

template <typename A>
__device__ A minus_infinity() {
  return -static_cast<A>(INFINITY);
}

}  // namespace harness::cuda
