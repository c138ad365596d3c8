#if defined(__aarch64__)
#include <cstdlib>
#include <cstring>

#include "../../core/patches.h"
#include "prepared.h"

#include "../../core/lanes_neon.h"
#include "lanes16_portable.h"

#include "../../core/blocks.h"
#include "active_rows.h"
#include "convert.h"
#include "read_noise.h"

#include "analog.h"
#include "count.h"
#include "run.h"

namespace bnnkit {
void bit_serial_neon(const BitSerialArgs& args) { run_by_counting(args); }
}  // namespace bnnkit
#endif
