// Large buffers touched for the first time cost one page fault per page; asking for huge pages makes that a few.
#pragma once

#include <cstdint>

namespace bnnkit {

// Advises the operating system about [data, data + bytes) if it spans several huge pages; harmless anywhere else.
void prefer_huge_pages(void* data, int64_t bytes);

}  // namespace bnnkit
