// The work between the two products of an FFN on the GPU. No torch headers.
//
// Shapes: N tokens, F FFN width.
#pragma once

#include "cuda/elements.cuh"

namespace harness::cuda {

constexpr int kColumnWarps = 8;
constexpr int kElementThreads = 256;
constexpr int64_t kMinRowsPerBlock = 64;
constexpr int64_t kMaxBlocks = 65535;  // of a grid's second dimension

// Computes the normal distribution's density at x and its integral up to x. For x < 0 the integral is exp(-x²/2) · Q(t) with
// t = 1 / (1 + 0.28 |x|); Q's coefficients are fitted minimax, absolute error 3e-10.
__device__ inline void normal(float x, float& density, float& integral) {
  const float falling = exponential(-0.5f * x * x);
  const float t = reciprocal(0.28f * fabsf(x) + 1.0f);
  float q = 4.08971682e-2f * t - 0.22238256f;
  q = q * t + 0.407519639f;
  q = q * t - 0.261634588f;
  q = q * t + 0.253547877f;
  q = q * t + 5.00580966e-2f;
  q = q * t + 0.12098942f;
  q = q * t + 0.111004941f;
  const float tail = q * t * falling;
  density = 0.398942280f * falling;
  integral = x < 0.0f ? tail : 1.0f - tail;
}

__device__ inline void normal(double x, double& density, double& integral) {
  density = 0.3989422804014327 * exp(-0.5 * x * x);
  integral = normcdf(x);
}

// Turns grad = dL/dh into dL/dpre; returns h.
template <typename A>
__device__ A gelu_backward(A x, A& grad) {
  A density, integral;
  normal(x, density, integral);
  grad *= integral + x * density;
  return x * integral;
}

template <typename A>
__device__ A gelu(A x) {
  A density, integral;
  normal(x, density, integral);
  return x * integral;
}

// Writes h = gelu(pre) in runs of 16 bytes where the alignment of both allows, else by elements.
template <typename T>
__global__ void __launch_bounds__(kElementThreads) gelu_kernel(const T* pre, T* h, int64_t count) {
  constexpr int length = run_length<T>;
  const int64_t thread = int64_t(blockIdx.x) * kElementThreads + threadIdx.x, step = int64_t(gridDim.x) * kElementThreads;
  const bool runs = same_phase(pre, static_cast<const T*>(h));
  const int64_t head = runs ? min(head_length(pre), count) : count;
  const int64_t tail = runs ? head + (count - head) / length * length : count;
  const auto single = [&](int64_t i) { h[i] = narrow<T>(gelu(widen(pre[i]))); };
  for (int64_t i = thread; i < head; i += step) single(i);
#pragma unroll 2
  for (int64_t i = head + thread * length; i < tail; i += step * length) {
    Run<T> run = load_run(pre + i);
#pragma unroll
    for (int j = 0; j < length; ++j) run.values[j] = narrow<T>(gelu(widen(run.values[j])));
    store_run(h + i, run);
  }
  for (int64_t i = tail + thread; i < count; i += step) single(i);
}

// One element, where a run of 16 bytes is not aligned.
template <typename T>
struct Single {
  T values[1];
};

template <typename T>
__device__ void load_columns(const T* from, Run<T>& columns) { columns = load_run(from); }
template <typename T>
__device__ void load_columns(const T* from, Single<T>& column) { column.values[0] = *from; }
template <typename T>
__device__ void store_columns(T* to, const Run<T>& columns) { store_run(to, columns); }
template <typename T>
__device__ void store_columns(T* to, const Single<T>& column) { *to = column.values[0]; }

// Columns is Run or Single. A lane per Columns, a warp per eighth of a block's rows: writes the gradient, h, and the block's sums over its rows.
template <typename T, typename Columns>
__global__ void __launch_bounds__(32 * kColumnWarps) gelu_backward_kernel(
    const T* pre_NF, T* grad_NF, T* h_NF, sum_t<T>* partial, int64_t rows, int64_t width, int64_t rows_per_block) {
  using A = sum_t<T>;
  constexpr int length = sizeof(Columns) / sizeof(T);
  __shared__ A sums[2][kColumnWarps][length][32];
  const int64_t f = (int64_t(blockIdx.x) * 32 + threadIdx.x) * length;
  const int64_t begin = int64_t(blockIdx.y) * rows_per_block;
  const int64_t end = min(begin + rows_per_block, rows);
  A bias[length] = {}, score[length] = {};
  if (f < width) {
#pragma unroll 2
    for (int64_t n = begin + threadIdx.y; n < end; n += kColumnWarps) {
      const int64_t i = n * width + f;
      Columns pre, grad, h;
      load_columns(pre_NF + i, pre);
      load_columns(grad_NF + i, grad);
#pragma unroll
      for (int j = 0; j < length; ++j) {
        const A incoming = widen(grad.values[j]);
        A by_pre = incoming;
        const A activation = gelu_backward(widen(pre.values[j]), by_pre);
        h.values[j] = narrow<T>(activation);
        grad.values[j] = narrow<T>(by_pre);
        bias[j] += by_pre;
        score[j] += activation * incoming;
      }
      store_columns(h_NF + i, h);
      store_columns(grad_NF + i, grad);
    }
  }
#pragma unroll
  for (int j = 0; j < length; ++j) {
    sums[0][threadIdx.y][j][threadIdx.x] = bias[j];
    sums[1][threadIdx.y][j][threadIdx.x] = score[j];
  }
  __syncthreads();
  if (f >= width) return;
  for (int j = threadIdx.y; j < 2 * length; j += kColumnWarps) {
    A sum = 0;
    for (int warp = 0; warp < kColumnWarps; ++warp) sum += sums[j / length][warp][j % length][threadIdx.x];
    partial[(2 * int64_t(blockIdx.y) + j / length) * width + f + j % length] = sum;
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

inline int64_t blocks_for(int64_t count, int64_t each) { return (count + each - 1) / each; }

template <typename T>
cudaError_t launch_gelu(const T* pre, T* h, int64_t count, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  const unsigned grid = static_cast<unsigned>(blocks_for(count, kElementThreads * 2 * run_length<T>));
  HARNESS_LAUNCH(gelu_kernel<T>, grid, kElementThreads, stream, pre, h, count);
  return cudaGetLastError();
}

inline int64_t rows_per_block(int64_t rows) {
  const int64_t fewest = blocks_for(rows, kMaxBlocks);
  return fewest > kMinRowsPerBlock ? fewest : kMinRowsPerBlock;
}

// The number of blocks whose sums `partial` holds, 2 × F numbers each.
inline int64_t gelu_blocks(int64_t rows) { return blocks_for(rows, rows_per_block(rows)); }

template <typename T, typename Columns>
void launch_gelu_backward_rows(
    const T* pre_NF, T* grad_NF, T* h_NF, sum_t<T>* partial, int64_t rows, int64_t width, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(blocks_for(width, 32 * sizeof(Columns) / sizeof(T))), static_cast<unsigned>(gelu_blocks(rows)));
  const dim3 block(32, kColumnWarps);
  const int64_t per_block = rows_per_block(rows);
  HARNESS_LAUNCH(
      (gelu_backward_kernel<T, Columns>), grid, block, stream, pre_NF, grad_NF, h_NF, partial, rows, width, per_block);
}

template <typename T>
cudaError_t launch_gelu_backward(
    const T* pre_NF, T* grad_NF, T* h_NF, sum_t<T>* partial, sum_t<T>* bias_F, sum_t<T>* importance_F, int64_t rows,
    int64_t width, cudaStream_t stream) {
  if (width == 0) return cudaSuccess;
  constexpr int length = run_length<T>;
  const bool runs = width % length == 0 && is_aligned(pre_NF) && is_aligned(grad_NF) && is_aligned(h_NF);
  if (rows > 0 && runs) {
    launch_gelu_backward_rows<T, Run<T>>(pre_NF, grad_NF, h_NF, partial, rows, width, stream);
  } else if (rows > 0) {
    launch_gelu_backward_rows<T, Single<T>>(pre_NF, grad_NF, h_NF, partial, rows, width, stream);
  }
  const unsigned grid = static_cast<unsigned>(blocks_for(width, kElementThreads));
  const int64_t blocks = gelu_blocks(rows);
  HARNESS_LAUNCH(
      add_blocks_kernel<sum_t<T>>, grid, kElementThreads, stream, partial, blocks, width, bias_F, importance_F);
  return cudaGetLastError();
}

}  // namespace harness::cuda
