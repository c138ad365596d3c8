// Bits of arrays as columns of lookups. Included inside an instruction-set region with BMI2, after blocks.h and lookups_*.h.
#pragma once

namespace bnnkit {
namespace {

// An array's columns are its bits that have a weight, side by side: none for the gaps of a last chunk of fewer channels.
class Columns {
public:
    Columns(const ArrayLayout& layout, const BorderClasses& borders)
        : borders_(borders),
          words_(layout.array_words()),
          arrays_(layout.arrays()),
          first_((arrays_ + 1) * static_cast<int64_t>(sizeof(int64_t))) {
        int64_t* first = reinterpret_cast<int64_t*>(first_.data);
        first[0] = 0;
        for (int64_t array = 0; array < arrays_; ++array)
            first[array + 1] = first[array] + ceil_div(borders.valid_rows(0, array), kColumns);
    }

    // Vectors of columns before an array, in an array, in the widest, in all.
    int64_t before(int64_t array) const { return reinterpret_cast<const int64_t*>(first_.data)[array]; }
    int64_t of(int64_t array) const { return before(array + 1) - before(array); }
    int64_t most() const { return words_ * kWordBits / kColumns; }
    int64_t all() const { return before(arrays_); }

    // The columns of an array's words, 0 outside `valid`: out[words of an array].
    void keep(const uint64_t* words, const uint64_t* valid, int64_t array, uint64_t* out) const {
        const uint64_t* weighted = borders_.mask(0) + array * words_;
        memset(out, 0, static_cast<size_t>(words_) * sizeof(uint64_t));
        int64_t at = 0;
        for (int64_t word = 0; word < words_; ++word) {
            const uint64_t bits = _pext_u64(words[word] & valid[word], weighted[word]);
            const int64_t count = __builtin_popcountll(weighted[word]), shift = at % kWordBits;
            out[at / kWordBits] |= bits << shift;
            if (shift + count > kWordBits) out[at / kWordBits + 1] |= bits >> (kWordBits - shift);
            at += count;
        }
    }

private:
    const BorderClasses& borders_;
    int64_t words_, arrays_;
    Scratch first_;
};

}  // namespace
}  // namespace bnnkit
