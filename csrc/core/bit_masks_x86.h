// From bytes to masks of their bits, for every x86. Included inside an instruction-set region.
#pragma once

namespace bnnkit {
namespace {

// masks[b] = the bits b of 16 bytes.
inline void masks_of_bytes(const uint8_t* bytes, uint16_t (&masks)[8]) {
    __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    for (int b = 7; b >= 0; --b, v = _mm_add_epi8(v, v)) masks[b] = static_cast<uint16_t>(_mm_movemask_epi8(v));
}

}  // namespace
}  // namespace bnnkit
