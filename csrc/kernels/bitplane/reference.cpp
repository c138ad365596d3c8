#include "bitplane.h"

namespace bnnkit {

void bitplane_reference(const BitplaneArgs& args) {
    const int64_t base = int64_t{1} << args.cell_bit;
    for (int64_t i = 0; i < args.count; ++i) {
        if (args.direction == BitplaneArgs::Direction::slice) {
            int64_t rest = args.weights[i];
            for (int c = 0; c < args.slice_count; ++c, rest /= base)
                args.slices[c * args.count + i] = static_cast<uint8_t>(rest % base);
        } else {
            int64_t weight = 0;
            for (int c = args.slice_count - 1; c >= 0; --c) weight = weight * base + args.slices[c * args.count + i];
            args.weights[i] = static_cast<int32_t>(weight);
        }
    }
}

}  // namespace bnnkit
