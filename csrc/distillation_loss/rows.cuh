// The distillation loss on the GPU: a thread block per row, online sums, one read of the logits per pass. No torch headers.
//
// Shapes: N rows, V vocabulary.
#pragma once

#include "cuda/elements.cuh"
#include "distillation_loss/terms.h"

namespace harness::cuda {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;

// The arguments of every row. A part whose pointer is null is left out.
template <typename T>
struct RowArguments {
  using A = sum_t<T>;
  const T* student;
  const T* teacher;
  int64_t student_stride, teacher_stride, vocabulary;
  const int64_t* target_N;
  const bool* soft_mask_N;
  int64_t ignore_index;
  Divergence divergence;
  A temperature;
  A* soft_N;                       // forward: each row's divergence
  A* hard_N;                       // forward: each row's cross-entropy
  RowStatistics<A>* statistics_N;  // written forward, read backward
  const A* grad_soft;             // backward: of each row, or one number for all rows
  const A* grad_hard;
  int64_t grad_stride;  // 1, or 0 for one number for all rows
  T* gradient;           // backward; may equal student
  int64_t gradient_stride;
};

template <typename A>
struct RowSums {
  A s_max, t_max;  // -inf: nothing read
  A student, teacher, cross, hard;
};

template <typename A>
__device__ A finite_shift(A maximum) {
  return maximum == minus_infinity<A>() ? A(0) : maximum;
}

// The other number where one is NaN.
__device__ inline float larger(float left, float right) { return fmaxf(left, right); }
__device__ inline double larger(double left, double right) { return fmax(left, right); }

// Rescales the sums to higher maxima. Invariants: a sum of zero stays zero; an infinite sum of terms whose leading
// probability becomes zero becomes zero.
template <typename A, Divergence kind>
__device__ void raise(RowSums<A>& sums, A s_max, A t_max, A inverse) {
  const A s_rise = finite_shift(s_max) - finite_shift(sums.s_max);
  const A s_step = s_rise * inverse, t_step = (finite_shift(t_max) - finite_shift(sums.t_max)) * inverse;
  if (kind != Divergence::none) {
    const bool forward = kind == Divergence::forward;
    const A leading = forward ? sums.teacher : sums.student, rise = forward ? s_step - t_step : t_step - s_step;
    const A factor = exponential(forward ? -t_step : -s_step);
    if (leading != A(0)) sums.cross = factor == A(0) ? A(0) : factor * (sums.cross + leading * rise);
  }
  if (sums.student != A(0)) sums.student *= exponential(-s_step);
  if (sums.teacher != A(0)) sums.teacher *= exponential(-t_step);
  if (sums.hard != A(0)) sums.hard *= exponential(-s_rise);
  sums.s_max = s_max;
  sums.t_max = t_max;
}

template <typename A, Divergence kind, bool hard>
__device__ void add(RowSums<A>& sums, A s, A t, A inverse) {
  const A s_max = finite_shift(sums.s_max), t_max = finite_shift(sums.t_max);
  if (kind != Divergence::none) {
    const A s_exponent = (s - s_max) * inverse, t_exponent = (t - t_max) * inverse;
    const A s_exp = exponential(s_exponent), t_exp = exponential(t_exponent);
    const A leading = kind == Divergence::forward ? t_exp : s_exp;
    const A difference = kind == Divergence::forward ? t_exponent - s_exponent : s_exponent - t_exponent;
    sums.student += s_exp;
    sums.teacher += t_exp;
    sums.cross += leading == A(0) ? A(0) : leading * difference;
  }
  if (hard) sums.hard += exponential(s - s_max);
}

template <typename T, int count, Divergence kind, bool hard>
__device__ void add_all(RowSums<sum_t<T>>& sums, const T* s, const T* t, sum_t<T> inverse) {
  using A = sum_t<T>;
  A s_max = sums.s_max, t_max = sums.t_max;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    s_max = larger(widen(s[i]), s_max);
    if (kind != Divergence::none) t_max = larger(widen(t[i]), t_max);
  }
  if (s_max > sums.s_max || t_max > sums.t_max) raise<A, kind>(sums, s_max, t_max, inverse);
#pragma unroll
  for (int i = 0; i < count; ++i) {
    add<A, kind, hard>(sums, widen(s[i]), kind == Divergence::none ? A(0) : widen(t[i]), inverse);
  }
}

