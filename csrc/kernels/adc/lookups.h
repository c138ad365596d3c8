// Products of floats with bits by looking sums up. Included by lookups_<instruction set>.h, which say what a Code is.
//
// A bit says whether a float is added or subtracted. Of four floats there are sixteen sums with all signs; they are made once, and
// to look up the one that four bits ask for does the work of four multiply-adds.
#pragma once

namespace bnnkit {
namespace {

constexpr int64_t kTerms = 4;  // floats of one table, bits of one code

struct Code;  // of a vector of columns

// Codes of `vectors` vectors of columns, of which each of the four terms has the bits in `words` words at `bits`. `valid`: the
// columns that are added to, or none where all are.
inline void write_codes(const uint64_t* bits, const uint64_t* valid, int64_t words, int64_t vectors, Code* codes);

// c[rows][columns] (+)= sum over terms of a[row][term] * (the signs of the term's planes in each column, weighted).
struct Lookups {
    const float* a;
    int64_t a_row;         // from row to row of a
    const int64_t* terms;  // [groups][kTerms] where a group's floats are in a row of a: side by side, unless a_row is 1
    const Code* codes;     // [groups][planes][code_stride]
    int64_t code_stride;
    int64_t whole, groups;  // the first `whole` groups add to all columns
    int planes;
    bool thermometer;
    float* c;
    int64_t c_row;
    int64_t rows, vectors;
    bool accumulate;
};

}  // namespace
}  // namespace bnnkit
