// A converter restated for a GPU, where every operation per partial sum counts: the cores convert while the tensor cores count.
//
//   single    one threshold: the sign bit of count - limit says whether it was missed, one instruction.
//   uniform   equally spaced levels: code = (ps * factor + shift) >> 26 in 32-bit integers, two instructions.
//   table     a level for every partial sum, in shared memory.
//   search    thresholds in shared memory, halved until the code is found: for ranges too long for a table.
#pragma once

#include <cstdint>
#include <vector>

#include "adc.h"

namespace bnnkit {

struct CudaConverter {
    enum class Method { single, uniform, table, search };

    static constexpr int kCodeShift = 26;
    static constexpr int64_t kMostEntries = 4096;  // of a table in shared memory: 16 KiB

    explicit CudaConverter(const AdcArgs& args);

    Method method;
    int64_t bound;                      // largest magnitude of a partial sum
    int32_t threshold = 0;              // single: within bound + 1
    int32_t factor = 0, shift = 0;      // uniform
    std::vector<int32_t> table;         // table: the level of ps at ps + bound; search: thresholds, then levels
    uint32_t gain = 1, correction = 0;  // sum of levels = gain * accumulated + correction, modulo 2^32

private:
    bool fit_uniform(const AdcArgs& args);
};

}  // namespace bnnkit
