// Threads for kernels, without a pool: ranges of uneven sizes, taken by whichever thread comes first.
#pragma once

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "../core/parallel.h"

inline bnnkit::Threads one_thread() { return {nullptr, 1}; }

template <int kThreads>
bnnkit::Threads several_threads() {
    static_assert(kThreads > 1);
    const auto run = [](int64_t count, bnnkit::Threads::Body body, void* context) {
        std::atomic<int64_t> next{0}, turn{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < kThreads; ++t) {
            threads.emplace_back([&] {
                for (;;) {
                    const int64_t size = 1 + turn++ % 3;
                    const int64_t begin = next.fetch_add(size);
                    if (begin >= count) return;
                    body(context, begin, std::min(begin + size, count));
                }
            });
        }
        for (auto& thread : threads) thread.join();
    };
    return {run, kThreads};
}
