// Products of floats with bits by looking sums up. Included by lookups_<instruction set>.h, which say what a Code is.
//
// A bit says whether a float is added or subtracted. The sums of four floats with all signs fit into one register (or half of
// them, which are the negatives of the others): a permutation picks the sums that four bits ask for, in a vector of columns at
// once, and does the work of four multiply-adds.
#pragma once

namespace bnnkit {
namespace {

constexpr int64_t kTerms = 4;  // floats of one table, bits of one code

struct Code;  // of a vector of columns

// c[rows][columns] (+)= sum over terms of a[row][term] * (the signs of the term's planes in each column, weighted).
struct Lookups {
    const float* a;
    int64_t a_row;         // from row to row of a
    const int64_t* terms;  // [groups][kTerms] where a group's floats are in a row of a
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
