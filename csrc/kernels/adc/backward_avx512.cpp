#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "adc.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx2,fma")

#include "../../core/lanes_avx512.h"

#include "../../core/blocks.h"

namespace bnnkit {
namespace {

constexpr int kFloats = 16;      // per vector
constexpr int kProductRows = 6;  // of a register tile of a float product
constexpr int kProductVectors = 4;
constexpr int kCountVectors = 4;

inline __m512 broadcast_float(float x) { return _mm512_set1_ps(x); }

template <class V>
inline V multiply_add(V x, V y, V sum) {
    return (V)_mm512_fmadd_ps(x, y, sum);
}

}  // namespace
}  // namespace bnnkit

#include "backward_vector.h"

namespace bnnkit {
void adc_backward_avx512(const AdcBackwardArgs& args) { backward_in_vectors(args); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
