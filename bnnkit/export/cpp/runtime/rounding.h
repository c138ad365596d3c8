// Every arithmetic step rounds once, to the type it is written in. Included first by every file that computes with
// floats.
//
// A compiler may fuse a product and a sum into one instruction that rounds once instead of twice; logits would then
// differ in their last bit. The pragmas forbid it; -ffp-contract=off, as in the Makefile, does the same.
#pragma once

#include <cfloat>

#if defined(__FAST_MATH__)
#error "-ffast-math changes results: it was needed without"
#endif

static_assert(FLT_EVAL_METHOD == 0, "floats must be computed as floats; on x86 that takes -msse2 -mfpmath=sse");

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif
