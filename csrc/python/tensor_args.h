// Tensors to kernel arguments: shape checks that name the argument, and torch's threads lent to the kernels.
//
// Each library of ops serves one device: `_ops` the CPU, `_ops_cuda` (BNNKIT_CUDA_OPS) NVIDIA's GPUs.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <vector>

#include "../core/binary_conv.h"
#include "../core/scratch.h"

namespace bnnkit::binding {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Ints = std::vector<int64_t>;

inline Threads torch_threads() {
    return {[](int64_t count, Threads::Body body, void* context) {
                torch::stable::parallel_for(0, count, 1,
                                            [=](int64_t begin, int64_t end) { body(context, begin, end); });
            },
            static_cast<int>(torch::stable::get_num_threads())};
}

#if defined(BNNKIT_CUDA_OPS)
constexpr const char* kDeviceName = "CUDA";
inline bool lies_here(const Tensor& t) { return t.is_cuda(); }
#else
constexpr const char* kDeviceName = "CPU";
inline bool lies_here(const Tensor& t) { return t.is_cpu(); }
#endif

inline void check_device(const Tensor& t, const char* name) {
    STD_TORCH_CHECK(lies_here(t), name, ": lies on another device; needed a ", kDeviceName, " tensor");
}

inline void check_type(const Tensor& t, const char* name, ScalarType type, const char* type_name) {
    STD_TORCH_CHECK(t.scalar_type() == type, name, ": has the wrong dtype; needed ", type_name);
    STD_TORCH_CHECK(t.is_contiguous(), name, ": is not contiguous; needed a dense row-major tensor");
}

inline void check_dense(const Tensor& t, const char* name, ScalarType type, const char* type_name) {
    check_device(t, name);
    check_type(t, name, type, type_name);
}

template <class T>
const T* data_of(const Tensor& t) {
    return static_cast<const T*>(t.const_data_ptr());
}

// Words of a packed tensor: uint8, last dimension a multiple of 8 bytes, 8-byte aligned.
inline const uint64_t* words_of(const Tensor& t, const char* name) {
    check_dense(t, name, ScalarType::Byte, "uint8");
    STD_TORCH_CHECK(t.dim() > 0 && t.size(t.dim() - 1) % 8 == 0, name, ": rows must be whole 8-byte words");
    const auto* data = t.const_data_ptr();
    STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(data) % 8 == 0, name, ": data is not aligned to 8 bytes");
    return static_cast<const uint64_t*>(data);
}

// The geometry arguments shared by the convolution ops; kernel, stride, padding and dilation are [height, width].
struct ConvShape {
    int64_t channels;
    Ints kernel, stride, padding, dilation;
    int64_t groups, channels_per_array;
    bool tap;
};

// Everything but the weights.
inline BinaryConv input_conv(const Tensor& x, int64_t out_channels, const ConvShape& shape) {
    for (const Ints* pair : {&shape.kernel, &shape.stride, &shape.padding, &shape.dilation})
        STD_TORCH_CHECK(pair->size() == 2, "kernel, stride, padding, dilation: needed two integers each");
    for (int i = 0; i < 2; ++i) {
        STD_TORCH_CHECK(shape.kernel[i] > 0 && shape.stride[i] > 0 && shape.dilation[i] > 0 && shape.padding[i] >= 0,
                        "kernel, stride, dilation must be positive and padding not negative");
    }
    STD_TORCH_CHECK(shape.kernel[0] * shape.kernel[1] <= kMaxTaps, "kernel: more than ", kMaxTaps, " taps");
    STD_TORCH_CHECK(shape.groups > 0 && shape.channels > 0 && shape.channels % shape.groups == 0,
                    "groups: must divide the channels");
    STD_TORCH_CHECK(shape.channels_per_array > 0, "channels_per_array: must be positive");
    STD_TORCH_CHECK(x.dim() == 5, "x_bits: needed [planes, batch, height, width, bytes]");

    BinaryConv conv;
    ConvGeometry& g = conv.geometry;
    g.batch = x.size(1);
    g.channels = shape.channels;
    g.height = x.size(2);
    g.width = x.size(3);
    g.out_channels = out_channels;
    g.kernel_h = shape.kernel[0], g.kernel_w = shape.kernel[1];
    g.stride_h = shape.stride[0], g.stride_w = shape.stride[1];
    g.pad_h = shape.padding[0], g.pad_w = shape.padding[1];
    g.dilation_h = shape.dilation[0], g.dilation_w = shape.dilation[1];
    g.groups = shape.groups;
    STD_TORCH_CHECK(g.out_channels % g.groups == 0, "groups: must divide the output channels");
    STD_TORCH_CHECK(g.height + 2 * g.pad_h >= g.dilation_h * (g.kernel_h - 1) + 1 &&
                        g.width + 2 * g.pad_w >= g.dilation_w * (g.kernel_w - 1) + 1,
                    "x_bits: image is smaller than the kernel");
    conv.layout = layout_of(g, shape.channels_per_array, shape.tap);
    conv.x = words_of(x, "x_bits");
    conv.x_planes = static_cast<int>(x.size(0));
    STD_TORCH_CHECK(x.size(4) == conv.x_pixel_words() * 8, "x_bits: has ", x.size(4), " bytes per pixel; ",
                    conv.x_pixel_words() * 8, " needed for ", shape.channels, " channels");
    conv.threads = torch_threads();
    return conv;
}

inline BinaryConv binary_conv(const Tensor& x, const Tensor& w, const ConvShape& shape, bool x_thermometer,
                              bool w_thermometer) {
    STD_TORCH_CHECK(w.dim() == 3, "w_bits: needed [planes, out_channels, bytes]");
    BinaryConv conv = input_conv(x, w.size(1), shape);
    conv.w = words_of(w, "w_bits");
    conv.w_planes = static_cast<int>(w.size(0));
    STD_TORCH_CHECK(conv.x_planes >= 1 && conv.x_planes <= 4 && conv.w_planes >= 1 && conv.w_planes <= 4,
                    "x_bits, w_bits: needed 1 to 4 planes");
    STD_TORCH_CHECK(w.size(2) == conv.layout.row_words() * 8, "w_bits: has ", w.size(2), " bytes per row; ",
                    conv.layout.row_words() * 8, " needed");
    conv.x_thermometer = x_thermometer;
    conv.w_thermometer = w_thermometer;
    return conv;
}

inline Ints output_size(const BinaryConv& conv) {
    const ConvGeometry& g = conv.geometry;
    return {g.batch, g.out_channels, g.out_height(), g.out_width()};
}

// Uninitialized, on the device of `like`.
inline Tensor empty_output([[maybe_unused]] const Tensor& like, const Ints& size, ScalarType type) {
#if defined(BNNKIT_CUDA_OPS)
    return torch::stable::new_empty(like, size, type);
#else
    Tensor out = torch::stable::empty(size, type);
    prefer_huge_pages(out.mutable_data_ptr(), out.numel() * static_cast<int64_t>(out.element_size()));
    return out;
#endif
}

inline const float* optional_bias(const std::optional<Tensor>& bias, int64_t out_channels) {
    if (!bias) return nullptr;
    check_dense(*bias, "bias", ScalarType::Float, "float32");
    STD_TORCH_CHECK(bias->numel() == out_channels, "bias: needed one value per output channel");
    return data_of<float>(*bias);
}

}  // namespace bnnkit::binding
