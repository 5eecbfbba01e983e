// Random cases of the distillation loss: both passes, in place and not, and both passes at once.
#include "distillation_loss/rows.cuh"

#include "fuzz.h"

namespace {

using namespace fuzz;
using harness::Divergence;
using harness::RowStatistics;
using harness::cuda::Pass;

template <typename T>
struct Case {
  using A = harness::cuda::sum_t<T>;
  int64_t count, vocabulary;
  Rows<T> student, teacher;
  std::vector<int64_t> target;
  std::unique_ptr<bool[]> mask;
  Divergence divergence;
  double temperature;
  bool both;  // both passes at once, with one pair of incoming gradients for all rows
  std::vector<A> grad_soft, grad_hard;

  explicit Case(Random& random)
      : count(random.between(1, 3)),
        vocabulary(random.chance(0.1) ? 4096 * random.between(1, 2) + random.between(-9, 9) : random.size(9001)),
        student(random, count, vocabulary),
        teacher(random, count, vocabulary),
        divergence(random.choice({Divergence::none, Divergence::forward, Divergence::forward, Divergence::reverse})),
        temperature(random.choice({0.5, 1.0, 2.0, 3.0, 4.0})),
        both(divergence == Divergence::forward && random.chance(0.3)) {
    const double scale = random.choice({1.0, 3.0, 10.0});
    for (int64_t n = 0; n < count; ++n) fill(random, n, scale);
    if (random.chance(0.7)) draw_labels(random);
    if (random.chance(0.5)) {
      mask.reset(new bool[count]);
      for (int64_t n = 0; n < count; ++n) mask[n] = random.chance(0.7);
    }
    for (int64_t n = 0; n < count; ++n) {
      grad_soft.push_back(random.chance(0.1) ? A(0) : A(random.normal()));
      grad_hard.push_back(random.chance(0.1) ? A(0) : A(random.normal()));
    }
  }

  void fill(Random& random, int64_t n, double scale) {
    for (int64_t v = 0; v < vocabulary; ++v) {
      student.row(n)[v] = narrow<T>(scale * random.normal());
      teacher.row(n)[v] = narrow<T>(scale * random.normal());
    }
    while (vocabulary > 1 && random.chance(0.3)) mask_tokens(random, n);
    if (random.chance(0.03)) (random.chance(0.5) ? student : teacher).row(n)[random.between(0, vocabulary - 1)] = narrow<T>(NAN);
  }

  // Masks a range of tokens, often the first, in one model or in both; the last token stays, so that a probability does.
  void mask_tokens(Random& random, int64_t n) {
    const int64_t begin = random.chance(0.6) ? 0 : random.between(0, vocabulary - 2);
    const int64_t end = begin + random.between(1, vocabulary - 1 - begin);
    const double large = random.choice<double>({-INFINITY, -1e4, -6e4, -70, -100});
    const bool of_student = random.chance(0.5), of_both = random.chance(0.8);
    for (int64_t v = begin; v < end; ++v) {
      (of_student ? student : teacher).row(n)[v] = narrow<T>(-INFINITY);
      if (of_both) (of_student ? teacher : student).row(n)[v] = narrow<T>(large);
    }
  }

  void draw_labels(Random& random) {
    for (int64_t n = 0; n < count; ++n) {
      const bool outside = random.chance(0.03);
      target.push_back(random.chance(0.3) ? -100 : outside ? vocabulary : random.between(0, vocabulary - 1));
    }
  }

  A soft_gradient(int64_t n) const { return grad_soft[both ? 0 : n]; }
  A hard_gradient(int64_t n) const { return grad_hard[both ? 0 : n]; }
};

// What a row must give, in higher precision, and how far it may be off.
template <typename T>
struct Expected {
  using A = harness::cuda::sum_t<T>;
  Wide soft = 0, soft_size = 1, hard = 0, hard_size = 1;
  std::vector<Wide> gradient, gradient_size;

  Expected(Case<T>& all, int64_t n) : gradient(all.vocabulary), gradient_size(all.vocabulary) {
    const bool with_soft = all.divergence != Divergence::none && (!all.mask || all.mask[n]);
    const bool with_hard = !all.target.empty() && all.target[n] != -100;
    if (with_soft) add_soft(all, n);
    if (with_hard) add_hard(all, n);
  }

  struct Distribution {
    Wide log_sum = 0;  // of exp((x - maximum) / temperature)
    A maximum = -INFINITY;
    double temperature;

    Distribution(const T* x, int64_t count, double temperature) : temperature(temperature) {
      for (int64_t v = 0; v < count; ++v) maximum = std::max(maximum, A(wide(x[v])));
      Wide sum = 0;
      for (int64_t v = 0; v < count; ++v) sum += std::exp(exponent(x[v]));
      log_sum = std::log(sum);
    }
    Wide exponent(T x) const { return (wide(x) - maximum) / temperature; }
    Wide log_probability(T x) const { return exponent(x) - log_sum; }
    // As the kernels know it: zero where their exponential is.
    Wide probability(T x) const {
      const A power = harness::cuda::exponential((A(wide(x)) - maximum) * (A(1) / A(temperature)));
      return power == A(0) ? 0 * log_sum : std::exp(log_probability(x));
    }
    Wide size(T x) const { return std::isinf(wide(x)) ? 0 : probability(x) * (1 + std::fabs(exponent(x))); }
  };

