// Comparisons of query vectors with rows of a table, without a tensor of queries x candidates x width.
//
// A comparison gives one number for a query vector q and a candidate vector c, and its derivatives. Three loops share
// them all: every candidate, candidates by row, and the gradient of either. A loop works on a range of candidates, so
// that its caller can give each thread a range; nothing is written by two ranges.
//
// Compiled and called by native.py. No header but the standard library's: a second to build, on any compiler.

#include <cmath>
#include <cstdint>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace {

using Vector = const float* __restrict__;
using Gradient = float* __restrict__;

// sum_i q_i c_i
struct Product {
    static constexpr int query_numbers = 1;
    static float value(Vector q, Vector c, int64_t width) {
        float sum = 0;
        for (int64_t i = 0; i < width; ++i) sum += q[i] * c[i];
        return sum;
    }
    static void gradient(float g, float, Vector q, Vector c, Gradient dq, Gradient dc, int64_t width) {
        for (int64_t i = 0; i < width; ++i) {
            dq[i] += g * c[i];
            dc[i] += g * q[i];
        }
    }
};

// sum_i |q_i - c_i|
struct Manhattan {
    static constexpr int query_numbers = 1;
    static float value(Vector q, Vector c, int64_t width) {
        float sum = 0;
        for (int64_t i = 0; i < width; ++i) sum += std::fabs(q[i] - c[i]);
        return sum;
    }
    static void gradient(float g, float, Vector q, Vector c, Gradient dq, Gradient dc, int64_t width) {
        for (int64_t i = 0; i < width; ++i) {
            const float difference = q[i] - c[i];
            const float d = difference > 0 ? g : difference < 0 ? -g : 0.0f;
            dq[i] += d;
            dc[i] -= d;
        }
    }
};

// sum_i |q_i - s_i c_i|; a query is q, then s
struct ScaledManhattan {
    static constexpr int query_numbers = 2;
    static float value(Vector q, Vector c, int64_t width) {
        const float* s = q + width;
        float sum = 0;
        for (int64_t i = 0; i < width; ++i) sum += std::fabs(q[i] - s[i] * c[i]);
        return sum;
    }
    static void gradient(float g, float, Vector q, Vector c, Gradient dq, Gradient dc, int64_t width) {
        const float* s = q + width;
        float* __restrict__ ds = dq + width;
        for (int64_t i = 0; i < width; ++i) {
            const float difference = q[i] - s[i] * c[i];
            const float d = difference > 0 ? g : difference < 0 ? -g : 0.0f;
            dq[i] += d;
            ds[i] -= d * c[i];
            dc[i] -= d * s[i];
        }
    }
};

// sqrt(sum_i (q_i - c_i)^2)
struct Euclidean {
    static constexpr int query_numbers = 1;
    static float value(Vector q, Vector c, int64_t width) {
        float sum = 0;
        for (int64_t i = 0; i < width; ++i) sum += (q[i] - c[i]) * (q[i] - c[i]);
        return std::sqrt(sum);
    }
    static void gradient(float g, float value, Vector q, Vector c, Gradient dq, Gradient dc, int64_t width) {
        const float scale = value > 0 ? g / value : 0.0f;
        for (int64_t i = 0; i < width; ++i) {
            const float d = scale * (q[i] - c[i]);
            dq[i] += d;
            dc[i] -= d;
        }
    }
};

// sum_i |q_i - c_i| of complex numbers; a vector is its real parts, then its imaginary parts
struct Complex {
    static constexpr int query_numbers = 1;
    static float value(Vector q, Vector c, int64_t width) {
        const int64_t half = width / 2;
        float sum = 0;
        for (int64_t i = 0; i < half; ++i) {
            const float real = q[i] - c[i], imaginary = q[half + i] - c[half + i];
            sum += std::sqrt(real * real + imaginary * imaginary);
        }
        return sum;
    }
    static void gradient(float g, float, Vector q, Vector c, Gradient dq, Gradient dc, int64_t width) {
        const int64_t half = width / 2;
        float *__restrict__ dq_imaginary = dq + half, *__restrict__ dc_imaginary = dc + half;
        for (int64_t i = 0; i < half; ++i) {
            const float real = q[i] - c[i], imaginary = q[half + i] - c[half + i];
            const float modulus = std::sqrt(real * real + imaginary * imaginary);
            const float scale = modulus > 0 ? g / modulus : 0.0f;
            dq[i] += scale * real;
            dc[i] -= scale * real;
            dq_imaginary[i] += scale * imaginary;
            dc_imaginary[i] -= scale * imaginary;
        }
    }
};

