#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/patches.h"
#include "prepared.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512bitalg,avx512vbmi,avx2,fma,popcnt")

#include "../../core/lanes_avx512.h"
#include "lanes16_avx512.h"

#include "../../core/blocks.h"
#include "active_rows.h"
#include "convert.h"
#include "read_noise.h"

#include "analog.h"
#include "count.h"
#include "run.h"

namespace bnnkit {
void bit_serial_avx512(const BitSerialArgs& args) { run_bit_serial(args); }
}  // namespace bnnkit

#pragma GCC pop_options
#endif