template <typename A, Divergence kind>
__device__ void merge(RowSums<A>& sums, RowSums<A> other, A inverse) {
  const A s_max = larger(sums.s_max, other.s_max), t_max = larger(sums.t_max, other.t_max);
  raise<A, kind>(sums, s_max, t_max, inverse);
  raise<A, kind>(other, s_max, t_max, inverse);
  sums.student += other.student;
  sums.teacher += other.teacher;
  sums.cross += other.cross;
  sums.hard += other.hard;
}

template <typename A>
__device__ RowSums<A> from_lane(const RowSums<A>& sums, int distance) {
  RowSums<A> other;
  other.s_max = __shfl_down_sync(0xffffffffu, sums.s_max, distance);
  other.t_max = __shfl_down_sync(0xffffffffu, sums.t_max, distance);
  other.student = __shfl_down_sync(0xffffffffu, sums.student, distance);
  other.teacher = __shfl_down_sync(0xffffffffu, sums.teacher, distance);
  other.cross = __shfl_down_sync(0xffffffffu, sums.cross, distance);
  other.hard = __shfl_down_sync(0xffffffffu, sums.hard, distance);
  return other;
}

// Merges the sums of all threads in a fixed order; thread 0 has the result.
template <typename A, Divergence kind>
__device__ RowSums<A> merge_block(RowSums<A> sums, A inverse) {
  __shared__ RowSums<A> warps[kWarps];
  for (int distance = 16; distance > 0; distance /= 2) {
    merge<A, kind>(sums, from_lane(sums, distance), inverse);
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sums;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kWarps; ++warp) merge<A, kind>(sums, warps[warp], inverse);
  }
  return sums;
}

// Sums one thread's part of a row: in runs of 16 bytes where the alignment of both rows allows, else by elements.
template <typename T, Divergence kind, bool hard>
__device__ RowSums<sum_t<T>> thread_sums(
    const T* s_V, const T* t_V, int64_t V, sum_t<T> inverse, sum_t<T> s_max, sum_t<T> t_max) {
  using A = sum_t<T>;
  constexpr int length = run_length<T>;
  RowSums<A> sums{s_max, t_max, A(0), A(0), A(0), A(0)};
  const bool runs = kind == Divergence::none || same_phase(s_V, t_V);
  const int64_t head = runs ? min(head_length(s_V), V) : V;
  const int64_t tail = runs ? head + (V - head) / length * length : V;
  for (int64_t v = threadIdx.x; v < head; v += kThreads) add_all<T, 1, kind, hard>(sums, s_V + v, t_V + v, inverse);
#pragma unroll 2
  for (int64_t v = head + int64_t(threadIdx.x) * length; v < tail; v += int64_t(kThreads) * length) {
    const Run<T> s = load_run(s_V + v);
    const Run<T> t = kind == Divergence::none ? Run<T>{} : load_run(t_V + v);
    add_all<T, length, kind, hard>(sums, s.values, t.values, inverse);
  }
  for (int64_t v = tail + threadIdx.x; v < V; v += kThreads) add_all<T, 1, kind, hard>(sums, s_V + v, t_V + v, inverse);
  return sums;
}

template <typename T>
__device__ RowTerms<sum_t<T>> make_terms(const RowArguments<T>& all, int64_t n) {
  using A = sum_t<T>;
  RowTerms<A> terms{all.divergence, -1, all.temperature, A(0), A(0)};
  if (all.soft_mask_N && !all.soft_mask_N[n]) terms.divergence = Divergence::none;
  if (all.target_N && all.target_N[n] != all.ignore_index) {
    const int64_t target = all.target_N[n];
    terms.target = target >= 0 && target < all.vocabulary ? target : all.vocabulary;  // outside: NaN
  }
  return terms;
}

// Sums a row from its maxima. Rare, and kept out of the registers of the first pass.
template <typename T, Divergence kind, bool hard>
__device__ __noinline__ void sum_from_maxima(
    const T* s_V, const T* t_V, int64_t V, sum_t<T> inverse, RowSums<sum_t<T>>& sums) {
  sums = merge_block<sum_t<T>, kind>(
      thread_sums<T, kind, hard>(s_V, t_V, V, inverse, sums.s_max, sums.t_max), inverse);
}

