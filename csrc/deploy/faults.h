// Faults of one layer on arrays, as bnnkit/deploy/faulty.py defines them.
//
// Where they are is a hash of the place, see core/counter.h, continued from a `state` that stands for the keys before
// the image.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace bnnkit::deploy {

enum class BitKind { flip, stuck0, stuck1, random };

// A bit is hit where its hash is below `below`; then it is turned over, 0, 1, or the lowest bit of one more step with
// key 1.
struct BitFaults {
    BitKind kind = BitKind::flip;
    uint64_t below = 0;  // 0 to 2^32
    uint32_t state = 0;
    int bit = -1;  // the only one with faults; -1: all of them
};

constexpr int kFractionBits = 16;  // of everything analog, in units of the integer partial sum
constexpr int64_t kQuantiles = 4096;

// code = number of thresholds that gain * sum + offset + noise reaches; then its bits are hit; then columns are stuck.
struct ConverterFaults {
    // Ascending, one less than levels; integer sums have the codes they have without faults.
    std::vector<int64_t> thresholds;
    std::vector<int32_t> gain;    // [arrays][outputs], or none for 1
    std::vector<int64_t> offset;  // [arrays][outputs], or none
    std::vector<int64_t> noise;   // [kQuantiles], equally likely, or none
    uint32_t state = 0;           // of the noise; that of the codes' bits is one step further, with a key no image has
    std::vector<int32_t> stuck;   // [arrays][outputs], -1 or a code, or none
    BitFaults bits;               // of the codes, flipped or random; its own state is not read
};

// Bits that could be hit, those that were, and those of them that read otherwise than they would have.
struct Hits {
    int64_t bits = 0, faulty = 0, wrong = 0;

    Hits& operator+=(const Hits& other) {
        bits += other.bits, faulty += other.faulty, wrong += other.wrong;
        return *this;
    }
};

// Hits of all threads; a step counts them while it runs, though it never changes otherwise.
class HitCounter {
public:
    void add(const Hits& hits) const {
        __atomic_fetch_add(&hits_.bits, hits.bits, __ATOMIC_RELAXED);
        __atomic_fetch_add(&hits_.faulty, hits.faulty, __ATOMIC_RELAXED);
        __atomic_fetch_add(&hits_.wrong, hits.wrong, __ATOMIC_RELAXED);
    }
    Hits take() const {  // since the last call
        return {__atomic_exchange_n(&hits_.bits, 0, __ATOMIC_RELAXED),
                __atomic_exchange_n(&hits_.faulty, 0, __ATOMIC_RELAXED),
                __atomic_exchange_n(&hits_.wrong, 0, __ATOMIC_RELAXED)};
    }

private:
    mutable Hits hits_;
};

struct ArrayFaults {
    std::optional<BitFaults> input;
    std::optional<ConverterFaults> converter;
};

}  // namespace bnnkit::deploy
