// Vectors of 16-bit lanes, one per output channel. Included inside an instruction-set region.
#pragma once

#include <cstring>

namespace bnnkit {
namespace {

typedef int16_t Shorts __attribute__((vector_size(64)));
typedef uint16_t UnsignedShorts __attribute__((vector_size(64)));
typedef uint32_t Words16 __attribute__((vector_size(64)));

inline Shorts shorts_at(const int16_t* p) {
    Shorts v;
    memcpy(&v, p, sizeof v);
    return v;
}

inline Shorts everywhere(int16_t value) { return Shorts{} + value; }

}  // namespace
}  // namespace bnnkit
