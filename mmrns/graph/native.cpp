// Binary searches of an AnswerIndex. torch searches one sorted array of all answers, where every step of every search
// waits for memory; these stay within the few answers of a query.
//
// Compiled and called through mmrns/compiled.py; answers.py says the same in torch. Every function works on the rows
// first..last alone, so that its caller can give each thread a range.

#include <cstdint>

namespace {

// How many of `count` places from 0 on hold, where those that hold come first.
template <typename Holds>
inline int64_t holding(int64_t count, Holds holds) {
    int64_t place = 0;
    while (count > 1) {
        const int64_t half = count / 2;
        place += holds(place + half - 1) ? half : 0;
        count -= half;
    }
    return place + (count == 1 && holds(place));
}

}  // namespace

extern "C" {

// places[i] = how many of `length` sorted numbers are less than wanted[i]. All searches take a step before any takes
// the next, so that their waits for memory overlap.
void less(const int64_t* sorted, int64_t length, const int64_t* wanted, int64_t* places, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) places[i] = 0;
    for (; length > 1; length -= length / 2) {
        const int64_t half = length / 2;
        for (int64_t i = first; i < last; ++i) places[i] += sorted[places[i] + half - 1] < wanted[i] ? half : 0;
    }
    if (length == 1)
        for (int64_t i = first; i < last; ++i) places[i] += sorted[places[i]] < wanted[i];
}

// found[b, j] = whether wanted[b, j] is one of the sorted answers starts[b] .. starts[b] + counts[b].
void contains(const int32_t* answers, const int64_t* starts, const int64_t* counts, const int64_t* wanted, bool* found,
              int64_t each, int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
        const int32_t* own = answers + starts[b];
        for (int64_t j = b * each; j < (b + 1) * each; ++j) {
            const int64_t place = holding(counts[b], [=](int64_t i) { return own[i] < wanted[j]; });
            found[j] = place < counts[b] && own[place] == wanted[j];
        }
    }
}

// found[b, j] = the ranks[b, j]-th number (from 0) that is none of the sorted answers starts[b] .. starts[b] + counts[b].
void complement(const int32_t* answers, const int64_t* starts, const int64_t* counts, const int64_t* ranks,
                int64_t* found, int64_t each, int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
        const int32_t* own = answers + starts[b];
        for (int64_t j = b * each; j < (b + 1) * each; ++j)
            found[j] = ranks[j] + holding(counts[b], [=](int64_t i) { return own[i] - i <= ranks[j]; });
    }
}

}  // extern "C"