// Sums a row over the block; thread 0 has the result. An infinite term that a thread read early may have a leading probability
// of zero at the row's maximum: a row whose sum is not finite is summed again from its maxima.
template <typename T, Divergence kind, bool hard>
__device__ RowSums<sum_t<T>> row_sums(const T* s_V, const T* t_V, int64_t V, sum_t<T> inverse) {
  using A = sum_t<T>;
  RowSums<A> sums = merge_block<A, kind>(
      thread_sums<T, kind, hard>(s_V, t_V, V, inverse, minus_infinity<A>(), minus_infinity<A>()), inverse);
  if (kind == Divergence::none) return sums;
  __shared__ A maxima[2];
  __shared__ bool finite;
  if (threadIdx.x == 0) {
    maxima[0] = sums.s_max;
    maxima[1] = sums.t_max;
    finite = sums.cross - sums.cross == A(0);
  }
  __syncthreads();
  if (!finite) {
    RowSums<A> again{maxima[0], maxima[1], A(0), A(0), A(0), A(0)};
    sum_from_maxima<T, kind, hard>(s_V, t_V, V, inverse, again);
    sums = again;
  }
  return sums;
}

// Writes the row's losses; returns its statistics to every thread.
template <typename T, Divergence kind, bool hard>
__device__ RowStatistics<sum_t<T>> forward_row(const RowArguments<T>& all, int64_t n, const RowTerms<sum_t<T>>& terms) {
  using A = sum_t<T>;
  __shared__ RowStatistics<A> shared;
  const T* s_V = all.student + n * all.student_stride;
  const A inverse = A(1) / all.temperature;
  const RowSums<A> sums =
      row_sums<T, kind, hard>(s_V, all.teacher + n * all.teacher_stride, all.vocabulary, inverse);
  if (threadIdx.x == 0) {
    const double student = sums.student, teacher = sums.teacher, cross = sums.cross;
    shared = {finite_shift(sums.s_max), finite_shift(sums.t_max), A(1 / student), A(1 / teacher), A(1 / double(sums.hard)), A(0)};
    double soft = 0;
    if (kind == Divergence::forward) soft = cross / teacher + log(student) - log(teacher);
    if (kind == Divergence::reverse) {
      soft = cross / student + log(teacher) - log(student);
      shared.offset = A(log(teacher) - log(student) - soft);
    }
    all.soft_N[n] = A(soft);
    if (hard) {
      const bool valid = terms.target < all.vocabulary;
      const double logit = valid ? double(widen(s_V[terms.target])) : double(NAN);
      all.hard_N[n] = A(double(shared.student_max) - logit + log(double(sums.hard)));
    }
    if (all.statistics_N) all.statistics_N[n] = shared;
  }
  __syncthreads();
  return shared;
}

template <typename A, Divergence kind, bool hard>
__device__ A element_gradient(A s, A t, bool at_target, const RowTerms<A>& terms, const RowStatistics<A>& row, A inverse) {
  A grad = 0;
  if (kind != Divergence::none) {
    const A factor = terms.grad_soft * inverse;
    const A s_exponent = (s - row.student_max) * inverse, t_exponent = (t - row.teacher_max) * inverse;
    const A s_exp = exponential(s_exponent);
    if (kind == Divergence::forward) {
      grad = s_exp * (factor * row.student_inverse) - exponential(t_exponent) * (factor * row.teacher_inverse);
    } else {
      grad = s_exp == A(0) ? A(0) : s_exp * (factor * row.student_inverse) * (s_exponent - t_exponent + row.offset);
    }
  }
  if (hard) {
    grad += exponential(s - row.student_max) * (terms.grad_hard * row.hard_inverse);
    if (at_target) grad -= terms.grad_hard;
  }
  return grad;
}

// Writes the row's gradient. Each element is read and then written by one thread: gradient may equal student.
template <typename T, Divergence kind, bool hard>
__device__ void backward_row(
    const RowArguments<T>& all, int64_t n, const RowTerms<sum_t<T>>& terms, const RowStatistics<sum_t<T>>& row) {
  using A = sum_t<T>;
  constexpr int length = run_length<T>;
  const T* s_V = all.student + n * all.student_stride;
  const T* t_V = all.teacher + n * all.teacher_stride;
  T* grad_V = all.gradient + n * all.gradient_stride;
  const int64_t V = all.vocabulary;
  const A inverse = A(1) / all.temperature;
  RowTerms<A> own = terms;
  if (hard && terms.target >= V) own.grad_hard = A(NAN);
  const auto gradient = [&](T s, T t, int64_t v) {
    const A teacher = kind == Divergence::none ? A(0) : widen(t);
    return narrow<T>(element_gradient<A, kind, hard>(widen(s), teacher, v == own.target, own, row, inverse));
  };
  const bool runs = same_phase(s_V, static_cast<const T*>(grad_V)) && (kind == Divergence::none || same_phase(s_V, t_V));
  const int64_t head = runs ? min(head_length(s_V), V) : V;
  const int64_t tail = runs ? head + (V - head) / length * length : V;
  const auto single = [&](int64_t v) { grad_V[v] = gradient(s_V[v], kind == Divergence::none ? T{} : t_V[v], v); };
  for (int64_t v = threadIdx.x; v < head; v += kThreads) single(v);
#pragma unroll 2
  for (int64_t v = head + int64_t(threadIdx.x) * length; v < tail; v += int64_t(kThreads) * length) {
    Run<T> s = load_run(s_V + v);
    const Run<T> t = kind == Divergence::none ? Run<T>{} : load_run(t_V + v);
#pragma unroll
    for (int i = 0; i < length; ++i) s.values[i] = gradient(s.values[i], t.values[i], v + i);
    store_run(grad_V + v, s);
  }
  for (int64_t v = tail + threadIdx.x; v < V; v += kThreads) single(v);
}

