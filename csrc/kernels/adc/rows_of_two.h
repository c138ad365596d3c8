// Which rows of an array two outputs add up together. Included inside an instruction-set region after turned_patches.h.
//
// A row belongs to both outputs, to the first or the second alone, or to neither. Each output adds the rows where its weight is +1,
// or else those where it is -1, whichever way most rows of the array belong to neither: 0.36 of all rows per output are left.
#pragma once

#include "../../core/bit_lanes.h"

namespace bnnkit {
namespace {

class RowsOfTwo {
public:
    static constexpr int64_t kOutputs = 2, kShares = 3;  // both, the first alone, the second alone

    // `valid`: the bits of a patch that belong to rows.
    RowsOfTwo(const BinaryConv& conv, const uint64_t* valid)
        : words_(conv.layout.row_words()),
          arrays_(conv.layout.arrays()),
          group_outputs_(conv.geometry.group_outputs()),
          pairs_(ceil_div(group_outputs_, kOutputs)),
          capacity_(words_ * kWordBits + arrays_ * kShares * kBitsAtATime + kListSlack),
          offsets_(conv.geometry.groups * pairs_ * capacity_ * int64_t{sizeof(int32_t)}),
          ends_(conv.geometry.groups * pairs_ * (1 + arrays_ * kShares) * int64_t{sizeof(int32_t)}),
          left_out_(conv.geometry.groups * pairs_ * arrays_) {
        parallel_for(conv.threads, conv.geometry.groups * pairs_, [&](int64_t begin, int64_t end) {
            for (int64_t index = begin; index < end; ++index) list(conv, valid, index);
        });
    }

    // Of two outputs: rows as offsets in words; those of a share of an array end at ends[1 + array * kShares + share].
    struct Lists {
        const int32_t *offsets, *ends;
    };
    Lists of(int64_t group, int64_t pair) const {
        const int64_t index = group * pairs_ + pair;
        return {offsets() + index * capacity_, ends() + index * (1 + arrays_ * kShares)};
    }

    // Whether an output of a group adds the rows where its weight is +1.
    bool adds_ones(int64_t group, int64_t output, int64_t array) const {
        const int left_out = left_out_.data[(group * pairs_ + output / kOutputs) * arrays_ + array];
        return (left_out >> output % kOutputs & 1) == 0;
    }

private:
    int32_t* offsets() const { return reinterpret_cast<int32_t*>(offsets_.data); }
    int32_t* ends() const { return reinterpret_cast<int32_t*>(ends_.data); }

    void list(const BinaryConv& conv, const uint64_t* valid, int64_t index) const {
        const int64_t output = index % pairs_ * kOutputs, array_words = conv.layout.array_words();
        const uint64_t* const first = conv.w + (index / pairs_ * group_outputs_ + output) * words_;
        const uint64_t* const second = output + 1 < group_outputs_ ? first + words_ : nullptr;
        int32_t *const begin = offsets() + index * capacity_, *to = begin;
        int32_t* end = ends() + index * (1 + arrays_ * kShares);
        *end++ = 0;
        for (int64_t array = 0; array < arrays_; ++array) {
            const int64_t word = array * array_words;
            const auto class_of = [&](int64_t i, int members) {
                const uint64_t b = second ? second[i] : 0;
                return (members & 1 ? first[i] : ~first[i]) & (members & 2 ? b : ~b) & valid[i];
            };
            int left_out = 0;
            int64_t most = -1;
            for (int members = 0; members < (second ? 4 : 2); ++members) {
                int64_t rows = 0;
                for (int64_t i = word; i < word + array_words; ++i) rows += __builtin_popcountll(class_of(i, members));
                if (rows > most) most = rows, left_out = members;
            }
            left_out_.data[index * arrays_ + array] = static_cast<unsigned char>(left_out);
            for (const int share : {3, 1, 2}) {
                for (int64_t i = word; i < word + array_words; ++i)
                    to = list_rows(class_of(i, share ^ left_out), i * kWordBits * TurnedPatches::kRowWords, to);
                to = fill_list(begin, to, words_ * kWordBits * TurnedPatches::kRowWords);
                *end++ = static_cast<int32_t>(to - begin);
            }
        }
    }

    int64_t words_, arrays_, group_outputs_, pairs_, capacity_;
    Scratch offsets_, ends_, left_out_;
};

}  // namespace
}  // namespace bnnkit
