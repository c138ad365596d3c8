#include "../python/tensor_args.h"
#include "network.h"

namespace bnnkit::binding {
namespace {

// Networks by the numbers that `_C.Network.number` gives; images uint8 [N, C, H, W]; `indices` int64 [N] are their numbers
// within the data set, which decide where faults are (none: 0 to N-1); logits float32 [networks, N, classes].
Tensor run_networks(Ints numbers, Tensor images, int64_t classes, std::optional<Tensor> indices) {
    check_dense(images, "images", ScalarType::Byte, "uint8");
    STD_TORCH_CHECK(images.dim() == 4, "images: needed [N, C, H, W]");
    if (indices) {
        check_dense(*indices, "indices", ScalarType::Long, "int64");
        STD_TORCH_CHECK(indices->dim() == 1 && indices->size(0) == images.size(0), "indices: needed one per image");
    }
    std::vector<deploy::Network*> networks;
    for (int64_t number : numbers) {
        deploy::Network* network = deploy::listed(number);
        STD_TORCH_CHECK(network != nullptr, "networks: ", number, " is not a network");
        const deploy::Shape shape = network->images();
        STD_TORCH_CHECK(
            images.size(1) == shape.channels && images.size(2) == shape.height && images.size(3) == shape.width,
            "images: have another shape than the network's");
        STD_TORCH_CHECK(network->classes() == classes, "classes: the network has ", network->classes());
        networks.push_back(network);
    }
    Tensor logits =
        empty_output(images, {static_cast<int64_t>(numbers.size()), images.size(0), classes}, ScalarType::Float);
    deploy::run(networks, data_of<uint8_t>(images), indices ? data_of<int64_t>(*indices) : nullptr, images.size(0),
                static_cast<float*>(logits.mutable_data_ptr()), torch_threads());
    return logits;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) { m.impl("run_networks", TORCH_BOX(&run_networks)); }

}  // namespace bnnkit::binding
