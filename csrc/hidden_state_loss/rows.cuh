// The loss between hidden states on the GPU: a warp per row, which computes the row's distance and, while the row is in the
// caches, its gradient. Sums have a fixed order. No torch headers.
//
// Shapes: N rows, D hidden.
#pragma once

#include "cuda/elements.cuh"

namespace harness::cuda {

constexpr int kRowWarps = 8;
constexpr int kSumThreads = 1024;
constexpr int kMaxLayers = 32;  // of one launch

template <typename T>
struct Layer {
  const T* student;
  const T* teacher;
  T* grad_ND;  // null: no gradient needed
  int64_t student_stride, teacher_stride, width;
  sum_t<T> weight;
};

// The arguments of several layers. Each row of each layer writes its own element of sums_LN.
template <typename T>
struct LayersArguments {
  using A = sum_t<T>;
  Layer<T> layers[kMaxLayers];
  int64_t rows;
  const bool* mask_N;
  bool cosine;
  A epsilon;
  const A* inverse_count;  // 1 / number of rows that count, on the device
  A* sums_LN;
};

template <typename A>
__device__ A sum_warp(A value) {
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

template <typename T>
struct Products {
  using A = sum_t<T>;
  A first = 0, student = 0, teacher = 0;

  __device__ void add(A s, A t, bool cosine) {
    if (cosine) {
      first += s * t;
      student += s * s;
      teacher += t * t;
    } else {
      first += (s - t) * (s - t);
    }
  }

  __device__ void sum() {
    first = sum_warp(first);
    student = sum_warp(student);
    teacher = sum_warp(teacher);
  }
};

// Spreads a row over one warp's lanes: calls run(d) for the start of each 16-byte run, single(d) for each element before the
// first and after the last run.
template <typename T, typename RunBody, typename SingleBody>
__device__ void over_row(int64_t width, int64_t head, bool runs, const RunBody& run, const SingleBody& single) {
  constexpr int length = run_length<T>;
  const int lane = threadIdx.x;
  head = runs ? min(head, width) : width;
  const int64_t tail = runs ? head + (width - head) / length * length : width;
  for (int64_t d = lane; d < head; d += 32) single(d);
  for (int64_t d = head + int64_t(lane) * length; d < tail; d += 32 * length) run(d);
  for (int64_t d = tail + lane; d < width; d += 32) single(d);
}

template <typename T>
__device__ void write_gradient(const Layer<T>& layer, int64_t n, sum_t<T> by_student, sum_t<T> by_teacher) {
  using A = sum_t<T>;
  const T* s_D = layer.student + n * layer.student_stride;
  const T* t_D = layer.teacher + n * layer.teacher_stride;
  T* grad_D = layer.grad_ND + n * layer.width;
  const bool runs = same_phase(s_D, t_D) && same_phase(s_D, static_cast<const T*>(grad_D));
  const auto gradient = [&](T s, T t) { return narrow<T>(A(widen(s) * by_student + widen(t) * by_teacher)); };
  over_row<T>(
      layer.width, head_length(s_D), runs,
      [&](int64_t d) {
        Run<T> s = load_run(s_D + d);
        const Run<T> t = load_run(t_D + d);
#pragma unroll
        for (int i = 0; i < run_length<T>; ++i) s.values[i] = gradient(s.values[i], t.values[i]);
        store_run(grad_D + d, s);
      },
      [&](int64_t d) { grad_D[d] = gradient(s_D[d], t_D[d]); });
}

template <typename T>
__global__ void __launch_bounds__(32 * kRowWarps) layers_kernel(const LayersArguments<T> all) {
  using A = sum_t<T>;
  const int64_t n = int64_t(blockIdx.x) * kRowWarps + threadIdx.y;
  if (n >= all.rows) return;
  const Layer<T> layer = all.layers[blockIdx.y];
  const int64_t width = layer.width;
  A* sum = all.sums_LN + int64_t(blockIdx.y) * all.rows + n;
  if (all.mask_N && !all.mask_N[n]) {
    if (layer.grad_ND) {
      for (int64_t d = threadIdx.x; d < width; d += 32) layer.grad_ND[n * width + d] = narrow<T>(A(0));
    }
    if (threadIdx.x == 0) *sum = A(0);
    return;
  }
  const T* s_D = layer.student + n * layer.student_stride;
  const T* t_D = layer.teacher + n * layer.teacher_stride;
  Products<T> products;
  over_row<T>(
      width, head_length(s_D), same_phase(s_D, t_D),
      [&](int64_t d) {
        const Run<T> s = load_run(s_D + d), t = load_run(t_D + d);
#pragma unroll
        for (int i = 0; i < run_length<T>; ++i) products.add(widen(s.values[i]), widen(t.values[i]), all.cosine);
      },
      [&](int64_t d) { products.add(widen(s_D[d]), widen(t_D[d]), all.cosine); });
  products.sum();
  const A weight = layer.weight * *all.inverse_count;
  A distance = products.first / A(width), by_student = A(2) / A(width), by_teacher = -by_student;
  if (all.cosine) {
    const A student = products.student + all.epsilon, teacher = products.teacher + all.epsilon;
    const A length = sqrt(student) * sqrt(teacher);
    distance = A(1) - products.first / length;
    by_student = products.first / (student * length);
    by_teacher = A(-1) / length;
  }
  if (threadIdx.x == 0) *sum = weight * distance;
  if (layer.grad_ND) write_gradient(layer, n, weight * by_student, weight * by_teacher);
}

// Sums a block's values in a fixed order; thread 0 has the result.
template <typename A>
__device__ A sum_block(A value) {
  __shared__ A warps[kSumThreads / 32];
  value = sum_warp(value);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kSumThreads / 32; ++warp) value += warps[warp];
  }
  return value;
}

// Writes 1 / the number of rows that count; 0 if no row counts.
template <typename A>
__global__ void count_kernel(const bool* mask_N, int64_t rows, A* inverse_count) {
  double count = 0;
  for (int64_t n = threadIdx.x; n < rows; n += kSumThreads) count += !mask_N || mask_N[n] ? 1 : 0;
  count = sum_block(count);
  if (threadIdx.x == 0) *inverse_count = count > 0 ? A(1 / count) : A(0);
}

template <typename A>
__global__ void sum_kernel(const A* sums, int64_t count, A* loss) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kSumThreads) sum += sums[i];
  sum = sum_block(sum);
  if (threadIdx.x == 0) *loss = A(sum);
}

template <typename A>
cudaError_t launch_count(const bool* mask_N, int64_t rows, A* inverse_count, cudaStream_t stream) {
  HARNESS_LAUNCH(count_kernel<A>, 1, kSumThreads, stream, mask_N, rows, inverse_count);
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch_layers(const LayersArguments<T>& all, int num_layers, cudaStream_t stream) {
  if (all.rows == 0) return cudaSuccess;
  const unsigned blocks = static_cast<unsigned>((all.rows + kRowWarps - 1) / kRowWarps);
  const dim3 grid(blocks, static_cast<unsigned>(num_layers)), block(32, kRowWarps);
  HARNESS_LAUNCH(layers_kernel<T>, grid, block, stream, all);
  return cudaGetLastError();
}

template <typename A>
cudaError_t launch_sum(const A* sums, int64_t count, A* loss, cudaStream_t stream) {
  HARNESS_LAUNCH(sum_kernel<A>, 1, kSumThreads, stream, sums, count, loss);
  return cudaGetLastError();
}

}  // namespace harness::cuda
