// The CUDA kernels as variants like all others, on the emulated device (emulated_cuda.h).
#pragma once

#if defined(BNNKIT_EMULATED_CUDA)
#include "../kernels/adc/factors.h"
#include "../kernels/bitplane/bitplane.h"
#include "../kernels/pack/pack.h"
#include "../kernels/xnor/xnor.h"

namespace bnnkit {

// Memory of exactly the size that a kernel asks for, aligned as a device's.
class EmulatedDevice : public Device {
public:
    explicit EmulatedDevice(int64_t bytes) : memory_(lines(bytes)) {
        workspace = memory_.empty() ? nullptr : memory_.data()->bytes;
    }

private:
    struct alignas(256) Line {
        char bytes[256];
    };
    static size_t lines(int64_t bytes) { return static_cast<size_t>(bytes + 255) / sizeof(Line); }
    std::vector<Line> memory_;
};

inline void emulated_xnor(const XnorArgs& args) { xnor_cuda(args, EmulatedDevice(xnor_cuda_workspace(args.conv))); }
inline void emulated_xnor_integers(const XnorIntegersArgs& args) {
    xnor_integers_cuda(args, EmulatedDevice(xnor_cuda_workspace(args.conv)));
}
inline void emulated_xnor_bits(const XnorBitsArgs& args) {
    xnor_bits_cuda(args, EmulatedDevice(xnor_cuda_workspace(args.conv)));
}
inline void emulated_adc(const AdcArgs& args) { adc_cuda(args, EmulatedDevice(adc_cuda_workspace(args))); }
inline void emulated_pack(const PackArgs& args) { pack_cuda(args, EmulatedDevice(0)); }
inline void emulated_bitplane(const BitplaneArgs& args) { bitplane_cuda(args, EmulatedDevice(0)); }

inline float as_float(float value) { return value; }
inline float as_float(uint16_t bfloat16) {
    const uint32_t bits = uint32_t{bfloat16} << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

// The backward pass as bnnkit/ops/cuda.py composes it, with plain loops for the products; Value: float or bfloat16 bits.
template <class Value>
void emulated_backward(const AdcBackwardArgs& args, int64_t arrays_at_a_time) {
    const ConvGeometry& g = args.conv.geometry;
    const int64_t pixels = g.batch * g.out_pixels(), outputs = g.group_outputs(), all = args.conv.layout.arrays();
    std::fill_n(args.gx, g.batch * g.channels * g.height * g.width, 0.0f);
    for (int64_t first = 0; first < all; first += arrays_at_a_time) {
        AdcFactorsArgs f;
        f.conv = args.conv;
        f.slopes = args.slopes;
        f.slope_bound = args.slope_bound;
        f.gy = args.gy;
        f.first_array = first;
        f.arrays = std::min(arrays_at_a_time, all - first);
        f.bfloat16 = sizeof(Value) == 2;
        const int64_t batch = g.groups * f.arrays, lines = f.lines();
        std::vector<Value> slopes(static_cast<size_t>(batch * pixels * outputs));
        std::vector<Value> x(static_cast<size_t>(batch * pixels * lines)),
            w(static_cast<size_t>(batch * outputs * lines));
        f.g = slopes.data();
        f.x = x.data();
        f.w = w.data();
        adc_factors_cuda(f, EmulatedDevice(adc_factors_cuda_workspace(f)));
        std::vector<double> patches(static_cast<size_t>(batch * pixels * lines));
        std::vector<double> rows(static_cast<size_t>(batch * outputs * lines));
        for (int64_t b = 0; b < batch; ++b)
            for (int64_t p = 0; p < pixels; ++p)
                for (int64_t o = 0; o < outputs; ++o) {
                    const double slope = as_float(slopes[(b * pixels + p) * outputs + o]);
                    for (int64_t l = 0; l < lines; ++l) {
                        patches[(b * pixels + p) * lines + l] += slope * as_float(w[(b * outputs + o) * lines + l]);
                        rows[(b * outputs + o) * lines + l] += slope * as_float(x[(b * pixels + p) * lines + l]);
                    }
                }
        const std::vector<float> rounded_patches(patches.begin(), patches.end()),
            rounded_rows(rows.begin(), rows.end());
        AdcFoldArgs fold;
        fold.geometry = g;
        fold.layout = args.conv.layout;
        fold.first_array = first;
        fold.arrays = f.arrays;
        fold.lines = lines;
        fold.x_unit = args.x_unit;
        fold.w_unit = args.w_unit;
        fold.patches = rounded_patches.data();
        fold.rows = rounded_rows.data();
        fold.gx = args.gx;
        fold.gw = args.gw;
        adc_fold_cuda(fold, EmulatedDevice(0));
    }
}

inline void emulated_adc_backward(const AdcBackwardArgs& args) { emulated_backward<float>(args, 3); }
inline void emulated_adc_backward_bfloat16(const AdcBackwardArgs& args) { emulated_backward<uint16_t>(args, 1000); }

}  // namespace bnnkit
#endif
