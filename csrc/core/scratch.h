// Memory of one call, in whole cache lines. Internal linkage: instruction-set regions use it, too.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "aligned.h"

namespace bnnkit {
namespace {

struct Scratch {
    explicit Scratch(int64_t bytes) : data(allocate_lines(bytes)) {}
    ~Scratch() { free(data); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    unsigned char* data;
};

}  // namespace
}  // namespace bnnkit
