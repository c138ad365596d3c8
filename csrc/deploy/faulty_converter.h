// Converters with faults, laid out for vectors: fixed point with kFractionBits, tables padded to whole panels.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/geometry.h"
#include "code.h"
#include "faults.h"

namespace bnnkit::deploy {

class FaultyConverter {
public:
    // Throws std::invalid_argument where the faults do not fit the layer.
    FaultyConverter(const ConverterFaults& faults, const std::vector<int32_t>& levels, const ArrayLayout& layout,
                    int64_t outputs);

    const FaultyPlan& plan() const { return plan_; }

private:
    ConverterFaults faults_;
    std::vector<int32_t> levels_;
    FaultyPlan plan_;
};

}  // namespace bnnkit::deploy
