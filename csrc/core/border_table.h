// What counting starts from at every kind of border, so that the inner loop needs no masks.
//
// Included inside an instruction-set region after lanes_*.h. A padded bit of a gathered patch is 0, hence differs from every
// set bit of the weights: those mismatches are known before any patch is seen. For each border class, array and output the
// table holds base + scale * (weighted mismatches of the padded bits), in the order in which a tile reads it.
#pragma once

#include "panels.h"
#include "scratch.h"

namespace bnnkit {
namespace {

class BorderTable {
public:
    // base(border_class, array) is the part that does not depend on the output; a row is `arrays` arrays of equal words.
    template <class Base>
    BorderTable(const BinaryConv& conv, const BorderClasses& borders, const Panels& panels, int64_t arrays,
                int64_t scale, const Base& base)
        : columns_(panels.columns()),
          arrays_(arrays),
          panels_(conv.geometry.groups * panels.per_group()),
          per_group_(panels.per_group()),
          values_(borders.count() * panels_ * arrays * columns_ * static_cast<int64_t>(sizeof(uint64_t))) {
        const int64_t words = conv.layout.row_words() / arrays;
        // A set bit of a weight plane differs from the zeros of all activation planes.
        const int64_t x_weight = conv.x_thermometer ? conv.x_planes : (1 << conv.x_planes) - 1;
        parallel_for(conv.threads, panels_, [&](int64_t begin, int64_t end) {
            for (int64_t panel = begin; panel < end; ++panel) {
                const uint64_t* weights = panels.panel(panel / per_group_, panel % per_group_);
                for (int32_t border = 0; border < borders.count(); ++border)
                    for (int64_t array = 0; array < arrays; ++array)
                        fill(conv, weights + array * words * columns_, panels.plane_stride(),
                             borders.mask(border) + array * words, border == 0 ? 0 : words, scale * x_weight,
                             static_cast<uint64_t>(base(border, array)), at(border, panel) + array * columns_);
            }
        });
    }

    // [array][column]
    const uint64_t* of(int32_t border_class, int64_t group, int64_t panel) const {
        return at(border_class, group * per_group_ + panel);
    }

private:
    uint64_t* at(int32_t border_class, int64_t panel) const {
        return reinterpret_cast<uint64_t*>(values_.data) + (border_class * panels_ + panel) * arrays_ * columns_;
    }

    void fill(const BinaryConv& conv, const uint64_t* weights, int64_t plane_stride, const uint64_t* valid,
              int64_t words, int64_t scale, uint64_t base, uint64_t* out) const {
        for (int64_t column = 0; column < columns_; column += Lanes::kLanes) {
            auto sum = Lanes::zero();
            for (int64_t word = 0; word < words; ++word) {
                if (~valid[word] == 0) continue;
                const auto padded = Lanes::broadcast(~valid[word]);
                for (int q = 0; q < conv.w_planes; ++q) {
                    const auto w = Lanes::load(weights + q * plane_stride + word * columns_ + column);
                    sum =
                        Lanes::add(sum, Lanes::shift_left(Lanes::differing(Lanes::zero(), w, padded), conv.w_shift(q)));
                }
            }
            const auto scaled = Lanes::multiply_low32(sum, Lanes::broadcast(static_cast<uint64_t>(scale)));
            Lanes::store(out + column, Lanes::add(Lanes::broadcast(base), scaled));
        }
    }

    int64_t columns_, arrays_, panels_, per_group_;
    Scratch values_;
};

}  // namespace
}  // namespace bnnkit
