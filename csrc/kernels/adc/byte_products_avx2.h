// Partial sums of operands of several bits by products of bytes: counting takes time for every pair of planes, a product does not.
// Included inside an AVX2 region after blocks.h.
//
// The instruction multiplies unsigned by signed bytes and adds two products: weights are raised by 16, and what that adds to a
// partial sum, 16 times the sum of a row's activations, is taken off again. Raised weights are at most 31 and activations 15, so
// sums of 16 bits hold two words of an array (32 additions of two products: 29,760).
#pragma once

namespace bnnkit {
namespace {

constexpr int kPairsOfBytes = 3;  // pairs of planes from which on products are faster than counting

class ByteProducts {
public:
    static constexpr int64_t kOutputs = 16;  // of a panel
    static constexpr int kRows = 4;          // patches whose sums fit into the registers

    explicit ByteProducts(const BinaryConv& conv)
        : conv_(conv),
          row_words_(conv.layout.row_words()),
          array_words_(conv.layout.array_words()),
          per_group_(ceil_div(conv.geometry.group_outputs(), kOutputs)),
          weights_(conv.geometry.groups * per_group_ * row_words_ * kPanelBytes) {
        parallel_for(conv.threads, conv.geometry.groups * per_group_, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) lay_out(i / per_group_, i % per_group_);
        });
    }

    int64_t padded_outputs() const { return per_group_ * kOutputs; }

    // Rows of a block as bytes, those of an array as [rows][array words][64], rows up to a multiple of kRows; and what raised
    // weights add to each row's partial sums.
    int64_t row_bytes() const { return array_words_ * kWordBits; }
    static int64_t whole(int64_t rows) { return ceil_div(rows, kRows) * kRows; }

    void expand(const RowBlock& rows, int64_t block_rows, const BorderClasses& borders, int64_t array, int8_t* bytes,
                int32_t* raised) const {
        const __m256i ones = _mm256_set1_epi8(1), pairs = _mm256_set1_epi16(1);
        for (int64_t r = 0; r < rows.count; ++r, bytes += row_bytes()) {
            const int64_t first = array * array_words_;
            const uint64_t *x = rows.words + r * row_words_ + first,
                           *valid = borders.mask(rows.border_class[r]) + first;
            __m256i sum = _mm256_setzero_si256();
            for (int64_t word = 0; word < array_words_; ++word)
                for (int half = 0; half < 2; ++half) {
                    const __m256i values = _mm256_and_si256(
                        bits(valid[word], half),
                        values_of(x + word, block_rows * row_words_, half, conv_.x_planes, conv_.x_thermometer));
                    _mm256_store_si256(reinterpret_cast<__m256i*>(bytes + word * kWordBits + half * 32), values);
                    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(ones, values), pairs));
                }
            alignas(32) int32_t lanes[8];
            _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum);
            raised[r] = 0;
            for (const int32_t lane : lanes) raised[r] += kRaised * lane;
        }
        const int64_t left = whole(rows.count) - rows.count;
        memset(bytes, 0, static_cast<size_t>(left * row_bytes()));
        memset(raised + rows.count, 0, static_cast<size_t>(left) * sizeof(int32_t));
    }

    // partial[rows][stride], of the outputs of a panel; `rows` up to a multiple of kRows.
    void multiply(const int8_t* bytes, const int32_t* raised, int64_t rows, int64_t group, int64_t panel, int64_t array,
                  int32_t* partial, int64_t stride) const {
        const unsigned char* weights =
            weights_.data + ((group * per_group_ + panel) * row_words_ + array * array_words_) * kPanelBytes;
        for (int64_t r = 0; r < rows; r += kRows)
            multiply_rows(bytes + r * row_bytes(), raised + r, weights, partial + r * stride, stride);
    }

