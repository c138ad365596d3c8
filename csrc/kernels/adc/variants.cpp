#include "../../core/variant.h"
#include "adc.h"

namespace bnnkit {

void adc(const AdcArgs& args) {
    // Counting takes time for every pair of planes, a tile product does not.
    static constexpr Variant<AdcArgs> one_pair[] = {
#if defined(__x86_64__)
        {Isa::avx512, adc_avx512},
        {Isa::amx, adc_amx},
        {Isa::avx2, adc_avx2},
#elif defined(__aarch64__)
        {Isa::neon, adc_neon},
#endif
        {Isa::reference, adc_reference},
    };
    static constexpr Variant<AdcArgs> more_pairs[] = {
#if defined(__x86_64__)
        {Isa::amx, adc_amx},
        {Isa::avx512, adc_avx512},
        {Isa::avx2, adc_avx2},
#elif defined(__aarch64__)
        {Isa::neon, adc_neon},
#endif
        {Isa::reference, adc_reference},
    };
    dispatch(Kernel::adc, args.conv.x_planes * args.conv.w_planes == 1 ? one_pair : more_pairs, args);
}

void adc_backward(const AdcBackwardArgs& args) {
    static constexpr Variant<AdcBackwardArgs> variants[] = {
#if defined(__x86_64__)
        {Isa::amx, adc_backward_amx},
        {Isa::avx512, adc_backward_avx512},
        {Isa::avx2, adc_backward_avx2},
#elif defined(__aarch64__)
        {Isa::neon, adc_backward_neon},
#endif
        {Isa::reference, adc_backward_reference},
    };
    dispatch(Kernel::adc_backward, variants, args);
}

}  // namespace bnnkit
