#include <cstdlib>
#include <cstring>

#include "../core/counter.h"
#include "../core/lanes_portable.h"
#include "../core/panels.h"
#include "../kernels/adc/adc.h"
#include "../kernels/adc/count_converter.h"
#include "../kernels/adc/sum_converter.h"
#include "../kernels/xnor/xnor.h"
#include "code.h"

#include "../core/blocks.h"
#include "../core/border_table.h"
#include "../kernels/adc/converting_portable.h"
#include "../kernels/adc/write.h"
#include "../kernels/xnor/write.h"

#include "../kernels/adc/counting_engine.h"
#include "../kernels/xnor/counting_engine.h"
#include "count_pairs.h"
#include "run_code.h"

namespace bnnkit::deploy {
const Code& code_portable() {
    static constexpr Code kCode = code_of(Isa::reference);
    return kCode;
}
}  // namespace bnnkit::deploy
