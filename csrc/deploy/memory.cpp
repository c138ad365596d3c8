#include <cstdlib>
#include <cstring>
#include <utility>

#include "../core/aligned.h"
#include "step.h"

namespace bnnkit::deploy {

Memory::Memory(int64_t bytes) : bytes_(bytes) {
    data_ = allocate_lines(bytes);
    memset(data_, 0, static_cast<size_t>(whole_lines(bytes)));
}

Memory::~Memory() { free(data_); }

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

}  // namespace bnnkit::deploy
