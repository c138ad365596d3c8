#include "tensors.h"

namespace bnnkit::binding {
namespace {

std::vector<Tensor> image_faults(Tensor images, Tensor place, Tensor value, int64_t bit, int64_t source, Ints truth,
                                 int64_t limit) {
    return image_faults_by(bnnkit::image_faults, images, place, value, bit, source, truth, limit);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) { m.impl("image_faults", TORCH_BOX(&image_faults)); }

}  // namespace bnnkit::binding
