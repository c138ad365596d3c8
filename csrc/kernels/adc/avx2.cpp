#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "converter.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma")

#include "../../core/lanes_avx2.h"

#include "../../core/blocks.h"
#include "../../core/border_table.h"
#include "write.h"

namespace bnnkit {
namespace {

constexpr int kTileRows = 2;
constexpr int kShift = 32;  // vpmuludq multiplies 32 x 32 bits; the upper half is the floor

template <CountConverter::Method kMethod, bool kFold>
struct Converting {  // compare; lookup is never chosen for this instruction set
    template <int NV>
    static void accumulate(const CountConverter& converter, const Steps& step, const __m256i (&counts)[NV],
                           __m256i (&sum)[NV]) {
        for (int t = 0; t < converter.thresholds(); ++t) {
            const __m256i limit = _mm256_set1_epi64x(step.limits[t]), rise = _mm256_set1_epi64x(converter.rises()[t]);
            for (int j = 0; j < NV; ++j)
                sum[j] = _mm256_add_epi64(sum[j], _mm256_andnot_si256(_mm256_cmpgt_epi64(counts[j], limit), rise));
        }
    }
};

template <bool kFold>
struct Converting<CountConverter::Method::multiply, kFold> {
    template <int NV>
    static void accumulate(const CountConverter&, const Steps& step, const __m256i (&counts)[NV], __m256i (&sum)[NV]) {
        const __m256i factor = Lanes::broadcast(step.factor);
        for (int j = 0; j < NV; ++j)
            sum[j] = _mm256_add_epi64(sum[j], _mm256_srli_epi64(_mm256_mul_epu32(counts[j], factor), kShift));
    }
};

}  // namespace
}  // namespace bnnkit

#include "count.h"

namespace bnnkit {
void adc_avx2(const AdcArgs& args) { adc_by_counting(args, kShift, kShift, false); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
