#if defined(__aarch64__)
#include <cstdlib>
#include <cstring>

#include "../core/counter.h"
#include "../core/panels.h"
#include "../kernels/adc/adc.h"
#include "../kernels/adc/count_converter.h"
#include "../kernels/adc/sum_converter.h"
#include "../kernels/xnor/xnor.h"
#include "code.h"

#include "../core/lanes_neon.h"

#include "../core/blocks.h"
#include "../core/border_table.h"
#include "../kernels/adc/converting_neon.h"
#include "../kernels/adc/write.h"
#include "../kernels/xnor/write.h"

#include "../kernels/adc/counting_engine.h"
#include "../kernels/xnor/counting_engine.h"
#include "count_pairs.h"
#include "run_code.h"

namespace bnnkit::deploy {
const Code& code_neon() {
    static constexpr Code kCode = code_of(Isa::neon);
    return kCode;
}
}  // namespace bnnkit::deploy

#endif
