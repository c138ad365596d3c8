#include "machine_limit.h"

#include <chrono>
#include <cstdint>
#include <stdexcept>

#include "variant.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "amx.h"

namespace bnnkit {
namespace {

constexpr int kSums = 12;  // independent chains, enough to cover the latency of count + add
constexpr int64_t kSteps = 100000;

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vpopcntdq")
double macs_avx512() {
    __m512i sums[kSums], w[6];
    for (auto& sum : sums) sum = _mm512_setzero_si512();
    for (int i = 0; i < 6; ++i) w[i] = _mm512_set1_epi64(0x9E3779B97F4A7C15 * (i + 1));
    __m512i x = _mm512_set1_epi64(0x0123456789ABCDEF);
    for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
        for (int i = 0; i < kSums; ++i) {
            sums[i] = _mm512_add_epi64(sums[i], _mm512_popcnt_epi64(_mm512_xor_si512(x, w[i % 6])));
            asm volatile("" : "+v"(sums[i]));  // keep every operation
        }
        asm volatile("" : "+v"(x));
    }
    return 512.0 * kSums * kSteps;
}
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2")
double macs_avx2() {
    constexpr int kChains = 8;
    const __m256i nibble = _mm256_set1_epi8(15), zero = _mm256_setzero_si256();
    const __m256i ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                          0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    __m256i sums[kChains], x = _mm256_set1_epi64x(0x0123456789ABCDEF), w = _mm256_set1_epi64x(0x1E3779B97F4A7C15);
    for (auto& sum : sums) sum = zero;
    for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 8
        for (int i = 0; i < kChains; ++i) {
            asm volatile("" : "+x"(x));  // every chain computes its own word
            const __m256i v = _mm256_xor_si256(x, w);
            const __m256i low = _mm256_shuffle_epi8(ones, _mm256_and_si256(v, nibble));
            const __m256i high = _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble));
            sums[i] = _mm256_add_epi64(sums[i], _mm256_sad_epu8(_mm256_add_epi8(low, high), zero));
            asm volatile("" : "+x"(sums[i]));
        }
    }
    return 256.0 * kChains * kSteps;
}
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("amx-tile,amx-int8")
double macs_amx() {
    _tile_loadconfig(&kFullTiles);
    for (int64_t step = 0; step < kSteps; ++step) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_release();
    return 4.0 * 16 * 16 * 64 * kSteps;
}
#pragma GCC pop_options

}  // namespace
}  // namespace bnnkit
#endif

namespace bnnkit {

double machine_limit(const std::string& variant, double seconds) {
    double (*macs)() = nullptr;
#if defined(__x86_64__)
    if (variant == "avx512") macs = macs_avx512;
    if (variant == "avx2") macs = macs_avx2;
    if (variant == "amx") macs = macs_amx;
#endif
    if (!macs) return 0;
    for (int i = 0; i < static_cast<int>(known_variants().size()); ++i)
        if (variant == name_of(static_cast<Isa>(i)) && !usable(static_cast<Isa>(i)))
            throw std::invalid_argument("variant '" + variant + "' cannot run on this processor");
    using Clock = std::chrono::steady_clock;
    double best = 0;  // interruptions only ever slow a slice down
    for (const auto start = Clock::now(); std::chrono::duration<double>(Clock::now() - start).count() < seconds;) {
        const auto before = Clock::now();
        const double work = macs();
        const double rate = work / std::chrono::duration<double>(Clock::now() - before).count();
        best = rate > best ? rate : best;
    }
    return best;
}

}  // namespace bnnkit
