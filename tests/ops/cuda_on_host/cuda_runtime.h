// As much of CUDA as the kernels of csrc use, on a CPU: each CUDA thread is a fiber, blocks run one after the other.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "fibers.h"

#define __device__
#define __host__
#define __global__
#define __noinline__
#define __shared__ static
#define __launch_bounds__(...)
#define HARNESS_LAUNCH(kernel, grid, block, stream, ...) \
  host::run(grid, block, stream, [&] { kernel(__VA_ARGS__); })

using dim3 = host::Place;
using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

#define threadIdx (host::current->thread)
#define blockIdx host::block_place
#define gridDim host::grid_size

namespace host {

template <typename Body>
void run(dim3 grid, dim3 block, cudaStream_t, const Body& body) {
  const Call call{[](const void* context) { (*static_cast<const Body*>(context))(); }, &body};
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) run_block(grid, block, dim3(x, y), call);
  }
}

template <typename A>
A from_lane(unsigned mask, A value, unsigned source) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(value));
  bits = exchange(mask, bits, source);
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace host

inline void __syncthreads() { host::wait_for_block(); }

template <typename A>
A __shfl_down_sync(unsigned mask, A value, unsigned distance) {
  return host::from_lane(mask, value, host::current->lane + distance);
}

template <typename A>
A __shfl_xor_sync(unsigned mask, A value, unsigned distance) {
  return host::from_lane(mask, value, host::current->lane ^ distance);
}

template <typename A>
A min(A left, A right) {
  return left < right ? left : right;
}

inline float normcdff(float x) { return 0.5f * std::erfc(-x * 0.707106781f); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x * 0.7071067811865476); }
