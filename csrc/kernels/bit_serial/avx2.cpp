#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../../core/patches.h"
#include "prepared.h"

#pragma GCC push_options
#pragma GCC target("avx2,bmi,fma,popcnt")

#include "../../core/lanes_avx2.h"
#include "lanes16_avx2.h"

#include "../../core/blocks.h"
#include "active_rows.h"
#include "convert.h"
#include "read_noise.h"

#include "analog.h"
#include "count.h"
#include "run.h"

#include "../../core/turned_patches.h"

#include "cell_rows.h"
#include "number_codes_avx2.h"

#include "vertical_engine.h"

namespace bnnkit {

void bit_serial_avx2_by_counting(const BitSerialArgs& args) { run_by_counting(args); }
bool bit_serial_avx2_vertically(const BitSerialArgs& args) { return run_vertically(args); }
void bit_serial_avx2(const BitSerialArgs& args) { run_either_way(args, kVerticalAvx2Patches); }

}  // namespace bnnkit

#pragma GCC pop_options
#endif
