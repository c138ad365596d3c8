// Random converter tables, from sense amplifiers to curves that no circuit has.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "random_source.h"

struct Table {
    std::vector<int32_t> thresholds, levels;
    const char* kind = "";

    int64_t level(int64_t ps) const {
        size_t code = 0;
        for (int32_t threshold : thresholds) code += ps >= threshold;
        return levels[code];
    }
    std::string text() const {
        std::ostringstream s;
        s << kind << " table:";
        for (size_t j = 0; j < levels.size() && j < 20; ++j) {
            if (j > 0) s << " <" << thresholds[j - 1] << "> ";
            s << levels[j];
        }
        return s.str();
    }
};

// Thresholds of a k-bit converter of full scale +-scale on integer partial sums; levels are odd and symmetric.
inline Table uniform_table(int bits, double scale) {
    Table table;
    table.kind = "uniform";
    const int steps = (1 << bits) - 1;
    for (int j = 0; j <= steps; ++j) table.levels.push_back(2 * j - steps);
    for (int j = 0; j < steps; ++j)
        table.thresholds.push_back(
            bits == 1 ? 1 : static_cast<int32_t>(std::ceil(scale * ((2.0 * j + 1) / steps - 1) - 1e-9)));
    return table;
}

inline void random_thresholds(Random& random, Table& table, int count, int64_t low, int64_t high) {
    for (int j = 0; j < count; ++j) table.thresholds.push_back(static_cast<int32_t>(random.between(low, high)));
    std::sort(table.thresholds.begin(), table.thresholds.end());
}

inline Table random_staircase(Random& random, int64_t bound, int64_t largest) {
    Table table;
    static constexpr int kCounts[] = {1, 2, 3, 7, 14, 15, 16, 31, 300};
    const int count = random.any_of(kCounts);
    if (random.chance(50)) {
        table.kind = "reachable";
        random_thresholds(random, table, count, -bound, bound);
    } else {
        table.kind = "partly unreachable";
        random_thresholds(random, table, count, -2 * bound - 3, 2 * bound + 3);
    }
    if (random.chance(20)) {
        table.kind = "with extreme thresholds";
        table.thresholds.back() = std::numeric_limits<int32_t>::max();
        if (count > 2) table.thresholds.front() = std::numeric_limits<int32_t>::min();
    }
    const int64_t reach = random.chance(20) ? largest : std::min<int64_t>(largest, 100);
    if (random.chance(40)) {  // an arithmetic series: equally spaced levels at unequal thresholds
        const int64_t first = random.between(-reach, reach) / 2, step = random.between(-reach, reach) / (2 * count);
        for (int j = 0; j <= count; ++j) table.levels.push_back(static_cast<int32_t>(first + j * step));
    } else {
        for (int j = 0; j <= count; ++j) table.levels.push_back(static_cast<int32_t>(random.between(-reach, reach)));
    }
    return table;
}

// Evenly spaced thresholds and levels in general position, some of them just out of reach.
inline Table even_table(Random& random, int64_t bound) {
    Table table;
    table.kind = "evenly spaced";
    const int count = static_cast<int>(random.between(1, 20));
    const int64_t spacing = random.between(1, std::max<int64_t>(1, 2 * bound / count + 2));
    const int64_t first = random.chance(30) ? bound + 1 - (count - 1) * spacing : random.between(-bound - 2, bound + 2);
    const int64_t step = random.between(-3, 3), level = random.between(-50, 50);
    for (int j = 0; j < count; ++j) table.thresholds.push_back(static_cast<int32_t>(first + j * spacing));
    for (int j = 0; j <= count; ++j) table.levels.push_back(static_cast<int32_t>(level + j * step));
    return table;
}

// `bound` is the largest partial sum, `scale` the array's full scale in the same units; no sum of levels over `arrays`
// exceeds an int32.
inline Table random_table(Random& random, int64_t bound, double scale, int64_t arrays) {
    const int64_t largest = (int64_t{1} << 31) / arrays - 1;
    const int64_t kind = random.between(0, 99);
    if (kind < 40) return uniform_table(static_cast<int>(random.between(1, 4)), scale);
    if (kind < 55) return even_table(random, bound);
    if (kind < 60) return {{}, {static_cast<int32_t>(random.between(-largest, largest))}, "constant"};
    if (kind < 65) {
        Table table;
        table.kind = "equal thresholds";
        table.thresholds.assign(static_cast<size_t>(random.between(2, 9)),
                                static_cast<int32_t>(random.between(-bound, bound)));
        for (size_t j = 0; j <= table.thresholds.size(); ++j)
            table.levels.push_back(static_cast<int32_t>(random.between(-9, 9)));
        return table;
    }
    return random_staircase(random, bound, largest);
}
