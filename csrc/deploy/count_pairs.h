// For instruction sets that count operands of several bits pair by pair of planes, too. Included before run_code.h.
#pragma once

namespace bnnkit::deploy {
namespace {

using ByteEngine = void;
constexpr int64_t kProductsByBytes = 0;

}  // namespace
}  // namespace bnnkit::deploy
