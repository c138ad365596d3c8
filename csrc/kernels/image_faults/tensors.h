// The image_faults op on any device: checks, and the kernel's arguments.
#pragma once

#include "../../python/tensor_args.h"
#include "image_faults.h"

namespace bnnkit::binding {

// Returns the images as read and, int64 [2], the numbers of faulty bits and of those read wrongly. A negative source is none.
template <class Run>
std::vector<Tensor> image_faults_by(const Run& run, const Tensor& images, const Tensor& place, const Tensor& value,
                                    int64_t bit, int64_t source, const Ints& truth, int64_t limit) {
    check_dense(images, "images", ScalarType::Byte, "uint8");
    STD_TORCH_CHECK(images.dim() == 2, "images: needed [images, bytes]");
    for (const Tensor* states : {&place, &value}) {
        check_dense(*states, "place, value", ScalarType::Long, "int64");
        STD_TORCH_CHECK(states->dim() == 1 && states->size(0) == images.size(0),
                        "place, value: needed one state per image");
    }
    STD_TORCH_CHECK(bit >= 0 && bit < 8 && source < 8, "bit, source: needed bits of a byte");
    STD_TORCH_CHECK(truth.size() == 4, "truth: needed four values");
    STD_TORCH_CHECK(limit >= 0 && limit <= int64_t{1} << 32, "limit: needed 0 to 2^32");
    ImageFaultsArgs args;
    args.images = images.size(0);
    args.bytes = images.size(1);
    args.stored = data_of<uint8_t>(images);
    args.place = data_of<int64_t>(place);
    args.value = data_of<int64_t>(value);
    args.bit = static_cast<int>(bit);
    args.source = static_cast<int>(source);
    for (size_t i = 0; i < 4; ++i) args.truth[i] = truth[i] != 0;
    args.limit = static_cast<uint64_t>(limit);
    Tensor read = empty_output(images, {args.images, args.bytes}, ScalarType::Byte);
    Tensor counts = torch::stable::new_zeros(images, {2}, ScalarType::Long);
    args.read = static_cast<uint8_t*>(read.mutable_data_ptr());
    args.counts = static_cast<int64_t*>(counts.mutable_data_ptr());
    run(args);
    return {read, counts};
}

}  // namespace bnnkit::binding
