// g = gy * slope(partial sum), sixteen outputs at a time. Included inside an AVX-512 region after backward_frame.h.
//
// Every second slope can be met by the single bits of a row, from all of them equal to none. With those side by side, up to
// 128 of them are looked up in registers; the others are gathered from memory.
#pragma once

namespace bnnkit {
namespace {

class Slopes {
public:
    explicit Slopes(const AdcBackwardArgs& args)
        : slopes_(args.slopes ? args.slopes + args.slope_bound : nullptr),
          largest_(args.slope_bound),
          product_bound_(args.conv.product_bound()),
          by_twos_(args.slopes && product_bound_ == 1 ? 2 * listed() * kFloatBytes : 0) {
        if (!slopes_ || product_bound_ != 1) return;
        for (int64_t i = 0; i < 2 * listed(); ++i) {
            const int64_t sum = largest_ - i / listed() - 2 * (i % listed());
            floats(by_twos_)[i] = sum < -largest_ ? 0.0f : slopes_[sum];
        }
    }

    bool depend_on_sums() const { return slopes_ != nullptr; }

    // For `count` outputs, a multiple of 16, of a row with `valid` bits, of which `mismatches` (weighted) are not the weight's.
    void weigh(const float* gy, const int32_t* mismatches, int64_t valid, int64_t count, float* g) const {
        if (!slopes_) {
            memcpy(g, gy, static_cast<size_t>(count * kFloatBytes));
            return;
        }
        if (product_bound_ != 1 || valid >= kInRegisters) {
            const float* first = slopes_ + product_bound_ * valid;
            for (int64_t o = 0; o < count; o += 16) {
                const __m512i steps = _mm512_sub_epi32(_mm512_setzero_si512(), load_int32(mismatches + o));
                multiply(gy + o, _mm512_i32gather_ps(steps, first, 2 * kFloatBytes), g + o);
            }
            return;
        }
        const int64_t odd = (largest_ - valid) & 1;
        const float* first = floats(by_twos_) + odd * listed() + (largest_ - odd - valid) / 2;
        __m512 quarters[4][2];
        for (int64_t q = 0; q < 4; ++q)
            for (int64_t i = 0; i < 2; ++i) quarters[q][i] = _mm512_loadu_ps(first + q * 32 + i * 16);
        const auto found = [&](__m512i at, int64_t q) {
            return _mm512_permutex2var_ps(quarters[q][0], at, quarters[q][1]);
        };
        if (valid < 32) {
            for (int64_t o = 0; o < count; o += 16) multiply(gy + o, found(load_int32(mismatches + o), 0), g + o);
            return;
        }
        for (int64_t o = 0; o < count; o += 16) {
            const __m512i at = load_int32(mismatches + o);
            const __mmask16 odd_quarter = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32));
            const __mmask16 upper_half = _mm512_test_epi32_mask(at, _mm512_set1_epi32(64));
            const __m512 lower = _mm512_mask_blend_ps(odd_quarter, found(at, 0), found(at, 1));
            const __m512 upper = _mm512_mask_blend_ps(odd_quarter, found(at, 2), found(at, 3));
            multiply(gy + o, _mm512_mask_blend_ps(upper_half, lower, upper), g + o);
        }
    }

private:
    static constexpr int64_t kInRegisters = 128;

    // Of one parity, and as many more as are loaded with the last.
    int64_t listed() const { return largest_ + 1 + kInRegisters; }

    static __m512i load_int32(const int32_t* from) { return _mm512_loadu_si512(from); }
    static void multiply(const float* gy, __m512 slope, float* g) {
        _mm512_storeu_ps(g, _mm512_mul_ps(_mm512_loadu_ps(gy), slope));
    }

    const float* slopes_;  // at a partial sum of 0
    int64_t largest_, product_bound_;
    Scratch by_twos_;  // largest, largest - 2, ...; then largest - 1, largest - 3, ...
};

}  // namespace
}  // namespace bnnkit
