// Vectors of one machine register, and exp, on GCC's and Clang's vector extensions. cpu/each_instruction_set.h includes it
// once for each instruction set, in the set's namespace; HARNESS_VECTOR_BYTES is the size of the register.

template <typename A>
struct Lanes;

template <>
struct Lanes<float> {
  typedef float Vector __attribute__((vector_size(HARNESS_VECTOR_BYTES)));
  typedef int32_t Whole __attribute__((vector_size(HARNESS_VECTOR_BYTES)));
  typedef uint32_t Bits __attribute__((vector_size(HARNESS_VECTOR_BYTES)));
  typedef uint16_t Half __attribute__((vector_size(HARNESS_VECTOR_BYTES / 2)));
};

template <>
struct Lanes<double> {
  typedef double Vector __attribute__((vector_size(HARNESS_VECTOR_BYTES)));
};

template <typename A>
using Vector = typename Lanes<A>::Vector;

template <typename A>
constexpr int64_t width = HARNESS_VECTOR_BYTES / sizeof(A);

// The number of elements summed in A before the sum continues in double. Such a block of two rows fits into the L1 cache.
constexpr int64_t kBlock = 1024;

template <typename A>
INLINE Vector<A> broadcast(A value) {
  return value - Vector<A>{};
}

INLINE Vector<float> load(const float* from) {
  Vector<float> value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

INLINE Vector<double> load(const double* from) {
  Vector<double> value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

INLINE Vector<float> load(const bfloat16* from) {
  Lanes<float>::Half half;
  std::memcpy(&half, from, sizeof(half));
  return (Vector<float>)(__builtin_convertvector(half, Lanes<float>::Bits) << 16);
}

INLINE void store(float* to, Vector<float> value) { std::memcpy(to, &value, sizeof(value)); }

INLINE void store(double* to, Vector<double> value) { std::memcpy(to, &value, sizeof(value)); }

// Rounds to nearest, ties to even; NaN stays NaN.
INLINE void store(bfloat16* to, Vector<float> value) {
  Lanes<float>::Bits bits = (Lanes<float>::Bits)value;
  Lanes<float>::Bits rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  rounded = value == value ? rounded : (bits | 0x400000u);
  Lanes<float>::Half half = __builtin_convertvector(rounded >> 16, Lanes<float>::Half);
  std::memcpy(to, &half, sizeof(half));
}

// Bypasses the caches where the instruction set can; the address is aligned to a vector, and the caller fences.
template <typename T, typename V>
INLINE void store_streamed(T* to, V value) {
  store(to, value);
}

#if HARNESS_VECTOR_BYTES == 64
INLINE void store_streamed(float* to, Vector<float> value) { _mm512_stream_ps(to, (__m512)value); }
#elif HARNESS_VECTOR_BYTES == 32
INLINE void store_streamed(float* to, Vector<float> value) { _mm256_stream_ps(to, (__m256)value); }
#endif

// Loads the first `count` values; the other lanes are `fill`.
template <typename A, typename T>
INLINE Vector<A> load_part(const T* from, int64_t count, A fill) {
  T values[width<A>];
  std::memcpy(values, from, count * sizeof(T));
  Vector<A> value = load(values);
  for (int64_t i = count; i < width<A>; ++i) value[i] = fill;
  return value;
}

template <typename T, typename V>
INLINE void store_part(T* to, V value, int64_t count) {
  T values[sizeof(V) / sizeof(value[0])];
  store(values, value);
  std::memcpy(to, values, count * sizeof(T));
}

template <typename V>
INLINE V larger(V left, V right) {  // `right` where `left` is NaN
  return left > right ? left : right;
}

template <typename A>
INLINE double total(Vector<A> value) {
  double sums[width<A>];
  for (int64_t i = 0; i < width<A>; ++i) sums[i] = value[i];
  for (int64_t half = width<A> / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

template <typename A>
INLINE A largest(Vector<A> value) {
  A best[width<A>];
  store(best, value);
  for (int64_t half = width<A> / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) best[i] = best[i] > best[i + half] ? best[i] : best[i + half];
  }
  return best[0];
}

INLINE int64_t smaller(int64_t left, int64_t right) { return left < right ? left : right; }

// Returns p · 2^n where x is not below the least exponent, else zero; `shifted` has n in its low bits. NaN stays NaN.
INLINE Vector<float> scale_by_power(Vector<float> p, Vector<float> n, Vector<float> shifted, Vector<float> x) {
  const float least = -87.3f;
#if HARNESS_VECTOR_BYTES == 64
  (void)shifted;
  const __mmask16 above = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(least), _CMP_NLT_UQ);
  return (Vector<float>)_mm512_maskz_scalef_ps(above, (__m512)p, (__m512)n);
#else
  (void)n;
  const Vector<float> power = (Vector<float>)(((Lanes<float>::Bits)shifted + 127u) << 23);
  return x < least ? Vector<float>{} : p * power;
#endif
}

// Returns exp of arguments of at most 88; below -87.3 zero. The polynomial's relative error is 3e-9, fitted minimax on
// [-ln 2 / 2, ln 2 / 2].
INLINE Vector<float> exponential(Vector<float> x) {
  const float shift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to a whole number in the low bits
  Vector<float> shifted = x * 1.44269504f + shift;
  Vector<float> n = shifted - shift;
  Vector<float> r = x - n * 0.693145752f;
  r = r - n * 1.42860677e-6f;
  Vector<float> p = r * 1.38145802e-3f + 8.36872496e-3f;
  p = p * r + 4.1668389e-2f;
  p = p * r + 1.66665211e-1f;
  p = p * r + 0.49999994f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return scale_by_power(p, n, shifted, x);
}

INLINE Vector<double> exponential(Vector<double> x) {
  for (int64_t i = 0; i < width<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}
