// What bit_lanes.h is made of: logic on vectors of bits, and the way between bits and bytes. Of any instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bit_logic.h"

namespace bnnkit {
namespace {

constexpr int kLaneBytes = 16;
typedef uint64_t BitVector __attribute__((vector_size(kLaneBytes)));

// bytes[i] = the number whose bit p is bit i of the word words[p * stride], for as many bytes as a word has bits.
template <class Word>
inline void bytes_of_planes(const Word* words, int64_t stride, int planes, uint8_t* bytes) {
    for (size_t i = 0; i < 8 * sizeof(Word); ++i) {
        uint32_t number = 0;
        for (int p = 0; p < planes; ++p) number |= static_cast<uint32_t>(words[p * stride] >> i & 1) << p;
        bytes[i] = static_cast<uint8_t>(number);
    }
}

// The same for the words of a vector, one after another; of at most eight planes.
template <class Word>
inline void bytes_of_plane_vectors(const Word* words, int64_t stride, int planes, uint8_t* bytes) {
    for (int64_t first = 0; first < kLaneBytes; first += sizeof(Word), ++words, bytes += 8 * sizeof(Word))
        bytes_of_planes(words, stride, planes, bytes);
}

// words[b] = the bits b of as many bytes as a word has bits.
template <class Word>
inline void bits_of_bytes(const uint8_t* bytes, Word (&words)[8]) {
    for (int b = 0; b < 8; ++b) {
        words[b] = 0;
        for (size_t i = 0; i < 8 * sizeof(Word); ++i) words[b] |= static_cast<Word>(bytes[i] >> b & 1) << i;
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
