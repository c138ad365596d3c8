#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "../../core/patches.h"
#include "xnor.h"

#pragma GCC push_options
#pragma GCC target("avx2,bmi,fma,popcnt")

#include "../../core/lanes_avx2.h"

#include "../../core/blocks.h"
#include "../../core/border_table.h"
#include "write.h"

#include "counting_engine.h"
#include "vertical_engine.h"

namespace bnnkit {

void xnor_avx2_by_counting(const XnorArgs& args) { xnor_by_counting(args); }
void xnor_avx2_vertically(const XnorArgs& args) { xnor_vertically(args); }
void xnor_avx2(const XnorArgs& args) { xnor_either_way(args, kVerticalAvx2); }

}  // namespace bnnkit

#pragma GCC pop_options
#endif
