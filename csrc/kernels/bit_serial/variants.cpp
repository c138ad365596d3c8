#include "../../core/variant.h"
#include "bit_serial.h"

namespace bnnkit {

void bit_serial(const BitSerialArgs& args) {
    static constexpr Variant<BitSerialArgs> variants[] = {
#if defined(__x86_64__)
        {Isa::avx512, bit_serial_avx512},
        {Isa::avx2, bit_serial_avx2},
#elif defined(__aarch64__)
        {Isa::neon, bit_serial_neon},
#endif
        {Isa::reference, bit_serial_reference},
    };
    dispatch(Kernel::bit_serial, variants, args);
}

}  // namespace bnnkit
