// How plain C++ converts the counts of one array. Included after lanes_portable.h.
#pragma once

#include "count_converter.h"

namespace bnnkit {
namespace {

constexpr int kShift = 32;
constexpr bool kHasLookup = false;

template <CountConverter::Method kMethod, bool kParts128>
struct Converting {  // compare; lookup is never chosen
    template <int NV>
    static void accumulate(const CountConverter& converter, const Steps& step, const uint64_t (&counts)[NV],
                           uint64_t (&sum)[NV]) {
        for (int t = 0; t < converter.thresholds(); ++t)
            for (int j = 0; j < NV; ++j)
                if (static_cast<int64_t>(counts[j]) <= step.limits[t])
                    sum[j] += static_cast<uint64_t>(converter.rises()[t]);
    }
};

template <bool kParts128>
struct Converting<CountConverter::Method::multiply, kParts128> {
    template <int NV>
    static void accumulate(const CountConverter&, const Steps& step, const uint64_t (&counts)[NV],
                           uint64_t (&sum)[NV]) {
        for (int j = 0; j < NV; ++j) sum[j] += (counts[j] * step.factor) >> kShift;
    }
};

}  // namespace
}  // namespace bnnkit
