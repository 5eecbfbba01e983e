// Half precision as the kernels use it.
#pragma once

typedef _Float16 __half;

inline float __half2float(__half x) { return x; }
inline __half __float2half_rn(float x) { return static_cast<__half>(x); }
