// The work between the two products of an FFN on the GPU. No torch headers.
//
// Shapes: N tokens, F FFN width.
#pragma once

#include "cuda/elements.cuh"

namespace harness::cuda {

constexpr int kColumnWarps = 8;
constexpr int kRowsPerBlock = 64;
constexpr int kElementThreads = 256;

// The normal distribution's integral up to x, and its density at x.
__device__ inline float normal_integral(float x) { return normcdff(x); }
__device__ inline double normal_integral(double x) { return normcdf(x); }
__device__ inline float normal_density(float x) { return 0.398942280f * expf(-0.5f * x * x); }
__device__ inline double normal_density(double x) { return 0.3989422804014327 * exp(-0.5 * x * x); }

template <typename T>
__global__ void __launch_bounds__(kElementThreads) gelu_kernel(const T* pre, T* h, int64_t count) {
  const int64_t step = int64_t(gridDim.x) * kElementThreads;
  for (int64_t i = int64_t(blockIdx.x) * kElementThreads + threadIdx.x; i < count; i += step) {
    const sum_t<T> x = widen(pre[i]);
    h[i] = narrow<T>(x * normal_integral(x));
  }
}

// A lane per column, a warp per eighth of a block's rows: writes the block's sums over its rows.
template <typename T>
__global__ void __launch_bounds__(32 * kColumnWarps) gelu_backward_kernel(
    const T* pre_NF, T* grad_NF, T* h_NF, sum_t<T>* partial, int64_t rows, int64_t width) {
  using A = sum_t<T>;
  __shared__ A sums[2][kColumnWarps][32];
  const int64_t f = int64_t(blockIdx.x) * 32 + threadIdx.x;
  const int64_t begin = int64_t(blockIdx.y) * kRowsPerBlock;
  const int64_t end = min(begin + kRowsPerBlock, rows);
  A bias = 0, score = 0;
  if (f < width) {
    for (int64_t n = begin + threadIdx.y; n < end; n += kColumnWarps) {
      const int64_t i = n * width + f;
      const A x = widen(pre_NF[i]), grad = widen(grad_NF[i]), integral = normal_integral(x);
      const A h = x * integral, by_pre = grad * (integral + x * normal_density(x));
      h_NF[i] = narrow<T>(h);
      grad_NF[i] = narrow<T>(by_pre);
      bias += by_pre;
      score += h * grad;
    }
  }
  sums[0][threadIdx.y][threadIdx.x] = bias;
  sums[1][threadIdx.y][threadIdx.x] = score;
  __syncthreads();
  if (threadIdx.y < 2 && f < width) {
    A sum = 0;
    for (int warp = 0; warp < kColumnWarps; ++warp) sum += sums[threadIdx.y][warp][threadIdx.x];
    partial[(2 * int64_t(blockIdx.y) + threadIdx.y) * width + f] = sum;
  }
}

// Adds the sums of the blocks in order; adds the absolute score to importance.
template <typename A>
__global__ void __launch_bounds__(kElementThreads) add_blocks_kernel(
    const A* partial, int64_t blocks, int64_t width, A* bias_F, A* importance_F) {
  const int64_t f = int64_t(blockIdx.x) * kElementThreads + threadIdx.x;
  if (f >= width) return;
  double bias = 0, score = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    bias += partial[2 * b * width + f];
    score += partial[(2 * b + 1) * width + f];
  }
  bias_F[f] = A(bias);
  if (importance_F) importance_F[f] += A(fabs(score));
}

inline unsigned blocks_for(int64_t count, int64_t each) { return static_cast<unsigned>((count + each - 1) / each); }

template <typename T>
cudaError_t launch_gelu(const T* pre, T* h, int64_t count, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  const unsigned grid = blocks_for(count, kElementThreads * 4);
  HARNESS_LAUNCH(gelu_kernel<T>, grid, kElementThreads, stream, pre, h, count);
  return cudaGetLastError();
}

inline int64_t gelu_blocks(int64_t rows) { return (rows + kRowsPerBlock - 1) / kRowsPerBlock; }

template <typename T>
cudaError_t launch_gelu_backward(
    const T* pre_NF, T* grad_NF, T* h_NF, sum_t<T>* partial, sum_t<T>* bias_F, sum_t<T>* importance_F, int64_t rows,
    int64_t width, cudaStream_t stream) {
  if (width == 0) return cudaSuccess;
  const int64_t blocks = gelu_blocks(rows);
  if (blocks > 0) {
    const dim3 grid(blocks_for(width, 32), static_cast<unsigned>(blocks)), block(32, kColumnWarps);
    HARNESS_LAUNCH(
        gelu_backward_kernel<T>, grid, block, stream, pre_NF, grad_NF, h_NF, partial, rows, width);
  }
  HARNESS_LAUNCH(
      add_blocks_kernel<sum_t<T>>, blocks_for(width, kElementThreads), kElementThreads, stream, partial, blocks, width,
      bias_F, importance_F);
  return cudaGetLastError();
}

}  // namespace harness::cuda
