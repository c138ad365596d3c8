#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../core/counter.h"
#include "../core/panels.h"
#include "../kernels/adc/adc.h"
#include "../kernels/adc/count_converter.h"
#include "../kernels/adc/sum_converter.h"
#include "../kernels/xnor/xnor.h"
#include "code.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512ifma,avx512vbmi,avx2,fma")

#include "../core/lanes_avx512.h"

#include "../core/blocks.h"
#include "../core/border_table.h"
#include "../kernels/adc/converting_avx512.h"
#include "../kernels/adc/write.h"
#include "../kernels/xnor/write.h"

#include "../kernels/adc/counting_engine.h"
#include "../kernels/xnor/counting_engine.h"
#include "count_pairs.h"
#include "run_code.h"

namespace bnnkit::deploy {
const Code& code_avx512() {
    // Populations are counted by an instruction: large networks are as fast image by image, in a cache.
    static constexpr Code kCode = code_of(Isa::avx512, 24, int64_t{40} << 20);
    return kCode;
}
}  // namespace bnnkit::deploy

#pragma GCC pop_options
#endif