  void add_soft(Case<T>& all, int64_t n) {
    const T *s = all.student.row(n), *t = all.teacher.row(n);
    const Distribution student(s, all.vocabulary, all.temperature), teacher(t, all.vocabulary, all.temperature);
    const bool forward = all.divergence == Divergence::forward;
    const Distribution &leading = forward ? teacher : student, &other = forward ? student : teacher;
    const T *l = forward ? t : s, *o = forward ? s : t;
    soft_size += std::fabs(student.log_sum) + std::fabs(teacher.log_sum);
    for (int64_t v = 0; v < all.vocabulary; ++v) {
      const Wide probability = leading.probability(l[v]);
      if (probability == 0) continue;
      soft += probability * (leading.log_probability(l[v]) - other.log_probability(o[v]));
      soft_size += probability * (std::fabs(leading.exponent(l[v])) + std::fabs(other.exponent(o[v])));
    }
    const Wide factor = all.soft_gradient(n) / all.temperature;
    if (factor == 0) return;
    for (int64_t v = 0; v < all.vocabulary; ++v) {
      if (forward) {
        gradient[v] += factor * (student.probability(s[v]) - teacher.probability(t[v]));
        gradient_size[v] += std::fabs(factor) * (student.size(s[v]) + teacher.size(t[v]));
      } else if (student.probability(s[v]) != 0) {
        const Wide difference = student.log_probability(s[v]) - teacher.log_probability(t[v]);
        gradient[v] += factor * student.probability(s[v]) * (difference - soft);
        gradient_size[v] += std::fabs(factor) * student.size(s[v]) * (soft_size + std::fabs(difference));
      } else {
        gradient[v] += factor * 0 * soft;  // NaN where the row's loss is
      }
    }
  }

  void add_hard(Case<T>& all, int64_t n) {
    const T* s = all.student.row(n);
    const Distribution student(s, all.vocabulary, 1);
    const int64_t label = all.target[n];
    const bool valid = label < all.vocabulary;
    hard = valid ? -student.log_probability(s[label]) : Wide(NAN);
    hard_size += std::fabs(student.log_sum) + std::fabs(Wide(student.maximum)) + (valid ? std::fabs(wide(s[label])) : 0);
    const Wide factor = valid ? Wide(all.hard_gradient(n)) : Wide(NAN);
    if (all.hard_gradient(n) == 0) return;
    for (int64_t v = 0; v < all.vocabulary; ++v) {
      gradient[v] += factor * (student.probability(s[v]) - (v == label ? 1 : 0));
      gradient_size[v] += std::fabs(factor) * (student.size(s[v]) + (v == label ? 1 : 0));
    }
  }
};

template <typename T>
struct Results {
  using A = harness::cuda::sum_t<T>;
  std::vector<A> soft, hard;
  std::vector<RowStatistics<A>> statistics;

  explicit Results(int64_t count) : soft(count), hard(count), statistics(count) {}
};

template <typename T>
void launch(Case<T>& all, Results<T>& results, Pass pass, Rows<T>& student, Rows<T>* gradient) {
  harness::cuda::RowArguments<T> arguments{};
  arguments.student = student.data();
  arguments.teacher = all.teacher.data();
  arguments.student_stride = student.stride;
  arguments.teacher_stride = all.teacher.stride;
  arguments.vocabulary = all.vocabulary;
  arguments.target_N = all.target.empty() ? nullptr : all.target.data();
  arguments.soft_mask_N = all.mask.get();
  arguments.ignore_index = -100;
  arguments.divergence = all.divergence;
  arguments.temperature = all.temperature;
  arguments.soft_N = results.soft.data();
  arguments.hard_N = results.hard.data();
  arguments.statistics_N = pass == Pass::both ? nullptr : results.statistics.data();
  arguments.grad_soft = all.grad_soft.data();
  arguments.grad_hard = all.grad_hard.data();
  arguments.grad_stride = all.both ? 0 : 1;
  arguments.gradient = gradient ? gradient->data() : nullptr;
  arguments.gradient_stride = gradient ? gradient->stride : 0;
  harness::cuda::launch(pass, arguments, all.count, nullptr);
}

template <typename T>
double distillation(Random& random) {
  Case<T> all(random);
  Results<T> results(all.count);
  Rows<T> student = all.student.copy(), separate(random, all.count, all.vocabulary);
  const bool in_place = all.both || random.chance(0.4);
  Rows<T>& gradient = in_place ? student : separate;
  if (all.both) {
    launch(all, results, Pass::both, student, &student);
  } else {
    launch<T>(all, results, Pass::forward, student, nullptr);
    launch(all, results, Pass::backward, student, &gradient);
  }
  student.check_gaps("the student");
  separate.check_gaps("the gradient");
  Comparison comparison;
  for (int64_t n = 0; n < all.count; ++n) {
    const Expected<T> expected(all, n);
    comparison.check("the divergence", n, 0, results.soft[n], expected.soft, sum_error<T> * expected.soft_size);
    comparison.check("the cross-entropy", n, 0, results.hard[n], expected.hard, sum_error<T> * expected.hard_size);
    if (all.divergence == Divergence::reverse && !std::isfinite(expected.soft)) continue;  // a gradient of an infinite loss
    for (int64_t v = 0; v < all.vocabulary; ++v) {
      const Wide allowed = sum_error<T> * expected.gradient_size[v] + 1.01 * rounding<T> * std::fabs(expected.gradient[v]) +
                           smallest<T> + 1e-30;
      comparison.check("the gradient", n, v, wide(gradient.row(n)[v]), expected.gradient[v], allowed);
    }
  }
  return comparison.largest();
}

FUZZ("distillation_loss", distillation)

}  // namespace
