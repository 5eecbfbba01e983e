// The launchers of csrc/cuda as plain functions, for ctypes: for each dtype, float and bfloat16.
#include "cuda_runtime.h"

#include "distillation_loss/rows.cuh"
#include "hidden_state_loss/rows.cuh"
#include "linear_gelu_linear/rows.cuh"

using namespace harness;
using namespace harness::cuda;

namespace {

template <typename T>
void distillation(
    int pass, const void* student, const void* teacher, int64_t rows, int64_t vocabulary, int64_t stride,
    const int64_t* target, const bool* mask, int divergence, float temperature, float* soft, float* hard,
    float* statistics, const float* grad_soft, const float* grad_hard, int64_t grad_stride, void* gradient) {
  RowArguments<T> all{};
  all.student = static_cast<const T*>(student);
  all.teacher = static_cast<const T*>(teacher);
  all.student_stride = all.teacher_stride = all.gradient_stride = stride;
  all.vocabulary = vocabulary;
  all.target_N = target;
  all.soft_mask_N = mask;
  all.ignore_index = -100;
  all.divergence = static_cast<Divergence>(divergence);
  all.temperature = temperature;
  all.soft_N = soft;
  all.hard_N = hard;
  all.statistics_N = reinterpret_cast<RowStatistics<float>*>(statistics);
  all.grad_soft = grad_soft;
  all.grad_hard = grad_hard;
  all.grad_stride = grad_stride;
  all.gradient = static_cast<T*>(gradient);
  launch(static_cast<Pass>(pass), all, rows, nullptr);
}

template <typename T>
void hidden(
    const void* student, const void* teacher, int64_t rows, int64_t width, const bool* mask, bool cosine, float weight,
    float* loss, float* inverse_count, float* sums, void* slope) {
  launch_count(mask, rows, inverse_count, nullptr);
  launch_layer(
      LayerArguments<T>{
          static_cast<const T*>(student), static_cast<const T*>(teacher), width, width, rows, width, mask, cosine,
          weight, 1e-12f, inverse_count, sums, static_cast<T*>(slope)},
      nullptr);
  launch_sum<float>(sums, rows, loss, nullptr);
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))
#define BOTH(name, arguments, ...)                                 \
  EXPORT void name##_float32 arguments { name<float>(__VA_ARGS__); } \
  EXPORT void name##_bfloat16 arguments { name<__nv_bfloat16>(__VA_ARGS__); }

BOTH(
    distillation,
    (int pass, const void* s, const void* t, int64_t rows, int64_t V, int64_t stride, const int64_t* target,
     const bool* mask, int divergence, float temperature, float* soft, float* hard, float* statistics,
     const float* grad_soft, const float* grad_hard, int64_t grad_stride, void* gradient),
    pass, s, t, rows, V, stride, target, mask, divergence, temperature, soft, hard, statistics, grad_soft, grad_hard,
    grad_stride, gradient)

BOTH(
    hidden,
    (const void* s, const void* t, int64_t rows, int64_t width, const bool* mask, bool cosine, float weight,
     float* loss, float* inverse_count, float* sums, void* slope),
    s, t, rows, width, mask, cosine, weight, loss, inverse_count, sums, slope)

EXPORT void gelu_float32(const float* pre, float* h, int64_t count) { launch_gelu(pre, h, count, nullptr); }

EXPORT void gelu_backward_float32(
    const float* pre, float* slope, float* h, float* partial, float* bias, float* importance, int64_t rows,
    int64_t width) {
  launch_gelu_backward(pre, slope, h, partial, bias, importance, rows, width, nullptr);
}
