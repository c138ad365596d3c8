// A convolution of bit planes held densely, one byte per bit: the oracle of everything that is packed.
//
// Nothing here reads the layout's own offsets: where a bit lies is computed from the packing law alone.
#pragma once

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "../core/binary_conv.h"
#include "random_source.h"

struct Operand {
    int planes = 1;
    bool thermometer = false;
    std::vector<uint8_t> bits;  // [planes][elements]
    int64_t elements = 0;

    void fill(Random& random) {
        bits.resize(static_cast<size_t>(planes * elements));
        for (auto& bit : bits) bit = random.bits() & 1;
    }
    int64_t value(int64_t element) const {
        int64_t sum = 0;
        for (int p = 0; p < planes; ++p)
            sum += (bits[p * elements + element] ? 1 : -1) * (thermometer ? 1 : int64_t{1} << p);
        return sum;
    }
    int64_t bound() const { return thermometer ? planes : (1 << planes) - 1; }
};

inline void set_bit(std::vector<uint64_t>& words, int64_t first_word, int64_t bit) {
    words[first_word + bit / 64] |= uint64_t{1} << (bit % 64);
}

struct DenseConv {
    bnnkit::ConvGeometry geometry;
    int64_t channels_per_array = 1;
    bool tap = false;
    Operand x, w;  // x: [batch][channels][height][width]; w: [out_channels][group_channels][taps]

    void fill(Random& random) {
        const auto& g = geometry;
        x.elements = g.batch * g.channels * g.height * g.width;
        w.elements = g.out_channels * g.group_channels() * g.taps();
        x.fill(random);
        w.fill(random);
    }

    int64_t chunks() const { return (geometry.group_channels() + channels_per_array - 1) / channels_per_array; }
    int64_t arrays() const { return tap ? geometry.taps() * chunks() : chunks(); }
    int64_t slot_words() const { return (channels_per_array + 63) / 64; }
    int64_t array_words() const { return tap ? slot_words() : (geometry.taps() * channels_per_array + 63) / 64; }
    int64_t product_bound() const { return x.bound() * w.bound(); }
    // Largest magnitude of a partial sum.
    int64_t bound() const {
        return product_bound() * std::min(channels_per_array, geometry.group_channels()) * (tap ? 1 : geometry.taps());
    }

    int64_t x_at(int64_t image, int64_t channel, int64_t iy, int64_t ix) const {
        return ((image * geometry.channels + channel) * geometry.height + iy) * geometry.width + ix;
    }
    int64_t w_at(int64_t output, int64_t channel, int64_t at_tap) const {
        return (output * geometry.group_channels() + channel) * geometry.taps() + at_tap;
    }

    // [planes][batch][height][width][groups][chunks] slots of whole words
    std::vector<uint64_t> packed_x() const {
        const auto& g = geometry;
        const int64_t slots = g.groups * chunks(), pixels = g.batch * g.height * g.width;
        std::vector<uint64_t> words(static_cast<size_t>(x.planes * pixels * slots * slot_words()));
        for (int64_t p = 0; p < x.planes; ++p)
            for (int64_t image = 0; image < g.batch; ++image)
                for (int64_t c = 0; c < g.channels; ++c)
                    for (int64_t i = 0; i < g.height * g.width; ++i) {
                        if (!x.bits[p * x.elements + x_at(image, c, 0, 0) + i]) continue;
                        const int64_t group = c / g.group_channels(), within = c % g.group_channels();
                        const int64_t slot = group * chunks() + within / channels_per_array;
                        const int64_t pixel = p * pixels + image * g.height * g.width + i;
                        set_bit(words, (pixel * slots + slot) * slot_words(), within % channels_per_array);
                    }
        return words;
    }

    // [planes][out_channels][arrays] rows of whole words
    std::vector<uint64_t> packed_w() const {
        const auto& g = geometry;
        const int64_t row = arrays() * array_words();
        std::vector<uint64_t> words(static_cast<size_t>(w.planes * g.out_channels * row));
        for (int64_t p = 0; p < w.planes; ++p)
            for (int64_t o = 0; o < g.out_channels; ++o)
                for (int64_t c = 0; c < g.group_channels(); ++c)
                    for (int64_t t = 0; t < g.taps(); ++t) {
                        if (!w.bits[p * w.elements + w_at(o, c, t)]) continue;
                        const int64_t bit = c % channels_per_array + (tap ? 0 : t * channels_per_array);
                        set_bit(words, (p * g.out_channels + o) * row + array_of(c, t) * array_words(), bit);
                    }
        return words;
    }

