// The hidden states of one position: the inner products for its distance, and its gradient.

template <typename A>
INLINE void add_products(Vector<A> s, Vector<A> t, bool cosine, Vector<A> sums[3]) {
  if (cosine) {
    sums[0] += s * t;
    sums[1] += s * s;
    sums[2] += t * t;
  } else {
    Vector<A> difference = s - t;
    sums[0] += difference * difference;
  }
}

template <typename T, typename A>
INLINE void add_block_products(const T* s_D, const T* t_D, int64_t count, bool cosine, double products[3]) {
  Vector<A> sums[3] = {};
  int64_t d = 0;
  for (; d + width<A> <= count; d += width<A>) add_products<A>(load(s_D + d), load(t_D + d), cosine, sums);
  if (d < count) {
    Vector<A> s = load_part<A>(s_D + d, count - d, A(0)), t = load_part<A>(t_D + d, count - d, A(0));
    add_products<A>(s, t, cosine, sums);
  }
  for (int i = 0; i < 3; ++i) products[i] += total<A>(sums[i]);
}

// Returns the inner products s·t, s·s and t·t; for MSE, the sum of (s - t)² in products[0].
template <typename T, typename A>
void hidden_row(const T* s_D, const T* t_D, int64_t D, bool cosine, double products[3]) {
  for (int i = 0; i < 3; ++i) products[i] = 0;
  for (int64_t begin = 0; begin < D; begin += kBlock) {
    add_block_products<T, A>(s_D + begin, t_D + begin, smaller(kBlock, D - begin), cosine, products);
  }
}

template <typename T, typename A, bool streamed>
INLINE void write_gradient(const T* s_D, const T* t_D, T* grad_D, int64_t D, Vector<A> student, Vector<A> teacher) {
  int64_t d = 0;
  for (; d + width<A> <= D; d += width<A>) {
    Vector<A> grad = load(s_D + d) * student + load(t_D + d) * teacher;
    if constexpr (streamed) store_streamed(grad_D + d, grad);
    else store(grad_D + d, grad);
  }
  if (d < D) {
    Vector<A> s = load_part<A>(s_D + d, D - d, A(0)), t = load_part<A>(t_D + d, D - d, A(0));
    store_part(grad_D + d, s * student + t * teacher, D - d);
  }
}

// Writes by_student · s + by_teacher · t; `streamed` bypasses the caches, for a result that is not read soon.
template <typename T, typename A>
void hidden_row_gradient(const T* s_D, const T* t_D, T* grad_D, int64_t D, A by_student, A by_teacher, bool streamed) {
  const Vector<A> student = broadcast(by_student), teacher = broadcast(by_teacher);
  const bool aligned = reinterpret_cast<uintptr_t>(grad_D) % HARNESS_VECTOR_BYTES == 0;
  if (streamed && aligned && sizeof(T) == sizeof(A)) {
    write_gradient<T, A, true>(s_D, t_D, grad_D, D, student, teacher);
#if HARNESS_VECTOR_BYTES >= 32
    _mm_sfence();
#endif
  } else {
    write_gradient<T, A, false>(s_D, t_D, grad_D, D, student, teacher);
  }
}
