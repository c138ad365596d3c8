// Vectors of kLaneOutputs lanes of 16 bits, an output channel in each. Included inside an instruction-set region, after
// that number.
#pragma once

#include <cstring>

namespace bnnkit {
namespace {

typedef int16_t Shorts __attribute__((vector_size(2 * kLaneOutputs)));
typedef uint16_t UnsignedShorts __attribute__((vector_size(2 * kLaneOutputs)));
typedef uint32_t TwiceRows __attribute__((vector_size(2 * kLaneOutputs)));

inline Shorts shorts_at(const int16_t* p) {
    Shorts v;
    memcpy(&v, p, sizeof v);
    return v;
}

inline Shorts everywhere(int16_t value) { return Shorts{} + value; }

}  // namespace
}  // namespace bnnkit
