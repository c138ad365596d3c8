// A GPU in plain C++, so that the CUDA kernels are tested on machines without one.
//
// Included on the compiler's command line, before everything else; stands in for the CUDA compiler and its headers, and for
// core/cuda/launch.h. The threads of a block are coroutines on one core. Each warp runs alone to its next barrier, the order
// of warps and threads is reversed at every other turn, and copies arrive no sooner than they are waited for, so that a
// missing barrier or wait shows. Instructions of whole warps are computed from the PTX manual's description of who holds what.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#define BNNKIT_EMULATED_CUDA 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ [[gnu::noinline]]
#define __launch_bounds__(...)
#define __grid_constant__

// The address sanitizer must be told of every change of stacks, and understands swapcontext only. Elsewhere jumps do, which
// need no system call.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#else
#include <setjmp.h>
#endif

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace emulated_cuda {

constexpr int kWarp = 32;
inline int64_t shared_bytes = 227 * 1024;  // of a block; this is Hopper's

enum class State { ready, at_warp_instruction, at_barrier, finished };

struct Place {
    ucontext_t context;
#if !defined(__SANITIZE_ADDRESS__)
    jmp_buf jump;
#endif
};

// One thread of the block at hand.
struct Fiber {
    Place place;
    bool begun = false;
    std::vector<char> stack;
    State state = State::ready;
    int instructions = 0;                                   // of its warp that it took part in
    unsigned char exchange[2][64];                          // what it brought to the latest two of them
    std::deque<std::vector<std::function<void()>>> copies;  // by group; the last one is still open
    void* fake_stack = nullptr;                             // the address sanitizer's
};

struct Block {
    std::vector<Fiber> fibers;
    Place scheduler;
    int current = 0;
    std::function<void()> body;
    std::vector<unsigned char> shared;
    const void* scheduler_stack = nullptr;  // the address sanitizer's
    size_t scheduler_stack_size = 0;
};

inline Block block;

inline Fiber& self() { return block.fibers[static_cast<size_t>(block.current)]; }

#if defined(__SANITIZE_ADDRESS__)
inline void leave(State state) {
    Fiber& fiber = self();
    fiber.state = state;
    __sanitizer_start_switch_fiber(state == State::finished ? nullptr : &fiber.fake_stack, block.scheduler_stack,
                                   block.scheduler_stack_size);
    swapcontext(&fiber.place.context, &block.scheduler.context);
    __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
}
inline void enter() {
    __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack, &block.scheduler_stack_size);
    block.body();
    leave(State::finished);
}
inline void resume_fiber(Fiber& fiber) {
    void* own = nullptr;
    __sanitizer_start_switch_fiber(&own, fiber.stack.data(), fiber.stack.size());
    swapcontext(&block.scheduler.context, &fiber.place.context);
    __sanitizer_finish_switch_fiber(own, nullptr, nullptr);
}
#else
inline void leave(State state) {
    Fiber& fiber = self();
    fiber.state = state;
    if (_setjmp(fiber.place.jump) == 0) _longjmp(block.scheduler.jump, 1);
}
inline void enter() {
    block.body();
    leave(State::finished);
}
inline void resume_fiber(Fiber& fiber) {
    if (_setjmp(block.scheduler.jump) != 0) return;
    if (!std::exchange(fiber.begun, true))
        setcontext(&fiber.place.context);
    else
        _longjmp(fiber.place.jump, 1);
}
#endif

inline void resume(int thread) {
    block.current = thread;
    threadIdx.x = static_cast<unsigned>(thread);
    resume_fiber(self());
}

// Makes ready all of [first, last) if all of them wait in the same way.
inline bool release(int first, int last, State waiting) {
    const auto begin = block.fibers.begin() + first, end = block.fibers.begin() + last;
    if (!std::all_of(begin, end, [&](const Fiber& fiber) { return fiber.state == waiting; })) return false;
    std::for_each(begin, end, [](Fiber& fiber) { fiber.state = State::ready; });
    return true;
}

inline void run_warp(int first, int last, bool forwards) {
    do {
        for (int i = 0; i < last - first; ++i) {
            const int thread = forwards ? first + i : last - 1 - i;
            if (block.fibers[static_cast<size_t>(thread)].state == State::ready) resume(thread);
        }
    } while (release(first, last, State::at_warp_instruction));
}

inline void run_block(int threads) {
    constexpr size_t kStack = 256 * 1024;
    block.fibers.resize(static_cast<size_t>(threads));
    for (Fiber& fiber : block.fibers) {
        fiber.stack.resize(kStack);
        fiber.state = State::ready;
        fiber.begun = false;
        fiber.instructions = 0;
        fiber.copies.assign(1, {});
        getcontext(&fiber.place.context);
        fiber.place.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.place.context.uc_stack.ss_size = kStack;
        fiber.place.context.uc_link = nullptr;
        makecontext(&fiber.place.context, enter, 0);
    }
    const int warps = (threads + kWarp - 1) / kWarp;
    for (bool forwards = true, moved = true; moved; forwards = !forwards) {
        for (int i = 0; i < warps; ++i) {
            const int first = (forwards ? i : warps - 1 - i) * kWarp;
            run_warp(first, std::min(first + kWarp, threads), forwards);
        }
        moved = release(0, threads, State::at_barrier);
    }
    for (const Fiber& fiber : block.fibers)
        if (fiber.state != State::finished)
            throw std::logic_error("threads wait for others that do not come to the same barrier");
}

