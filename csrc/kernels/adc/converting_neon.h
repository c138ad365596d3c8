// How NEON converts the counts of one array. Included after lanes_neon.h.
#pragma once

#include "count_converter.h"

namespace bnnkit {
namespace {

constexpr int kShift = 32;  // umull multiplies 32 x 32 bits; the upper half is the floor
constexpr bool kHasLookup = false;

template <CountConverter::Method kMethod, bool kParts128>
struct Converting {  // compare; lookup is never chosen for this instruction set
    template <int NV>
    static void accumulate(const CountConverter& converter, const Steps& step, const uint64x2_t (&counts)[NV],
                           uint64x2_t (&sum)[NV]) {
        for (int t = 0; t < converter.thresholds(); ++t) {
            const int64x2_t limit = vdupq_n_s64(step.limits[t]);
            const uint64x2_t rise = Lanes::broadcast(static_cast<uint64_t>(converter.rises()[t]));
            for (int j = 0; j < NV; ++j)
                sum[j] = vaddq_u64(sum[j], vandq_u64(vcleq_s64(vreinterpretq_s64_u64(counts[j]), limit), rise));
        }
    }
};

template <bool kParts128>
struct Converting<CountConverter::Method::multiply, kParts128> {
    template <int NV>
    static void accumulate(const CountConverter&, const Steps& step, const uint64x2_t (&counts)[NV],
                           uint64x2_t (&sum)[NV]) {
        const uint32x2_t factor = vdup_n_u32(static_cast<uint32_t>(step.factor));
        for (int j = 0; j < NV; ++j) sum[j] = vsraq_n_u64(sum[j], vmull_u32(vmovn_u64(counts[j]), factor), kShift);
    }
};

}  // namespace
}  // namespace bnnkit
