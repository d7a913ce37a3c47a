// Work shared among the threads that torch keeps. Threads of our own would contend with them for the cores: OpenMP's
// stay awake for a while after each of torch's operations, and wait for the next.
//
// Compiled with OpenMP, which is then the library that torch has loaded, and called by mmrns/compiled.py.

#include <cstdint>

// Calls each of `parts` functions in a thread of its own, the i-th always in the i-th.
extern "C" void team(void (*const* work)(), int64_t parts) {
#pragma omp parallel for schedule(static, 1) num_threads(static_cast<int>(parts))
    for (int64_t part = 0; part < parts; ++part) work[part]();
}
