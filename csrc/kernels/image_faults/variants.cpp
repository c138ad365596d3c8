#include "../../core/variant.h"
#include "image_faults.h"

namespace bnnkit {

// On the processor bnnkit/faults/images.py does this with NumPy, which is faster than a loop.
void image_faults(const ImageFaultsArgs& args) {
    static constexpr Variant<ImageFaultsArgs> variants[] = {{Isa::reference, image_faults_reference}};
    dispatch(Kernel::image_faults, variants, args);
}

}  // namespace bnnkit
