#if defined(__aarch64__)
#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "count_converter.h"

#include "../../core/lanes_neon.h"

#include "../../core/blocks.h"
#include "../../core/border_table.h"
#include "converting_neon.h"
#include "write.h"

#include "counting_engine.h"

namespace bnnkit {
void adc_neon(const AdcArgs& args) { adc_by_counting(args); }
}  // namespace bnnkit
#endif