    int64_t array_of(int64_t channel, int64_t at_tap) const {
        return channel / channels_per_array + (tap ? at_tap * chunks() : 0);
    }

    // Calls body(channel of the group, tap, input row, input column) for every tap that is not padding.
    template <class Body>
    void for_each_row(int64_t oy, int64_t ox, Body&& body) const {
        const auto& g = geometry;
        for (int64_t ky = 0; ky < g.kernel_h; ++ky)
            for (int64_t kx = 0; kx < g.kernel_w; ++kx) {
                const int64_t iy = oy * g.stride_h - g.pad_h + ky * g.dilation_h;
                const int64_t ix = ox * g.stride_w - g.pad_w + kx * g.dilation_w;
                if (iy < 0 || iy >= g.height || ix < 0 || ix >= g.width) continue;
                for (int64_t c = 0; c < g.group_channels(); ++c) body(c, ky * g.kernel_w + kx, iy, ix);
            }
    }

    // Calls body(image, output, index of the result, its partial sums) for every output value.
    template <class Body>
    void for_each_output(Body&& body) const {
        const auto& g = geometry;
        std::vector<int64_t> x_values(static_cast<size_t>(x.elements)), w_values(static_cast<size_t>(w.elements));
        for (int64_t i = 0; i < x.elements; ++i) x_values[i] = x.value(i);
        for (int64_t i = 0; i < w.elements; ++i) w_values[i] = w.value(i);
        std::vector<int64_t> sums;
        for (int64_t image = 0, index = 0; image < g.batch; ++image)
            for (int64_t o = 0; o < g.out_channels; ++o)
                for (int64_t oy = 0; oy < g.out_height(); ++oy)
                    for (int64_t ox = 0; ox < g.out_width(); ++ox, ++index) {
                        sums.assign(static_cast<size_t>(arrays()), 0);
                        const int64_t first = o / g.group_outputs() * g.group_channels();
                        for_each_row(oy, ox, [&](int64_t c, int64_t t, int64_t iy, int64_t ix) {
                            sums[array_of(c, t)] += x_values[x_at(image, first + c, iy, ix)] * w_values[w_at(o, c, t)];
                        });
                        body(index, o, sums);
                    }
    }

    std::string text() const {
        const auto& g = geometry;
        std::ostringstream s;
        s << "batch " << g.batch << ", channels " << g.channels << " -> " << g.out_channels << " in " << g.groups
          << " groups, image " << g.height << "x" << g.width << ", kernel " << g.kernel_h << "x" << g.kernel_w
          << ", stride " << g.stride_h << "," << g.stride_w << ", pad " << g.pad_h << "," << g.pad_w << ", dilation "
          << g.dilation_h << "," << g.dilation_w << ", " << channels_per_array << " channels per array"
          << (tap ? " (tap)" : "") << ", planes " << x.planes << (x.thermometer ? "t" : "") << " x " << w.planes
          << (w.thermometer ? "t" : "");
        return s.str();
    }
};

// The packed form of a dense convolution, in memory of exactly the documented size (so that sanitizers see every overrun).
struct PackedConv {
    PackedConv(const DenseConv& dense, bnnkit::Threads threads) : x(dense.packed_x()), w(dense.packed_w()) {
        conv.geometry = dense.geometry;
        conv.layout = bnnkit::layout_of(dense.geometry, dense.channels_per_array, dense.tap);
        conv.x = x.data();
        conv.w = w.data();
        conv.x_planes = dense.x.planes;
        conv.w_planes = dense.w.planes;
        conv.x_thermometer = dense.x.thermometer;
        conv.w_thermometer = dense.w.thermometer;
        conv.threads = threads;
    }
    size_t outputs() const {
        const auto& g = conv.geometry;
        return static_cast<size_t>(g.batch * g.out_channels * g.out_pixels());
    }

    std::vector<uint64_t> x, w;
    bnnkit::BinaryConv conv;
};
