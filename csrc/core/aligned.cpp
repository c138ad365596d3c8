#include "aligned.h"

#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bnnkit {

void prefer_huge_pages(void* data, int64_t bytes) {
#if defined(__linux__)
    constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
    const auto begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) & ~(kHugePage - 1);
    const auto end = (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) & ~(kHugePage - 1);
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

unsigned char* allocate_lines(int64_t bytes) {
    void* data = std::aligned_alloc(kLineBytes, static_cast<size_t>(whole_lines(bytes)));
    if (!data) throw std::bad_alloc();
    prefer_huge_pages(data, bytes);
    return static_cast<unsigned char*>(data);
}

}  // namespace bnnkit
