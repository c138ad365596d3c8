// What packed networks are run with, for every instruction set that this processor has.
#pragma once

#include <vector>

#include "../deploy/code.h"

struct NamedCode {
    bnnkit::Isa isa;
    const bnnkit::deploy::Code& (*code)();
};

inline std::vector<NamedCode> usable_codes() {
    using namespace bnnkit;
    std::vector<NamedCode> found{{Isa::reference, deploy::code_portable}};
#if defined(__x86_64__)
    for (const NamedCode& named :
         {NamedCode{Isa::avx2, deploy::code_avx2}, NamedCode{Isa::avx512, deploy::code_avx512}})
        if (usable(named.isa)) found.push_back(named);
#elif defined(__aarch64__)
    found.push_back({Isa::neon, deploy::code_neon});
#endif
    return found;
}
