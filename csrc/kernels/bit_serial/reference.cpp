#include <algorithm>
#include <cmath>

#include "bit_serial.h"

namespace bnnkit {
namespace {

bool bit(const uint64_t* words, int64_t at) { return words[at / kWordBits] >> (at % kWordBits) & 1; }

uint64_t mixed(uint64_t h) {  // the finalizer of SplitMix64
    h += 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

uint32_t mixed(uint32_t h) {  // the finalizer of MurmurHash3
    h = (h ^ (h >> 16)) * 0x85ebca6bu;
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    return h ^ (h >> 16);
}

// One output: its patch, one bit per row of every array, and everything that follows from it.
class Output {
public:
    Output(const BitSerialArgs& args, int64_t image, int64_t output, int64_t oy, int64_t ox)
        : a(args), image(image), output(output), pixel(oy * args.conv.geometry.out_width() + ox), oy(oy), ox(ox) {}

    float value() const {
        double total = a.histogram ? 0 : a.base[converter()];
        for (int c = 0; c < a.slices; ++c) {
            int64_t of_all_bits = 0;
            for (int z = 0; z < a.conv.x_planes; ++z) {
                int64_t sum = 0;
                for (int64_t s = 0; s < a.conv.layout.arrays(); ++s) sum += code(z, c, partial_sum(z, c, s));
                of_all_bits += sum << z;
                if (a.converter_bits > 1 && !a.histogram)
                    total += a.factor[converter(a.pair(z, c))] * static_cast<double>(sum);
            }
            if (a.converter_bits == 1 && !a.histogram)
                total += a.factor[converter(c)] * static_cast<double>(of_all_bits);
        }
        return static_cast<float>(total * a.scale + (a.bias ? static_cast<double>(a.bias[output]) : 0.0));
    }

private:
    int64_t converter() const { return a.converters == 1 ? 0 : output; }
    int64_t converter(int64_t pair) const { return pair * a.converters + converter(); }

    // Input bit z on word line `row` of array s.
    bool input(int z, int64_t s, int64_t row) const {
        const ArrayLayout& layout = a.conv.layout;
        const ConvGeometry& g = a.conv.geometry;
        const int64_t chunk = layout.tap ? s % layout.chunks() : s;
        const int64_t tap = layout.tap ? s / layout.chunks() : row / layout.channels_per_array;
        const int64_t channel = layout.tap ? row : row % layout.channels_per_array;
        if (tap >= layout.taps || channel >= layout.chunk_channels(chunk)) return false;
        const int64_t y = oy * g.stride_h - g.pad_h + tap / g.kernel_w * g.dilation_h;
        const int64_t x = ox * g.stride_w - g.pad_w + tap % g.kernel_w * g.dilation_w;
        if (y < 0 || y >= g.height || x < 0 || x >= g.width) return false;
        const uint64_t* words =
            a.conv.x + z * a.conv.x_plane_words() + ((image * g.height + y) * g.width + x) * layout.pixel_words();
        return bit(words + chunk * layout.slot_words(), channel);
    }

    int64_t partial_sum(int z, int c, int64_t s) const {
        const ArrayLayout& layout = a.conv.layout;
        int first_plane = 0;
        for (int before = 0; before < c; ++before) first_plane += a.slice_planes[before];
        int64_t v = 0, active = 0;
        for (int64_t row = 0; row < layout.array_words() * kWordBits; ++row) {
            if (!input(z, s, row)) continue;
            ++active;
            const int64_t at = s * layout.array_words() * kWordBits + row;
            if (a.cells) {
                v += a.cells[((c * a.conv.geometry.out_channels + output) * layout.row_words()) * kWordBits + at];
                continue;
            }
            v += a.dummy[c];
            for (int p = first_plane; p < first_plane + a.slice_planes[c]; ++p) {
                const uint64_t* words = a.planes + (p * a.conv.geometry.out_channels + output) * layout.row_words();
                v += bit(words, at) ? a.plane_weight[p] : 0;
            }
        }
        return v + read_noise(z, c, s, active);
    }

    int64_t read_noise(int z, int c, int64_t s, int64_t active) const {
        if (!a.noise.amplitude) return 0;
        uint64_t key = mixed(a.noise.seed ^ static_cast<uint64_t>(a.noise.first_image + image));
        key = mixed(key ^ static_cast<uint64_t>(pixel));
        key = mixed(key ^ static_cast<uint64_t>((z * a.conv.layout.arrays() + s) * a.slices + c));
        const uint32_t hash = mixed(static_cast<uint32_t>(key) + static_cast<uint32_t>(output) * 0x9e3779b9u);
        const int64_t product = int64_t{a.noise.normal[hash >> 20]} * a.noise.amplitude[active];
        return (product + (1 << 15)) >> 16;
    }

    int64_t code(int z, int c, int64_t v) const {
        const int64_t pair = a.pair(z, c);
        if (a.histogram) {
            const int64_t column = a.histogram_columns == 1 ? 0 : output;
            const int64_t of = (z * a.slices + c) * a.histogram_columns + column;
            ++a.histogram[of * (a.high - a.low + 1) + std::clamp(v, a.low, a.high) - a.low];
            return 0;
        }
        switch (a.conversion) {
            case Conversion::none: return v;
            case Conversion::table: return a.codes[pair * (a.high - a.low + 1) + std::clamp(v, a.low, a.high) - a.low];
            case Conversion::affine: break;
        }
        const float product = static_cast<float>(v) * a.gain[converter(pair)];
        return static_cast<int64_t>(std::clamp(std::nearbyint(product + a.shift[converter(pair)]), 0.0f, a.top));
    }

    const BitSerialArgs& a;
    const int64_t image, output, pixel, oy, ox;
};

}  // namespace

void bit_serial_reference(const BitSerialArgs& args) {
    const ConvGeometry& g = args.conv.geometry;
    float* y = args.y;
    for (int64_t image = 0; image < g.batch; ++image)
        for (int64_t output = 0; output < g.out_channels; ++output)
            for (int64_t oy = 0; oy < g.out_height(); ++oy)
                for (int64_t ox = 0; ox < g.out_width(); ++ox) {
                    const float value = Output(args, image, output, oy, ox).value();
                    if (!args.histogram) *y++ = value;
                }
}

}  // namespace bnnkit
