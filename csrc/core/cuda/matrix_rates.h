// How fast the matrix units of a GPU count bits when nothing else is done: the limit that the kernels are measured against.
#pragma once

#include <cstdint>
#include <string>

#include "device.h"

namespace bnnkit {

// Runs a loop of one instruction on all multiprocessors and returns how many binary multiply-accumulates that was, for the
// caller to time. instruction: "mma.k128", "mma.k256" (registers only) or "wgmma.k256" (Hopper: operands in shared memory).
// Throws std::invalid_argument for another name, std::runtime_error where the device lacks it.
int64_t matrix_rate_cuda(const std::string& instruction, int64_t iterations, const Device& device);

}  // namespace bnnkit
