#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "adc.h"

#pragma GCC push_options
#pragma GCC target("avx2,bmi2,fma")

#include "../../core/lanes_avx2.h"

#include "../../core/blocks.h"
#include "add_to_avx2.h"
#include "lookups_avx2.h"

#include "backward_frame.h"

#include "byte_products_avx2.h"
#include "slopes_avx2.h"

#include "lookup_products.h"

#include "byte_counts_avx2.h"

namespace bnnkit {

void adc_backward_avx2(const AdcBackwardArgs& args) {
    if (args.conv.x_planes * args.conv.w_planes >= kPairsOfBytes)
        run_backward<LookupProducts<ByteCounts>>(args, ByteProducts(args.conv));
    else
        run_backward<LookupProducts<Mismatches>>(args, count_panels(args.conv));
}

}  // namespace bnnkit

#pragma GCC pop_options
#endif
