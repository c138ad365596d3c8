#include "../../core/variant.h"
#include "dense.h"

namespace bnnkit {

// On the processor packed networks have a vectorized one of their own (csrc/deploy), with normalization and packing in it.
void dense(const DenseArgs& args) {
    static constexpr Variant<DenseArgs> variants[] = {{Isa::reference, dense_reference}};
    dispatch(Kernel::dense, variants, args);
}

}  // namespace bnnkit
