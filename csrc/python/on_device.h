// A GPU as torch lends it: the tensor's device made current, its current stream, and workspaces from torch's allocator.
#pragma once

#include <torch/csrc/stable/accelerator.h>

#include "../core/cuda/device.h"
#include "../core/variant.h"
#include "tensor_args.h"

// The stable ABI's header declares it for builds with CUDA's own headers only.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);

namespace bnnkit::binding {

class [[gnu::visibility("hidden")]] OnDevice {  // as torch's tensors are
public:
    explicit OnDevice(const Tensor& tensor) : like_(on_gpu(tensor)), guard_(tensor.get_device_index()) {
        TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream_));
    }

    // Calls body(device) with a workspace, which the allocator may lend again to later work of the same stream.
    template <class Body>
    void run(Kernel kernel, int64_t workspace_bytes, const Body& body) const {
        run_uncounted(workspace_bytes, body);
        detail::record(kernel, Isa::cuda);
    }
    // For what is no kernel.
    template <class Body>
    void run_uncounted(int64_t workspace_bytes, const Body& body) const {
        const Tensor workspace = torch::stable::new_empty(like_, {workspace_bytes}, ScalarType::Byte);
        body(Device{stream_, workspace_bytes > 0 ? workspace.mutable_data_ptr() : nullptr});
    }

private:
    static const Tensor& on_gpu(const Tensor& tensor) {
        check_device(tensor, "tensor");
        return tensor;
    }

    const Tensor& like_;
    torch::stable::accelerator::DeviceGuard guard_;
    void* stream_ = nullptr;
};

}  // namespace bnnkit::binding
