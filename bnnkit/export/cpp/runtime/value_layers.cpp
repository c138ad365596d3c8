#include "rounding.h"

#include <limits>

#include "value_layers.h"

namespace bnn {
namespace {

float mean_of(float a, float b, float c, float d) {
    return static_cast<float>((static_cast<double>(a) + b + c + d) / 4);
}

int32_t mean_of(int32_t a, int32_t b, int32_t c, int32_t d) { return (a + b + c + d) >> 2; }

float level_of(const WindowLayer& l, float v) {
    if (!l.level_count) return v;
    int level = 0;
    for (int t = 0; t + 1 < l.level_count; ++t) level += v >= l.level_thresholds[t];
    return l.level_values[level];
}

int32_t level_of(const WindowLayer&, int32_t v) { return v; }

// The channels of the pixel whose window begins at row y and column x, before they are repeated.
template <class T>
void pool(const WindowLayer& l, const T* values, int y, int x, T* to) {
    const int channels = l.in.channels, row = l.in.width * channels;
    const T* top = values + y * row + x * channels;
    if (l.maximum) {
        for (int c = 0; c < channels; ++c) to[c] = std::numeric_limits<T>::lowest();
        for (int ky = 0; ky < l.size; ++ky)
            for (int kx = 0; kx < l.size; ++kx) {
                if (y + ky < 0 || x + kx < 0 || y + ky >= l.in.height || x + kx >= l.in.width) continue;
                const T* from = top + ky * row + kx * channels;
                for (int c = 0; c < channels; ++c) {
                    const T v = level_of(l, from[c]);
                    to[c] = to[c] < v ? v : to[c];
                }
            }
        return;
    }
    for (int c = 0; c < channels; ++c) {
        const T* v = top + c;
        to[c] = l.size == 1 ? level_of(l, *v)
                            : mean_of(level_of(l, v[0]), level_of(l, v[channels]), level_of(l, v[row]),
                                      level_of(l, v[row + channels]));
    }
}

// Calls finish(pixel) when all channels of a pixel are in `row`.
template <class T, class Finish>
void run_window(const WindowLayer& l, const T* x, const Shape& out, T* row, const Finish& finish) {
    for_each_pixel(out, [&](int pixel, int py, int px) {
        pool(l, x, py * l.stride - l.pad, px * l.stride - l.pad, row);
        for (int c = l.in.channels; c < out.channels; ++c) row[c] = row[c - l.in.channels];
        finish(pixel);
    });
}

}  // namespace

void run(const ImageLayer& l, const uint8_t* image, const Finish& finish, const Output<float>& out, const Scratch& s) {
    const int pixels = finish.out.pixels();
    for (int pixel = 0; pixel < pixels; ++pixel) {
        for (int c = 0; c < finish.out.channels; ++c) {
            const int at = c * pixels + pixel;
            s.floats[c] = l.values[at / l.in.pixels() * 256 + image[at]];
        }
        finish_values(finish, s.floats, pixel, out);
    }
}

void run(const ThermometerLayer& l, const uint8_t* image, uint64_t* bits) {
    const int pixels = l.in.pixels(), words = words_for(l.in.channels * l.planes);
    for (int i = 0; i < pixels * words; ++i) bits[i] = 0;
    for (int c = 0; c < l.in.channels; ++c) {
        const int word = c * l.planes / kWordBits, shift = c * l.planes % kWordBits;
        for (int pixel = 0; pixel < pixels; ++pixel) {
            const int count = l.set_bits[image[c * pixels + pixel]];
            uint64_t* to = bits + pixel * words + word;
            to[0] |= low_bits(count) << shift;
            if (shift + count > kWordBits) to[1] |= low_bits(count) >> (kWordBits - shift);
        }
    }
}

void run(const WindowLayer& l, const float* x, const Finish& finish, const Output<float>& out, const Scratch& s) {
    run_window(l, x, finish.out, s.floats, [&](int pixel) { finish_values(finish, s.floats, pixel, out); });
}

void run(const WindowLayer& l, const int32_t* x, const IntegerFinish& finish, const Output<int32_t>& out,
         const Scratch& s) {
    run_window(l, x, finish.out, s.integers, [&](int pixel) { finish_integers(finish, s.integers, pixel, out); });
}

// With signs: sum of sign * v = 2 * (sum of v where the sign is +1) - (sum of all v).
void run(const SignedSumLayer& l, const int32_t* x, const IntegerFinish& finish, const Output<int32_t>& out,
         const Scratch& s) {
    const int words = words_for(l.outputs);
    for (int pixel = 0; pixel < finish.out.pixels(); ++pixel) {
        const int32_t* values = x + pixel * l.in.channels;
        for (int word = 0; word < words; ++word) {
            int64_t positive[kWordBits] = {}, all = 0;
            for (int c = 0; c < l.in.channels; ++c) {
                const int64_t v = values[c] >> l.drop;
                const uint64_t signs = l.signs[c * words + word];
                for (int i = 0; i < kWordBits; ++i) positive[i] += -static_cast<int64_t>(signs >> i & 1) & v;
                all += v;
            }
            for (int i = 0; i < kWordBits; ++i)
                s.integers[word * kWordBits + i] = static_cast<int32_t>(2 * positive[i] - all);
        }
        shift_and_add(finish, s.integers);
        finish_integers(finish, s.integers, pixel, out);
    }
}

void run(const MeanLayer& l, const float* x, const Finish& finish, const Output<float>& out, const Scratch& s) {
    for (int c = 0; c < l.in.channels; ++c) {
        double sum = 0;
        for (int pixel = 0; pixel < l.in.pixels(); ++pixel) sum += x[pixel * l.in.channels + c];
        s.floats[c] = static_cast<float>(sum / l.in.pixels());
    }
    finish_values(finish, s.floats, 0, out);
}

void run(const MeanLayer& l, const int32_t* x, const Finish& finish, const Output<float>& out, const Scratch& s) {
    for (int c = 0; c < l.in.channels; ++c) {
        int64_t sum = 0;
        for (int pixel = 0; pixel < l.in.pixels(); ++pixel) sum += x[pixel * l.in.channels + c];
        s.floats[c] = static_cast<float>(static_cast<double>(sum) / (l.in.pixels() * l.one));
    }
    finish_values(finish, s.floats, 0, out);
}

}  // namespace bnn
