// The products of adc's backward pass by looking sums up instead of multiplying, in float32. Included inside an instruction-set
// region with BMI2, after lookups_*.h, backward_frame.h and slopes_*.h.
#pragma once

#include "columns.h"
#include "mismatches.h"

namespace bnnkit {
namespace {

// Counts recomputes partial sums, see mismatches.h.
template <class Counts>
class LookupProducts {
public:
    static constexpr int64_t kRows = 128, kPatchRows = 32;

    LookupProducts(const AdcBackwardArgs& args, const BorderClasses& borders, const typename Counts::Weights& weights)
        : conv_(args.conv),
          layout_(args.conv.layout),
          borders_(borders),
          counts_(args.conv, borders, weights),
          slopes_(args),
          columns_(layout_, borders),
          words_(layout_.array_words()),
          output_groups_(ceil_div(conv_.geometry.group_outputs(), kTerms)),
          outputs_(output_groups_ * kTerms * kIndexBytes),
          codes_(conv_.geometry.groups * (columns_.all() + layout_.arrays()) * output_groups_ * conv_.w_planes *
                 kCodeBytes) {
        for (int64_t o = 0; o < output_groups_ * kTerms; ++o) indices(outputs_)[o] = o;
        parallel_for(conv_.threads, conv_.geometry.groups * layout_.arrays(), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) code_weights(i / layout_.arrays(), i % layout_.arrays());
        });
    }

    int64_t padded_outputs() const { return counts_.padded_outputs(); }
    int64_t tap_stride(int64_t array) const {
        return layout_.chunk_channels(layout_.tap ? array % layout_.chunks() : array);
    }
    int64_t gw_floats() const { return conv_.geometry.out_channels * columns_.all() * kColumns; }
    int64_t gw_at(int64_t output, int64_t array, int64_t column) const {
        return (output * columns_.all() + columns_.before(array)) * kColumns + column;
    }

    struct Room {
        explicit Room(const LookupProducts& p)
            : g((kRows + 1) * p.padded_outputs() * kFloatBytes),
              counting(p.counts_.scratch_bytes(kRows)),
              mismatches(kRows * p.padded_outputs() * static_cast<int64_t>(sizeof(int32_t))),
              bits((kTerms + 1) * p.words_ * kWordBytes),
              terms(kRows * kTerms * kIndexBytes),
              codes(kRows * p.conv_.x_planes * (p.columns_.most() + 1) * kCodeBytes) {
            memset(floats(g) + kRows * p.padded_outputs(), 0, static_cast<size_t>(p.padded_outputs() * kFloatBytes));
        }
        Scratch g;                     // [rows][outputs], then a row of zeros
        Scratch counting, mismatches;  // the latter [rows][outputs]
        Scratch bits;                  // columns of four terms, and which of them are valid
        // Of the product with activations: the block's rows in groups, first those without padding, then those that share a
        // border class. kRows stands for the row of zeros.
        int64_t order[kRows * kTerms];
        int64_t whole, groups;
        Scratch terms, codes;
    };

    void add_weight_gradient(Room& room, const GradientBlock& block, int64_t group, int64_t array, float* gw) const {
        const int64_t count = block.rows.count, outputs = conv_.geometry.group_outputs(), padded = padded_outputs();
        if (array == 0) order_rows(room, block.rows);
        int32_t* mismatches = reinterpret_cast<int32_t*>(room.mismatches.data);
        if (slopes_.depend_on_sums()) counts_.count(block.rows, kRows, group, array, room.counting.data, mismatches);
        for (int64_t r = 0; r < count; ++r)
            slopes_.weigh(block.gy + r * padded, mismatches + r * padded,
                          borders_.valid_rows(block.rows.border_class[r], array), padded, floats(room.g) + r * padded);
        code_activations(room, block.rows, array);

        Lookups p = {};
        p.a = floats(room.g), p.a_row = 1, p.terms = indices(room.terms);
        p.codes = reinterpret_cast<const Code*>(room.codes.data), p.code_stride = code_stride(array);
        p.planes = conv_.x_planes, p.thermometer = conv_.x_thermometer;
        p.whole = room.whole, p.groups = room.groups;
        p.c = gw + gw_at(group * outputs, array, 0), p.c_row = columns_.all() * kColumns;
        p.rows = outputs, p.vectors = columns_.of(array), p.accumulate = true;
        look_up(p);
    }

