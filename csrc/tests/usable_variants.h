// The variants of a kernel that this processor can execute, by name.
#pragma once

#include <string>
#include <vector>

#include "../core/variant.h"

template <class Args>
std::vector<bnnkit::Variant<Args>> usable_of(std::initializer_list<bnnkit::Variant<Args>> variants) {
    std::vector<bnnkit::Variant<Args>> usable;
    for (const auto& variant : variants)
        if (bnnkit::usable(variant.isa)) usable.push_back(variant);
    return usable;
}