// Takes part in an instruction of the warp; then `brought_by` tells what its lanes brought, until the next but one.
template <class T>
void bring(const T& value) {
    Fiber& fiber = self();
    static_assert(sizeof(T) <= sizeof(fiber.exchange[0]));
    memcpy(fiber.exchange[++fiber.instructions % 2], &value, sizeof(T));
    leave(State::at_warp_instruction);
}
template <class T>
T brought_by(int lane) {
    const Fiber& other = block.fibers[static_cast<size_t>(block.current / kWarp * kWarp + lane)];
    T value;
    memcpy(&value, other.exchange[self().instructions % 2], sizeof(T));
    return value;
}

}  // namespace emulated_cuda

inline void __syncthreads() { emulated_cuda::leave(emulated_cuda::State::at_barrier); }

template <class T>
T __shfl_sync(unsigned, T value, int lane) {
    emulated_cuda::bring(value);
    return emulated_cuda::brought_by<T>(lane % emulated_cuda::kWarp);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
    return __shfl_sync(mask, value, (static_cast<int>(threadIdx.x) % emulated_cuda::kWarp) ^ distance);
}
inline int __popc(uint32_t bits) { return __builtin_popcount(bits); }
inline int __popcll(uint64_t bits) { return __builtin_popcountll(bits); }
inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}
inline void atomicAdd(unsigned long long* to, unsigned long long value) { *to += value; }
inline void atomicOr(uint32_t* to, uint32_t bits) { *to |= bits; }
using std::isnan;

namespace bnnkit {

inline int64_t most_shared_bytes() { return emulated_cuda::shared_bytes; }
inline unsigned char* dynamic_shared() { return emulated_cuda::block.shared.data(); }

template <class... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, int64_t shared_bytes, void*,
            std::type_identity_t<Parameters>... args) {
    if (shared_bytes > most_shared_bytes()) throw std::logic_error("more shared memory than a block has");
    gridDim = grid;
    blockDim = dim3(static_cast<unsigned>(threads));
    emulated_cuda::block.shared.assign(static_cast<size_t>(shared_bytes), 0xA5);
    emulated_cuda::block.shared.shrink_to_fit();
    emulated_cuda::block.body = [&] { kernel(args...); };
    for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) emulated_cuda::run_block(threads);
}

inline void* host_memory(int64_t bytes) { return operator new(static_cast<size_t>(bytes)); }
inline void download(void* to, const void* from, int64_t bytes, void*) { memcpy(to, from, static_cast<size_t>(bytes)); }
inline void upload(void* to, const void* from, int64_t bytes, void*) { memcpy(to, from, static_cast<size_t>(bytes)); }

#if !defined(BNNKIT_PORTABLE_CUDA)
// mma.m16n8k256 with .and.popc: A row r, bits 32t.. lie in lane (r % 8) * 4 + t, register r / 8 and, for the upper half, 2 more.
inline void and_count(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const int (&c)[4]) {
    struct Fragments {
        uint32_t a[4], b[2];
    } own;
    memcpy(own.a, a, sizeof(own.a));
    memcpy(own.b, b, sizeof(own.b));
    emulated_cuda::bring(own);
    const int lane = static_cast<int>(threadIdx.x) % 32;
    int sums[4];
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
        sums[i] = c[i];
        for (int half = 0; half < 2; ++half)
            for (int place = 0; place < 4; ++place) {
                const auto from_a = emulated_cuda::brought_by<Fragments>(row % 8 * 4 + place);
                const auto from_b = emulated_cuda::brought_by<Fragments>(column * 4 + place);
                sums[i] += __builtin_popcount(from_a.a[row / 8 + 2 * half] & from_b.b[half]);
            }
    }
    memcpy(d, sums, sizeof(sums));
}
#endif

template <int kMatrices>
void load_matrices(uint32_t (&out)[kMatrices], const void* row) {
    emulated_cuda::bring(row);
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int matrix = 0; matrix < kMatrices; ++matrix) {
        const auto* from =
            static_cast<const unsigned char*>(emulated_cuda::brought_by<const void*>(matrix * 8 + lane / 4));
        if (reinterpret_cast<uintptr_t>(from) % 16) throw std::logic_error("ldmatrix: address not aligned to 16 bytes");
        memcpy(&out[matrix], from + lane % 4 * 4, 4);
    }
}

inline void copy_async(void* to, const void* from, bool present) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || (present && reinterpret_cast<uintptr_t>(from) % 16))
        throw std::logic_error("cp.async: address not aligned to 16 bytes");
    emulated_cuda::self().copies.back().push_back([=] {
        if (present)
            memcpy(to, from, 16);
        else
            memset(to, 0, 16);
    });
}
inline void commit_copies() { emulated_cuda::self().copies.emplace_back(); }
template <int kPending>
void wait_for_copies() {
    auto& groups = emulated_cuda::self().copies;
    for (; groups.size() > kPending + 1; groups.pop_front())
        for (const auto& copy : groups.front()) copy();
}

}  // namespace bnnkit
