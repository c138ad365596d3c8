// What the processor at hand can execute.
#pragma once

namespace bnnkit {

struct CpuFeatures {
    bool neon;    // Advanced SIMD, which every 64-bit ARM has
    bool avx2;    // AVX2, FMA and BMI2
    bool avx512;  // F, BW, DQ, VL with VPOPCNTDQ, IFMA and VBMI: Intel Ice Lake, AMD Zen 4 and later
    bool amx;     // the above with AMX tiles for int8 and bf16, granted by the operating system
};

const CpuFeatures& cpu_features();

}  // namespace bnnkit
