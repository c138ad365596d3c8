// The partial sums of one array, recomputed from bits for the backward pass. Included inside an instruction-set region after
// blocks.h.
#pragma once

namespace bnnkit {
namespace {

constexpr int kCountVectors = 4;  // of outputs that are counted at a time

inline Panels count_panels(const BinaryConv& conv) { return Panels(conv, kCountVectors * Lanes::kLanes); }

// counts[row][padded outputs] = bits of the row that differ from the output's weights, weighted by the planes they are of.
class Mismatches {
public:
    using Weights = Panels;

    Mismatches(const BinaryConv& conv, const BorderClasses& borders, const Panels& panels)
        : conv_(conv),
          borders_(borders),
          panels_(panels),
          row_words_(conv.layout.row_words()),
          array_words_(conv.layout.array_words()) {}

    int64_t padded_outputs() const { return panels_.per_group() * panels_.columns(); }

    int64_t scratch_bytes(int64_t /*block_rows*/) const { return 0; }

    // `block_rows` is how many rows of words each plane of the block has.
    void count(const RowBlock& rows, int64_t block_rows, int64_t group, int64_t array, unsigned char* /*scratch*/,
               int32_t* counts) const {
        for (int64_t panel = 0; panel < panels_.per_group(); ++panel)
            for (int64_t r = 0; r < rows.count; ++r)
                count_row(rows, block_rows, panels_.panel(group, panel), array, r,
                          counts + r * padded_outputs() + panel * panels_.columns());
    }

private:
    void count_row(const RowBlock& rows, int64_t block_rows, const uint64_t* weights, int64_t array, int64_t r,
                   int32_t* counts) const {
        using V = Lanes::Vector;
        const uint64_t* x = rows.words + r * row_words_ + array * array_words_;
        const uint64_t* mask = borders_.mask(rows.border_class[r]) + array * array_words_;
        V sum[kCountVectors];
        for (V& v : sum) v = Lanes::zero();
        for (int p = 0; p < conv_.x_planes; ++p) {
            for (int q = 0; q < conv_.w_planes; ++q) {
                const int shift = conv_.x_shift(p) + conv_.w_shift(q);
                const uint64_t* w =
                    weights + q * panels_.plane_stride() + array * array_words_ * kCountVectors * Lanes::kLanes;
                for (int64_t word = 0; word < array_words_; ++word) {
                    const V a = Lanes::broadcast(x[p * block_rows * row_words_ + word]),
                            m = Lanes::broadcast(mask[word]);
                    for (int j = 0; j < kCountVectors; ++j, w += Lanes::kLanes)
                        sum[j] = Lanes::add(sum[j], Lanes::shift_left(Lanes::differing(a, Lanes::load(w), m), shift));
                }
            }
        }
        for (int j = 0; j < kCountVectors; ++j) Lanes::store_int32(counts + j * Lanes::kLanes, sum[j]);
    }

    const BinaryConv& conv_;
    const BorderClasses& borders_;
    const Panels& panels_;
    int64_t row_words_, array_words_;
};

}  // namespace
}  // namespace bnnkit
