// Adam on some rows of a table, each row visited once.
//
// Compiled and called through mmrns/compiled.py; row_adam.py says the same in torch. The function works on the rows
// first..last of the gradient alone, so that its caller can give each thread a range.

#include <cmath>
#include <cstdint>
#include <initializer_list>

#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")  // a fused multiplication and addition would round once where torch rounds twice
#endif

namespace {

constexpr int64_t ahead = 4;  // rows whose memory is asked for before they are worked on: they lie all over the table

inline void ask_for(const float* row, int64_t width) {
#if defined(__GNUC__)
    for (int64_t i = 0; i < width; i += 16) __builtin_prefetch(row + i, 1);
#endif
}

}  // namespace

extern "C" {

void row_adam(float* table, float* exp_avg, float* exp_avg_sq, const int64_t* rows, const float* gradient,
              int64_t width, float rest1, float rest2, float epsilon, float size, int64_t first, int64_t last) {
    for (int64_t k = first; k < last; ++k) {
        if (k + ahead < last)
            for (float* numbers : {table, exp_avg, exp_avg_sq}) ask_for(numbers + rows[k + ahead] * width, width);
        const float* g = gradient + k * width;
        float *__restrict__ t = table + rows[k] * width, *__restrict__ m = exp_avg + rows[k] * width,
              *__restrict__ v = exp_avg_sq + rows[k] * width;
        // In torch's order of operations: m + (1 - b) (g - m) is not b m + (1 - b) g to the bit.
        for (int64_t i = 0; i < width; ++i) {
            m[i] += (g[i] - m[i]) * rest1;
            v[i] += (g[i] * g[i] - v[i]) * rest2;
            t[i] += m[i] / (std::sqrt(v[i]) + epsilon) * -size;
        }
    }
}

}  // extern "C"
