#include "../../core/variant.h"
#include "xnor.h"

namespace bnnkit {

void xnor(const XnorArgs& args) {
    static constexpr Variant<XnorArgs> variants[] = {
#if defined(__x86_64__)
        {Isa::avx512, xnor_avx512},  // bits stay eight times smaller than bytes, which outweighs the tiles' higher rate
        {Isa::amx, xnor_amx},
        {Isa::avx2, xnor_avx2},
#elif defined(__aarch64__)
        {Isa::neon, xnor_neon},
#endif
        {Isa::reference, xnor_reference},
    };
    dispatch(Kernel::xnor, variants, args);
}

}  // namespace bnnkit
