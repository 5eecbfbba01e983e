// The erf GELU and its backward pass, for the F pre-activations of one token.

// Computes the normal distribution's density at x and its integral up to x. For x < 0 the integral is exp(-x²/2) · Q(t) with
// t = 1 / (1 + 0.28 |x|); Q's coefficients are fitted minimax, absolute error 3e-10.
INLINE void normal(Vector<float> x, Vector<float>& density, Vector<float>& integral) {
  Vector<float> size = x < 0.0f ? -x : x;
  Vector<float> falling = exponential(x * x * -0.5f);
  Vector<float> t = 1.0f / (size * 0.28f + 1.0f);
  Vector<float> q = t * 4.08971682e-2f - 0.22238256f;
  q = q * t + 0.407519639f;
  q = q * t - 0.261634588f;
  q = q * t + 0.253547877f;
  q = q * t + 5.00580966e-2f;
  q = q * t + 0.12098942f;
  q = q * t + 0.111004941f;
  Vector<float> tail = q * t * falling;
  density = falling * 0.398942280f;
  integral = x < 0.0f ? tail : 1.0f - tail;
}

INLINE void normal(Vector<double> x, Vector<double>& density, Vector<double>& integral) {
  for (int64_t i = 0; i < width<double>; ++i) {
    density[i] = std::exp(x[i] * x[i] * -0.5) * 0.3989422804014327;
    integral[i] = 0.5 * std::erfc(-x[i] * 0.7071067811865476);
  }
}

template <typename A>
INLINE Vector<A> gelu(Vector<A> x) {
  Vector<A> density, integral;
  normal(x, density, integral);
  return x * integral;
}

// Writes h = gelu(pre).
template <typename T, typename A>
void gelu_row(const T* pre_F, T* h_F, int64_t F) {
  int64_t f = 0;
  for (; f + width<A> <= F; f += width<A>) store(h_F + f, gelu<A>(load(pre_F + f)));
  if (f < F) store_part(h_F + f, gelu<A>(load_part<A>(pre_F + f, F - f, A(0))), F - f);
}

// Turns grad = dL/dh into dL/dpre; computes h, and the score h · dL/dh with h in full precision.
template <typename T, typename A>
INLINE void gelu_backward(Vector<A> x, Vector<A>& grad, Vector<A>& h, Vector<A>& score) {
  Vector<A> density, integral;
  normal(x, density, integral);
  h = x * integral;
  score = h * grad;
  grad = grad * (integral + x * density);
}

// Writes h = gelu(pre), turns grad = dL/dh into dL/dpre, and adds dL/dpre and h · dL/dh to two sums over tokens.
template <typename T, typename A>
void gelu_row_backward(const T* pre_F, T* grad_F, T* h_F, A* bias_F, A* score_F, int64_t F) {
  for (int64_t f = 0; f < F; f += width<A>) {
    const int64_t count = smaller(width<A>, F - f);
    const bool whole = count == width<A>;
    Vector<A> x = whole ? load(pre_F + f) : load_part<A>(pre_F + f, count, A(0));
    Vector<A> grad = whole ? load(grad_F + f) : load_part<A>(grad_F + f, count, A(0));
    Vector<A> h, score;
    gelu_backward<T, A>(x, grad, h, score);
    if (whole) {
      store(grad_F + f, grad);
      store(h_F + f, h);
      store(bias_F + f, load(bias_F + f) + grad);
      store(score_F + f, load(score_F + f) + score);
    } else {
      store_part(grad_F + f, grad, count);
      store_part(h_F + f, h, count);
      store_part(bias_F + f, load_part<A>(bias_F + f, count, A(0)) + grad, count);
      store_part(score_F + f, load_part<A>(score_F + f, count, A(0)) + score, count);
    }
  }
}
