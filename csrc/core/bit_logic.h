// Logic of three operands on vectors of bits, where no instruction does it. Included by bit_lanes_*.h after BitVector.
#pragma once

namespace bnnkit {
namespace {

inline BitVector majority(BitVector a, BitVector b, BitVector c) { return (a & b) | (c & (a | b)); }

// sum + a + b becomes sum and, of twice the weight, the carry that is returned.
inline BitVector add_two(BitVector& sum, BitVector a, BitVector b) {
    const BitVector differ = a ^ b, carry = (differ & (sum ^ a)) ^ a;
    sum ^= differ;
    return carry;
}

}  // namespace
}  // namespace bnnkit
