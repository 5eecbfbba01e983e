// One position's hidden states: the inner products its distance is made of, and its gradient.

template <typename A>
INLINE void add_products(Vector<A> s, Vector<A> t, bool cosine, Vector<A> sums[3]) {
  if (cosine) {
    sums[0] += s * t;
    sums[1] += s * s;
    sums[2] += t * t;
  } else {
    Vector<A> apart = s - t;
    sums[0] += apart * apart;
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

template <typename T, typename A>
void hidden_row(const T* s_D, const T* t_D, int64_t D, bool cosine, double products[3]) {
  for (int i = 0; i < 3; ++i) products[i] = 0;
  for (int64_t begin = 0; begin < D; begin += kBlock) {
    add_block_products<T, A>(s_D + begin, t_D + begin, smaller(kBlock, D - begin), cosine, products);
  }
}

template <typename T, typename A, bool streamed>
INLINE void hidden_slopes(const T* s_D, const T* t_D, T* slope_D, int64_t D, Vector<A> student, Vector<A> teacher) {
  int64_t d = 0;
  for (; d + width<A> <= D; d += width<A>) {
    Vector<A> slope = load(s_D + d) * student + load(t_D + d) * teacher;
    if constexpr (streamed) store_streamed(slope_D + d, slope);
    else store(slope_D + d, slope);
  }
  if (d < D) {
    Vector<A> s = load_part<A>(s_D + d, D - d, A(0)), t = load_part<A>(t_D + d, D - d, A(0));
    store_part(slope_D + d, s * student + t * teacher, D - d);
  }
}

template <typename T, typename A>
void hidden_row_slope(const T* s_D, const T* t_D, T* slope_D, int64_t D, A by_student, A by_teacher, bool streamed) {
  const Vector<A> student = broadcast(by_student), teacher = broadcast(by_teacher);
  const bool aligned = reinterpret_cast<uintptr_t>(slope_D) % HARNESS_VECTOR_BYTES == 0;
  if (streamed && aligned && sizeof(T) == sizeof(A)) {
    hidden_slopes<T, A, true>(s_D, t_D, slope_D, D, student, teacher);
#if HARNESS_VECTOR_BYTES >= 32
    _mm_sfence();
#endif
  } else {
    hidden_slopes<T, A, false>(s_D, t_D, slope_D, D, student, teacher);
  }
}
