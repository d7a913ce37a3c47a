// The sums of L_con's ratio (contrastive.py) and their gradient: one pass over the pairs of a batch, where torch makes
// several. Compiled and called through mmrns/compiled.py. Every function works on the rows first..last alone.

#include <cstdint>

extern "C" {

// above = sum of likeness over positives, below = sum of likeness * negative, both over what is present; flags are bytes.
void ratio_sums(const float* __restrict__ likeness, const uint8_t* __restrict__ positive,
                const float* __restrict__ negative, const uint8_t* __restrict__ present, float* __restrict__ above,
                float* __restrict__ below, int64_t width, int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
        const float *e = likeness + b * width, *p = negative + b * width;
        const uint8_t *is = positive + b * width, *there = present + b * width;
        float over = 0, under = 0;
        for (int64_t k = 0; k < width; ++k) {
            const float counted = there[k] ? e[k] : 0.0f;
            over += is[k] ? counted : 0.0f;
            under += p[k] * counted;
        }
        above[b] = over;
        below[b] = under;
    }
}

// Gradient to the logarithm of likeness.
void ratio_gradient(const float* __restrict__ to_above, const float* __restrict__ to_below,
                    const float* __restrict__ likeness, const uint8_t* __restrict__ positive,
                    const float* __restrict__ negative, const uint8_t* __restrict__ present,
                    float* __restrict__ to_similarity, int64_t width, int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
        const float *e = likeness + b * width, *p = negative + b * width;
        const uint8_t *is = positive + b * width, *there = present + b * width;
        float* out = to_similarity + b * width;
        const float over = to_above[b], under = to_below[b];
        for (int64_t k = 0; k < width; ++k)
            out[k] = there[k] ? e[k] * ((is[k] ? over : 0.0f) + under * p[k]) : 0.0f;
    }
}

}  // extern "C"
