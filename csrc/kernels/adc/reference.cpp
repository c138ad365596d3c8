#include <vector>

#include "adc.h"

namespace bnnkit {
namespace {

// Integer value of one element of the packed operand: the sum of its planes' signs, weighted.
int64_t value(const uint64_t* words, int64_t plane_words, int planes, bool thermometer, int64_t bit) {
    int64_t sum = 0;
    for (int p = 0; p < planes; ++p) {
        const bool set = (words[p * plane_words + bit / kWordBits] >> (bit % kWordBits)) & 1;
        sum += (set ? 1 : -1) * (thermometer ? 1 : int64_t{1} << p);
    }
    return sum;
}

// One row of one array as seen from an output pixel: where its activation lies, and both operands' integers.
struct Row {
    int64_t array, channel, tap, y, x;  // channel within the group; y, x in the input
    int64_t x_value, w_value;
};

// Calls body(row) for every valid row of the patch of (image, group, oy, ox) against one output channel.
template <class Body>
void for_each_row(const BinaryConv& conv, int64_t image, int64_t output, int64_t oy, int64_t ox, Body&& body) {
    const ConvGeometry& g = conv.geometry;
    const ArrayLayout& layout = conv.layout;
    const int64_t group = output / g.group_outputs();
    for (int64_t tap = 0; tap < g.taps(); ++tap) {
        const int64_t y = oy * g.stride_h - g.pad_h + tap / g.kernel_w * g.dilation_h;
        const int64_t x = ox * g.stride_w - g.pad_w + tap % g.kernel_w * g.dilation_w;
        if (y < 0 || y >= g.height || x < 0 || x >= g.width) continue;
        for (int64_t c = 0; c < g.group_channels(); ++c) {
            const int64_t chunk = c / layout.channels_per_array, within = c % layout.channels_per_array;
            const int64_t array = layout.tap ? tap * layout.chunks() + chunk : chunk;
            const int64_t x_bit = chunk * layout.slot_words() * kWordBits + within;
            const int64_t w_bit =
                array * layout.array_words() * kWordBits + within + (layout.tap ? 0 : tap * layout.channels_per_array);
            const uint64_t* pixel =
                conv.x + ((image * g.height + y) * g.width + x) * conv.x_pixel_words() + group * layout.pixel_words();
            const uint64_t* weights = conv.w + output * layout.row_words();
            body(Row{array, c, tap, y, x, value(pixel, conv.x_plane_words(), conv.x_planes, conv.x_thermometer, x_bit),
                     value(weights, conv.w_plane_words(), conv.w_planes, conv.w_thermometer, w_bit)});
        }
    }
}

std::vector<int64_t> partial_sums(const BinaryConv& conv, int64_t image, int64_t output, int64_t oy, int64_t ox) {
    std::vector<int64_t> sums(static_cast<size_t>(conv.layout.arrays()), 0);
    for_each_row(conv, image, output, oy, ox, [&](const Row& row) { sums[row.array] += row.x_value * row.w_value; });
    return sums;
}

}  // namespace

void adc_reference(const AdcArgs& args) {
    const ConvGeometry& g = args.conv.geometry;
    float* y = args.y;
    for (int64_t image = 0; image < g.batch; ++image) {
        for (int64_t output = 0; output < g.out_channels; ++output) {
            for (int64_t oy = 0; oy < g.out_height(); ++oy) {
                for (int64_t ox = 0; ox < g.out_width(); ++ox, ++y) {
                    int32_t total = 0;
                    for (int64_t sum : partial_sums(args.conv, image, output, oy, ox)) {
                        int code = 0;
                        while (code + 1 < args.level_count && sum >= args.thresholds[code]) ++code;
                        total += args.levels[code];
                    }
                    const double sum =
                        args.scale * total + args.offset * static_cast<double>(args.conv.layout.arrays());
                    *y = static_cast<float>(args.bias ? sum + args.bias[output] : sum);
                }
            }
        }
    }
}

void adc_backward_reference(const AdcBackwardArgs& args) {
    const ConvGeometry& g = args.conv.geometry;
    std::vector<double> gx(static_cast<size_t>(g.batch * g.channels * g.height * g.width), 0.0);
    std::vector<double> gw(static_cast<size_t>(g.out_channels * g.group_channels() * g.taps()), 0.0);
    const float* gy = args.gy;
    for (int64_t image = 0; image < g.batch; ++image) {
        for (int64_t output = 0; output < g.out_channels; ++output) {
            const int64_t first_channel = output / g.group_outputs() * g.group_channels();
            for (int64_t oy = 0; oy < g.out_height(); ++oy) {
                for (int64_t ox = 0; ox < g.out_width(); ++ox, ++gy) {
                    const auto sums = partial_sums(args.conv, image, output, oy, ox);
                    for_each_row(args.conv, image, output, oy, ox, [&](const Row& row) {
                        const double slope = args.slopes ? args.slopes[sums[row.array] + args.slope_bound] : 1.0;
                        const int64_t channel = first_channel + row.channel;
                        gx[((image * g.channels + channel) * g.height + row.y) * g.width + row.x] +=
                            *gy * slope * static_cast<double>(row.w_value) * args.w_unit;
                        gw[(output * g.group_channels() + row.channel) * g.taps() + row.tap] +=
                            *gy * slope * static_cast<double>(row.x_value) * args.x_unit;
                    });
                }
            }
        }
    }
    for (size_t i = 0; i < gx.size(); ++i) args.gx[i] = static_cast<float>(gx[i]);
    for (size_t i = 0; i < gw.size(); ++i) args.gw[i] = static_cast<float>(gw[i]);
}

}  // namespace bnnkit
