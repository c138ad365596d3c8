// The bit_faults op on any device: checks, and the kernel's arguments.
#pragma once

#include "../../python/tensor_args.h"
#include "bit_faults.h"

namespace bnnkit::binding {

// Returns the bits as read and, int64 [2], the numbers of bits that are hit and of those read otherwise. A negative plane
// stands for all of them.
template <class Run>
std::vector<Tensor> bit_faults_by(const Run& run, const Tensor& bits, const Tensor& state, int64_t channels,
                                  int64_t channels_per_array, int64_t kind, int64_t limit, int64_t plane) {
    STD_TORCH_CHECK(bits.dim() == 5, "bits: needed [planes, batch, height, width, bytes]");
    check_dense(state, "state", ScalarType::Long, "int64");
    STD_TORCH_CHECK(state.dim() == 1 && state.size(0) == bits.size(1), "state: needed one per image");
    STD_TORCH_CHECK(channels > 0 && channels_per_array > 0, "channels, channels_per_array: must be positive");
    STD_TORCH_CHECK(kind >= 0 && kind < 4, "kind: needed 0 to 3");
    STD_TORCH_CHECK(limit >= 0 && limit <= int64_t{1} << 32, "limit: needed 0 to 2^32");
    STD_TORCH_CHECK(plane < bits.size(0), "plane: there are ", bits.size(0));
    BitFaultsArgs args;
    args.bits = words_of(bits, "bits");
    args.planes = static_cast<int>(bits.size(0));
    args.images = bits.size(1);
    args.pixels = bits.size(2) * bits.size(3);
    args.layout = {channels, 1, channels_per_array, false};
    STD_TORCH_CHECK(bits.size(4) == args.layout.pixel_words() * 8, "bits: has ", bits.size(4), " bytes per pixel; ",
                    args.layout.pixel_words() * 8, " needed for ", channels, " channels");
    args.state = data_of<int64_t>(state);
    args.kind = static_cast<BitFault>(kind);
    args.limit = static_cast<uint64_t>(limit);
    args.plane = static_cast<int>(std::max<int64_t>(plane, -1));
    const Ints size = {bits.size(0), bits.size(1), bits.size(2), bits.size(3), bits.size(4)};
    Tensor read = empty_output(bits, size, ScalarType::Byte);
    Tensor counts = torch::stable::new_zeros(bits, {2}, ScalarType::Long);
    args.read = static_cast<uint64_t*>(read.mutable_data_ptr());
    args.counts = static_cast<int64_t*>(counts.mutable_data_ptr());
    run(args);
    return {read, counts};
}

}  // namespace bnnkit::binding
