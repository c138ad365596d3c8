#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

#include "pack.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")

namespace bnnkit {
namespace {

constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(64), aligned(4)));
typedef uint32_t Bits __attribute__((vector_size(64)));

inline __mmask16 first_lanes(int count) { return static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1u << count) - 1); }

inline Floats load(const float* x, int count) {
    return (Floats)(count >= kLanes ? _mm512_loadu_ps(x) : _mm512_maskz_loadu_ps(first_lanes(count), x));
}

inline uint64_t passes(const float* x, int count, float threshold, bool strict) {
    const __m512 t = _mm512_set1_ps(threshold);
    uint64_t mask = 0;
    for (int i = 0; i < count; i += kLanes) {
        const __mmask16 lanes = first_lanes(count - i);
        const __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        const __mmask16 passed = strict ? _mm512_mask_cmp_ps_mask(lanes, v, t, _CMP_GT_OQ)
                                        : _mm512_mask_cmp_ps_mask(lanes, v, t, _CMP_GE_OQ);
        mask |= static_cast<uint64_t>(passed) << i;
    }
    return mask;
}

inline bool any_nan(const float* x, int count) {
    int nan = 0;
    for (int i = 0; i < count; i += kLanes) {
        const __m512 v = _mm512_maskz_loadu_ps(first_lanes(count - i), x + i);
        nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    }
    return nan != 0;
}

}  // namespace
}  // namespace bnnkit

#include "lanes.h"

namespace bnnkit {
void pack_avx512(const PackArgs& args) { pack_lanes(args); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
