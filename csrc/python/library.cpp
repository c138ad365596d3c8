// Schemas of the tensor ops. Everything else about an op (meaning, autograd, fake) stands beside its kernel and in bnnkit/ops.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(bnnkit, m) {
    m.def(
        "pack_pixels(Tensor x, float[] thresholds, bool strict, int planes, bool thermometer, int groups, "
        "int channels_per_array) -> Tensor");
    m.def(
        "pack_kernels(Tensor w, float[] thresholds, bool strict, int planes, bool thermometer, "
        "int channels_per_array, bool tap) -> Tensor");
    m.def(
        "xnor_conv2d(Tensor x_bits, Tensor w_bits, Tensor? x, Tensor? w, Tensor? bias, int channels, int[] kernel, "
        "int[] stride, int[] padding, int[] dilation, int groups) -> Tensor");
    m.def(
        "xnor_conv2d_integers(Tensor x_bits, Tensor w_bits, int bits, int channels, int[] kernel, int[] stride, "
        "int[] padding, int[] dilation, int groups) -> Tensor");
    m.def(
        "xnor_conv2d_bits(Tensor x_bits, Tensor w_bits, Tensor thresholds, Tensor flip, int channels, int[] kernel, "
        "int[] stride, int[] padding, int[] dilation, int groups) -> Tensor");
    m.def(
        "adc_conv2d(Tensor x_bits, Tensor w_bits, Tensor? x, Tensor? w, Tensor? bias, Tensor thresholds, Tensor "
        "levels, "
        "Tensor slopes, float scale, float offset, float x_unit, float w_unit, bool x_thermometer, bool w_thermometer, "
        "int channels, int[] kernel, int[] stride, int[] padding, int[] dilation, int groups, int channels_per_array, "
        "bool tap) -> Tensor");
    m.def(
        "adc_conv2d_backward(Tensor gy, Tensor x_bits, Tensor w_bits, Tensor? slopes, float x_unit, float w_unit, "
        "bool x_thermometer, bool w_thermometer, int channels, int[] kernel, int[] stride, int[] padding, "
        "int[] dilation, int groups, int channels_per_array, bool tap) -> Tensor[]");
    // The backward pass on a GPU, in two steps around a library's matrix products; bnnkit/ops/cuda.py joins them.
    m.def(
        "adc_gradient_factors(Tensor gy, Tensor x_bits, Tensor w_bits, Tensor? slopes, bool x_thermometer, "
        "bool w_thermometer, int channels, int[] kernel, int[] stride, int[] padding, int[] dilation, int groups, "
        "int channels_per_array, bool tap, int first_array, int arrays, bool bfloat16) -> Tensor[]");
    m.def(
        "adc_fold_gradients(Tensor patches, Tensor rows, Tensor(a!) gx, Tensor(b!) gw, float x_unit, float w_unit, "
        "int[] kernel, int[] stride, int[] padding, int[] dilation, int groups, int channels_per_array, bool tap, "
        "int first_array) -> ()");
    m.def(
        "bit_serial_conv2d(Tensor x_bits, Tensor cells, int[] slice_planes, int[] plane_weights, int[] dummies, "
        "Tensor? codes, int low, Tensor? gain, Tensor? shift, float top, Tensor factor, Tensor base, float scale, "
        "Tensor? bias, Tensor? noise_amplitude, Tensor? noise_normal, int noise_seed, int first_image, int channels, "
        "int[] kernel, int[] stride, int[] padding, int[] dilation, int channels_per_array, bool tap) -> Tensor");
    m.def(
        "bit_serial_histogram(Tensor x_bits, Tensor cells, int[] slice_planes, int[] plane_weights, int[] dummies, "
        "int low, int high, bool by_column, Tensor? noise_amplitude, Tensor? noise_normal, int noise_seed, "
        "int first_image, int channels, int[] kernel, int[] stride, int[] padding, int[] dilation, "
        "int channels_per_array, bool tap) -> Tensor");
    m.def("run_networks(int[] networks, Tensor images, int classes, Tensor? indices=None) -> Tensor");
    m.def("dense_conv2d(Tensor x, Tensor w, Tensor? bias, int[] stride, int[] padding) -> Tensor");
    m.def(
        "bit_faults(Tensor bits, Tensor state, int channels, int channels_per_array, int kind, int limit, int plane) "
        "-> "
        "Tensor[]");
    m.def(
        "image_faults(Tensor images, Tensor place, Tensor value, int bit, int source, int[] truth, int limit) -> "
        "Tensor[]");
    m.def("matrix_rate(Tensor like, str instruction, int iterations) -> int");
    m.def("slice_weights(Tensor w, int bits, int cell_bit) -> Tensor");
    m.def("merge_slices(Tensor slices, int cell_bit) -> Tensor");
}