private:
    static constexpr int64_t kQuads = kWordBits / 4;             // rows of an array that an instruction adds up
    static constexpr int64_t kQuadBytes = kOutputs * 4;          // of a panel
    static constexpr int64_t kPanelBytes = kQuads * kQuadBytes;  // of a word
    static constexpr int kRaised = 16;

    // Half of the bits of a word as bytes of 0 or -1.
    static __m256i bits(uint64_t word, int half) { return spread_bits(static_cast<uint32_t>(word >> (32 * half))); }

    // The weighted sums of the signs of 32 values.
    static __m256i values_of(const uint64_t* words, int64_t plane_stride, int half, int planes, bool thermometer) {
        __m256i sum = _mm256_setzero_si256();
        int total = 0;
        for (int p = 0; p < planes; ++p) {
            const int weight = thermometer ? 1 : 1 << p;
            const __m256i twice = _mm256_set1_epi8(static_cast<char>(2 * weight));
            sum = _mm256_add_epi8(sum, _mm256_and_si256(bits(words[p * plane_stride], half), twice));
            total += weight;
        }
        return _mm256_sub_epi8(sum, _mm256_set1_epi8(static_cast<char>(total)));
    }

    // [word][quad][output][4], raised; of outputs that there are not, anything.
    void lay_out(int64_t group, int64_t panel) const {
        const int64_t outputs = conv_.geometry.group_outputs();
        unsigned char* const to = weights_.data + (group * per_group_ + panel) * row_words_ * kPanelBytes;
        for (int64_t o = 0; o < kOutputs; ++o) {
            const int64_t output = panel * kOutputs + o;
            const uint64_t* w = conv_.w + (group * outputs + (output < outputs ? output : outputs - 1)) * row_words_;
            for (int64_t word = 0; word < row_words_; ++word)
                for (int half = 0; half < 2; ++half) {
                    alignas(32) unsigned char values[32];
                    const __m256i all =
                        values_of(w + word, conv_.w_plane_words(), half, conv_.w_planes, conv_.w_thermometer);
                    _mm256_store_si256(reinterpret_cast<__m256i*>(values),
                                       _mm256_add_epi8(all, _mm256_set1_epi8(kRaised)));
                    for (int64_t quad = 0; quad < kQuads / 2; ++quad)
                        memcpy(to + word * kPanelBytes + (half * kQuads / 2 + quad) * kQuadBytes + o * 4,
                               values + quad * 4, 4);
                }
        }
    }

    void multiply_rows(const int8_t* bytes, const int32_t* raised, const unsigned char* weights, int32_t* partial,
                       int64_t stride) const {
        const __m256i pairs = _mm256_set1_epi16(1);
        __m256i total[kRows][2];
        for (int i = 0; i < kRows; ++i) total[i][0] = total[i][1] = _mm256_set1_epi32(-raised[i]);
        for (int64_t word = 0; word < array_words_; word += 2) {
            __m256i sum[kRows][2] = {};
            const int64_t quads = (array_words_ - word < 2 ? 1 : 2) * kQuads;
            const int8_t* x = bytes + word * kWordBits;
            for (int64_t quad = 0; quad < quads; ++quad, x += 4, weights += kQuadBytes) {
                const __m256i left = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights));
                const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights) + 1);
#pragma GCC unroll 4
                for (int i = 0; i < kRows; ++i) {
                    int32_t four;
                    memcpy(&four, x + i * row_bytes(), sizeof four);
                    const __m256i all = _mm256_set1_epi32(four);
                    sum[i][0] = _mm256_add_epi16(sum[i][0], _mm256_maddubs_epi16(left, all));
                    sum[i][1] = _mm256_add_epi16(sum[i][1], _mm256_maddubs_epi16(right, all));
                }
            }
            for (int i = 0; i < kRows; ++i)
                for (int j = 0; j < 2; ++j)
                    total[i][j] = _mm256_add_epi32(total[i][j], _mm256_madd_epi16(sum[i][j], pairs));
        }
        for (int i = 0; i < kRows; ++i)
            for (int j = 0; j < 2; ++j)
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(partial + i * stride + j * 8), total[i][j]);
    }

    const BinaryConv& conv_;
    int64_t row_words_, array_words_, per_group_;
    Scratch weights_;
};

}  // namespace
}  // namespace bnnkit
