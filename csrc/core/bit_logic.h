// Addition of three vectors of bits, where no instruction does it. Included by bit_lanes_*.h.
#pragma once

namespace bnnkit {
namespace {

// sum + a + b becomes sum and, of twice the weight, the carry that is returned.
template <class Bits>
inline Bits add_two(Bits& sum, Bits a, Bits b) {
    const Bits differ = a ^ b, carry = (differ & (sum ^ a)) ^ a;
    sum ^= differ;
    return carry;
}

}  // namespace
}  // namespace bnnkit
