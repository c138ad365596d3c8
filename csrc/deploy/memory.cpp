#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "step.h"

namespace bnnkit::deploy {

Memory::Memory(int64_t bytes) : bytes_(bytes) {
    const auto rounded = static_cast<size_t>(ceil_div(bytes + 1, 64) * 64);
    data_ = static_cast<unsigned char*>(aligned_alloc(64, rounded));
    if (!data_) throw std::bad_alloc();
    memset(data_, 0, rounded);
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
