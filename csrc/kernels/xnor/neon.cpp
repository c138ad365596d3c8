#if defined(__aarch64__)
#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "../../core/patches.h"
#include "xnor.h"

#include "../../core/lanes_neon.h"

#include "../../core/blocks.h"
#include "../../core/border_table.h"
#include "write.h"

#include "counting_engine.h"

namespace bnnkit {
void xnor_neon(const XnorArgs& args) { xnor_by_counting(args); }
}  // namespace bnnkit
#endif
