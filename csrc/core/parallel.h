// Threads are lent by the caller (torch's pool, or plain threads in the C++ tests), so kernels own none.
#pragma once

#include <cstdint>

namespace bnnkit {

struct Threads {
    using Body = void (*)(void* context, int64_t begin, int64_t end);
    // Calls body on disjoint ranges that cover [0, count), possibly at the same time.
    void (*run)(int64_t count, Body body, void* context);
    int count;
};

template <class F>
void parallel_for(const Threads& threads, int64_t count, F&& body) {
    if (count <= 0) return;
    if (threads.count <= 1 || count == 1) {
        body(int64_t{0}, count);
        return;
    }
    threads.run(
        count, [](void* context, int64_t begin, int64_t end) { (*static_cast<F*>(context))(begin, end); }, &body);
}

}  // namespace bnnkit
