// One row of the distillation loss. The logits are read from memory once, in blocks that fit into the L1 cache: maxima
// first, then exponentials. The sums of earlier blocks are rescaled when a maximum rises.

// The source of exp(s - max) of the cross-entropy: an exponential of its own, or a power of the divergence's exponential.
enum class Hard : int { none, own, same, squared };

template <Hard hard, typename V>
INLINE V hard_exponential(V s, V s_max, V s_exp) {
  if constexpr (hard == Hard::same) return s_exp;
  else if constexpr (hard == Hard::squared) return s_exp * s_exp;
  else return exponential(s - s_max);
}

// Returns the number that is subtracted before exp: the maximum, or 0 if every logit is -inf, where -inf - -inf is NaN.
template <typename A>
INLINE A finite_shift(A maximum) {
  return maximum == -std::numeric_limits<A>::infinity() ? A(0) : maximum;
}

template <typename A>
struct RowSums {
  double student = 0;  // sum exp((s - max) / temperature)
  double teacher = 0;  // sum exp((t - max) / temperature)
  double cross = 0;    // sum of the leading exp times (leading exponent - other exponent)
  double hard = 0;     // sum exp(s - max)
};

template <typename T, typename A, Divergence kind, Hard hard>
INLINE void add_vector(
    Vector<A> s, Vector<A> t, Vector<A> s_max, Vector<A> t_max, Vector<A> inverse, Vector<A> sums[4]) {
  Vector<A> s_exp{};
  if constexpr (kind != Divergence::none) {
    Vector<A> s_exponent = (s - s_max) * inverse, t_exponent = (t - t_max) * inverse;
    Vector<A> t_exp = exponential(t_exponent);
    s_exp = exponential(s_exponent);
    Vector<A> leading = kind == Divergence::forward ? t_exp : s_exp;
    Vector<A> difference = kind == Divergence::forward ? t_exponent - s_exponent : s_exponent - t_exponent;
    sums[0] += s_exp;
    sums[1] += t_exp;
    sums[2] += leading == A(0) ? Vector<A>{} : leading * difference;
  }
  if constexpr (hard != Hard::none) sums[3] += hard_exponential<hard>(s, s_max, s_exp);
}

template <typename T, typename A, Divergence kind, Hard hard>
INLINE void add_block(const T* s_V, const T* t_V, int64_t count, A s_max, A t_max, A inverse, RowSums<A>& sums) {
  const A nothing = -std::numeric_limits<A>::infinity();
  const Vector<A> s_maxima = broadcast(s_max), t_maxima = broadcast(t_max), inverses = broadcast(inverse);
  Vector<A> block[4] = {};
  int64_t v = 0;
  for (; v + width<A> <= count; v += width<A>) {
    Vector<A> t = kind == Divergence::none ? s_maxima : load(t_V + v);
    add_vector<T, A, kind, hard>(load(s_V + v), t, s_maxima, t_maxima, inverses, block);
  }
  if (v < count) {
    Vector<A> t = kind == Divergence::none ? s_maxima : load_part<A>(t_V + v, count - v, nothing);
    add_vector<T, A, kind, hard>(
        load_part<A>(s_V + v, count - v, nothing), t, s_maxima, t_maxima, inverses, block);
  }
  sums.student += total<A>(block[0]);
  sums.teacher += total<A>(block[1]);
  sums.cross += total<A>(block[2]);
  sums.hard += total<A>(block[3]);
}

template <typename T, typename A>
INLINE A block_maximum(const T* x_V, int64_t count, A maximum) {
  Vector<A> best = broadcast(maximum);
  int64_t v = 0;
  for (; v + width<A> <= count; v += width<A>) best = larger(load(x_V + v), best);
  if (v < count) best = larger(load_part<A>(x_V + v, count - v, maximum), best);
  return largest<A>(best);
}

// Rescales the sums from the old maxima to the new ones. Invariants: a sum of zero stays zero; an infinite sum of terms
// whose leading probability becomes zero becomes zero.
template <typename A, Divergence kind>
INLINE void rescale(RowSums<A>& sums, double s_rise, double t_rise, double temperature) {
  const double s_step = s_rise / temperature, t_step = t_rise / temperature;
  if constexpr (kind != Divergence::none) {
    const bool forward = kind == Divergence::forward;
    const double leading = forward ? sums.teacher : sums.student, rise = forward ? s_step - t_step : t_step - s_step;
    const double factor = std::exp(forward ? -t_step : -s_step);
    if (leading != 0) sums.cross = factor == 0 ? 0 : factor * (sums.cross + leading * rise);
  }
  if (sums.student != 0) sums.student *= std::exp(-s_step);
  if (sums.teacher != 0) sums.teacher *= std::exp(-t_step);
  if (sums.hard != 0) sums.hard *= std::exp(-s_rise);
}

