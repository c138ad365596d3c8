#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

#include "pack.h"

namespace bnnkit {
namespace {

constexpr int kLanes = 4;
typedef float Floats __attribute__((vector_size(16), aligned(4)));
typedef uint32_t Bits __attribute__((vector_size(16)));

inline Floats load(const float* x, int count) {
    if (count >= kLanes) return (Floats)vld1q_f32(x);
    Floats value = {};
    if (count > 0) memcpy(&value, x, static_cast<size_t>(count) * sizeof(float));
    return value;
}

// Bit i tells whether the test, which answers with all ones or zeros per lane, holds for value i of up to 64. The answers are
// narrowed to bytes, each of which keeps the bit of its place in eight; adding up the eight makes a byte of the mask.
template <class Test>
inline uint64_t mask_of(const float* x, int count, const Test& test) {
    const uint8x16_t place = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t bits[4];
    for (int i = 0; i < 4; ++i) {
        uint16x8_t halves[2];
        for (int j = 0; j < 2; ++j) {
            const int first = 16 * i + 8 * j;
            const uint32x4_t low = test((float32x4_t)load(x + first, count - first));
            const uint32x4_t high = test((float32x4_t)load(x + first + kLanes, count - first - kLanes));
            halves[j] = vuzp1q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
        }
        bits[i] = vandq_u8(vuzp1q_u8(vreinterpretq_u8_u16(halves[0]), vreinterpretq_u8_u16(halves[1])), place);
    }
    uint8x16_t sums = vpaddq_u8(vpaddq_u8(bits[0], bits[1]), vpaddq_u8(bits[2], bits[3]));
    sums = vpaddq_u8(sums, sums);
    const uint64_t mask = vgetq_lane_u64(vreinterpretq_u64_u8(sums), 0);
    // Lanes past the end were zeros, for which the test may hold.
    return count >= kWordBits ? mask : mask & ((uint64_t{1} << count) - 1);
}

inline uint64_t passes(const float* x, int count, float threshold, bool strict) {
    const float32x4_t t = vdupq_n_f32(threshold);
    if (strict) return mask_of(x, count, [&](float32x4_t v) { return vcgtq_f32(v, t); });
    return mask_of(x, count, [&](float32x4_t v) { return vcgeq_f32(v, t); });
}

inline bool any_nan(const float* x, int count) {
    return mask_of(x, count, [](float32x4_t v) { return vmvnq_u32(vceqq_f32(v, v)); }) != 0;
}

}  // namespace
}  // namespace bnnkit

#include "lanes.h"

namespace bnnkit {
void pack_neon(const PackArgs& args) { pack_lanes(args); }
}  // namespace bnnkit
#endif
