// The algorithm of adc by products of bytes. Included inside an AVX2 region with FMA after blocks.h.
#pragma once

#include "byte_products_avx2.h"
#include "level_sums_avx2.h"

namespace bnnkit {
namespace {

// The partial sums of an array and 16 outputs pass through a small buffer that stays in the nearest cache.
class ByteAdc {
public:
    static constexpr int64_t kRows = 64, kColumns = ByteProducts::kOutputs;

    ByteAdc(const BinaryConv& conv, const BorderClasses& borders, const SumConverter& converter)
        : borders_(borders), products_(conv), converter_(converter), arrays_(conv.layout.arrays()) {}

    int64_t scratch_bytes() const { return arrays_ * (array_bytes() + kRows * static_cast<int64_t>(sizeof(int32_t))); }

    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        for (int64_t array = 0; array < arrays_; ++array)
            products_.expand(rows, kRows, borders_, array, bytes(scratch, array), raised(scratch, array));
    }

    void tile(const RowBlock& rows, unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        switch (converter_.method()) {
            case SumMethod::single8:
            case SumMethod::single16: return convert<SumMethod::single16>(rows, scratch, group, panel, out);
            case SumMethod::round16: return convert<SumMethod::round16>(rows, scratch, group, panel, out);
            case SumMethod::round32: return convert<SumMethod::round32>(rows, scratch, group, panel, out);
            case SumMethod::refine32: return convert<SumMethod::refine32>(rows, scratch, group, panel, out);
            case SumMethod::lookup16:  // not asked for
            case SumMethod::compare32: return convert<SumMethod::compare32>(rows, scratch, group, panel, out);
        }
    }

private:
    int64_t array_bytes() const { return kRows * products_.row_bytes(); }
    int8_t* bytes(unsigned char* scratch, int64_t array) const {
        return reinterpret_cast<int8_t*>(scratch) + array * array_bytes();
    }
    int32_t* raised(unsigned char* scratch, int64_t array) const {
        return reinterpret_cast<int32_t*>(scratch + arrays_ * array_bytes()) + array * kRows;
    }

    template <SumMethod kMethod>
    void convert(const RowBlock& rows, unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        const LevelSums<kMethod> level(converter_);
        const int64_t whole = ByteProducts::whole(rows.count), values = whole * kColumns;
        alignas(64) int32_t partial[kRows * kColumns];
        memset(out, 0, static_cast<size_t>(values) * sizeof(int32_t));
        for (int64_t array = 0; array < arrays_; ++array) {
            products_.multiply(bytes(scratch, array), raised(scratch, array), whole, group, panel, array, partial,
                               kColumns);
            for (int64_t i = 0; i < values; i += 8)
                store(out + i, _mm256_add_epi32(load(out + i), level.of(load(partial + i))));
        }
        const __m256i gain = _mm256_set1_epi32(static_cast<int32_t>(converter_.gain()));
        const __m256i correction = _mm256_set1_epi32(static_cast<int32_t>(converter_.correction()));
        for (int64_t i = 0; i < values; i += 8)
            store(out + i, _mm256_add_epi32(_mm256_mullo_epi32(load(out + i), gain), correction));
    }

    static __m256i load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static void store(int32_t* p, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

    const BorderClasses& borders_;
    const ByteProducts products_;
    const SumConverter& converter_;
    int64_t arrays_;
};

}  // namespace
}  // namespace bnnkit
