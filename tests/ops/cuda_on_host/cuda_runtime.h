// Just enough of CUDA to run the kernels of csrc/cuda on a CPU: a thread for a thread, one block after the other.
#pragma once

#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)
#define HARNESS_LAUNCH(kernel, grid, block, stream, ...) \
  host::run(grid, block, stream, [&] { kernel(__VA_ARGS__); })

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

namespace host {

struct Warp {
  explicit Warp(unsigned lanes) : step(lanes) {}
  std::barrier<> step;
  double values[32];
};

inline thread_local dim3 thread{0, 0, 0}, block_place{0, 0, 0}, grid_size{1}, block_size{1};
inline thread_local Warp* warp = nullptr;
inline thread_local std::barrier<>* whole = nullptr;

inline unsigned lane() { return (thread.y * block_size.x + thread.x) % 32; }

template <typename Body>
void run_block(dim3 grid, dim3 block, dim3 place, const Body& body) {
  const unsigned count = block.x * block.y;
  std::barrier<> all(count);
  std::vector<std::unique_ptr<Warp>> warps;
  for (unsigned first = 0; first < count; first += 32) warps.push_back(std::make_unique<Warp>(std::min(32u, count - first)));
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      thread = dim3(i % block.x, i / block.x, 0);
      block_place = place;
      grid_size = grid;
      block_size = block;
      warp = warps[i / 32].get();
      whole = &all;
      body();
      all.arrive_and_drop();
    });
  }
  for (std::thread& one : threads) one.join();
}

template <typename Body>
void run(dim3 grid, dim3 block, cudaStream_t, const Body& body) {
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) run_block(grid, block, dim3(x, y, 0), body);
  }
}

template <typename A>
A from_lane(A value, unsigned source) {
  warp->values[lane()] = value;
  warp->step.arrive_and_wait();
  const A found = source < 32 ? A(warp->values[source]) : value;
  warp->step.arrive_and_wait();
  return found;
}

}  // namespace host

#define threadIdx host::thread
#define blockIdx host::block_place
#define gridDim host::grid_size

inline void __syncthreads() { host::whole->arrive_and_wait(); }

template <typename A>
A __shfl_down_sync(unsigned, A value, int distance) {
  return host::from_lane(value, host::lane() + distance);
}

template <typename A>
A __shfl_xor_sync(unsigned, A value, int distance) {
  return host::from_lane(value, host::lane() ^ distance);
}

template <typename A>
A min(A left, A right) {
  return left < right ? left : right;
}

inline float normcdff(float x) { return 0.5f * std::erfc(-x * 0.707106781f); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x * 0.7071067811865476); }
