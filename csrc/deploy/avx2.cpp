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
#pragma GCC target("avx2,fma")

#include "../core/lanes_avx2.h"

#include "../core/blocks.h"
#include "../core/border_table.h"
#include "../kernels/adc/converting_avx2.h"
#include "../kernels/adc/write.h"
#include "../kernels/xnor/write.h"

#include "../kernels/adc/byte_engine_avx2.h"
#include "../kernels/adc/counting_engine.h"
#include "../kernels/xnor/counting_engine.h"

namespace bnnkit::deploy {
namespace {
using ByteEngine = ByteAdc;
constexpr int64_t kProductsByBytes = 128;  // for fewer, making bytes of activations takes longer than counting
}  // namespace
}  // namespace bnnkit::deploy

#include "run_code.h"

namespace bnnkit::deploy {
const Code& code_avx2() {
    static constexpr Code kCode = code_of(Isa::avx2);
    return kCode;
}
}  // namespace bnnkit::deploy

#pragma GCC pop_options
#endif
