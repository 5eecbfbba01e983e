// What the inner loops include, ahead of the compiler's target: code of these headers must run on every machine.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/kernels.h"

#define INLINE static inline __attribute__((always_inline))
