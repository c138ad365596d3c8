#include "variant.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "cpu.h"

namespace bnnkit {
namespace {

constexpr std::array kKernels = {"pack",       "xnor",    "adc",   "adc_backward", "bitplane",
                                 "bit_serial", "network", "dense", "bit_faults",   "image_faults"};
constexpr std::array kIsas = {"reference", "neon", "avx2", "avx512", "amx", "cuda"};
constexpr size_t kRanked = kIsas.size() - 1;  // all that a processor runs
constexpr int kUnset = -1;

int isa_named(const std::string& name) {
    if (name == name_of(Isa::cuda))
        throw std::invalid_argument("variant 'cuda' runs for tensors on a GPU; it cannot be asked for");
    for (size_t i = 0; i < kRanked; ++i) {
        if (name != kIsas[i]) continue;
        if (usable(static_cast<Isa>(i))) return static_cast<int>(i);
        throw std::invalid_argument("variant '" + name + "' cannot run on this processor");
    }
    std::string known;
    for (size_t i = 0; i < kRanked; ++i) known += (known.empty() ? "" : ", ") + std::string(kIsas[i]);
    throw std::invalid_argument("unknown variant '" + name + "'; known: " + known);
}

// Read once, at the first call, so that a wrong value is reported where a kernel is used.
std::atomic<int>& ceiling() {
    static std::atomic<int> value = [] {
        const char* forced = std::getenv("BNNKIT_VARIANT");
        return forced && *forced ? isa_named(forced) : kUnset;
    }();
    return value;
}

struct LastRun : std::array<std::atomic<int>, kKernels.size()> {
    LastRun() { std::fill(begin(), end(), kUnset); }
};

LastRun& last() {
    static LastRun ran;
    return ran;
}

}  // namespace

const char* name_of(Kernel kernel) { return kKernels[static_cast<size_t>(kernel)]; }
const char* name_of(Isa isa) { return kIsas[static_cast<size_t>(isa)]; }

bool usable(Isa isa) {
    switch (isa) {
        case Isa::reference: return true;
        case Isa::neon: return cpu_features().neon;
        case Isa::avx2: return cpu_features().avx2;
        case Isa::avx512: return cpu_features().avx512;
        case Isa::amx: return cpu_features().amx;
        case Isa::cuda: return false;
    }
    return false;
}

bool allowed(Isa isa) {
    const int most = ceiling();
    return usable(isa) && (most == kUnset || static_cast<int>(isa) <= most);
}

std::vector<std::string> known_variants() { return {kIsas.begin(), kIsas.begin() + kRanked}; }

std::vector<std::string> usable_variants() {
    std::vector<std::string> names;
    for (size_t i = 0; i < kRanked; ++i)
        if (usable(static_cast<Isa>(i))) names.emplace_back(kIsas[i]);
    return names;
}

void force_variant(const std::string& name) { ceiling() = name.empty() ? kUnset : isa_named(name); }

std::string forced_variant() {
    const int most = ceiling();
    return most == kUnset ? "" : kIsas[static_cast<size_t>(most)];
}

std::string last_variant(const std::string& kernel) {
    for (size_t i = 0; i < kKernels.size(); ++i) {
        if (kernel != kKernels[i]) continue;
        const int isa = last()[i];
        return isa == kUnset ? "" : kIsas[static_cast<size_t>(isa)];
    }
    throw std::invalid_argument("unknown kernel '" + kernel + "'");
}

int detail::ceiling_rank() { return ceiling(); }

void detail::record(Kernel kernel, Isa isa) { last()[static_cast<size_t>(kernel)] = static_cast<int>(isa); }

}  // namespace bnnkit
