// A test program in one header: TEST registers a case, CHECK and CHECK_EQ report and count failures, run_tests runs all.
//
// Random cases say what they are through `describe`, so that a failure can be read and repeated.
#pragma once

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace check {

struct Case {
    std::string name;
    std::function<void()> body;
};

inline std::vector<Case>& cases() {
    static std::vector<Case> all;
    return all;
}

inline int failures = 0;
inline std::string description;  // of the random case at hand

template <class... Parts>
void describe(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    description = text.str();
}

inline bool fail(const char* file, int line, const std::string& what) {
    constexpr int kShown = 20;
    if (++failures <= kShown) fprintf(stderr, "%s:%d: %s\n    in %s\n", file, line, what.c_str(), description.c_str());
    return false;
}

template <class A, class B>
bool expect_equal(const A& a, const B& b, const char* text, const char* file, int line) {
    if (a == b) return true;
    std::ostringstream what;
    what << text << ": " << a << " is not " << b;
    return fail(file, line, what.str());
}

// Elements of two ranges, reporting the first that differs.
template <class Range>
bool expect_same(const Range& a, const Range& b, const char* text, const char* file, int line) {
    if (!expect_equal(a.size(), b.size(), text, file, line)) return false;
    for (size_t i = 0; i < a.size(); ++i)
        if (!expect_equal(a[i], b[i], (std::string(text) + " at " + std::to_string(i)).c_str(), file, line))
            return false;
    return true;
}

struct Register {
    Register(const char* name, std::function<void()> body) { cases().push_back({name, std::move(body)}); }
};

inline int run_tests() {
    setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // a crash must not swallow what was printed
    for (const Case& test : cases()) {
        const int before = failures;
        const auto start = std::chrono::steady_clock::now();
        description = test.name;
        test.body();
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        printf("%s %s (%.2f s)\n", failures == before ? "ok  " : "FAIL", test.name.c_str(), seconds);
    }
    if (failures) printf("%d checks failed\n", failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST(name)                                                                                   \
    static void CHECK_JOIN(test_, __LINE__)();                                                       \
    static const check::Register CHECK_JOIN(register_, __LINE__)(name, CHECK_JOIN(test_, __LINE__)); \
    static void CHECK_JOIN(test_, __LINE__)()
#define CHECK(condition) ((condition) || check::fail(__FILE__, __LINE__, #condition))
#define CHECK_EQ(a, b) check::expect_equal(a, b, #a " == " #b, __FILE__, __LINE__)
#define CHECK_SAME(a, b) check::expect_same(a, b, #a " == " #b, __FILE__, __LINE__)
#define CHECK_THROWS(expression, Error, part)                                                       \
    do {                                                                                            \
        try {                                                                                       \
            expression;                                                                             \
            check::fail(__FILE__, __LINE__, #expression " threw nothing");                          \
        } catch (const Error& error) {                                                              \
            if (std::string(error.what()).find(part) == std::string::npos)                          \
                check::fail(__FILE__, __LINE__, std::string(#expression " said: ") + error.what()); \
        }                                                                                           \
    } while (false)
