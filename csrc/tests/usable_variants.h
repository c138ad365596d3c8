// The variants of a kernel that this processor can execute, by name.
#pragma once

#include <string>
#include <vector>

#include "../core/variant.h"
#include "emulated_device.h"

template <class Args>
std::vector<bnnkit::Variant<Args>> usable_of(std::initializer_list<bnnkit::Variant<Args>> variants) {
    std::vector<bnnkit::Variant<Args>> usable;
    for (const auto& variant : variants) {
#if defined(BNNKIT_EMULATED_CUDA)
        if (variant.isa == bnnkit::Isa::cuda) usable.push_back(variant);
#elif defined(BNNKIT_EMULATED_TILES)
        // The program's own copy of the tile kernel needs the vectors around the tiles only.
        if (variant.isa == bnnkit::Isa::amx && bnnkit::usable(bnnkit::Isa::avx512)) usable.push_back(variant);
#else
        if (bnnkit::usable(variant.isa)) usable.push_back(variant);
#endif
    }
    return usable;
}

// How many random cases to try: emulated devices are slow.
constexpr int cases(int many) {
#if defined(BNNKIT_EMULATED_CUDA) && defined(__SANITIZE_ADDRESS__)
    return many / 25;
#elif defined(BNNKIT_EMULATED_CUDA)
    return many / 5;
#else
    return many;
#endif
}
