// Randomness without a state: a number is a hash of where it is used, so order, batches and threads cannot change it.
//
//   h = 0;  for each key k:  h = step(h, k) = mix((h ^ k) + 0x9e3779b9)
//
// with the 32-bit finalizer of MurmurHash3 as mix; bnnkit/counter.py is the same in Python. Keys are the low 32 bits of
// what they stand for. T is uint32_t or a vector of them; constexpr, because GPUs may call what is. Internal linkage: instruction-set regions compile their own.
#pragma once

#include <cstdint>

namespace bnnkit {
namespace {

template <class T>
constexpr __attribute__((always_inline)) inline T counter_step(T h, T key) {
    h = (h ^ key) + 0x9e3779b9u;
    h = (h ^ (h >> 16)) * 0x85ebca6bu;
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    return h ^ (h >> 16);
}

}  // namespace
}  // namespace bnnkit
