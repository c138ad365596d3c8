// What mismatches.h counts, from products of bytes. Included inside an AVX2 region after byte_products_avx2.h.
#pragma once

namespace bnnkit {
namespace {

class ByteCounts {
public:
    using Weights = ByteProducts;

    ByteCounts(const BinaryConv& conv, const BorderClasses& borders, const ByteProducts& products)
        : conv_(conv), borders_(borders), products_(products) {}

    int64_t padded_outputs() const { return products_.padded_outputs(); }
    int64_t scratch_bytes(int64_t block_rows) const {
        return block_rows * (products_.row_bytes() + static_cast<int64_t>(sizeof(int32_t)));
    }

    // `block_rows` is how many rows of words each plane of the block has; counts[row][padded outputs] have as many rows.
    void count(const RowBlock& rows, int64_t block_rows, int64_t group, int64_t array, unsigned char* scratch,
               int32_t* counts) const {
        int8_t* const bytes = reinterpret_cast<int8_t*>(scratch);
        int32_t* const raised = reinterpret_cast<int32_t*>(scratch + block_rows * products_.row_bytes());
        const int64_t padded = padded_outputs(), panels = padded / ByteProducts::kOutputs;
        products_.expand(rows, block_rows, borders_, array, bytes, raised);
        for (int64_t panel = 0; panel < panels; ++panel)
            products_.multiply(bytes, raised, ByteProducts::whole(rows.count), group, panel, array,
                               counts + panel * ByteProducts::kOutputs, padded);
        // A partial sum is the largest there could be, less twice what differs.
        for (int64_t r = 0; r < rows.count; ++r, counts += padded) {
            const int64_t valid = borders_.valid_rows(rows.border_class[r], array);
            const __m256i largest = _mm256_set1_epi32(static_cast<int32_t>(conv_.product_bound() * valid));
            for (int64_t o = 0; o < padded; o += 8) {
                __m256i* const at = reinterpret_cast<__m256i*>(counts + o);
                _mm256_storeu_si256(at, _mm256_srli_epi32(_mm256_sub_epi32(largest, _mm256_loadu_si256(at)), 1));
            }
        }
    }

private:
    const BinaryConv& conv_;
    const BorderClasses& borders_;
    const ByteProducts& products_;
};

}  // namespace
}  // namespace bnnkit
