#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/patches.h"
#include "sum_converter.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512vbmi,avx2,fma,amx-tile,amx-int8")

#include "../../core/lanes_avx512.h"

#include "../../core/amx_tiles.h"
#include "tile_adc.h"

namespace bnnkit {
namespace {

struct AmxPartials {
    using Ready = TilesConfigured;

    AmxPartials(const BinaryConv&, const TilePanels&) {}
    void prepare(unsigned char*, int64_t) const {}
    void multiply(const unsigned char* rows, const unsigned char* columns, int64_t words, int64_t, int64_t, int64_t,
                  int32_t* partial) const {
        clear_tiles();
        multiply_tiles(rows, kBandWordBytes, columns, words);
        store_tiles(partial, kSide);
    }
};

}  // namespace

void adc_amx(const AdcArgs& args) { adc_by_tiles<AmxPartials>(args); }

}  // namespace bnnkit

#pragma GCC pop_options
#endif
