#include "../../python/on_device.h"
#include "tensors.h"

namespace bnnkit::binding {
namespace {

std::vector<Tensor> image_faults(Tensor images, Tensor place, Tensor value, int64_t bit, int64_t source, Ints truth,
                                 int64_t limit) {
    const OnDevice device(images);
    const auto run = [&](const ImageFaultsArgs& args) {
        device.run(Kernel::image_faults, 0, [&](const Device& d) { image_faults_cuda(args, d); });
    };
    return image_faults_by(run, images, place, value, bit, source, truth, limit);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CUDA, m) { m.impl("image_faults", TORCH_BOX(&image_faults)); }

}  // namespace bnnkit::binding