template <typename T>
__device__ void zero_row(const RowArguments<T>& all, int64_t n) {
  T* grad_V = all.gradient + n * all.gradient_stride;
  for (int64_t v = threadIdx.x; v < all.vocabulary; v += kThreads) grad_V[v] = narrow<T>(sum_t<T>(0));
}

// Calls body<divergence, hard>() for the terms of a row, which are the same in the whole block.
template <typename A, typename Body>
__device__ void with_terms(const RowTerms<A>& terms, const Body& body) {
  const bool hard = terms.target >= 0;
  if (terms.divergence == Divergence::forward) {
    if (hard) body.template operator()<Divergence::forward, true>();
    else body.template operator()<Divergence::forward, false>();
  } else if (terms.divergence == Divergence::reverse) {
    if (hard) body.template operator()<Divergence::reverse, true>();
    else body.template operator()<Divergence::reverse, false>();
  } else if (hard) {
    body.template operator()<Divergence::none, true>();
  }
}

template <typename T>
__device__ RowTerms<sum_t<T>> with_gradients(const RowArguments<T>& all, int64_t n, RowTerms<sum_t<T>> terms) {
  using A = sum_t<T>;
  terms.grad_soft = all.grad_soft[n * all.grad_stride];
  terms.grad_hard = all.grad_hard[n * all.grad_stride];
  if (terms.grad_soft == A(0)) terms.divergence = Divergence::none;
  if (terms.grad_hard == A(0)) terms.target = -1;
  return terms;
}

template <typename T>
__device__ void backward_terms(
    const RowArguments<T>& all, int64_t n, const RowTerms<sum_t<T>>& terms, const RowStatistics<sum_t<T>>& row) {
  if (terms.divergence == Divergence::none && terms.target < 0) return zero_row(all, n);
  with_terms(terms, [&]<Divergence kind, bool hard>() { backward_row<T, kind, hard>(all, n, terms, row); });
}

template <typename T>
__global__ void __launch_bounds__(kThreads) forward_kernel(const RowArguments<T> all) {
  const int64_t n = blockIdx.x;
  const auto terms = make_terms(all, n);
  with_terms(terms, [&]<Divergence kind, bool hard>() { forward_row<T, kind, hard>(all, n, terms); });
}

template <typename T>
__global__ void __launch_bounds__(kThreads) backward_kernel(const RowArguments<T> all) {
  const int64_t n = blockIdx.x;
  const RowStatistics<sum_t<T>> row = all.statistics_N[n];  // a copy: stores of the gradient may alias the original
  backward_terms(all, n, with_gradients(all, n, make_terms(all, n)), row);
}

// Runs both passes of a row in one block.
template <typename T>
__global__ void __launch_bounds__(kThreads) forward_backward_kernel(const RowArguments<T> all) {
  const int64_t n = blockIdx.x;
  const auto terms = make_terms(all, n);
  RowStatistics<sum_t<T>> row{};
  with_terms(terms, [&]<Divergence kind, bool hard>() { row = forward_row<T, kind, hard>(all, n, terms); });
  backward_terms(all, n, with_gradients(all, n, terms), row);
}

enum class Pass { forward, backward, both };

template <typename T>
cudaError_t launch(Pass pass, const RowArguments<T>& all, int64_t rows, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>(rows)), block(kThreads);
  if (pass == Pass::forward) HARNESS_LAUNCH(forward_kernel<T>, grid, block, stream, all);
  if (pass == Pass::backward) HARNESS_LAUNCH(backward_kernel<T>, grid, block, stream, all);
  if (pass == Pass::both) HARNESS_LAUNCH(forward_backward_kernel<T>, grid, block, stream, all);
  return cudaGetLastError();
}

}  // namespace harness::cuda
