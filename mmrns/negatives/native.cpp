// The passes of MMRNS's gates that matrix products leave over: one read and one write each, where torch makes several.
//
// Compiled and called through mmrns/compiled.py; loops.py says the same in torch. Every function works on the rows
// first..last alone, so that its caller can give each thread a range.

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

// 1 / (1 + exp(-x)) within a few units in the last place, without a branch, so that a loop of it is vectorised.
inline float sigmoid(float x) {
    x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;  // a NaN stays one
    const float whole = std::rint(-1.44269504f * x);
    const float rest = -x - 0.693147181f * whole;
    float power = 1.0f / 5040;
    power = power * rest + 1.0f / 720;
    power = power * rest + 1.0f / 120;
    power = power * rest + 1.0f / 24;
    power = power * rest + 1.0f / 6;
    power = power * rest + 0.5f;
    power = power * rest + 1.0f;
    power = power * rest + 1.0f;
    const int32_t bits = (static_cast<int32_t>(whole) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return 1.0f / (1.0f + power * scale);
}

}  // namespace

extern "C" {

// gates = sigmoid(gates), z = entities * gates, squares = |z|^2 of each row.
void gate(float* __restrict__ gates, const float* __restrict__ entities, float* __restrict__ z,
          float* __restrict__ squares, int64_t width, int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
        float* g = gates + n * width;
        const float* e = entities + n * width;
        float* out = z + n * width;
        float sum = 0;
        for (int64_t i = 0; i < width; ++i) {
            g[i] = sigmoid(g[i]);
            out[i] = e[i] * g[i];
            sum += out[i] * out[i];
        }
        squares[n] = sum;
    }
}

// From the gradient to z, of products alone, and that to squares: the one to the logits, in place of the former; adds
// to those of the entities and of the bias, which is this range's own.
void gate_gradient(float* __restrict__ to_z, const float* __restrict__ to_squares, const float* __restrict__ entities,
                   const float* __restrict__ gates, float* __restrict__ to_entities, float* __restrict__ to_bias,
                   int64_t width, int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
        float* d = to_z + n * width;
        const float *e = entities + n * width, *g = gates + n * width;
        float* to_e = to_entities + n * width;
        const float twice = 2 * to_squares[n];
        for (int64_t i = 0; i < width; ++i) {
            const float of_z = (d[i] + twice * e[i] * g[i]) * g[i];
            to_e[i] += of_z;
            d[i] = of_z * e[i] * (1 - g[i]);
            to_bias[i] += d[i];
        }
    }
}

// out (entities, R, outer, inner) = gates (R, outer, inner) * affinity (entities, outer, inner) * scale of the slot.
// Slots are the outer places or the inner ones: scale is (entities, R, outer) or (entities, R, inner).
void coefficients(const float* __restrict__ gates, const float* __restrict__ affinity, const float* __restrict__ scale,
                  float* __restrict__ out, int64_t relations, int64_t outer, int64_t inner, int64_t slots_inner,
                  int64_t first, int64_t last) {
    const int64_t both = outer * inner, slots = slots_inner ? inner : outer;
    for (int64_t n = first; n < last; ++n)
        for (int64_t r = 0; r < relations; ++r)
            for (int64_t o = 0; o < outer; ++o) {
                const float *g = gates + r * both + o * inner, *m = affinity + n * both + o * inner;
                const float* s = scale + (n * relations + r) * slots;
                float* c = out + (n * relations + r) * both + o * inner;
                if (slots_inner)
                    for (int64_t i = 0; i < inner; ++i) c[i] = g[i] * m[i] * s[i];
                else
                    for (int64_t i = 0; i < inner; ++i) c[i] = g[i] * m[i] * s[o];
            }
}

// Gradients of `coefficients`: writes those to the affinity and the scale, adds to that of the gates, which is this
// range's own.
void coefficients_gradient(const float* __restrict__ to_out, const float* __restrict__ gates,
                           const float* __restrict__ affinity, const float* __restrict__ scale,
                           float* __restrict__ to_gates, float* __restrict__ to_affinity, float* __restrict__ to_scale,
                           int64_t relations, int64_t outer, int64_t inner, int64_t slots_inner, int64_t first,
                           int64_t last) {
    const int64_t both = outer * inner, slots = slots_inner ? inner : outer;
    for (int64_t n = first; n < last; ++n) {
        for (int64_t i = 0; i < both; ++i) to_affinity[n * both + i] = 0;
        for (int64_t r = 0; r < relations; ++r) {
            const float* s = scale + (n * relations + r) * slots;
            float* to_s = to_scale + (n * relations + r) * slots;
            for (int64_t i = 0; i < slots; ++i) to_s[i] = 0;
            for (int64_t o = 0; o < outer; ++o) {
                const float *g = gates + r * both + o * inner, *m = affinity + n * both + o * inner;
                const float* d = to_out + (n * relations + r) * both + o * inner;
                float *to_g = to_gates + r * both + o * inner, *to_m = to_affinity + n * both + o * inner;
                if (slots_inner) {
                    for (int64_t i = 0; i < inner; ++i) {
                        const float scaled = d[i] * s[i];
                        to_g[i] += scaled * m[i];
                        to_m[i] += scaled * g[i];
                        to_s[i] += d[i] * g[i] * m[i];
                    }
                } else {
                    float sum = 0;
                    for (int64_t i = 0; i < inner; ++i) {
                        const float scaled = d[i] * s[o];
                        to_g[i] += scaled * m[i];
                        to_m[i] += scaled * g[i];
                        sum += d[i] * g[i] * m[i];
                    }
                    to_s[o] = sum;
                }
            }
        }
    }
}

// The recursions of a straight-through gradient (gumbel.py), a row at a time, so that its vectors stay in the cache.
// share (rows, number); draws and to_draws (rows, number, width); mean (rows, width) of what is never drawn. Writes
// to_drawn (rows, number) before it is multiplied by the share, and what one step beyond the last draw has summed up:
// summed (rows, width) and summed_c (rows).
void draws_gradient(const float* __restrict__ share, const float* __restrict__ draws, const float* __restrict__ to_draws,
                    const float* __restrict__ mean, float* __restrict__ to_drawn, float* __restrict__ summed,
                    float* __restrict__ summed_c, int64_t number, int64_t width, int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
        const float* a = share + b * number;
        float *c = to_drawn + b * number, *sum = summed + b * width;
        std::memcpy(sum, mean + b * width, width * sizeof *sum);  // first the running mean m_i
        for (int64_t i = number; i-- > 0;) {
            const float *e = draws + (b * number + i) * width, *q = to_draws + (b * number + i) * width;
            const float of_mean = 1 - a[i];
            float product = 0;
            for (int64_t k = 0; k < width; ++k) {
                sum[k] = of_mean * sum[k] + a[i] * e[k];
                product += q[k] * sum[k];
            }
            c[i] = product;
        }
        for (int64_t k = 0; k < width; ++k) sum[k] = 0;
        float left = 1, sum_c = 0;
        for (int64_t i = 0; i < number; ++i) {
            const float *e = draws + (b * number + i) * width, *q = to_draws + (b * number + i) * width;
            float product = 0;
            for (int64_t k = 0; k < width; ++k) {
                sum[k] = q[k] + left * sum[k];
                product += sum[k] * e[k];
            }
            sum_c = c[i] + left * sum_c;
            c[i] = product - sum_c;
            left = 1 - a[i];
        }
        for (int64_t k = 0; k < width; ++k) sum[k] *= left;
        summed_c[b] = sum_c * left;
    }
}

}
