// Finishing, prepared: parameters laid out for vectors, pointers resolved, and the room that values before pooling take.
#pragma once

#include "../core/geometry.h"
#include "code.h"
#include "step.h"

namespace bnnkit::deploy {

// Parameters are read 16 channels at a time, whatever the number of channels: pads them with `fill`.
template <class T>
void pad(std::vector<T>& values, int64_t channels, T fill) {
    if (!values.empty()) values.resize(static_cast<size_t>(ceil_div(channels, kPanelChannels) * kPanelChannels), fill);
}

// The same for all parameters of a `Finish`. Throws std::invalid_argument where they do not fit each other.
Finish padded(Finish finish, int64_t channels);

Finishing resolved(const Finish& finish, const Workspace& workspace, int64_t images);

// Values before pooling: kept in the scratch memory, without any finishing but their stride.
Finishing unfinished(const Shape& shape, float* to, Abreast abreast = {});

// What the finishing of `values` values takes. `from_sums`: they were integers, which a factor other than 1 made floats.
Operations operations_of(const Finish& finish, int64_t values, bool from_sums = false);

int64_t float_bytes(const Shape& shape, int64_t images);

// Enough for both ways they may lie: so few images as no layer counts at a time are never abreast.
int64_t float_bytes_either_way(const Shape& shape, int64_t images);

Shape shape_of_output(const ConvGeometry& geometry, bool pool);

}  // namespace bnnkit::deploy
