#include "tensors.h"

namespace bnnkit::binding {
namespace {

Tensor dense_conv2d(Tensor x, Tensor w, std::optional<Tensor> bias, Ints stride, Ints padding) {
    return dense_conv2d_by(dense, x, w, bias, stride, padding);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) { m.impl("dense_conv2d", TORCH_BOX(&dense_conv2d)); }

}  // namespace bnnkit::binding
