#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "pack.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma")

namespace bnnkit {
namespace {

constexpr int kLanes = 8;
typedef float Floats __attribute__((vector_size(32), aligned(4)));
typedef uint32_t Bits __attribute__((vector_size(32)));

inline Floats load(const float* x, int count) {
    if (count >= kLanes) return (Floats)_mm256_loadu_ps(x);
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return (Floats)_mm256_maskload_ps(x, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes));
}

inline uint64_t passes(const float* x, int count, float threshold, bool strict) {
    const __m256 t = _mm256_set1_ps(threshold);
    uint64_t mask = 0;
    for (int i = 0; i < count; i += kLanes) {
        const __m256 v = (__m256)load(x + i, count - i);
        const __m256 passed = strict ? _mm256_cmp_ps(v, t, _CMP_GT_OQ) : _mm256_cmp_ps(v, t, _CMP_GE_OQ);
        mask |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_ps(passed))) << i;
    }
    // Lanes past the end were zeros, which may pass a threshold.
    return count >= kWordBits ? mask : mask & ((uint64_t{1} << count) - 1);
}

inline bool any_nan(const float* x, int count) {
    int nan = 0;
    for (int i = 0; i < count; i += kLanes) {
        const __m256 v = (__m256)load(x + i, count - i);
        nan |= _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    }
    return nan != 0;
}

}  // namespace
}  // namespace bnnkit

#include "lanes.h"

namespace bnnkit {
void pack_avx2(const PackArgs& args) { pack_lanes(args); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
