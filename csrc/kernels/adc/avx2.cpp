#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "border_patterns.h"
#include "count_converter.h"

#pragma GCC push_options
#pragma GCC target("avx2,bmi,fma,popcnt")

#include "../../core/lanes_avx2.h"

#include "../../core/blocks.h"
#include "../../core/border_table.h"
#include "byte_products_avx2.h"
#include "converting_avx2.h"
#include "write.h"

#include "counting_engine.h"
#include "vertical_engine.h"

namespace bnnkit {

void adc_avx2_by_counting(const AdcArgs& args) { adc_by_counting(args); }
bool adc_avx2_vertically(const AdcArgs& args) { return adc_vertically(args); }

void adc_avx2(const AdcArgs& args) {
    if (args.conv.x_planes * args.conv.w_planes >= kPairsOfBytes) return adc_bytes_avx2(args);
    adc_either_way(args, kVerticalAdcAvx2);
}

}  // namespace bnnkit

#pragma GCC pop_options
#endif
