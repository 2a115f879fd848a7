// Products of rows with weights that lie in panels, with the instructions of AVX-512.
//
// A panel is 64 outputs wide; within it, the inputs that share 32 bits (one float, two bfloat16,
// four 8-bit integers) of one output after the other. A tile of 6 rows by 64 outputs stays in
// registers over all inputs, so each sum is in the order of the inputs, whatever rows there are.
// `dlcli.nmt.fast.decoding` arranges the weights.

#pragma once

#include <immintrin.h>

#include <cstring>

#include "floats.h"

namespace {

constexpr long WIDTH = 64, LANES = 16, PARTS = WIDTH / LANES;
constexpr int HEIGHT = 6;
constexpr long BLOCK = 96;  // rows that stay in the cache while all panels pass by

// Weights (outputs, inputs) as `dlcli.nmt.fast.decoding.Panels` has them; what is beyond `outputs` in the
// last panel has weights of zero.
struct Panels {
    long outputs, inputs;
    const char* weights;
    const float *bias, *scales;
    const int32_t* starts;
};

// Each kind says how many inputs share 32 bits, how a row is stored and how sums are made. Rows
// take whole units of 32 bits; a scale is what a row's integers are worth.
struct Floats {
    static constexpr long SHARED = 1;
    using Sum = __m512;
    static Sum start(const Panels& p, long column) { return _mm512_loadu_ps(p.bias + column); }
    static Sum add(Sum sum, __m512i row, __m512i weights) {
        return _mm512_fmadd_ps(_mm512_castsi512_ps(row), _mm512_castsi512_ps(weights), sum);
    }
    static __m512 finish(Sum sum, const Panels&, long, float) { return sum; }
    static float put(const float* row, long count, char* __restrict__ out) {
        std::memcpy(out, row, count * sizeof(float));
        return 1;
    }
};

#ifdef __AVX512BF16__
struct BFloats : Floats {
    static constexpr long SHARED = 2;
    static Sum add(Sum sum, __m512i row, __m512i weights) {
        return _mm512_dpbf16_ps(sum, __m512bh(row), __m512bh(weights));
    }
    static float put(const float* row, long count, char* __restrict__ out) {
        for (long i = 0; i < count; ++i) store(((BFloat16*)out)[i], row[i]);
        if (count % 2) ((BFloat16*)out)[count].bits = 0;
        return 1;
    }
};
#endif

#ifdef __AVX512VNNI__
// The instruction takes rows without a sign: 128 is added to them, and what that adds to a sum is
// taken off where the sum starts. A row with no number has a scale that is none.
struct Integers {
    static constexpr long SHARED = 4;
    using Sum = __m512i;
    static Sum start(const Panels& p, long column) { return _mm512_loadu_si512(p.starts + column); }
    static Sum add(Sum sum, __m512i row, __m512i weights) {
        // Through the intrinsic, GCC 12 moves and spills the sums: half the speed.
        asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(row), "v"(weights));
        return sum;
    }
    static __m512 finish(Sum sum, const Panels& p, long column, float scale) {
        __m512 scales = _mm512_mul_ps(_mm512_loadu_ps(p.scales + column), _mm512_set1_ps(scale));
        return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, _mm512_loadu_ps(p.bias + column));
    }
    static float put(const float* row, long count, char* __restrict__ out) {
        float largest = 0, sum = 0;
        for (long i = 0; i < count; ++i) {
            float size = std::fabs(row[i]);
            largest = size > largest ? size : largest;
            sum += size;
        }
        float steps = largest > 0 ? 127 / largest : 0.0f;
        for (long i = 0; i < count; ++i)
            ((uint8_t*)out)[i] = uint8_t(int32_t(__builtin_rintf(row[i] * steps)) + 128);
        for (long i = count; i % SHARED; ++i) out[i] = 0;
        return largest / 127 + 0 * sum;
    }
};
#endif

// How many bytes a row of a kind takes.
template <class Kind>
constexpr long row_bytes(long inputs) {
    return (inputs + Kind::SHARED - 1) / Kind::SHARED * 4;
}

// Rows stored for products, and what each one's integers are worth.
struct Rows {
    char* at;
    float* scales;
    long bytes;
};

template <class Kind, int COUNT>
void multiply_tile(const Panels& panels, long column, Rows rows, float (*out)[WIDTH]) {
    typename Kind::Sum sums[COUNT][PARTS];
#pragma GCC unroll 8
    for (int r = 0; r < COUNT; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < PARTS; ++c) sums[r][c] = Kind::start(panels, column + c * LANES);
    const char* weights = panels.weights + column * rows.bytes;
    for (long u = 0; u < rows.bytes; u += 4, weights += 4 * WIDTH) {
        __m512i parts[PARTS];
#pragma GCC unroll 8
        for (int c = 0; c < PARTS; ++c) parts[c] = _mm512_loadu_si512(weights + 64 * c);
#pragma GCC unroll 8
        for (int r = 0; r < COUNT; ++r) {
            int32_t shared;
            std::memcpy(&shared, rows.at + r * rows.bytes + u, 4);
            __m512i row = _mm512_set1_epi32(shared);
#pragma GCC unroll 8
            for (int c = 0; c < PARTS; ++c) sums[r][c] = Kind::add(sums[r][c], row, parts[c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < COUNT; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < PARTS; ++c)
            _mm512_storeu_ps(out[r] + c * LANES, Kind::finish(sums[r][c], panels, column + c * LANES,
                                                              rows.scales[r]));
}

// Multiply `count` rows; `take(row, column, values)` is given 64 outputs of a row at a time, each
// row's from the first column to the last.
template <class Kind, class Take>
void multiply(const Panels& panels, long count, Rows rows, Take take) {
    float out[HEIGHT][WIDTH];
    for (long block = 0; block < count; block += BLOCK) {
        long end = block + BLOCK < count ? block + BLOCK : count;
        for (long column = 0; column < panels.outputs; column += WIDTH)
            for (long row = block; row < end; row += HEIGHT) {
                Rows here{rows.at + row * rows.bytes, rows.scales + row, rows.bytes};
                long height = end - row < HEIGHT ? end - row : HEIGHT;
                switch (height) {
                    case 1: multiply_tile<Kind, 1>(panels, column, here, out); break;
                    case 2: multiply_tile<Kind, 2>(panels, column, here, out); break;
                    case 3: multiply_tile<Kind, 3>(panels, column, here, out); break;
                    case 4: multiply_tile<Kind, 4>(panels, column, here, out); break;
                    case 5: multiply_tile<Kind, 5>(panels, column, here, out); break;
                    default: multiply_tile<Kind, HEIGHT>(panels, column, here, out);
                }
                for (long r = 0; r < height; ++r) take(row + r, column, out[r]);
            }
    }
}

// Write products (count, outputs) to `out`.
template <class Kind>
void multiply_into(const Panels& panels, long count, Rows rows, float* out) {
    multiply<Kind>(panels, count, rows, [&](long row, long column, const float* values) {
        long left = panels.outputs - column < WIDTH ? panels.outputs - column : WIDTH;
        std::memcpy(out + row * panels.outputs + column, values, left * sizeof(float));
    });
}

}  // namespace
