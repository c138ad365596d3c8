// bit_serial: convolution of unsigned codes with sliced weights, one input bit and one weight slice at a time, every partial
// sum of an array passing through a converter.
//
//   v[z][c][s] = sum over the rows r of array s of  bit z of x[r] * cell[c][r]            (integers; padded taps contribute 0)
//   code       = converter of (z, c) applied to v
//   y          = (base + sum over z, c of factor[z][c] * sum over s of code) * scale + bias
//
// Where all input bits share their converters, factor[z][c] = 2^z * factor[c], and the bits are added as integers first.
//
// Cells are either ideal, as bit planes (v is then a weighted sum of population counts), or integers on a fine grid, which
// holds any conductances. Partial sums are never stored. They and the sums of codes are exact integers; y follows in double,
// c outside, z inside, both ascending, and is rounded once. So results do not depend on the variant, the threads or the batch.
#pragma once

#include "../../core/binary_conv.h"

namespace bnnkit {

constexpr int kMaxInputBits = 8, kMaxSlices = 8;
constexpr int64_t kMaxPartialSum = 32767;  // partial sums are held in 16 bits

enum class Conversion {
    table,   // code = codes[v - low]
    affine,  // code = clamp(round(float(v) * gain + shift), 0, top), in float32, ties to even
    none     // code = v
};

// Noise that is new at every conversion: v += (normal[hash >> 20] * amplitude[n] + 2^15) >> 16 for n active rows. The hash
// depends on seed, layer, image, pixel, z, s, c and column, not on the order of computation.
struct ReadNoise {
    const int32_t* amplitude = nullptr;  // [rows of an array + 1], or none
    const int16_t* normal = nullptr;     // [4096] quantiles of the standard normal distribution, times 4096
    uint64_t seed = 0;                   // of chip and layer
    int64_t first_image = 0;             // number of the batch's first image in its dataset
};

struct BitSerialArgs {
    BinaryConv conv;  // x: bit z in plane z; one group; w is not used
    int slices = 1;

    // Ideal cells: planes of all slices one after another; plane p counts plane_weight[p]. Rows as in BinaryConv::w.
    const uint64_t* planes = nullptr;   // [planes][out_channels][row_words], or none
    int slice_planes[kMaxSlices] = {};  // how many planes each slice has
    const int32_t* plane_weight = nullptr;
    int32_t dummy[kMaxSlices] = {};  // what every active row adds to v besides

    // Other cells: one number per row, in the order of the bits of a row of BinaryConv::w.
    const int16_t* cells = nullptr;  // [slices][out_channels][row_words * 64], or none

    Conversion conversion = Conversion::affine;
    int converter_bits = 1;                         // 1: input bits share converters; else x_planes
    const uint8_t* codes = nullptr;                 // [converter_bits][slices][high - low + 1]
    int64_t low = 0, high = 0;                      // bounds of v
    const float *gain = nullptr, *shift = nullptr;  // [converter_bits][slices][converters]
    int64_t converters = 1;                         // 1 for all columns, or one per output channel
    float top = 255;                                // largest code, at most 255

    const double* factor = nullptr;  // [converter_bits][slices][converters]
    const double* base = nullptr;    // [converters]
    double scale = 1;
    const float* bias = nullptr;  // [out_channels], or none
    ReadNoise noise;

    // Instead of y: how often each v occurred, limited to low..high, by (z, c) and, if asked for, by output channel.
    int64_t* histogram = nullptr;  // [x_planes * slices][histogram_columns][high - low + 1], or none; one thread only
    int64_t histogram_columns = 1;

    float* y = nullptr;  // [batch][out_channels][out_height][out_width]

    int64_t pairs() const { return int64_t{converter_bits} * slices; }
    int64_t pair(int64_t z, int64_t c) const { return converter_bits == 1 ? c : z * slices + c; }
};

void bit_serial(const BitSerialArgs& args);

void bit_serial_reference(const BitSerialArgs& args);
void bit_serial_neon(const BitSerialArgs& args);
void bit_serial_avx2(const BitSerialArgs& args);
void bit_serial_avx512(const BitSerialArgs& args);

// The two algorithms of avx2 and avx512: count.h (and analog.h), which does everything, and vertical_engine.h for most
// convolutions with ideal cells; it returns whether this is one, and does nothing where not.
void bit_serial_avx2_by_counting(const BitSerialArgs& args);
void bit_serial_avx512_by_counting(const BitSerialArgs& args);
bool bit_serial_avx2_vertically(const BitSerialArgs& args);
bool bit_serial_avx512_vertically(const BitSerialArgs& args);

// The least patches for which a vector of them is worth its unused lanes, and the lists of rows their making.
constexpr int64_t kVerticalAvx2Patches = 64, kVerticalAvx512Patches = 256;

}  // namespace bnnkit
