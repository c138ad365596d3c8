#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/patches.h"
#include "sum_converter.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512vbmi,avx512vnni,avx2,fma")

#include "../../core/lanes_avx512.h"

#include "tile_adc.h"

namespace bnnkit {
namespace {

// The instruction multiplies unsigned by signed bytes: activations are raised by 128, and what that adds to a product, 128 times
// the sum of an output's weights, is where its partial sums start below zero.
class VnniPartials {
public:
    struct Ready {
        Ready() {}  // nothing to set up
    };

    VnniPartials(const BinaryConv& conv, const TilePanels& panels)
        : per_group_(ceil_div(conv.geometry.group_outputs(), kSide)),
          arrays_(conv.layout.arrays()),
          starts_(conv.geometry.groups * per_group_ * arrays_ * kSide * static_cast<int64_t>(sizeof(int32_t))) {
        const int64_t words = conv.layout.array_words();
        parallel_for(conv.threads, conv.geometry.groups * per_group_, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t group = i / per_group_, panel = i % per_group_;
                for (int64_t array = 0; array < arrays_; ++array) {
                    const unsigned char* columns = panels.panel(group, panel) + array * words * 2 * kTileBytes;
                    for (int64_t half = 0; half < 2; ++half)
                        _mm512_store_si512(start(group, panel, array) + half * kTile,
                                           below_zero(columns + half * kTileBytes, words));
                }
            }
        });
    }

    void prepare(unsigned char* rows, int64_t bytes) const {
        for (int64_t i = 0; i < bytes; i += 64)
            _mm512_store_si512(rows + i, _mm512_xor_si512(_mm512_load_si512(rows + i), raised()));
    }

    void multiply(const unsigned char* rows, const unsigned char* columns, int64_t words, int64_t group, int64_t panel,
                  int64_t array, int32_t* partial) const {
        const int32_t* from = start(group, panel, array);
        const __m512i left = _mm512_load_si512(from), right = _mm512_load_si512(from + kTile);
        for (int64_t row = 0; row < kSide; row += kRows) {
            __m512i sums[kRows][2];
            for (auto& pair : sums) pair[0] = left, pair[1] = right;
            for (int64_t word = 0; word < words; ++word) {
                const unsigned char* x = rows + word * kBandWordBytes + row * 64;
                const unsigned char* w = columns + word * 2 * kTileBytes;
                for (int64_t quad = 0; quad < kTile; ++quad, x += 4, w += 64) {
                    const __m512i w_left = _mm512_load_si512(w), w_right = _mm512_load_si512(w + kTileBytes);
#pragma GCC unroll 8
                    for (int64_t i = 0; i < kRows; ++i) {
                        int32_t four;
                        memcpy(&four, x + i * 64, sizeof four);
                        const __m512i all = _mm512_set1_epi32(four);
                        sums[i][0] = _mm512_dpbusd_epi32(sums[i][0], all, w_left);
                        sums[i][1] = _mm512_dpbusd_epi32(sums[i][1], all, w_right);
                    }
                }
            }
            for (int64_t i = 0; i < kRows; ++i) {
                _mm512_store_si512(partial + (row + i) * kSide, sums[i][0]);
                _mm512_store_si512(partial + (row + i) * kSide + kTile, sums[i][1]);
            }
        }
    }

private:
    static constexpr int64_t kRows = 8;  // whose sums fit into the registers

    static __m512i raised() { return _mm512_set1_epi8(-128); }

    static __m512i below_zero(const unsigned char* columns, int64_t words) {
        __m512i sum = _mm512_setzero_si512();
        for (int64_t word = 0; word < words; ++word)
            for (int64_t quad = 0; quad < kTile; ++quad)
                sum =
                    _mm512_dpbusd_epi32(sum, raised(), _mm512_load_si512(columns + word * 2 * kTileBytes + quad * 64));
        return _mm512_sub_epi32(_mm512_setzero_si512(), sum);
    }

    int32_t* start(int64_t group, int64_t panel, int64_t array) const {
        return reinterpret_cast<int32_t*>(starts_.data) + ((group * per_group_ + panel) * arrays_ + array) * kSide;
    }

    int64_t per_group_, arrays_;
    Scratch starts_;  // [group][panel][array][32 columns]
};

}  // namespace

void adc_vnni(const AdcArgs& args) { adc_by_tiles<VnniPartials>(args); }

}  // namespace bnnkit

#pragma GCC pop_options
#endif
