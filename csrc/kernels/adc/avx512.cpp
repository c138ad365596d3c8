#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "border_patterns.h"
#include "count_converter.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512ifma,avx512vbmi,avx2,bmi,fma,popcnt")

#include "../../core/lanes_avx512.h"

#include "../../core/blocks.h"
#include "../../core/border_table.h"
#include "converting_avx512.h"
#include "write.h"

#include "counting_engine.h"
#include "vertical_engine.h"

namespace bnnkit {
namespace {
constexpr int kPairsOfBytes = 4;
}  // namespace

void adc_avx512_by_counting(const AdcArgs& args) { adc_by_counting(args); }
bool adc_avx512_vertically(const AdcArgs& args) { return adc_vertically(args); }

void adc_avx512(const AdcArgs& args) {
    // Counting takes time for every pair of planes, a product of bytes does not.
    if (args.conv.x_planes * args.conv.w_planes >= kPairsOfBytes) return adc_vnni(args);
    adc_either_way(args, kVerticalAdcAvx512);
}

}  // namespace bnnkit

#pragma GCC pop_options
#endif
