// 8 lanes of 16 bits in plain vectors, for every instruction set without a population count of its own.
#pragma once

namespace bnnkit {
namespace {
constexpr int kLaneOutputs = 8;
}  // namespace
}  // namespace bnnkit

#include "lanes16_table.h"

namespace bnnkit {
namespace {

constexpr int kPixels = 1, kInputs = 4;  // partial sums that the registers hold at once: pixels x input bits

inline Shorts population(Shorts value) {
    UnsignedShorts v = (UnsignedShorts)value;
    v = v - ((v >> 1) & 0x5555);
    v = (v & 0x3333) + ((v >> 2) & 0x3333);
    v = (v + (v >> 4)) & 0x0F0F;
    return (Shorts)((v + (v >> 8)) & 0x001F);
}

}  // namespace
}  // namespace bnnkit
