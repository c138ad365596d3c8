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

// Codes of partial sums, of one pair of input bit and slice, for the columns from `column` on; v is int16_t or int32_t.
template <class Sum>
inline Shorts affine_codes(const Prepared& p, const Sum* v, int64_t pair, int64_t column) {
    const float *gain = p.gain + pair * p.columns() + column, *shift = p.shift + pair * p.columns() + column;
    const float top = p.args.top;
    alignas(64) int16_t codes[kLaneOutputs];
    for (int j = 0; j < kLaneOutputs; ++j) {
        const float code = __builtin_rintf(static_cast<float>(v[j]) * gain[j] + shift[j]);
        const float low = code > 0.0f ? code : 0.0f;
        codes[j] = static_cast<int16_t>(low < top ? low : top);
    }
    return shorts_at(codes);
}

template <class Sum>
inline Shorts table_codes(const Prepared& p, const Sum* v, int64_t pair) {
    const int64_t low = p.args.low, high = p.args.high;
    const uint8_t* codes = p.args.codes + pair * (high - low + 1) - low;
    Shorts found;
    for (int j = 0; j < kLaneOutputs; ++j) found[j] = codes[v[j] < low ? low : v[j] > high ? high : v[j]];
    return found;
}

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
