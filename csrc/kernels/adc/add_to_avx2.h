// Included inside an AVX2 region, before backward_frame.h.
#pragma once

namespace bnnkit {
namespace {

// Whole vectors are stored: a later load finds what is still on its way to memory, which it cannot behind a masked store.
inline void add_to(float* to, const float* from, int64_t count) {
    static constexpr int32_t kLanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    for (int64_t i = 0; i < count; i += 8) {
        const int64_t left = count - i < 8 ? count - i : 8;
        const __m256i lanes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLanes + 8 - left));
        const __m256 sum = _mm256_add_ps(_mm256_loadu_ps(to + i), _mm256_maskload_ps(from + i, lanes));
        _mm256_storeu_ps(to + i, sum);
    }
}

}  // namespace
}  // namespace bnnkit
