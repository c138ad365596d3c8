// Memory for vectors. Large buffers touched for the first time cost one page fault per page; huge pages make that a few.
#pragma once

#include <cstdint>

namespace bnnkit {

constexpr int64_t kLineBytes = 64;

// Advises the operating system about [data, data + bytes) if it spans several huge pages; harmless anywhere else.
void prefer_huge_pages(void* data, int64_t bytes);

// Whole lines, of more than `bytes` bytes: one where those are none.
constexpr int64_t whole_lines(int64_t bytes) { return (bytes / kLineBytes + 1) * kLineBytes; }

// whole_lines(bytes) bytes, for free(). Throws std::bad_alloc.
unsigned char* allocate_lines(int64_t bytes);

}  // namespace bnnkit
