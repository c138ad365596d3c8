// The three instructions of the matrix kernels, with the layouts of the PTX manual ("Matrix Fragments for mma.m16n8k256").
//
// Lane l of a warp is in group g = l / 4 and has place t = l % 4 in it. Of a product of A [16][256 bits] with B [8][256
// bits], counting the positions where both have a 1, lane l holds
//   a[0], a[2]: bits 32t..32t+31 of row g, in the lower and in the upper 128 bits;  a[1], a[3]: the same of row g + 8
//   b[0], b[1]: bits 32t..32t+31 of column g, in the lower and in the upper 128 bits
//   d[0], d[1]: row g, columns 2t and 2t + 1;                                        d[2], d[3]: the same of row g + 8
#pragma once

#include "launch.h"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define BNNKIT_HAS_AMPERE 1
#else
#define BNNKIT_HAS_AMPERE 0
#endif

namespace bnnkit {

// d = c + number of ones of (a & b), by lane shuffles and population counts: for devices before sm_80.
__device__ __forceinline__ void and_count_portable(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                                   const int (&c)[4]) {
    constexpr unsigned kAll = 0xFFFFFFFFu;
    const int lane = static_cast<int>(threadIdx.x) % 32, group = lane / 4, place = lane % 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) d[i] = c[i];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        uint32_t row[4], column[2][2];  // the k-th quarter of this lane's two rows and two columns
#pragma unroll
        for (int i = 0; i < 4; ++i) row[i] = __shfl_sync(kAll, a[i], group * 4 + k);
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half) column[j][half] = __shfl_sync(kAll, b[half], (2 * place + j) * 4 + k);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            d[i] += __popc(row[i / 2] & column[i % 2][0]) + __popc(row[2 + i / 2] & column[i % 2][1]);
    }
}

#if defined(BNNKIT_PORTABLE_CUDA)
__device__ __forceinline__ void and_count(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                          const int (&c)[4]) {
    and_count_portable(d, a, b, c);
}
#endif

#if !defined(BNNKIT_EMULATED_CUDA)

__device__ __forceinline__ void and_count(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                          const int (&c)[4]) {
#if BNNKIT_HAS_AMPERE
    asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%10,%11,%12,%13};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
#else
    and_count_portable(d, a, b, c);
#endif
}

// Eight rows of 16 bytes per matrix; lane l gives the address of row l % 8 of matrix l / 8, and gets the four bytes of row
// l / 4 at 4 * (l % 4) of each matrix.
__device__ __forceinline__ void load_matrices(uint32_t (&out)[4], const void* row) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
}
__device__ __forceinline__ void load_matrices(uint32_t (&out)[2], const void* row) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(out[0]), "=r"(out[1])
                 : "r"(address)
                 : "memory");
}

// Copies 16 bytes to shared memory, or writes zeros, without waiting.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool present) {
#if BNNKIT_HAS_AMPERE
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(present ? 16 : 0)
                 : "memory");
#else
    *static_cast<uint4*>(to) = present ? *static_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
#endif
}
__device__ __forceinline__ void commit_copies() {
#if BNNKIT_HAS_AMPERE
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until at most `kPending` of this thread's latest groups of copies are under way.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
#if BNNKIT_HAS_AMPERE
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

#endif

}  // namespace bnnkit
