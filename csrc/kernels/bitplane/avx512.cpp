#if defined(__x86_64__)
#include "bitplane.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2")

#include "shift.h"

namespace bnnkit {
void bitplane_avx512(const BitplaneArgs& args) { bitplane_by_shifting(args); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