    void patch_gradient(const Room& room, const GradientBlock&, int64_t group, int64_t array, int64_t first,
                        int64_t count, float* patches) const {
        Lookups p = {};
        p.a = floats(room.g) + first * padded_outputs(), p.a_row = padded_outputs(), p.terms = indices(outputs_);
        p.codes = codes_of_weights(group, array), p.code_stride = code_stride(array);
        p.planes = conv_.w_planes, p.thermometer = conv_.w_thermometer;
        p.whole = p.groups = output_groups_;
        p.c = patches, p.c_row = words_ * kWordBits;
        p.rows = count, p.vectors = columns_.of(array);
        look_up(p);
    }

private:
    static constexpr int64_t kIndexBytes = sizeof(int64_t), kWordBytes = sizeof(uint64_t), kCodeBytes = sizeof(Code);

    static int64_t* indices(const Scratch& s) { return reinterpret_cast<int64_t*>(s.data); }

    // One more than an array has: at a multiple of a page's lines, groups of codes would push one another out of the cache.
    int64_t code_stride(int64_t array) const { return columns_.of(array) + 1; }

    // [group][array][group of outputs][plane][code stride]
    Code* codes_of_weights(int64_t group, int64_t array) const {
        const int64_t strides = columns_.all() + layout_.arrays(), before = columns_.before(array) + array;
        return reinterpret_cast<Code*>(codes_.data) + (group * strides + before) * output_groups_ * conv_.w_planes;
    }

    void code_weights(int64_t group, int64_t array) const {
        const int64_t outputs = conv_.geometry.group_outputs(), row_words = layout_.row_words();
        const Scratch bits(kTerms * words_ * kWordBytes);
        Code* codes = codes_of_weights(group, array);
        for (int64_t first = 0; first < outputs; first += kTerms) {
            for (int q = 0; q < conv_.w_planes; ++q, codes += code_stride(array)) {
                const uint64_t* w =
                    conv_.w + q * conv_.w_plane_words() + (group * outputs + first) * row_words + array * words_;
                memset(bits.data, 0, static_cast<size_t>(kTerms * words_ * kWordBytes));
                for (int64_t k = 0; k < kTerms && first + k < outputs; ++k)
                    columns_.keep(w + k * row_words, borders_.mask(0) + array * words_, array,
                                  reinterpret_cast<uint64_t*>(bits.data) + k * words_);
                write_codes(reinterpret_cast<const uint64_t*>(bits.data), nullptr, words_, columns_.of(array), codes);
            }
        }
    }

    void order_rows(Room& room, const RowBlock& rows) const {
        bool listed[kRows] = {};
        room.groups = 0;
        const auto list_class = [&](int32_t border_class, int64_t from) {
            int64_t used = 0;
            int64_t* order = room.order + room.groups * kTerms;
            for (int64_t r = from; r < rows.count; ++r)
                if (rows.border_class[r] == border_class) order[used++] = r, listed[r] = true;
            while (used % kTerms) order[used++] = kRows;
            room.groups += used / kTerms;
        };
        list_class(0, 0);
        room.whole = room.groups;
        for (int64_t r = 0; r < rows.count; ++r)
            if (!listed[r]) list_class(rows.border_class[r], r);
        for (int64_t i = 0; i < room.groups * kTerms; ++i) indices(room.terms)[i] = room.order[i] * padded_outputs();
    }

    void code_activations(Room& room, const RowBlock& rows, int64_t array) const {
        const int64_t row_words = layout_.row_words();
        uint64_t* bits = reinterpret_cast<uint64_t*>(room.bits.data);
        uint64_t* valid_columns = bits + kTerms * words_;
        Code* codes = reinterpret_cast<Code*>(room.codes.data);
        for (int64_t group = 0; group < room.groups; ++group) {
            const int64_t* order = room.order + group * kTerms;
            const uint64_t* valid = borders_.mask(rows.border_class[order[0]]) + array * words_;
            columns_.keep(valid, valid, array, valid_columns);
            for (int p = 0; p < conv_.x_planes; ++p, codes += code_stride(array)) {
                for (int64_t k = 0; k < kTerms; ++k) {
                    const int64_t r = order[k] < kRows ? order[k] : order[0];  // of a row of zeros any bits will do
                    columns_.keep(rows.words + (p * kRows + r) * row_words + array * words_, valid, array,
                                  bits + k * words_);
                }
                write_codes(bits, valid_columns, words_, columns_.of(array), codes);
            }
        }
    }

    const BinaryConv& conv_;
    const ArrayLayout& layout_;
    const BorderClasses& borders_;
    Counts counts_;
    Slopes slopes_;
    Columns columns_;
    int64_t words_, output_groups_;
    Scratch outputs_, codes_;
};

}  // namespace
}  // namespace bnnkit
