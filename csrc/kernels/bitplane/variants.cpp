#include "../../core/variant.h"
#include "bitplane.h"

namespace bnnkit {

void bitplane(const BitplaneArgs& args) {
    static constexpr Variant<BitplaneArgs> variants[] = {
#if defined(__x86_64__)
        {Isa::avx512, bitplane_avx512},
        {Isa::avx2, bitplane_avx2},
#elif defined(__aarch64__)
        {Isa::neon, bitplane_neon},
#endif
        {Isa::reference, bitplane_reference},
    };
    dispatch(Kernel::bitplane, variants, args);
}

}  // namespace bnnkit
