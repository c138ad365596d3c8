// Which implementation of a kernel runs.
//
// Each kernel lists its variants, the one that is usually fastest first, and a call runs the first that the processor can
// execute. `force_variant` or the environment variable BNNKIT_VARIANT sets a ceiling instead: then the highest variant up to
// it runs, ranked reference < neon < avx2 < avx512 < amx, of which a processor has the neon or the others. Forcing one that
// the machine lacks is an error, never a silent fallback. Each call records what ran.
#pragma once

#include <string>
#include <vector>

namespace bnnkit {

enum class Kernel { pack, xnor, adc, adc_backward, bitplane, bit_serial, network, dense, bit_faults, image_faults };
enum class Isa { reference, neon, avx2, avx512, amx, cuda };  // cuda: chosen by where the operands lie, never by rank

const char* name_of(Kernel kernel);
const char* name_of(Isa isa);

std::vector<std::string> known_variants();
std::vector<std::string> usable_variants();
bool usable(Isa isa);
bool allowed(Isa isa);  // usable, and not above the ceiling

// Empty name: no ceiling. Throws std::invalid_argument for an unknown or unusable name.
void force_variant(const std::string& name);
// Empty when no call of that kernel was made. Throws std::invalid_argument for an unknown kernel.
std::string forced_variant();  // "" without a ceiling
std::string last_variant(const std::string& kernel);

template <class Args>
struct Variant {
    Isa isa;
    void (*run)(const Args&);
};

namespace detail {
// The ceiling's rank, or -1 without one.
int ceiling_rank();
void record(Kernel kernel, Isa isa);
}  // namespace detail

// `variants` is in order of preference and contains the reference.
template <class Args, size_t N>
void dispatch(Kernel kernel, const Variant<Args> (&variants)[N], const Args& args) {
    const int ceiling = detail::ceiling_rank();
    const Variant<Args>* chosen = nullptr;
    for (const auto& variant : variants) {
        const int rank = static_cast<int>(variant.isa);
        if (!usable(variant.isa) || (ceiling >= 0 && rank > ceiling)) continue;
        if (!chosen || (ceiling >= 0 && rank > static_cast<int>(chosen->isa))) chosen = &variant;
    }
    detail::record(kernel, chosen->isa);
    chosen->run(args);
}

}  // namespace bnnkit
