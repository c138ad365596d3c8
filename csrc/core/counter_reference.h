// One step of the hash of counter.h for the references, written out with remainders instead of 32-bit arithmetic.
#pragma once

#include <cstdint>

namespace bnnkit {

// MurmurHash3's finalizer after adding a key.
template <class State>
uint64_t hashed(State state, int64_t key) {
    constexpr uint64_t kWord = uint64_t{1} << 32;
    uint64_t h = ((static_cast<uint64_t>(state) % kWord ^ static_cast<uint64_t>(key) % kWord) + 0x9E3779B9) % kWord;
    h = (h ^ h / 65536) * 0x85EBCA6B % kWord;
    h = (h ^ h / 8192) * 0xC2B2AE35 % kWord;
    return h ^ h / 65536;
}

}  // namespace bnnkit
