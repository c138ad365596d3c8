#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "../../core/patches.h"
#include "xnor.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma")

#include "../../core/lanes_avx2.h"

#include "../../core/blocks.h"
#include "../../core/border_table.h"
#include "write.h"

#include "counting_engine.h"

namespace bnnkit {
void xnor_avx2(const XnorArgs& args) { xnor_by_counting(args); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
