// Which implementation of a kernel runs.
//
// Variants are ranked reference < avx2 < avx512 < amx. A call runs the highest one that the kernel has, the processor
// can execute and the ceiling allows. The ceiling is unset, or forced by `force_variant` or by the environment variable
// BNNKIT_VARIANT; forcing one that the machine lacks is an error, never a silent fallback. Each call records what ran.
#pragma once

#include <string>
#include <vector>

namespace bnnkit {

enum class Kernel { pack, xnor, adc, adc_backward, bitplane };
enum class Isa { reference, avx2, avx512, amx };

const char* name_of(Kernel kernel);
const char* name_of(Isa isa);

std::vector<std::string> known_variants();
std::vector<std::string> usable_variants();
bool usable(Isa isa);

// Empty name: no ceiling. Throws std::invalid_argument for an unknown or unusable name.
void force_variant(const std::string& name);
// Empty when no call of that kernel was made. Throws std::invalid_argument for an unknown kernel.
std::string last_variant(const std::string& kernel);

template <class Args>
struct Variant {
    Isa isa;
    void (*run)(const Args&);
};

namespace detail {
bool allowed(Isa isa);
void record(Kernel kernel, Isa isa);
}  // namespace detail

// `variants` is ordered from highest to lowest and ends with the reference, which is always allowed.
template <class Args, size_t N>
void dispatch(Kernel kernel, const Variant<Args> (&variants)[N], const Args& args) {
    for (const auto& variant : variants) {
        if (!detail::allowed(variant.isa)) continue;
        detail::record(kernel, variant.isa);
        variant.run(args);
        return;
    }
}

}  // namespace bnnkit
