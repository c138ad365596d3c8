// Everything of a call that the vector loops read, laid out for them: the output channels of a panel beside each other, and padded.
#pragma once

#include <memory>
#include <vector>

#include "bit_serial.h"

namespace bnnkit {

constexpr int64_t kStepRows = 16;  // rows that one lane of a plane's vector holds
constexpr int64_t kLookupCounts = 128;

// The code of a partial sum, by the converter that all columns share.
uint8_t code_of(const BitSerialArgs& args, int64_t pair, int64_t v);

struct Prepared {
    // A panel is one vector of 16-bit lanes, an output channel in each.
    Prepared(const BitSerialArgs& args, int64_t panel_outputs);

    int64_t columns() const { return panels * panel_outputs; }
    const int16_t* plane(int64_t panel, int64_t p) const {
        return weights + (panel * planes + p) * steps * panel_outputs;
    }
    const int16_t* cells(int64_t panel, int64_t slice, int64_t array) const {
        return weights +
               ((panel * args.slices + slice) * args.conv.layout.arrays() + array) * array_rows * panel_outputs;
    }

    const BitSerialArgs& args;
    const int64_t panel_outputs;
    int64_t panels, planes, pairs, steps, array_rows;  // steps: groups of 16 rows, of all arrays
    int first_plane[kMaxSlices + 1];
    bool needs_active;  // whether the number of active rows of every array is asked for

    const int16_t* weights =
        nullptr;  // planes: [panel][plane][step][lane], 16 rows each; cells: [panel][slice][array][row][lane]
    const float *gain = nullptr, *shift = nullptr;  // [pairs][columns]
    const double* factor = nullptr;                 // [pairs][columns]
    const double *base = nullptr, *bias = nullptr;  // [columns]

    // Slices of one plane of at most 128 rows: codes by population count, [pairs][128], and those of 128.
    enum class Counts { below_128, clamped, up_to_128 };  // clamped: the codes of 127 and 128 are equal
    bool lookup = false;
    Counts counts = Counts::up_to_128;
    const uint8_t* count_codes = nullptr;
    const uint8_t* codes_of_128 = nullptr;

private:
    void set_planes();
    void set_cells();
    void set_lookup();

    std::unique_ptr<unsigned char, void (*)(void*)> weight_storage_;
    std::vector<float> floats_;
    std::vector<double> doubles_;
    std::vector<uint8_t> bytes_;
};

}  // namespace bnnkit
