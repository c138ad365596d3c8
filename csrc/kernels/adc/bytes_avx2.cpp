#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/patches.h"
#include "sum_converter.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma")

#include "../../core/lanes_avx2.h"

#include "../../core/blocks.h"
#include "byte_engine_avx2.h"
#include "write.h"

namespace bnnkit {

void adc_bytes_avx2(const AdcArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const SumConverter converter(args, false);
    const ByteAdc engine(args.conv, borders, converter);
    for_each_tile(args.conv, borders, engine, LevelWriter<ByteAdc::kColumns>{args});
}

}  // namespace bnnkit

#pragma GCC pop_options
#endif
