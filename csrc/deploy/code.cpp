#include "code.h"

#include <stdexcept>
#include <utility>

namespace bnnkit::deploy {

const Code& usual_code() {
#if defined(__x86_64__)
    static constexpr std::pair<Isa, const Code& (*)()> kCodes[] = {
        {Isa::avx512, code_avx512}, {Isa::avx2, code_avx2}, {Isa::reference, code_portable}};
#elif defined(__aarch64__)
    static constexpr std::pair<Isa, const Code& (*)()> kCodes[] = {{Isa::neon, code_neon},
                                                                   {Isa::reference, code_portable}};
#else
    static constexpr std::pair<Isa, const Code& (*)()> kCodes[] = {{Isa::reference, code_portable}};
#endif
    for (const auto& [candidate, code] : kCodes)
        if (allowed(candidate)) return code();
    throw std::logic_error("the reference is always allowed");
}

}  // namespace bnnkit::deploy
