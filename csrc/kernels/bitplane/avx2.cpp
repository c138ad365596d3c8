#if defined(__x86_64__)
#include "bitplane.h"

#pragma GCC push_options
#pragma GCC target("avx2")

#include "shift.h"

namespace bnnkit {
void bitplane_avx2(const BitplaneArgs& args) { bitplane_by_shifting(args); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
