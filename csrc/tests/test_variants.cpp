// Which variant runs: forced, unknown, by the environment; and that the record of it is true.
//
//   test_variants                   choices made through force_variant
//   test_variants ceiling NAME      BNNKIT_VARIANT is NAME in the environment
//   test_variants refused           BNNKIT_VARIANT names no variant
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "../core/cpu.h"
#include "../core/machine_limit.h"
#include "../core/variant.h"
#include "../kernels/adc/adc.h"
#include "../kernels/bit_serial/bit_serial.h"
#include "../kernels/bitplane/bitplane.h"
#include "../kernels/pack/pack.h"
#include "../kernels/xnor/xnor.h"
#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"

using namespace bnnkit;

namespace {

const std::vector<std::string> kKernels = {"pack", "xnor", "adc", "adc_backward", "bitplane", "bit_serial"};

void call_bitplane() {
    int32_t weight = 5;
    uint8_t slices[3];
    BitplaneArgs args;
    args.weights = &weight;
    args.slices = slices;
    args.count = 1;
    args.slice_count = 3;
    args.threads = one_thread();
    bitplane(args);
}

void call_pack() {
    const float x = 1;
    uint64_t out;
    bool has_nan = false;
    PackArgs args;
    args.x = &x;
    args.out = &out;
    args.has_nan = &has_nan;
    args.threads = one_thread();
    pack(args);
}

void call_convolutions() {
    Random random(1);
    const DenseConv dense = matrix_product(random, 2, 2, 8, 8);
    const PackedConv packed(dense, one_thread());
    float y[4], gx[16], gw[16];
    const float gy[4] = {};
    const int32_t threshold = 1, levels[2] = {-1, 1};
    XnorArgs x;
    x.conv = packed.conv;
    x.y = y;
    xnor(x);
    AdcArgs a;
    a.conv = packed.conv;
    a.thresholds = &threshold;
    a.levels = levels;
    a.y = y;
    adc(a);
    AdcBackwardArgs b;
    b.conv = packed.conv;
    b.gy = gy;
    b.gx = gx;
    b.gw = gw;
    adc_backward(b);
}

void call_bit_serial() {
    Random random(2);
    const DenseConv dense = matrix_product(random, 2, 2, 8, 8);
    const PackedConv packed(dense, one_thread());
    const int32_t weight = 1;
    const double factor = 1, base = 0;
    float y[4];
    BitSerialArgs args;
    args.conv = packed.conv;
    args.planes = packed.w.data();
    args.slice_planes[0] = 1;
    args.plane_weight = &weight;
    args.conversion = Conversion::none;
    args.factor = &factor;
    args.base = &base;
    args.y = y;
    bit_serial(args);
}

void call_all() {
    call_pack();
    call_bitplane();
    call_bit_serial();
    call_convolutions();
}

bool can_run(const std::string& name) {
    const auto names = usable_variants();
    return std::find(names.begin(), names.end(), name) != names.end();
}

// The highest variant that a kernel has, up to a ceiling that this processor can execute.
std::string expected(const std::string& kernel, const std::string& ceiling) {
    const bool tiles = kernel != "pack" && kernel != "bitplane" && kernel != "bit_serial";
    return !tiles && ceiling == "amx" ? "avx512" : ceiling;
}

std::vector<std::string> what_runs() {
    call_all();
    std::vector<std::string> names;
    for (const auto& kernel : kKernels) names.push_back(last_variant(kernel));
    return names;
}

void choices() {
    CHECK_SAME(known_variants(), (std::vector<std::string>{"reference", "neon", "avx2", "avx512", "amx"}));
    CHECK(usable(Isa::reference));
    for (const auto& kernel : kKernels) CHECK_EQ(last_variant(kernel), "");
    const auto preferred = what_runs();  // which one is a matter of speed, as long as the processor's lanes are used
    for (const auto& name : preferred) CHECK(name != "reference" || usable_variants().size() == 1);
    for (const auto& name : usable_variants()) {
        force_variant(name);
        const auto ran = what_runs();
        for (size_t i = 0; i < kKernels.size(); ++i) {
            check::describe(kKernels[i], " limited to ", name);
            CHECK_EQ(ran[i], expected(kKernels[i], name));
        }
    }
    force_variant("");
    CHECK_SAME(what_runs(), preferred);
}

void refusals() {
    const auto before = what_runs();
    CHECK_THROWS(force_variant("avx3"), std::invalid_argument, "unknown variant 'avx3'; known: reference, neon, avx2");
    CHECK_THROWS(last_variant("gemm"), std::invalid_argument, "unknown kernel 'gemm'");
    for (const auto& name : known_variants())
        if (!can_run(name)) CHECK_THROWS(force_variant(name), std::invalid_argument, "cannot run on this processor");
    CHECK_SAME(what_runs(), before);
}

void features() {
    const CpuFeatures& f = cpu_features();
    CHECK(!f.avx512 || f.avx2);
    CHECK(!f.amx || f.avx512);
#if defined(__aarch64__)
    CHECK(f.neon);
#else
    CHECK(!f.neon);
#endif
    CHECK_EQ(usable(Isa::neon), f.neon);
    CHECK_EQ(usable(Isa::avx2), f.avx2);
    CHECK_EQ(usable(Isa::avx512), f.avx512);
    CHECK_EQ(usable(Isa::amx), f.amx);
}

void limits() {
    CHECK_EQ(machine_limit("reference", 0.001), 0.0);
    for (const auto& name : usable_variants())
        if (name != "reference") CHECK(machine_limit(name, 0.001) > 1e8);  // even emulated
}

}  // namespace

int main(int count, char** words) {
    if (count == 3 && !strcmp(words[1], "ceiling")) {
        if (!can_run(words[2])) {
            printf("this processor has no %s\n", words[2]);
            return 77;  // skipped
        }
        call_all();
        for (const auto& kernel : kKernels) CHECK_EQ(last_variant(kernel), expected(kernel, words[2]));
    } else if (count == 2 && !strcmp(words[1], "refused")) {
        CHECK_THROWS(call_pack(), std::invalid_argument, "unknown variant");
        CHECK_THROWS(call_pack(), std::invalid_argument, "unknown variant");  // not only the first time
    } else {
        [[maybe_unused]] const check::Register tests[] = {{"variants: forced and recorded", choices},
                                                          {"variants: unknown and unusable names", refusals},
                                                          {"variants: what the processor has", features},
                                                          {"machine limit", limits}};
        return check::run_tests();
    }
    return check::failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
