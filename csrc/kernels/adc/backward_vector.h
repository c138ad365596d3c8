// The float products of adc's backward pass in vector registers, where sums are not looked up. Included inside an
// instruction-set region after Lanes, kFloats (floats per vector), kProductRows and kProductVectors.
#pragma once

namespace bnnkit {
namespace {

typedef float Floats __attribute__((vector_size(kFloats * 4), aligned(4)));

inline void add_to(float* to, const float* from, int64_t count) {
    int64_t i = 0;
    for (; i + kFloats <= count; i += kFloats)
        *reinterpret_cast<Floats*>(to + i) += *reinterpret_cast<const Floats*>(from + i);
    for (; i < count; ++i) to[i] += from[i];
}

}  // namespace
}  // namespace bnnkit

#include "backward_frame.h"
#include "mismatches.h"

namespace bnnkit {
namespace {

// c[rows][columns] (+)= a[rows][depth] * b[depth][columns]; columns is a multiple of kProductVectors * kFloats.
struct Product {
    const float* a;
    int64_t a_row, a_depth;
    const float* b;
    int64_t b_row;
    float* c;
    int64_t c_row;
    int64_t rows, depth, columns;
    bool accumulate;
};

template <int MR>
inline void product_rows(const Product& p, int64_t row, int64_t column) {
    Floats sum[MR][kProductVectors];
    float* c = p.c + row * p.c_row + column;
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < kProductVectors; ++j)
            sum[i][j] = p.accumulate ? *reinterpret_cast<Floats*>(c + i * p.c_row + j * kFloats) : Floats{};
    const float *a = p.a + row * p.a_row, *b = p.b + column;
    for (int64_t d = 0; d < p.depth; ++d, a += p.a_depth, b += p.b_row) {
        Floats w[kProductVectors];
        for (int j = 0; j < kProductVectors; ++j) w[j] = *reinterpret_cast<const Floats*>(b + j * kFloats);
        for (int i = 0; i < MR; ++i) {
            const Floats x = (Floats)broadcast_float(a[i * p.a_row]);
            for (int j = 0; j < kProductVectors; ++j) sum[i][j] = multiply_add(x, w[j], sum[i][j]);
        }
    }
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < kProductVectors; ++j) *reinterpret_cast<Floats*>(c + i * p.c_row + j * kFloats) = sum[i][j];
}

inline void multiply(const Product& p) {
    for (int64_t column = 0; column < p.columns; column += kProductVectors * kFloats) {
        int64_t row = 0;
        for (; row + kProductRows <= p.rows; row += kProductRows) product_rows<kProductRows>(p, row, column);
        for (; row < p.rows; ++row) product_rows<1>(p, row, column);
    }
}

struct Ones {  // the bits of every byte as floats
    alignas(64) float of[256][8];
    constexpr Ones() : of{} {
        for (int byte = 0; byte < 256; ++byte)
            for (int bit = 0; bit < 8; ++bit) of[byte][bit] = static_cast<float>((byte >> bit) & 1);
    }
};
constexpr Ones kOnes;

// 64 floats of one row: the integer values of a word of the planes, 0 outside `valid`.
inline void expand_word(const uint64_t* words, int64_t plane_stride, int planes, bool thermometer, uint64_t valid,
                        float* out) {
    for (int at = 0; at < kWordBits; at += 8) {
        for (int half = 0; half < 8; half += kFloats) {
            Floats value = {};
            for (int p = 0; p < planes; ++p) {
                const uint64_t bits = words[p * plane_stride];
                const float* plus = kOnes.of[((bits & valid) >> at) & 0xFF] + half;
                const float* minus = kOnes.of[((~bits & valid) >> at) & 0xFF] + half;
                const Floats sign = *reinterpret_cast<const Floats*>(plus) - *reinterpret_cast<const Floats*>(minus);
                value += sign * static_cast<float>(thermometer ? 1 : 1 << p);
            }
            *reinterpret_cast<Floats*>(out + at + half) = value;
        }
    }
}

class VectorProducts {
public:
    static constexpr int64_t kRows = 64, kPatchRows = kRows;

