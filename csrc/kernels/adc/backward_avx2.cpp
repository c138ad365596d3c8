#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "adc.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma")

#include "../../core/lanes_avx2.h"

#include "../../core/blocks.h"

namespace bnnkit {
namespace {

constexpr int kFloats = 8;       // per vector
constexpr int kProductRows = 6;  // of a register tile of a float product
constexpr int kProductVectors = 2;

inline __m256 broadcast_float(float x) { return _mm256_set1_ps(x); }

template <class V>
inline V multiply_add(V x, V y, V sum) {
    return (V)_mm256_fmadd_ps(x, y, sum);
}

}  // namespace
}  // namespace bnnkit

#include "backward_vector.h"

namespace bnnkit {
void adc_backward_avx2(const AdcBackwardArgs& args) { backward_in_vectors(args); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
