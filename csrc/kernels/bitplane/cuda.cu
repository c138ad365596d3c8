#include "../../core/cuda/launch.h"
#include "bitplane.h"

namespace bnnkit {
namespace {

__global__ void slice(BitplaneArgs args) {
    for_each_item(args.count, [&](int64_t i) {
        const auto weight = static_cast<uint32_t>(args.weights[i]);
        const uint32_t mask = (1u << args.cell_bit) - 1;
        for (int c = 0; c < args.slice_count; ++c)
            args.slices[c * args.count + i] = static_cast<uint8_t>(weight >> (args.cell_bit * c) & mask);
    });
}

__global__ void merge(BitplaneArgs args) {
    for_each_item(args.count, [&](int64_t i) {
        uint32_t weight = 0;
        for (int c = 0; c < args.slice_count; ++c)
            weight |= static_cast<uint32_t>(args.slices[c * args.count + i]) << (args.cell_bit * c);
        args.weights[i] = static_cast<int32_t>(weight);
    });
}

__global__ void collect_bits(BitplaneArgs args, uint32_t* used) {
    const bool weights = args.direction == BitplaneArgs::Direction::slice;
    uint32_t own = 0;
    for_each_item(weights ? args.count : args.slice_count * args.count,
                  [&](int64_t i) { own |= weights ? static_cast<uint32_t>(args.weights[i]) : args.slices[i]; });
    atomicOr(used, own);
}

}  // namespace

uint32_t used_bits_cuda(const BitplaneArgs& args, const Device& device) {
    uint32_t used = 0;
    upload(device.workspace, &used, sizeof used, device.stream);
    launch(collect_bits, blocks_for(args.slice_count * args.count), kThreads, 0, device.stream, args,
           static_cast<uint32_t*>(device.workspace));
    download(&used, device.workspace, sizeof used, device.stream);
    return used;
}

void bitplane_cuda(const BitplaneArgs& args, const Device& device) {
    const bool slicing = args.direction == BitplaneArgs::Direction::slice;
    launch(slicing ? slice : merge, blocks_for(args.count), kThreads, 0, device.stream, args);
}

}  // namespace bnnkit
