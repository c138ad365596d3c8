// Starting a kernel, and the memory its blocks share. The C++ tests replace this file by an emulation of the device.
#pragma once

#if !defined(BNNKIT_EMULATED_CUDA)
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace bnnkit {

inline void check_cuda(cudaError_t status, const char* what) {
    if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

// The block's dynamic shared memory.
__device__ __forceinline__ unsigned char* dynamic_shared() {
    extern __shared__ __align__(128) unsigned char bytes[];
    return bytes;
}

// Shared memory that a block may have on the current device: 64 KiB on Turing, 99 on Ampere's and Ada's small chips, 227 on Hopper.
inline int64_t most_shared_bytes() {
    int device = 0, bytes = 0;
    check_cuda(cudaGetDevice(&device), "current device");
    check_cuda(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "shared memory");
    return bytes;
}

// Runs kernel<<<grid, threads, shared_bytes, stream>>>(args...). An empty grid runs nothing.
template <class... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, int64_t shared_bytes, void* stream,
            std::type_identity_t<Parameters>... args) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    constexpr int64_t kWithoutAsking = 48 * 1024;
    if (shared_bytes > kWithoutAsking)
        check_cuda(
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
            "shared memory of a kernel");
    kernel<<<grid, threads, static_cast<size_t>(shared_bytes), static_cast<cudaStream_t>(stream)>>>(args...);
    check_cuda(cudaGetLastError(), "kernel launch");
}

// Copies a small table of the host to the device in stream order; `from` may be changed as soon as this returns.
inline void upload(void* to, const void* from, int64_t bytes, void* stream) {
    check_cuda(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                               static_cast<cudaStream_t>(stream)),
               "copy to the device");
}

// Copies to the host and waits for it.
inline void download(void* to, const void* from, int64_t bytes, void* stream) {
    check_cuda(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost,
                               static_cast<cudaStream_t>(stream)),
               "copy to the host");
    check_cuda(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "copy to the host");
}

// Memory of the host that every device reads and writes; never freed.
inline void* host_memory(int64_t bytes) {
    void* memory = nullptr;
    check_cuda(cudaHostAlloc(&memory, static_cast<size_t>(bytes), cudaHostAllocPortable | cudaHostAllocMapped),
               "memory of the host");
    return memory;
}

}  // namespace bnnkit
#endif

namespace bnnkit {

constexpr int64_t kThreads = 256;  // of a block whose threads work on their own

// Blocks of kThreads that cover `count` items; kernels loop, so that the grid stays within its limit.
inline unsigned blocks_for(int64_t count) {
    constexpr int64_t kMost = 1 << 20;
    const int64_t blocks = (count + kThreads - 1) / kThreads;
    return static_cast<unsigned>(blocks < kMost ? blocks : kMost);
}

// The sum over the lanes of a warp, in every lane.
__device__ __forceinline__ int sum_of_warp(int value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
    return value;
}

// Adds what the threads of a block counted to counts[0] and counts[1]: once per warp, integers, so that order does not matter.
__device__ __forceinline__ void add_counts(int64_t* counts, int first, int second) {
    const int sums[2] = {sum_of_warp(first), sum_of_warp(second)};
    if (threadIdx.x % 32 != 0) return;
    for (int i = 0; i < 2; ++i)
        atomicAdd(reinterpret_cast<unsigned long long*>(counts + i), static_cast<unsigned long long>(sums[i]));
}

// Calls body(i) for every i in [0, count), spread over the grid.
template <class Body>
__device__ __forceinline__ void for_each_item(int64_t count, const Body& body) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) body(i);
}

}  // namespace bnnkit
