// g = gy * slope(partial sum), eight outputs at a time. Included inside an AVX2 region after backward_frame.h.
#pragma once

namespace bnnkit {
namespace {

class Slopes {
public:
    explicit Slopes(const AdcBackwardArgs& args)
        : slopes_(args.slopes ? args.slopes + args.slope_bound : nullptr), product_bound_(args.conv.product_bound()) {}

    bool depend_on_sums() const { return slopes_ != nullptr; }

    // For `count` outputs, a multiple of 8, of a row with `valid` bits, of which `mismatches` (weighted) are not the weight's.
    void weigh(const float* gy, const int32_t* mismatches, int64_t valid, int64_t count, float* g) const {
        if (!slopes_) {
            memcpy(g, gy, static_cast<size_t>(count * kFloatBytes));
            return;
        }
        const float* first = slopes_ + product_bound_ * valid;
        for (int64_t o = 0; o < count; o += 8) {
            const __m256i unlike = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mismatches + o));
            const __m256i steps = _mm256_sub_epi32(_mm256_setzero_si256(), unlike);
            const __m256 slope = _mm256_i32gather_ps(first, steps, 2 * kFloatBytes);
            _mm256_storeu_ps(g + o, _mm256_mul_ps(_mm256_loadu_ps(gy + o), slope));
        }
    }

private:
    const float* slopes_;  // at a partial sum of 0
    int64_t product_bound_;
};

}  // namespace
}  // namespace bnnkit
