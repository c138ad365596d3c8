#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "adc.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx2,bmi2,fma")

#include "../../core/lanes_avx512.h"

#include "../../core/blocks.h"
#include "add_to_avx512.h"
#include "lookups_avx512.h"

#include "backward_frame.h"

#include "slopes_avx512.h"

#include "lookup_products.h"

namespace bnnkit {
void adc_backward_avx512(const AdcBackwardArgs& args) {
    run_backward<LookupProducts<Mismatches>>(args, count_panels(args.conv));
}
}  // namespace bnnkit

#pragma GCC pop_options
#endif
