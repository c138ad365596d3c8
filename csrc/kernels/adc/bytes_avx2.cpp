#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/patches.h"
#include "sum_converter.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma")

#include "../../core/lanes_avx2.h"

#include "../../core/blocks.h"
#include "byte_products_avx2.h"
#include "level_sums_avx2.h"
#include "write.h"

namespace bnnkit {
namespace {

// The partial sums of an array and 16 outputs pass through a small buffer that stays in the nearest cache.
class ByteAdc {
public:
    static constexpr int64_t kRows = 64, kColumns = ByteProducts::kOutputs;

    ByteAdc(const BinaryConv& conv, const BorderClasses& borders, const ByteProducts& products,
            const SumConverter& converter)
        : borders_(borders), products_(products), converter_(converter), arrays_(conv.layout.arrays()) {}

    int64_t scratch_bytes() const { return arrays_ * (array_bytes() + kRows * static_cast<int64_t>(sizeof(int32_t))); }

    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        for (int64_t array = 0; array < arrays_; ++array)
            products_.expand(rows, kRows, borders_, array, bytes(scratch, array), raised(scratch, array));
    }

    void tile(const RowBlock& rows, unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        switch (converter_.method()) {
            case Method::single8:
            case Method::single16: return convert<Method::single16>(rows, scratch, group, panel, out);
            case Method::round16: return convert<Method::round16>(rows, scratch, group, panel, out);
            case Method::round32: return convert<Method::round32>(rows, scratch, group, panel, out);
            case Method::refine32: return convert<Method::refine32>(rows, scratch, group, panel, out);
            case Method::lookup16:  // not asked for
            case Method::compare32: return convert<Method::compare32>(rows, scratch, group, panel, out);
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

    template <Method kMethod>
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
    const ByteProducts& products_;
    const SumConverter& converter_;
    int64_t arrays_;
};

}  // namespace

void adc_bytes_avx2(const AdcArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const ByteProducts products(args.conv);
    const SumConverter converter(args, false);
    const ByteAdc engine(args.conv, borders, products, converter);
    for_each_tile(args.conv, borders, engine, LevelWriter<ByteAdc::kColumns>{args});
}

}  // namespace bnnkit

#pragma GCC pop_options
#endif
