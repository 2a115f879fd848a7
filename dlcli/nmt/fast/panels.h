// Products of rows with weights that lie in panels, written once in the vector extensions of GCC
// and Clang: they become the instructions of AVX2, AVX-512 or NEON, whichever is compiled for.
//
// A panel is some outputs wide; within it, the inputs of these outputs stand one after the other. A
// tile of 6 rows by one panel stays in registers over all inputs, so each sum is in the order of
// the inputs, whatever rows there are. `dlcli.nmt.fast.decoding` arranges the weights.

#pragma once

#include <algorithm>
#include <cstring>

#include "floats.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr long LANES = 16, PARTS = 4;  // 24 of 32 registers hold sums
#elif defined(__AVX2__)
constexpr long LANES = 8, PARTS = 2;  // 12 of 16
#else
constexpr long LANES = 4, PARTS = 4;  // 24 of NEON's 32
#endif
constexpr long PANEL = LANES * PARTS, HEIGHT = 6;
constexpr long WIDTH = 64;  // outputs, of one panel or several, that are handed on at a time
constexpr long BLOCK = 96;  // rows that stay in the cache while all panels pass by

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float Unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

// Weights (outputs, inputs) as `dlcli.nmt.fast.decoding.Panels` has them, up to a multiple of
// WIDTH.
struct Panels {
    long outputs, inputs;
    const float *weights, *bias;  // no bias is one of zeros
};

// What is multiplied: how many inputs share the place of a float, how a row of them is stored, and
// how a sum grows by the products of one such place with a vector of weights.
struct Floats {
    static constexpr long SHARED = 1;
    static Vector add(Vector sum, float row, Vector weights) { return sum + row * weights; }
    static void put(const float* row, long count, float* __restrict__ out) {
        std::memcpy(out, row, count * sizeof(float));
    }
};

#ifdef __AVX512BF16__
struct BFloats {
    static constexpr long SHARED = 2;
    static Vector add(Vector sum, float row, Vector weights) {
        return _mm512_dpbf16_ps(sum, __m512bh(_mm512_set1_ps(row)), __m512bh(weights));
    }
    static void put(const float* row, long count, float* __restrict__ out) {
        for (long i = 0; i < count; ++i) store(((BFloat16*)out)[i], row[i]);
        if (count % 2) ((BFloat16*)out)[count].bits = 0;
    }
};
#endif

// How many places of floats a row takes.
template <class Kind>
constexpr long places(long inputs) {
    return (inputs + Kind::SHARED - 1) / Kind::SHARED;
}

template <class Kind, int COUNT>
void multiply_tile(const Panels& panels, long column, long count, const float* const* rows,
                   float (*out)[WIDTH]) {
    if constexpr (COUNT > 1)
        if (count < COUNT) return multiply_tile<Kind, COUNT - 1>(panels, column, count, rows, out);
    const long length = places<Kind>(panels.inputs);
    const float* weights = panels.weights + column * length;
    Vector sums[COUNT][PARTS];
#pragma GCC unroll 8
    for (int r = 0; r < COUNT; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < PARTS; ++c)
            sums[r][c] =
                panels.bias ? *(const Unaligned*)(panels.bias + column + c * LANES) : Vector{};
#pragma GCC unroll 4
    for (long i = 0; i < length; ++i, weights += PANEL) {
        Vector parts[PARTS];
#pragma GCC unroll 8
        for (int c = 0; c < PARTS; ++c) parts[c] = *(const Unaligned*)(weights + c * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < COUNT; ++r)
#pragma GCC unroll 8
            for (int c = 0; c < PARTS; ++c)
                sums[r][c] = Kind::add(sums[r][c], rows[r][i], parts[c]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < COUNT; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < PARTS; ++c)
            *(Unaligned*)(out[r] + column % WIDTH + c * LANES) = sums[r][c];
}

// Multiply `count` rows, the i-th at `row(i)`; `take(i, column, values)` is given 64 outputs of a
// row at a time, each row's from the first column to the last.
template <class Kind, class Row, class Take>
void multiply(const Panels& panels, long count, Row row, Take take) {
    float out[BLOCK][WIDTH];
    const float* rows[BLOCK];
    for (long block = 0; block < count; block += BLOCK) {
        long height = std::min(count - block, BLOCK);
        for (long r = 0; r < height; ++r) rows[r] = row(block + r);
        for (long column = 0; column < panels.outputs; column += WIDTH) {
            for (long part = column; part < column + WIDTH; part += PANEL)
                for (long r = 0; r < height; r += HEIGHT)
                    multiply_tile<Kind, HEIGHT>(panels, part, height - r, rows + r, out + r);
            for (long r = 0; r < height; ++r) take(block + r, column, out[r]);
        }
    }
}

// Copy up to 64 outputs, of which so many are left.
inline void copy(const float* values, long left, float* to) {
    std::memcpy(to, values, std::min(left, WIDTH) * sizeof(float));
}

// Write products (count, outputs) to `out`.
template <class Kind, class Row>
void multiply_into(const Panels& panels, long count, Row row, float* out) {
    multiply<Kind>(panels, count, row, [&](long i, long column, const float* values) {
        copy(values, panels.outputs - column, out + i * panels.outputs + column);
    });
}

}  // namespace
