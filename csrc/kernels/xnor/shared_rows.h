// Which rows of a matrix product four outputs add up together. Included inside an instruction-set region after
// turned_patches.h.
//
// What an output counts are the set bits of the rows of x whose weight is +1: half of all rows. Four outputs that are counted
// together give every row one of 16 classes, the set of outputs whose weight is +1 there. Each class is added up once for all of
// them, and the class of none not at all: 15/16 of the rows for four outputs instead of 32/16. (The idea of Arlazarov, Dinic,
// Kronrod and Faradzev, 1970, for products of bit matrices.)
//
// Classes follow one another in Gray code, and counting goes on from each to the next. Where an output enters or leaves the set,
// what was counted so far is subtracted from its sum or added to it: one addition per class.
#pragma once

namespace bnnkit {
namespace {

class SharedRows {
public:
    static constexpr int kOutputs = 4, kClasses = 1 << kOutputs;

    // The output whose membership changes after the class of a rank, and whether it was a member.
    struct Change {
        int output;
        bool leaves;
    };
    static constexpr Change change_after(int rank) {
        if (rank + 1 == kClasses) return {kOutputs - 1, true};
        const int output = __builtin_ctz(static_cast<unsigned>(rank + 1));
        return {output, (code_of(rank) >> output & 1) != 0};
    }

    SharedRows(const BinaryConv& conv, const BorderClasses& borders)
        : words_(conv.layout.row_words()),
          group_outputs_(conv.geometry.group_outputs()),
          quads_(ceil_div(group_outputs_, kOutputs)),
          outputs_(conv.geometry.out_channels),
          capacity_(words_ * kWordBits + kClasses * kBitsAtATime + kListSlack),
          offsets_(conv.geometry.groups * quads_ * capacity_ * kIntBytes),
          ends_(conv.geometry.groups * quads_ * kClasses * kIntBytes),
          starts_(borders.count() * outputs_ * kIntBytes) {
        parallel_for(conv.threads, conv.geometry.groups * quads_, [&](int64_t begin, int64_t end) {
            for (int64_t quad = begin; quad < end; ++quad) list(conv, quad);
        });
        parallel_for(conv.threads, outputs_, [&](int64_t begin, int64_t end) {
            for (int64_t output = begin; output < end; ++output)
                for (int32_t border = 0; border < borders.count(); ++border) {
                    int64_t set = 0;
                    for (int64_t word = 0; word < words_; ++word)
                        set += __builtin_popcountll(conv.w[output * words_ + word] & borders.mask(border)[word]);
                    ints(starts_)[border * outputs_ + output] =
                        static_cast<int32_t>(borders.valid_rows(border) - 2 * set);
                }
        });
    }

    // Of four outputs: the rows of the class of rank 1 to 15, as offsets in words that end at ends[rank].
    struct Lists {
        const int32_t *offsets, *ends;
    };
    Lists of(int64_t group, int64_t quad) const {
        const int64_t index = group * quads_ + quad;
        return {ints(offsets_) + index * capacity_, ints(ends_) + index * kClasses};
    }

    // What is added to 4 * (set bits of x where the weight is +1) - 2 * (set bits of x), of the outputs of a group.
    const int32_t* starts(int32_t border_class, int64_t group) const {
        return ints(starts_) + border_class * outputs_ + group * group_outputs_;
    }

private:
    static constexpr int64_t kIntBytes = sizeof(int32_t);
    static constexpr int code_of(int rank) { return rank ^ rank >> 1; }
    static int32_t* ints(const Scratch& scratch) { return reinterpret_cast<int32_t*>(scratch.data); }

    void list(const BinaryConv& conv, int64_t index) const {
        const uint64_t nothing = 0;  // the weights of outputs past the last
        const uint64_t* of_output[kOutputs];
        int64_t step[kOutputs];
        for (int64_t o = 0; o < kOutputs; ++o) {
            const int64_t output = index % quads_ * kOutputs + o;
            step[o] = output < group_outputs_ ? 1 : 0;
            of_output[o] = step[o] ? conv.w + (index / quads_ * group_outputs_ + output) * words_ : &nothing;
        }
        int32_t *const first = ints(offsets_) + index * capacity_, *const ends = ints(ends_) + index * kClasses;
        int32_t* to = first;
        ends[0] = 0;
        for (int rank = 1; rank < kClasses; ++rank) {
            for (int64_t word = 0; word < words_; ++word) {
                uint64_t members = ~uint64_t{0};
                for (int o = 0; o < kOutputs; ++o) {
                    const uint64_t weights = of_output[o][word * step[o]];
                    members &= (code_of(rank) >> o & 1) != 0 ? weights : ~weights;
                }
                to = list_rows(members, word * kWordBits * TurnedPatches::kRowWords, to);
            }
            to = fill_list(first, to, words_ * kWordBits * TurnedPatches::kRowWords);
            ends[rank] = static_cast<int32_t>(to - first);
        }
    }

    int64_t words_, group_outputs_, quads_, outputs_, capacity_;
    Scratch offsets_, ends_, starts_;
};

}  // namespace
}  // namespace bnnkit
