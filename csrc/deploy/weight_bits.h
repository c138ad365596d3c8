// Weight bits as files hold them, arranged for arrays.
//
//   bits   [planes][outputs][channels][taps] without gaps, bit i of all at bit i%8 of byte i/8
//   rows   [planes][outputs][words]: value (tap, channel) of an output where ArrayLayout says
#pragma once

#include <cstdint>
#include <vector>

#include "../core/geometry.h"

namespace bnnkit::deploy {

std::vector<uint64_t> arranged(const uint8_t* bits, int planes, int64_t outputs, const ArrayLayout& layout);

}  // namespace bnnkit::deploy
