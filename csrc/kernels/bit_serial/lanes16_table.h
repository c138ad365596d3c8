// What instruction sets without instructions of their own for it do: broadcast, and look codes up one by one.
#pragma once

#include "lanes16.h"

namespace bnnkit {
namespace {

// Which of 16 rows of one patch meet a set bit of every column: the rows come twice in a word, which vectors broadcast.
inline Shorts meeting(Shorts columns, const uint32_t* twice) { return columns & (Shorts)(TwiceRows{} + *twice); }

struct Table {
    const uint8_t* codes;  // of counts 0..127
};

inline Table table_at(const uint8_t* codes) { return {codes}; }

inline Shorts look_up(const Table& table, Shorts counts) {
    Shorts codes;
    for (int lane = 0; lane < kLaneOutputs; ++lane) codes[lane] = table.codes[counts[lane] & 127];
    return codes;
}

inline Shorts at_most(Shorts v, int16_t most) {
    const Shorts mask = v > most;
    return (everywhere(most) & mask) | (v & ~mask);
}

inline Shorts select_equal(Shorts v, int16_t value, Shorts equal, Shorts other) {
    const Shorts mask = v == value;
    return (equal & mask) | (other & ~mask);
}

}  // namespace
}  // namespace bnnkit
