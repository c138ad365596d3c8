#include "rounding.h"

#include <cmath>
#include <cstring>

#include "finish.h"

namespace bnn {
namespace {

// Bit i says whether passes(i), for `count` of at most 64 channels.
template <class Passes>
uint64_t mask_of(int count, const Passes& passes) {
    uint8_t flags[kWordBits] = {};
    for (int i = 0; i < count; ++i) flags[i] = passes(i);
    uint64_t mask = 0;
    for (int i = 0; i < kWordBits; i += 8) {
        uint64_t eight;  // bytes of 0 or 1; the product moves byte j to bit 56 + j
        std::memcpy(&eight, flags + i, sizeof eight);
        mask |= (eight * 0x0102040810204080 >> 56) << i;
    }
    return mask;
}

// Stores the bits of one pixel; passes(t, channel) says whether a value passes threshold t. Thresholds are nested:
// bit p of the number of those passed is the parity of the ones at multiples of 2^p.
template <class Passes>
void store_codes(const Codes& codes, const Shape& out, uint64_t* bits, int pixel, const Passes& passes) {
    const int words = out.words(), plane_words = out.pixels() * words;
    for (int word = 0; word < words; ++word) {
        const int first = word * kWordBits, left = out.channels - first;
        uint64_t planes[4] = {};
        for (int t = 0; t < codes.count; ++t) {
            const auto passed = [&](int i) { return passes(t, first + i); };
            const uint64_t mask = left >= kWordBits ? mask_of(kWordBits, passed) : mask_of(left, passed);
            if (codes.thermometer) {
                planes[t] = mask;
                continue;
            }
            for (int p = 0; p < codes.planes; ++p)
                if ((t + 1) % (1 << p) == 0) planes[p] ^= mask;
        }
        for (int p = 0; p < codes.planes; ++p) bits[p * plane_words + pixel * words + word] = planes[p];
    }
}

int32_t shifted_left(int32_t v, int32_t by) { return static_cast<int32_t>(static_cast<uint32_t>(v) << by); }

void activate(const Finish& f, float* v) {
    const int channels = f.out.channels;
    if (f.inner_scale)
        for (int c = 0; c < channels; ++c) v[c] = v[c] * f.inner_scale[c] + f.inner_shift[c];
    for (int c = 0; c < channels; ++c) {
        const float x = v[c] + f.bias_in[c];
        v[c] = (x > 0 ? x : x * f.slope[c]) + f.bias_out[c];
    }
}

}  // namespace

void finish_values(const Finish& f, float* v, int pixel, const Output<float>& out) {
    const int channels = f.out.channels;
    if (f.slope) activate(f, v);
    if (out.residual)
        for (int c = 0; c < channels; ++c) v[c] += out.residual[pixel * channels + c];
    if (f.scale)
        for (int c = 0; c < channels; ++c) v[c] = v[c] * f.scale[c] + f.shift[c];
    if (f.clamp)
        for (int c = 0; c < channels; ++c) {
            const float x = v[c] < -1 ? -1 : v[c];
            v[c] = x > 1 ? 1 : x;
        }
    if (out.values)
        for (int c = 0; c < channels; ++c) out.values[pixel * channels + c] = v[c];
    const float* thresholds = f.codes.thresholds;
    if (!f.codes.planes) return;
    if (f.codes.strict)
        store_codes(f.codes, f.out, out.bits, pixel, [=](int t, int c) { return v[c] > thresholds[t]; });
    else
        store_codes(f.codes, f.out, out.bits, pixel, [=](int t, int c) { return v[c] >= thresholds[t]; });
}

void finish_sums(const Finish& f, const int32_t* sums, int pixel, const Output<float>& out) {
    const int32_t *thresholds = f.codes.sum_thresholds, *flip = f.codes.flip;
    const int channels = f.out.channels;
    store_codes(f.codes, f.out, out.bits, pixel,
                [=](int t, int c) { return ((sums[c] ^ flip[c]) - flip[c]) >= thresholds[t * channels + c]; });
}

void finish_integers(const IntegerFinish& f, int32_t* v, int pixel, const Output<int32_t>& out) {
    const int channels = f.out.channels;
    if (out.residual)
        for (int c = 0; c < channels; ++c) v[c] += out.residual[pixel * channels + c];
    if (f.bias_in)
        for (int c = 0; c < channels; ++c) {
            const int32_t x = v[c] + f.bias_in[c];
            v[c] = (x < 0 ? shifted_left(x >> f.right[c], f.left[c]) : x) + f.bias_out[c];
        }
    if (out.values)
        for (int c = 0; c < channels; ++c) out.values[pixel * channels + c] = v[c];
    if (!f.thresholds) return;
    Codes bit;
    bit.planes = bit.count = 1;
    const int32_t* thresholds = f.thresholds;
    store_codes(bit, f.out, out.bits, pixel, [=](int, int c) { return v[c] >= thresholds[c]; });
}

void shift_and_add(const IntegerFinish& f, int32_t* v) {
    const int channels = f.out.channels;
    int32_t sums[kWordBits];
    for (int first = 0; first < channels; first += kWordBits) {
        const int count = channels - first < kWordBits ? channels - first : kWordBits;
        for (int i = 0; i < count; ++i) sums[i] = 0;
        for (int digit = 0; digit < f.digits; ++digit) {
            const int32_t *shifts = f.shifts + digit * channels + first, *signs = f.signs + digit * channels + first;
            for (int i = 0; i < count; ++i) {
                const int32_t part = shifted_left(v[first + i], f.lift) >> shifts[i];
                sums[i] += signs[i] > 0 ? part : signs[i] < 0 ? -part : 0;
            }
        }
        for (int i = 0; i < count; ++i) v[first + i] = sums[i];
    }
}

void to_integers(const IntegerFinish& f, const float* v, int32_t* integers) {
    for (int c = 0; c < f.out.channels; ++c) {
        const double bound = f.bound[c], rounded = std::nearbyint(static_cast<double>(v[c]) * f.one);
        integers[c] = static_cast<int32_t>(rounded < -bound ? -bound : rounded > bound ? bound : rounded);
    }
}

}  // namespace bnn
