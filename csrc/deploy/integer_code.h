// Networks of additions and bit operations: how blocks end, and their shortcuts. Included inside run_code.h, in an
// instruction-set region. Nothing in here multiplies; a test looks for products in the machine code.
#pragma once

template <class Place>
BNNKIT_INLINE Ints16 shift_added(const IntegerFinishing& f, Ints16 sum, const Place& at) {
    const Ints16 lifted = sum << f.lift;
    Ints16 total = {};
    for (int64_t d = 0, first = 0; d < f.digits; ++d, first += f.padded_channels) {
        if (at.all_zero(f.mask + first)) continue;
        const Ints16 negative = at.parameters(f.negative + first);
        total += (((lifted >> at.parameters(f.shifts + first)) & at.parameters(f.mask + first)) ^ negative) - negative;
    }
    return total;
}

template <class Place>
BNNKIT_INLINE void end16(const Finishing& f, Ints16 v, const Place& at) {
    const IntegerFinishing& i = f.integers;
    if (i.residual) v += ints_at(i.residual + at.value(f));
    if (i.bias_in) {
        v += at.parameters(i.bias_in);
        v = choose(v < 0, (v >> at.parameters(i.right)) << at.parameters(i.left), v);
        v += at.parameters(i.bias_out);
    }
    if (i.values) store_wide(i.values + at.value(f), v);
    if (i.thresholds) at.store_bits(f, 0, sign_mask(v >= at.parameters(i.thresholds)));
}

template <int kColumns>
class IntegerTileFinish {
public:
    IntegerTileFinish(const SumScale&, const Finishing& f, int32_t* joined) : f(f), joined(joined) {}

    void operator()(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t output, int64_t outputs) const {
        const Finishing f = this->f;  // a copy that no store can change stays in registers
        for_each_16<kColumns>(tile, pixel, pixels, output, outputs, f.channels, joined,
                              [&](const int32_t* sums, int64_t p, int64_t channel) {
                                  const ChannelsOfPixel at{p, channel};
                                  end16(f, shift_added(f.integers, ints_at(sums), at), at);
                              });
    }

private:
    const Finishing& f;
    int32_t* joined;
};

void run_finish_integers(const int32_t* values, int64_t pixels, const Finishing& f) {
    if (f.abreast.lanes)
        return for_each_cell(f, [&](const ImagesOfChannel& at) { end16(f, ints_at(values + at.value(f)), at); });
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
        for (int64_t c = 0; c < f.channels; c += 16)
            end16(f, ints_at(values + pixel * f.stride + c), ChannelsOfPixel{pixel, c});
}

// With signs s: sum of s * v = 2 * (sum of v where s is positive) - (sum of all v).
template <class Place>
BNNKIT_INLINE void end_signed_sum(const Finishing& f, const Ints16& positive, const Ints16& all, const Place& at) {
    end16(f, shift_added(f.integers, (positive << 1) - all, at), at);
}

void run_signed_sums_abreast(const SignedSums& s, const int32_t* values, const Finishing& any, int32_t* of_channels) {
    const Finishing f = any;
    const int64_t lanes = f.abreast.lanes;
    for (int64_t pixel = 0; pixel < f.pixels; ++pixel)
        for (int64_t image = 0; image < lanes; image += 16) {
            Ints16 all = {};
            for (int64_t c = 0; c < s.channels; ++c) {
                const Ints16 v = ints_at(values + (c * f.pixels + pixel) * lanes + image) >> s.drop;
                store_wide(of_channels + c * 16, v);
                all += v;
            }
            for (int64_t o = 0; o < s.outputs; ++o) {
                Ints16 positive = {};
                for (int32_t i = s.positive_end[o]; i < s.positive_end[o + 1]; ++i)
                    positive += ints_at(of_channels + s.positive[i]);
                end_signed_sum(f, positive, all, ImagesOfChannel{o, o * f.pixels + pixel, image});
            }
        }
}

void run_signed_sums(const SignedSums& s, const int32_t* values, int64_t pixels, const Finishing& f,
                     unsigned char* scratch) {
    if (f.abreast.lanes) return run_signed_sums_abreast(s, values, f, reinterpret_cast<int32_t*>(scratch));
    constexpr int kPixels = 4, kVectors = kPanelChannels / 16;
    for (int64_t first = 0; first < pixels; first += kPixels) {
        const int count = static_cast<int>(pixels - first < kPixels ? pixels - first : kPixels);
        const int32_t* x[kPixels];
        int32_t all[kPixels] = {};
        for (int r = 0; r < kPixels; ++r) {
            x[r] = values + (first + (r < count ? r : 0)) * s.in_stride;
            for (int64_t c = 0; c < s.channels; ++c) all[r] += x[r][c] >> s.drop;
        }
        const int32_t* masks = s.masks;
        for (int64_t panel = 0; panel < s.outputs; panel += kPanelChannels) {
            Ints16 positive[kPixels][kVectors] = {};
            for (int64_t c = 0; c < s.channels; ++c, masks += kPanelChannels)
#pragma GCC unroll 4
                for (int r = 0; r < kPixels; ++r) {
                    const Ints16 v = Ints16{} + (x[r][c] >> s.drop);
#pragma GCC unroll 2
                    for (int j = 0; j < kVectors; ++j) positive[r][j] += v & ints_at(masks + j * 16);
                }
            for (int r = 0; r < count; ++r)
                for (int j = 0; j < kVectors && panel + j * 16 < s.outputs; ++j)
                    end_signed_sum(f, positive[r][j], Ints16{} + all[r], ChannelsOfPixel{first + r, panel + j * 16});
        }
    }
}
