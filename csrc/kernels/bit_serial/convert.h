// From partial sums to codes to outputs, 32 columns at a time. Included inside an instruction-set region after lanes16_*.h.
#pragma once

#include "../../core/write_nchw.h"
#include "prepared.h"

namespace bnnkit {
namespace {

enum class Method { lookup, lookup_clamped, lookup_128, affine, table, none, observe };

constexpr bool looks_up(Method method) {
    return method == Method::lookup || method == Method::lookup_clamped || method == Method::lookup_128;
}

inline Method method_of(const Prepared& p) {
    if (p.args.histogram) return Method::observe;
    if (p.lookup)
        return p.counts == Prepared::Counts::below_128 ? Method::lookup
               : p.counts == Prepared::Counts::clamped ? Method::lookup_clamped
                                                       : Method::lookup_128;
    switch (p.args.conversion) {
        case Conversion::affine: return Method::affine;
        case Conversion::table: return Method::table;
        default: return Method::none;
    }
}

// Whether 16 columns at a time are written out for the compiler, which takes loops over columns apart value by value.
constexpr bool kSixteens = kLaneOutputs % 16 == 0;

inline Ints16 sums_at(const int32_t* v) { return ints_at(v); }
inline Ints16 sums_at(const int16_t* v) {
    using Part = std::remove_reference_t<decltype(Ints16{}.part[0])>;
    typename VectorOf<int16_t, sizeof(Part) / 2>::Type narrow;
    Ints16 wide;
    for (Part& part : wide.part) {
        memcpy(&narrow, v, sizeof narrow);
        part = __builtin_convertvector(narrow, Part);
        v += sizeof narrow / sizeof *v;
    }
    return wide;
}

// The converters of one pair of input bit and slice, for the columns from `column` on. codes(v, to) converts partial sums, int16_t
// or int32_t.
template <Method kMethod>
class Converter;

template <>
class Converter<Method::affine> {
public:
    Converter(const Prepared& p, int64_t pair, int64_t column)
        : gain_(p.gain + pair * p.columns() + column),
          shift_(p.shift + pair * p.columns() + column),
          top_(static_cast<int32_t>(p.args.top)) {}

    template <class Sum>
    __attribute__((always_inline)) void codes(const Sum* v, int32_t* to) const {
        if constexpr (kSixteens) {
            // Floats near 1.5 * 2^23 are spaced by 1, so the addition rounds to an integer, ties to even. As integers, floats have
            // the order of floats, whichever end of the range they are beyond.
            constexpr float kRounder = 12582912.0f;
            constexpr int32_t kRounderBits = 0x4B400000;
            const auto least = spread<Ints16>(kRounderBits), most = spread<Ints16>(kRounderBits + top_);
            for (int j = 0; j < kLaneOutputs; j += 16) {
                const Floats16 exact = numbers<Floats16>(sums_at(v + j)) * floats_at(gain_ + j) + floats_at(shift_ + j);
                store_wide(to + j, smaller(larger(as<Ints16>(exact + kRounder), least), most) - kRounderBits);
            }
            return;
        }
        for (int j = 0; j < kLaneOutputs; ++j) {
            const float code = __builtin_rintf(static_cast<float>(v[j]) * gain_[j] + shift_[j]);
            const float low = code > 0.0f ? code : 0.0f, top = static_cast<float>(top_);
            to[j] = static_cast<int32_t>(low < top ? low : top);
        }
    }

private:
    const float *gain_, *shift_;
    int32_t top_;
};

template <>
class Converter<Method::table> {
public:
    Converter(const Prepared& p, int64_t pair, int64_t)
        : low_(p.args.low), high_(p.args.high), codes_(p.args.codes + pair * (high_ - low_ + 1) - low_) {}

    template <class Sum>
    void codes(const Sum* v, int32_t* to) const {
        for (int j = 0; j < kLaneOutputs; ++j) to[j] = codes_[v[j] < low_ ? low_ : v[j] > high_ ? high_ : v[j]];
    }

private:
    int64_t low_, high_;
    const uint8_t* codes_;
};

// total[j] += factor[j] * sum[j]
template <class Sum>
inline void observe(const Prepared& p, const Sum* v, int64_t z, int64_t c, int64_t column) {
    const int64_t pair = z * p.args.slices + c;
    const int64_t left = p.args.conv.geometry.out_channels - column;
    const int64_t low = p.args.low, high = p.args.high, columns = p.args.histogram_columns;
    for (int64_t j = 0; j < kLaneOutputs && j < left; ++j) {
        const int64_t at = v[j] < low ? low : v[j] > high ? high : v[j];
        ++p.args.histogram[(pair * columns + (columns == 1 ? 0 : column + j)) * (high - low + 1) + at - low];
    }
}

inline __attribute__((always_inline)) void add_scaled(const Prepared& p, const int32_t* sums, int64_t pair,
                                                      int64_t column, double* total) {
    const double* factor = p.factor + pair * p.columns() + column;
    if constexpr (kSixteens) {
        for (int j = 0; j < kLaneOutputs; j += 16)
            store_wide(total + j, wide_at<Doubles16>(total + j) +
                                      wide_at<Doubles16>(factor + j) * numbers<Doubles16>(ints_at(sums + j)));
        return;
    }
    for (int j = 0; j < kLaneOutputs; ++j) total[j] = total[j] + factor[j] * static_cast<double>(sums[j]);
}

// A sum of codes of input bit z and slice c: into the sum over all bits where they share converters, else into the total.
inline __attribute__((always_inline)) void add_sums(const Prepared& p, const int32_t* sums, int64_t z, int64_t c,
                                                    int64_t column, int32_t* all_bits, double* total) {
    if (p.args.converter_bits == 1)
        for (int j = 0; j < kLaneOutputs; ++j) all_bits[j] += sums[j] << z;
    else
        add_scaled(p, sums, p.args.pair(z, c), column, total);
}

// Outputs, as the bits of floats.
inline __attribute__((always_inline)) void finish_columns(const Prepared& p, const double* total, int64_t column,
                                                          int32_t* out) {
    if constexpr (kSixteens) {
        for (int j = 0; j < kLaneOutputs; j += 16)
            store_wide(out + j, numbers<Floats16>(wide_at<Doubles16>(total + j) * p.args.scale +
                                                  wide_at<Doubles16>(p.bias + column + j)));
        return;
    }
    float y[kLaneOutputs];
    for (int j = 0; j < kLaneOutputs; ++j) y[j] = static_cast<float>(total[j] * p.args.scale + p.bias[column + j]);
    memcpy(out, y, sizeof y);
}

struct Unchanged {
    float operator()(int32_t bits, int64_t) const {
        float y;
        memcpy(&y, &bits, sizeof y);
        return y;
    }
    Floats16 operator()(Ints16 bits, int64_t) const { return as<Floats16>(bits); }
    Floats16 neighbours(Ints16 bits, int64_t) const { return as<Floats16>(bits); }
};

struct BitWriter {
    const BitSerialArgs& args;
    Output output{args.y, args.conv.geometry};

    void operator()(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t first_output, int64_t outputs) const {
        if (args.histogram) return;
        write_nchw<kLaneOutputs>(args.conv.geometry, tile, pixel, pixels, first_output, outputs, output, Unchanged{});
    }
};

}  // namespace
}  // namespace bnnkit
