// Networks of additions and bit operations: how blocks end, and their shortcuts. Included inside run_code.h, in an
// instruction-set region. Nothing in here multiplies; a test looks for products in the machine code.
#pragma once

BNNKIT_INLINE Ints16 shift_added(const IntegerFinishing& f, Ints16 sum, int64_t channel) {
    const Ints16 lifted = sum << f.lift;
    Ints16 total = {};
    for (int64_t d = 0, at = channel; d < f.digits; ++d, at += f.padded_channels) {
        const Ints16 negative = ints_at(f.negative + at);
        total += (((lifted >> ints_at(f.shifts + at)) & ints_at(f.mask + at)) ^ negative) - negative;
    }
    return total;
}

BNNKIT_INLINE void end16(const Finishing& f, Ints16 v, int64_t pixel, int64_t channel) {
    const IntegerFinishing& i = f.integers;
    if (i.residual) v += ints_at(i.residual + pixel * f.stride + channel);
    if (i.bias_in) {
        v += ints_at(i.bias_in + channel);
        v = choose(v < 0, (v >> ints_at(i.right + channel)) << ints_at(i.left + channel), v);
        v += ints_at(i.bias_out + channel);
    }
    if (i.values) store_wide(i.values + pixel * f.stride + channel, v);
    if (i.thresholds) store_half_word(f, 0, pixel, channel, sign_mask(v >= ints_at(i.thresholds + channel)));
}

template <int kColumns>
class IntegerTileFinish {
public:
    IntegerTileFinish(const SumScale&, const Finishing& f, int32_t* joined) : f(f), joined(joined) {}

    void operator()(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t output, int64_t outputs) const {
        const Finishing f = this->f;  // a copy that no store can change stays in registers
        for_each_16<kColumns>(tile, pixel, pixels, output, outputs, f.channels, joined,
                              [&](const int32_t* sums, int64_t p, int64_t channel) {
                                  end16(f, shift_added(f.integers, ints_at(sums), channel), p, channel);
                              });
    }

private:
    const Finishing& f;
    int32_t* joined;
};

void run_finish_integers(const int32_t* values, int64_t pixels, const Finishing& f) {
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
        for (int64_t c = 0; c < f.channels; c += 16) end16(f, ints_at(values + pixel * f.stride + c), pixel, c);
}

// With signs s: sum of s * v = 2 * (sum of v where s is positive) - (sum of all v).
void run_signed_sums(const SignedSums& s, const int32_t* values, int64_t pixels, const Finishing& f) {
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
                for (int j = 0; j < kVectors && panel + j * 16 < s.outputs; ++j) {
                    const Ints16 sum = (positive[r][j] << 1) - all[r];
                    const int64_t channel = panel + j * 16;
                    end16(f, shift_added(f.integers, sum, channel), first + r, channel);
                }
        }
    }
}
