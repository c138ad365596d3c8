// Addition of three vectors of bits, where no instruction does it; and the majority of three. Included by bit_lanes_*.h.
#pragma once

namespace bnnkit {
namespace {

template <class Bits>
inline Bits majority(Bits a, Bits b, Bits c) {
    return ((a ^ b) & (a ^ c)) ^ a;
}

// sum + a + b becomes sum and, of twice the weight, the carry that is returned.
template <class Bits>
inline Bits add_two(Bits& sum, Bits a, Bits b) {
    const Bits differ = a ^ b, carry = (differ & (sum ^ a)) ^ a;
    sum ^= differ;
    return carry;
}

}  // namespace
}  // namespace bnnkit