    VectorProducts(const AdcBackwardArgs& args, const BorderClasses& borders, const Panels& panels)
        : args_(args),
          conv_(args.conv),
          layout_(args.conv.layout),
          borders_(borders),
          mismatches_(args.conv, borders, panels),
          row_words_(layout_.row_words()),
          array_bits_(layout_.array_words() * kWordBits),
          weights_(gw_floats() * kFloatBytes) {
        parallel_for(conv_.threads, conv_.geometry.out_channels, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin * row_words_; i < end * row_words_; ++i)
                expand_word(conv_.w + i, conv_.w_plane_words(), conv_.w_planes, conv_.w_thermometer,
                            borders_.mask(0)[i % row_words_], floats(weights_) + i * kWordBits);
        });
    }

    int64_t padded_outputs() const { return mismatches_.padded_outputs(); }
    int64_t tap_stride(int64_t) const { return layout_.channels_per_array; }
    int64_t gw_floats() const { return conv_.geometry.out_channels * row_words_ * kWordBits; }
    int64_t gw_at(int64_t output, int64_t array, int64_t column) const {
        return output * row_words_ * kWordBits + array * array_bits_ + column;
    }

    struct Room {
        explicit Room(const VectorProducts& p)
            : g(kRows * p.padded_outputs() * kFloatBytes),
              mismatches(kRows * p.padded_outputs() * 4),
              x(kRows * p.array_bits_ * kFloatBytes) {}
        Scratch g, mismatches, x;
    };

    void add_weight_gradient(Room& room, const GradientBlock& block, int64_t group, int64_t array, float* gw) const {
        const int64_t count = block.rows.count, outputs = conv_.geometry.group_outputs(), padded = padded_outputs();
        weigh(room, block, group, array);
        for (int64_t r = 0; r < count; ++r)
            for (int64_t word = 0; word < layout_.array_words(); ++word) {
                const int64_t at = array * layout_.array_words() + word;
                expand_word(block.rows.words + r * row_words_ + at, kRows * row_words_, conv_.x_planes,
                            conv_.x_thermometer, borders_.mask(block.rows.border_class[r])[at],
                            floats(room.x) + r * array_bits_ + word * kWordBits);
            }
        const int64_t row = row_words_ * kWordBits, offset = gw_at(group * outputs, array, 0);
        multiply({floats(room.g), 1, padded, floats(room.x), array_bits_, gw + offset, row, outputs, count, array_bits_,
                  true});
    }

    void patch_gradient(const Room& room, const GradientBlock&, int64_t group, int64_t array, int64_t first,
                        int64_t count, float* patches) const {
        const int64_t outputs = conv_.geometry.group_outputs(), padded = padded_outputs();
        multiply({floats(room.g) + first * padded, padded, 1, floats(weights_) + gw_at(group * outputs, array, 0),
                  row_words_ * kWordBits, patches, array_bits_, count, outputs, array_bits_, false});
    }

private:
    // g[r][o] = gy[r][o] * slope(partial sum of `array`).
    void weigh(Room& room, const GradientBlock& block, int64_t group, int64_t array) const {
        float* g = floats(room.g);
        const int64_t count = block.rows.count, padded = padded_outputs();
        if (!args_.slopes) {
            memcpy(g, block.gy, static_cast<size_t>(count * padded * kFloatBytes));
            return;
        }
        int32_t* mismatches = reinterpret_cast<int32_t*>(room.mismatches.data);
        mismatches_.count(block.rows, kRows, group, array, nullptr, mismatches);
        for (int64_t r = 0; r < count; ++r) {
            const int64_t valid = borders_.valid_rows(block.rows.border_class[r], array);
            const float* slopes = args_.slopes + args_.slope_bound + conv_.product_bound() * valid;
            for (int64_t o = r * padded; o < (r + 1) * padded; ++o) g[o] = block.gy[o] * slopes[-2 * mismatches[o]];
        }
    }

    const AdcBackwardArgs& args_;
    const BinaryConv& conv_;
    const ArrayLayout& layout_;
    const BorderClasses& borders_;
    Mismatches mismatches_;
    int64_t row_words_, array_bits_;
    Scratch weights_;  // [out_channels][row bits]
};

}  // namespace
}  // namespace bnnkit
