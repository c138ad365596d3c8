// Sums of products in double that stay in registers. Included inside run_code.h, in an instruction-set region.
#pragma once

template <int kRows, int kVectors>
class DenseTile {
public:
    BNNKIT_INLINE DenseTile() {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
            for (int j = 0; j < kVectors; ++j) sum_[r][j] = Doubles::zero();
    }

    // Row r gains factor(r) times the vectors.
    template <class Factor>
    BNNKIT_INLINE void add(const double* vectors, const Factor& factor) {
        Doubles::Vector some[kVectors];
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) some[j] = Doubles::load(vectors + j * Doubles::kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const Doubles::Vector all = Doubles::broadcast(factor(r));
#pragma GCC unroll 4
            for (int j = 0; j < kVectors; ++j) sum_[r][j] = Doubles::multiply_add(all, some[j], sum_[r][j]);
        }
    }

    BNNKIT_INLINE void store(double* to, int64_t stride) const {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
            for (int j = 0; j < kVectors; ++j) Doubles::store(to + r * stride + j * Doubles::kLanes, sum_[r][j]);
    }

private:
    Doubles::Vector sum_[kRows][kVectors];
};