// Numbers too small to be normal are tens of times slower than zero: within a loop they are zero.
struct DenormalsAreZero {
#if defined(__SSE2__)
    const unsigned before = _mm_getcsr();
    DenormalsAreZero() { _mm_setcsr(before | 0x8040); }
    ~DenormalsAreZero() { _mm_setcsr(before); }
#endif
};

// Candidates that stay in the cache of a core while every query passes by.
constexpr int64_t block_bytes = 128 << 10;

// out (queries, candidates), columns first..last.
template <class Compare>
void every(const float* queries, const float* table, float* out, int64_t number, int64_t candidates, int64_t width,
           int64_t first, int64_t last) {
    DenormalsAreZero within;
    const int64_t rows = block_bytes / (width * 4) + 1;
    for (int64_t start = first; start < last; start += rows) {
        const int64_t end = start + rows < last ? start + rows : last;
        for (int64_t b = 0; b < number; ++b)
            for (int64_t e = start; e < end; ++e)
                out[b * candidates + e] =
                    Compare::value(queries + b * width * Compare::query_numbers, table + e * width, width);
    }
}

// out[p] for the pairs p = order[offsets[e]] .. of candidates e in first..last; pair p belongs to query p / each.
template <class Compare>
void pairs(const float* queries, const float* table, float* out, const int64_t* offsets, const int64_t* order,
           int64_t each, int64_t width, int64_t first, int64_t last) {
    DenormalsAreZero within;
    for (int64_t e = first; e < last; ++e)
        for (int64_t k = offsets[e]; k < offsets[e + 1]; ++k) {
            const int64_t p = order[k];
            out[p] = Compare::value(queries + p / each * width * Compare::query_numbers, table + e * width, width);
        }
}

// Gradient of `pairs`, or of `every` when offsets and order are null and each is the number of candidates. Adds to
// to_queries, which is this range's own, and writes rows first..last of to_table.
template <class Compare>
void gradient(const float* gradient, const float* values, const float* queries, const float* table, float* to_queries,
              float* to_table, const int64_t* offsets, const int64_t* order, int64_t number, int64_t each,
              int64_t width, int64_t first, int64_t last) {
    DenormalsAreZero within;
    for (int64_t e = first; e < last; ++e) {
        float* to_row = to_table + e * width;
        for (int64_t i = 0; i < width; ++i) to_row[i] = 0;
        const int64_t begin = offsets ? offsets[e] : 0, end = offsets ? offsets[e + 1] : number;
        for (int64_t k = begin; k < end; ++k) {
            const int64_t p = order ? order[k] : k * each + e;
            const int64_t at = p / each * width * Compare::query_numbers;
            Compare::gradient(gradient[p], values[p], queries + at, table + e * width, to_queries + at, to_row, width);
        }
    }
}

}  // namespace

extern "C" {

// Pairs sorted by their row of the table, in their own order within a row: offsets (rows + 1), order (number).
void group(const int64_t* rows, int64_t number, int64_t* offsets, int64_t* order, int64_t table_rows) {
    for (int64_t e = 0; e <= table_rows; ++e) offsets[e] = 0;
    for (int64_t p = 0; p < number; ++p) ++offsets[rows[p] + 1];
    for (int64_t e = 0; e < table_rows; ++e) offsets[e + 1] += offsets[e];
    // Filling moves each offset to the end of its row, which is where the next one starts: shifted back below.
    for (int64_t p = 0; p < number; ++p) order[offsets[rows[p]]++] = p;
    for (int64_t e = table_rows; e > 0; --e) offsets[e] = offsets[e - 1];
    offsets[0] = 0;
}

#define EXPORT(name, Compare)                                                                                       \
    void name##_every(const float* queries, const float* table, float* out, int64_t number, int64_t candidates,     \
                      int64_t width, int64_t first, int64_t last) {                                                 \
        every<Compare>(queries, table, out, number, candidates, width, first, last);                                \
    }                                                                                                               \
    void name##_pairs(const float* queries, const float* table, float* out, const int64_t* offsets,                 \
                      const int64_t* order, int64_t each, int64_t width, int64_t first, int64_t last) {             \
        pairs<Compare>(queries, table, out, offsets, order, each, width, first, last);                              \
    }                                                                                                               \
    void name##_gradient(const float* to_out, const float* out, const float* queries, const float* table,           \
                         float* to_queries, float* to_table, const int64_t* offsets, const int64_t* order,          \
                         int64_t number, int64_t each, int64_t width, int64_t first, int64_t last) {                \
        gradient<Compare>(to_out, out, queries, table, to_queries, to_table, offsets, order, number, each, width,   \
                          first, last);                                                                             \
    }

EXPORT(product, Product)
EXPORT(manhattan, Manhattan)
EXPORT(scaled_manhattan, ScaledManhattan)
EXPORT(euclidean, Euclidean)
EXPORT(complex, Complex)
}
