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

constexpr int64_t kSteps = 100000;

// In assembly, because a compiler asked to keep every operation also keeps the sums in memory. Eight independent chains
// cover the latency of count and addition.
#define BNNKIT_LOOP(steps, body) "1:\n" body "dec " steps "\njnz 1b\n"

double macs_avx512() {
    int64_t steps = kSteps;
#define BNNKIT_STEP(word, sum)             \
    "vpxorq %%zmm16, %%zmm17, %%zmm" #word \
    "\n"                                   \
    "vpopcntq %%zmm" #word ", %%zmm" #word \
    "\n"                                   \
    "vpaddq %%zmm" #word ", %%zmm" #sum ", %%zmm" #sum "\n"
    asm volatile(BNNKIT_LOOP("%0", BNNKIT_STEP(0, 8) BNNKIT_STEP(1, 9) BNNKIT_STEP(2, 10) BNNKIT_STEP(3, 11)
                                       BNNKIT_STEP(4, 12) BNNKIT_STEP(5, 13) BNNKIT_STEP(6, 14) BNNKIT_STEP(7, 15))
                 : "+r"(steps)
                 :
                 : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                   "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#undef BNNKIT_STEP
    return 512.0 * 8 * kSteps;
}

// Counts nibbles with two table lookups and sums bytes, as Lanes::count of lanes_avx2.h does.
double macs_avx2() {
    int64_t steps = kSteps;
#define BNNKIT_STEP(sum)                \
    "vpxor %%ymm13, %%ymm14, %%ymm0\n"  \
    "vpsrlw $4, %%ymm0, %%ymm1\n"       \
    "vpand %%ymm15, %%ymm0, %%ymm0\n"   \
    "vpand %%ymm15, %%ymm1, %%ymm1\n"   \
    "vpshufb %%ymm0, %%ymm12, %%ymm0\n" \
    "vpshufb %%ymm1, %%ymm12, %%ymm1\n" \
    "vpaddb %%ymm0, %%ymm1, %%ymm0\n"   \
    "vpsadbw %%ymm15, %%ymm0, %%ymm0\n" \
    "vpaddq %%ymm0, %%ymm" #sum ", %%ymm" #sum "\n"
    asm volatile(BNNKIT_LOOP("%0", BNNKIT_STEP(2) BNNKIT_STEP(3) BNNKIT_STEP(4) BNNKIT_STEP(5) BNNKIT_STEP(6)
                                       BNNKIT_STEP(7) BNNKIT_STEP(8) BNNKIT_STEP(9))
                 : "+r"(steps)
                 :
                 : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm12",
                   "xmm13", "xmm14", "xmm15");
#undef BNNKIT_STEP
    return 256.0 * 8 * kSteps;
}
#undef BNNKIT_LOOP

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
#elif defined(__aarch64__)
namespace bnnkit {
namespace {

constexpr int64_t kSteps = 100000;

// In assembly for the same reason as above. Bytes are summed within lanes so rarely that it does not count; the sums wrap.
double macs_neon() {
    int64_t steps = kSteps;
#define BNNKIT_BYTES(n) "v" #n ".16b"
#define BNNKIT_STEP(word, sum) \
    "eor " BNNKIT_BYTES(word) ", v24.16b, v25.16b\n"       \
    "cnt " BNNKIT_BYTES(word) ", " BNNKIT_BYTES(word) "\n" \
    "add " BNNKIT_BYTES(sum) ", " BNNKIT_BYTES(sum) ", " BNNKIT_BYTES(word) "\n"
    asm volatile("1:\n" BNNKIT_STEP(0, 16) BNNKIT_STEP(1, 17) BNNKIT_STEP(2, 18) BNNKIT_STEP(3, 19) BNNKIT_STEP(4, 20)
                     BNNKIT_STEP(5, 21) BNNKIT_STEP(6, 22) BNNKIT_STEP(7, 23) "subs %0, %0, #1\nb.ne 1b\n"
                 : "+r"(steps)
                 :
                 : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21",
                   "v22", "v23", "v24", "v25");
#undef BNNKIT_STEP
#undef BNNKIT_BYTES
    return 128.0 * 8 * kSteps;
}

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
#elif defined(__aarch64__)
    if (variant == "neon") macs = macs_neon;
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