// Sums a row block by block; raises the maxima to those of the row.
template <typename T, typename A, Divergence kind, Hard hard>
RowSums<A> sum_row(const T* s_V, const T* t_V, int64_t V, A temperature, A& s_max, A& t_max) {
  RowSums<A> sums;
  for (int64_t begin = 0; begin < V; begin += kBlock) {
    const int64_t count = smaller(kBlock, V - begin);
    const A s_next = block_maximum<T, A>(s_V + begin, count, s_max);
    const A t_next = kind == Divergence::none ? t_max : block_maximum<T, A>(t_V + begin, count, t_max);
    if (s_next > s_max || t_next > t_max) {
      rescale<A, kind>(
          sums, double(finite_shift(s_next)) - finite_shift(s_max), double(finite_shift(t_next)) - finite_shift(t_max),
          temperature);
      s_max = s_next;
      t_max = t_next;
    }
    const T* t_block = kind == Divergence::none ? nullptr : t_V + begin;
    add_block<T, A, kind, hard>(
        s_V + begin, t_block, count, finite_shift(s_max), finite_shift(t_max), A(1 / double(temperature)), sums);
  }
  return sums;
}

template <typename T, typename A, Divergence kind, Hard hard>
RowLoss<A> distillation_row_terms(
    const T* s_V, const T* t_V, int64_t V, const RowTerms<A>& terms, RowStatistics<A>& statistics) {
  A s_max = -std::numeric_limits<A>::infinity(), t_max = s_max;
  RowSums<A> sums = sum_row<T, A, kind, hard>(s_V, t_V, V, terms.temperature, s_max, t_max);
  // An infinite term of an early block may have a leading probability of zero at the row's maximum: start from the maxima.
  if (!std::isfinite(sums.cross)) sums = sum_row<T, A, kind, hard>(s_V, t_V, V, terms.temperature, s_max, t_max);
  RowLoss<A> loss{};
  statistics = {
      finite_shift(s_max), finite_shift(t_max), A(1 / sums.student), A(1 / sums.teacher), A(1 / sums.hard), A(0)};
  if constexpr (kind == Divergence::forward) {
    loss.soft = A(sums.cross / sums.teacher + std::log(sums.student) - std::log(sums.teacher));
  }
  if constexpr (kind == Divergence::reverse) {
    const double soft = sums.cross / sums.student + std::log(sums.teacher) - std::log(sums.student);
    loss.soft = A(soft);
    statistics.offset = A(std::log(sums.teacher) - std::log(sums.student) - soft);
  }
  if constexpr (hard != Hard::none) {
    const double logit = load_part<A>(s_V + terms.target, 1, A(0))[0];
    loss.hard = A(double(finite_shift(s_max)) - logit + std::log(sums.hard));
  }
  return loss;
}

// The factors of a row's gradient: by_student · exp(s) - by_teacher · exp(t) + by_hard · exp(s at temperature 1).
template <typename A>
struct RowFactors {
  Vector<A> s_max, t_max, inverse, by_student, by_teacher, by_hard, offset;
};

template <typename A, Divergence kind, Hard hard>
INLINE Vector<A> gradient_vector(Vector<A> s, Vector<A> t, const RowFactors<A>& row) {
  Vector<A> grad{}, s_exp{};
  if constexpr (kind != Divergence::none) {
    Vector<A> s_exponent = (s - row.s_max) * row.inverse, t_exponent = (t - row.t_max) * row.inverse;
    s_exp = exponential(s_exponent);
    if constexpr (kind == Divergence::forward) {
      grad = s_exp * row.by_student - exponential(t_exponent) * row.by_teacher;
    } else {
      Vector<A> difference = s_exponent - t_exponent + row.offset;
      grad = s_exp == A(0) ? Vector<A>{} : s_exp * row.by_student * difference;
    }
  }
  if constexpr (hard != Hard::none) grad += hard_exponential<hard>(s, row.s_max, s_exp) * row.by_hard;
  return grad;
}

template <typename T, typename A, Divergence kind, Hard hard, bool streamed>
INLINE void gradient_vectors(const T* s_V, const T* t_V, T* grad_V, int64_t V, const RowFactors<A>& row) {
  int64_t v = 0;
  for (; v + width<A> <= V; v += width<A>) {
    Vector<A> t = kind == Divergence::none ? row.t_max : load(t_V + v);
    Vector<A> grad = gradient_vector<A, kind, hard>(load(s_V + v), t, row);
    if constexpr (streamed) store_streamed(grad_V + v, grad);
    else store(grad_V + v, grad);
  }
  if (v < V) {
    Vector<A> t = kind == Divergence::none ? row.t_max : load_part<A>(t_V + v, V - v, A(0));
    store_part(grad_V + v, gradient_vector<A, kind, hard>(load_part<A>(s_V + v, V - v, A(0)), t, row), V - v);
  }
}

