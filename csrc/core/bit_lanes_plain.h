// What bit_lanes.h is made of: logic on vectors of bits, and the way between bits and bytes. Of any instruction set.
#pragma once

namespace bnnkit {
namespace {

constexpr int kLaneBytes = 16;
typedef uint64_t BitVector __attribute__((vector_size(kLaneBytes)));

}  // namespace
}  // namespace bnnkit

#include "bit_logic.h"

namespace bnnkit {
namespace {

// Adds `weight` to byte i where bit i is set, for 64 bytes.
inline void add_to_bytes(uint64_t bits, uint8_t weight, uint8_t* bytes) {
    for (int i = 0; i < 64; ++i) bytes[i] = static_cast<uint8_t>(bytes[i] + (bits >> i & 1) * weight);
}

// words[b] = the bits b of 64 bytes.
inline void bits_of_bytes(const uint8_t* bytes, uint64_t (&words)[8]) {
    for (int b = 0; b < 8; ++b) {
        words[b] = 0;
        for (int i = 0; i < 64; ++i) words[b] |= static_cast<uint64_t>(bytes[i] >> b & 1) << i;
    }
}

// masks[b] = the bits b of 16 bytes.
inline void masks_of_bytes(const uint8_t* bytes, uint16_t (&masks)[8]) {
    for (int b = 0; b < 8; ++b) {
        uint32_t mask = 0;
        for (int i = 0; i < 16; ++i) mask |= static_cast<uint32_t>(bytes[i] >> b & 1) << i;
        masks[b] = static_cast<uint16_t>(mask);
    }
}

}  // namespace
}  // namespace bnnkit
