// Sixteen values in as many native vectors as they take: a compiler that is given one vector of all sixteen passes it through
// memory, or takes it apart value by value. Included inside an instruction-set region.
#pragma once

#include <type_traits>
#include <utility>

namespace bnnkit {
namespace {

// (An alias template would lose the attribute.)
template <class T, int kBytes>
struct VectorOf {
    typedef T Type __attribute__((vector_size(kBytes)));
};

template <class V, int kParts>
struct Wide {
    V part[kParts];
};

template <class To, class V, int kParts, class Operation>
inline auto each_part(const Wide<V, kParts>& a, const Operation& operation) {
    Wide<To, kParts> result;
#pragma GCC unroll 8
    for (int i = 0; i < kParts; ++i) result.part[i] = operation(a.part[i], i);
    return result;
}

template <class V, int kA, int kB, class Operation>
inline auto parts_of_both(const Wide<V, kA>& a, const Wide<V, kB>& b, const Operation& operation) {
    static_assert(kA == kB || kA == 1 || kB == 1);
    Wide<decltype(operation(V{}, V{})), (kA > kB ? kA : kB)> result;
#pragma GCC unroll 8
    for (int i = 0; i < (kA > kB ? kA : kB); ++i)
        result.part[i] = operation(a.part[kA == 1 ? 0 : i], b.part[kB == 1 ? 0 : i]);
    return result;
}

template <class V>
using Value = std::remove_reference_t<decltype(std::declval<V&>()[0])>;

// The same type without signs, whose sums may wrap.
template <class W>
struct UnsignedOf;
template <class V, int kParts>
struct UnsignedOf<Wide<V, kParts>> {
    using Type = Wide<typename VectorOf<std::make_unsigned_t<Value<V>>, sizeof(V)>::Type, kParts>;
};

// Arithmetic and logic of two wide values, or of one and a number. A value of one part acts on every part of another.
#define BNNKIT_WIDE(op)                                                                                            \
    template <class V, int kA, int kB>                                                                             \
    inline auto operator op(const Wide<V, kA>& a, const Wide<V, kB>& b) {                                          \
        return parts_of_both(a, b, [](V x, V y) { return x op y; });                                               \
    }                                                                                                              \
    template <class V, int kParts, class S, class = std::enable_if_t<std::is_arithmetic_v<S>>>                     \
    inline auto operator op(const Wide<V, kParts>& a, S b) {                                                       \
        return each_part<decltype(V {} op V{})>(a, [&](V part, int) { return part op static_cast<Value<V>>(b); }); \
    }
BNNKIT_WIDE(+)
BNNKIT_WIDE(-)
BNNKIT_WIDE(*)
BNNKIT_WIDE(/)
BNNKIT_WIDE(&)
BNNKIT_WIDE(|)
BNNKIT_WIDE(^)
BNNKIT_WIDE(<<)
BNNKIT_WIDE(>>)
BNNKIT_WIDE(<)
BNNKIT_WIDE(<=)
BNNKIT_WIDE(>)
BNNKIT_WIDE(>=)
BNNKIT_WIDE(==)
#undef BNNKIT_WIDE

template <class V, int kParts>
inline Wide<V, kParts> operator-(const Wide<V, kParts>& a) {
    return each_part<V>(a, [](V part, int) { return -part; });
}
template <class V, int kParts, class Other>
inline Wide<V, kParts>& operator+=(Wide<V, kParts>& a, const Other& b) {
    return a = a + b;
}
template <class V, int kParts, class S, class = std::enable_if_t<std::is_arithmetic_v<S>>>
inline Wide<V, kParts> operator*(S a, const Wide<V, kParts>& b) {
    return b * a;
}

// Where a comparison held, a; else b.
template <class M, class V, int kParts>
inline Wide<V, kParts> choose(const Wide<M, kParts>& mask, const Wide<V, kParts>& a, const Wide<V, kParts>& b) {
    return each_part<V>(a, [&](V part, int i) { return mask.part[i] ? part : b.part[i]; });
}

// The larger, or the smaller, of two. (Compilers find the instruction in this, not in a choice between them.)
template <class V, int kA, int kB>
inline auto larger(const Wide<V, kA>& a, const Wide<V, kB>& b) {
    return parts_of_both(a, b, [](V x, V y) { return x > y ? x : y; });
}
template <class V, int kA, int kB>
inline auto smaller(const Wide<V, kA>& a, const Wide<V, kB>& b) {
    return parts_of_both(a, b, [](V x, V y) { return x < y ? x : y; });
}

// Twice as many values, and half of them.
template <class V, int kParts>
inline Wide<V, 2 * kParts> joined(const Wide<V, kParts>& first, const Wide<V, kParts>& second) {
    Wide<V, 2 * kParts> result;
#pragma GCC unroll 8
    for (int i = 0; i < kParts; ++i) result.part[i] = first.part[i], result.part[kParts + i] = second.part[i];
    return result;
}
template <class V, int kParts>
inline Wide<V, kParts / 2> half(const Wide<V, kParts>& a, int which) {
    Wide<V, kParts / 2> result;
#pragma GCC unroll 8
    for (int i = 0; i < kParts / 2; ++i) result.part[i] = a.part[which * (kParts / 2) + i];
    return result;
}

// The same bits.
template <class To, class V, int kParts>
inline To as(const Wide<V, kParts>& a) {
    static_assert(sizeof(To) == sizeof a);
    using T = std::remove_reference_t<decltype(To{}.part[0])>;
    return each_part<T>(a, [](V part, int) { return (T)part; });
}

namespace wide {
template <int kFirst, class V, int... kIndex>
inline auto some(V v, std::integer_sequence<int, kIndex...>) {
    return __builtin_shufflevector(v, v, (kFirst + kIndex)...);
}
template <class V, int... kIndex>
inline auto both(V a, V b, std::integer_sequence<int, kIndex...>) {
    return __builtin_shufflevector(a, b, kIndex...);
}
}  // namespace wide

// The same numbers; rounded to nearest where they must be.
template <class To, class V, int kParts>
inline To numbers(const Wide<V, kParts>& a) {
    using T = std::remove_reference_t<decltype(To{}.part[0])>;
    constexpr int kTo = sizeof(To) / sizeof(T), kLanes = sizeof(V) / sizeof(Value<V>);
    To result;
    if constexpr (kTo == kParts) {
        for (int i = 0; i < kTo; ++i) result.part[i] = __builtin_convertvector(a.part[i], T);
    } else if constexpr (kTo == 2 * kParts) {
        using Half = std::make_integer_sequence<int, kLanes / 2>;
        for (int i = 0; i < kParts; ++i) {
            result.part[2 * i] = __builtin_convertvector(wide::some<0>(a.part[i], Half{}), T);
            result.part[2 * i + 1] = __builtin_convertvector(wide::some<kLanes / 2>(a.part[i], Half{}), T);
        }
    } else {
        static_assert(2 * kTo == kParts);
        using Half = typename VectorOf<Value<T>, sizeof(T) / 2>::Type;
        for (int i = 0; i < kTo; ++i)
            result.part[i] = wide::both(__builtin_convertvector(a.part[2 * i], Half),
                                        __builtin_convertvector(a.part[2 * i + 1], Half),
                                        std::make_integer_sequence<int, 2 * kLanes>{});
    }
    return result;
}

namespace wide {
template <class V, int... kIndex>
inline V repeated(Value<V> x, std::integer_sequence<int, kIndex...>) {
    const V first{x};
    return __builtin_shufflevector(first, first, (0 * kIndex)...);
}
}  // namespace wide

// The same number in all lanes. (0 + x, which also spreads it, is an addition where x is a float.)
template <class W, class T>
inline W spread(T x) {
    using V = std::remove_reference_t<decltype(W{}.part[0])>;
    const V v = wide::repeated<V>(x, std::make_integer_sequence<int, sizeof(V) / sizeof(T)>{});
    W result;
#pragma GCC unroll 8
    for (int i = 0; i < static_cast<int>(sizeof(W) / sizeof(V)); ++i) result.part[i] = v;
    return result;
}

template <class W>
inline W wide_at(const void* p) {
    W result;
#pragma GCC unroll 8
    for (int i = 0; i < static_cast<int>(sizeof(W) / sizeof result.part[0]); ++i)
        memcpy(&result.part[i], static_cast<const char*>(p) + i * sizeof result.part[0], sizeof result.part[0]);
    return result;
}

template <class V, int kParts>
inline void store_wide(void* p, const Wide<V, kParts>& v) {
#pragma GCC unroll 8
    for (int i = 0; i < kParts; ++i) memcpy(static_cast<char*>(p) + i * sizeof(V), &v.part[i], sizeof(V));
}

}  // namespace
}  // namespace bnnkit
