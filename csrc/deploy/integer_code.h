// Networks of additions and bit operations: how blocks end, and their shortcuts. Included inside run_code.h, in an
// instruction-set region. Nothing in here multiplies; a test looks for products in the machine code.
#pragma once

template <class Place>
BNNKIT_INLINE Ints16 shift_added(const IntegerFinishing& f, Ints16 sum, const Place& at) {
    const Ints16 lifted = sum << f.lift;
    Ints16 total = {};
    for (int64_t d = 0, first = 0; d < f.digits; ++d, first += f.padded_channels) {
        const auto negative = at.parameters(f.negative + first);
        total += (((lifted >> at.parameters(f.shifts + first)) & at.parameters(f.mask + first)) ^ negative) - negative;
    }
    return total;
}

using OneInt = Wide<Native<int32_t>, 1>;

// The same for the sums of one channel, whose digits are read once; those not in use are left out.
struct DigitsOfChannel {
    int count = 0, lift;
    OneInt shifts[kMostDigits], negative[kMostDigits];

    BNNKIT_INLINE DigitsOfChannel(const IntegerFinishing& f, int64_t channel) : lift(f.lift) {
        for (int64_t d = 0, at = channel; d < f.digits; ++d, at += f.padded_channels) {
            if (!f.mask[at]) continue;
            shifts[count] = spread<OneInt>(f.shifts[at]);
            negative[count] = spread<OneInt>(f.negative[at]);
            ++count;
        }
    }

    template <class Sums>
    BNNKIT_INLINE Sums shift_added(const Sums& sum) const {
        const Sums lifted = sum << lift;
        Sums total = {};
        for (int d = 0; d < count; ++d) total += ((lifted >> shifts[d]) ^ negative[d]) - negative[d];
        return total;
    }
};

template <class Ints>
struct IntegerParameters {
    Ints bias_in, right, left, bias_out, threshold;

    template <class Place>
    BNNKIT_INLINE IntegerParameters(const IntegerFinishing& i, const Place& at) {
        if (i.bias_in) {
            bias_in = at.parameters(i.bias_in), right = at.parameters(i.right);
            left = at.parameters(i.left), bias_out = at.parameters(i.bias_out);
        }
        if (i.thresholds) threshold = at.parameters(i.thresholds);
    }
};

template <class Ints, class Values, class Place>
BNNKIT_INLINE void finish_integers(const Finishing& f, const IntegerParameters<Ints>& p, Values v, const Place& at) {
    const IntegerFinishing& i = f.integers;
    if (i.residual) {
        v += wide_at<Values>(i.residual + at.value(f));
        at.expect_next(f, i.residual);
    }
    if (i.bias_in) {
        v += p.bias_in;
        v = choose(v < 0, (v >> p.right) << p.left, v);
        v += p.bias_out;
    }
    if (i.values) store_wide(i.values + at.value(f), v);
    if (i.thresholds) at.store_bits(f, 0, sign_mask(v >= p.threshold));
}

template <class Place>
BNNKIT_INLINE void finish_integers(const Finishing& f, const Ints16& v, const Place& at) {
    finish_integers(f, IntegerParameters<decltype(at.parameters(f.integers.bias_in))>(f.integers, at), v, at);
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
                                  finish_integers(f, shift_added(f.integers, ints_at(sums), at), at);
                              });
    }

private:
    const Finishing& f;
    int32_t* joined;
};

void run_finish_integers(const int32_t* values, int64_t pixels, const Finishing& f) {
    if (f.abreast.lanes)
        return for_each_cell(f,
                             [&](const ImagesOfChannel& at) { finish_integers(f, ints_at(values + at.value(f)), at); });
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
        for (int64_t c = 0; c < f.channels; c += 16)
            finish_integers(f, ints_at(values + pixel * f.stride + c), ChannelsOfPixel{pixel, c});
}

// With signs s: sum of s * v = 2 * (sum of v where s is positive) - (sum of all v).
template <class Place>
BNNKIT_INLINE void end_signed_sum(const Finishing& f, const Ints16& positive, const Ints16& all, const Place& at) {
    finish_integers(f, shift_added(f.integers, (positive << 1) - all, at), at);
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
