#if defined(__aarch64__)
#include "bitplane.h"

#include "shift.h"

namespace bnnkit {
void bitplane_neon(const BitplaneArgs& args) { bitplane_by_shifting(args); }
}  // namespace bnnkit
#endif
