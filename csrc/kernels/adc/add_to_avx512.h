// Included inside an AVX-512 region with BMI2, before backward_frame.h.
#pragma once

namespace bnnkit {
namespace {

// Whole vectors are stored: a later load finds what is still on its way to memory, which it cannot behind a masked store.
inline void add_to(float* to, const float* from, int64_t count) {
    for (int64_t i = 0; i < count; i += 16) {
        const __mmask16 lanes =
            count - i >= 16 ? 0xFFFF : static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<unsigned>(count - i)));
        const __m512 sum = _mm512_add_ps(_mm512_loadu_ps(to + i), _mm512_maskz_loadu_ps(lanes, from + i));
        _mm512_storeu_ps(to + i, sum);
    }
}

}  // namespace
}  // namespace bnnkit
