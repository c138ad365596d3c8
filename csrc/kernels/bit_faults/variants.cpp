#include "../../core/variant.h"
#include "bit_faults.h"

namespace bnnkit {

// On the processor packed networks put faults into bits between their steps (csrc/deploy/faulty_bits.h).
void bit_faults(const BitFaultsArgs& args) {
    static constexpr Variant<BitFaultsArgs> variants[] = {{Isa::reference, bit_faults_reference}};
    dispatch(Kernel::bit_faults, variants, args);
}

}  // namespace bnnkit