template <typename T, typename A, Divergence kind, Hard hard>
void distillation_row_backward_terms(
    const T* s_V, const T* t_V, T* grad_V, int64_t V, const RowTerms<A>& terms, const RowStatistics<A>& statistics,
    bool streamed) {
  const A factor = terms.grad_soft / terms.temperature;
  const RowFactors<A> row{
      broadcast(statistics.student_max),
      broadcast(statistics.teacher_max),
      broadcast(A(1 / double(terms.temperature))),
      broadcast(factor * statistics.student_inverse),
      broadcast(factor * statistics.teacher_inverse),
      broadcast(terms.grad_hard * statistics.hard_inverse),
      broadcast(statistics.offset)};
  Vector<A> at_target{};
  if constexpr (hard != Hard::none) {  // before grad_V, which may be s_V, is written
    Vector<A> t = kind == Divergence::none ? row.t_max : load_part<A>(t_V + terms.target, 1, A(0));
    at_target = gradient_vector<A, kind, hard>(load_part<A>(s_V + terms.target, 1, A(0)), t, row) - terms.grad_hard;
  }
  // A streamed store needs an aligned address: the elements before the first such address are written as usual.
  const int64_t misaligned = (reinterpret_cast<uintptr_t>(grad_V) % HARNESS_VECTOR_BYTES) / sizeof(T);
  const int64_t head = misaligned ? smaller(width<A> - misaligned, V) : 0;
  if (streamed && sizeof(T) == sizeof(A)) {
    gradient_vectors<T, A, kind, hard, false>(s_V, t_V, grad_V, head, row);
    const T* t_rest = kind == Divergence::none ? nullptr : t_V + head;
    gradient_vectors<T, A, kind, hard, true>(s_V + head, t_rest, grad_V + head, V - head, row);
#if HARNESS_VECTOR_BYTES >= 32
    _mm_sfence();
#endif
  } else {
    gradient_vectors<T, A, kind, hard, false>(s_V, t_V, grad_V, V, row);
  }
  if constexpr (hard != Hard::none) store_part(grad_V + terms.target, at_target, 1);
}

template <typename A, Divergence kind>
INLINE Hard hard_source(const RowTerms<A>& terms) {
  if (terms.target < 0) return Hard::none;
  if (kind == Divergence::none) return Hard::own;
  return terms.temperature == A(1) ? Hard::same : terms.temperature == A(2) ? Hard::squared : Hard::own;
}

template <typename T, typename A, Divergence kind>
RowLoss<A> distillation_row_with(
    const T* s_V, const T* t_V, int64_t V, const RowTerms<A>& terms, RowStatistics<A>& statistics) {
  switch (hard_source<A, kind>(terms)) {
    case Hard::none: return distillation_row_terms<T, A, kind, Hard::none>(s_V, t_V, V, terms, statistics);
    case Hard::same: return distillation_row_terms<T, A, kind, Hard::same>(s_V, t_V, V, terms, statistics);
    case Hard::squared: return distillation_row_terms<T, A, kind, Hard::squared>(s_V, t_V, V, terms, statistics);
    default: return distillation_row_terms<T, A, kind, Hard::own>(s_V, t_V, V, terms, statistics);
  }
}

template <typename T, typename A>
RowLoss<A> distillation_row(
    const T* s_V, const T* t_V, int64_t V, const RowTerms<A>& terms, RowStatistics<A>& statistics) {
  switch (terms.divergence) {
    case Divergence::forward:
      return distillation_row_with<T, A, Divergence::forward>(s_V, t_V, V, terms, statistics);
    case Divergence::reverse:
      return distillation_row_with<T, A, Divergence::reverse>(s_V, t_V, V, terms, statistics);
    default:
      return distillation_row_with<T, A, Divergence::none>(s_V, t_V, V, terms, statistics);
  }
}

template <typename T, typename A, Divergence kind>
void distillation_row_backward_with(
    const T* s_V, const T* t_V, T* grad_V, int64_t V, const RowTerms<A>& terms, const RowStatistics<A>& statistics,
    bool streamed) {
  auto run = [&]<Hard hard>() {
    distillation_row_backward_terms<T, A, kind, hard>(s_V, t_V, grad_V, V, terms, statistics, streamed);
  };
  switch (hard_source<A, kind>(terms)) {
    case Hard::none: return run.template operator()<Hard::none>();
    case Hard::same: return run.template operator()<Hard::same>();
    case Hard::squared: return run.template operator()<Hard::squared>();
    default: return run.template operator()<Hard::own>();
  }
}

template <typename T, typename A>
void distillation_row_backward(
    const T* s_V, const T* t_V, T* grad_V, int64_t V, const RowTerms<A>& terms, const RowStatistics<A>& statistics,
    bool streamed) {
  switch (terms.divergence) {
    case Divergence::forward:
      return distillation_row_backward_with<T, A, Divergence::forward>(
          s_V, t_V, grad_V, V, terms, statistics, streamed);
    case Divergence::reverse:
      return distillation_row_backward_with<T, A, Divergence::reverse>(
          s_V, t_V, grad_V, V, terms, statistics, streamed);
    default:
      return distillation_row_backward_with<T, A, Divergence::none>(
          s_V, t_V, grad_V, V, terms, statistics, streamed);
  }
}
