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

#include "slopes_avx2.h"

#include "lookup_products.h"

namespace bnnkit {
void adc_backward_avx2(const AdcBackwardArgs& args) { run_backward<LookupProducts>(args, count_panels(args.conv)); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
