// What a caller lends to a CUDA kernel: a stream and memory of the device, because kernels own neither.
#pragma once

#include <cstdint>

namespace bnnkit {

struct Device {
    void* stream = nullptr;     // cudaStream_t
    void* workspace = nullptr;  // as many bytes as the kernel's `_workspace` function says
};

// Cuts pieces off a workspace. Begun at nullptr it only measures, so that one function both plans and uses the pieces.
class DeviceWorkspace {
public:
    explicit DeviceWorkspace(void* base) : base_(static_cast<char*>(base)) {}

    template <class T>
    T* take(int64_t count) {
        constexpr int64_t kAlignment = 256;  // what torch's and CUDA's allocators give, and more than any access needs
        const int64_t begin = used_;
        used_ += (count * static_cast<int64_t>(sizeof(T)) + kAlignment - 1) / kAlignment * kAlignment;
        return base_ ? reinterpret_cast<T*>(base_ + begin) : nullptr;
    }
    int64_t bytes() const { return used_; }

private:
    char* base_;
    int64_t used_ = 0;
};

}  // namespace bnnkit
