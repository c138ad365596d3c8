// How fast this core could possibly be: the inner operation of a kernel on registers only.
#pragma once

#include <string>

namespace bnnkit {

// Binary multiply-accumulates per second on one thread, over about `seconds`:
//   avx512   exclusive-or + population count + add on 512-bit registers
//   avx2     the same with a nibble-lookup count on 256-bit registers
//   neon     exclusive-or + population count of bytes + addition of bytes on 128-bit registers
//   amx      int8 tile products, whose bytes hold one +-1 value each
// 0 for a variant that has no such loop. Throws std::invalid_argument if the processor cannot run it.
double machine_limit(const std::string& variant, double seconds);

}  // namespace bnnkit
