// Numbers for random cases: the same on every machine and library, unlike the standard distributions. The environment
// variable BNNKIT_TEST_SEED (a number) makes other cases of all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {
        if (const char* other = std::getenv("BNNKIT_TEST_SEED")) state_ += strtoull(other, nullptr, 10) << 32;
    }

    uint64_t bits() {  // splitmix64
        uint64_t z = state_ += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
    int64_t between(int64_t low, int64_t high) {
        return low + static_cast<int64_t>(bits() % (static_cast<uint64_t>(high - low) + 1));
    }
    bool chance(int percent) { return between(1, 100) <= percent; }
    float real(float low, float high) {
        return low + (high - low) * static_cast<float>(bits() >> 40) * (1.0f / (1 << 24));
    }
    template <class T, size_t N>
    T any_of(const T (&values)[N]) {
        return values[between(0, N - 1)];
    }

private:
    uint64_t state_;
};
