// Additive attention of one query, as steps of a training and of a search take it.

#pragma once

#include "floats.h"

namespace {

// tanh(q + k) is 1 − 2 / (e^2q · e^2k + 1), and neither factor depends on the other's index: keys
// come as e^2k, once a sentence, and a query is turned into e^2q once a step. Beyond ±43 the
// exponential leaves float's range and is cut; the product may overflow or vanish, as it should.
inline float twice_exp(float x) {
    x = x < -43.0f ? -43.0f : x;
    x = x > 43.0f ? 43.0f : x;
    return exp_(2 * x);
}

// One sentence, as attention looks at it: bent keys (S, A), values (S, C), and what is no padding.
struct Source {
    long S, A, C;
    const float *keys, *v, *values;
    const uint8_t* mask;
};

// Fill weights w (S) and context c (C) of a bent query q (A).
inline void attend_row(const Source& source, const float* q, float* __restrict__ w,
                       float* __restrict__ c) {
    long S = source.S, A = source.A, C = source.C;
    float largest = -INFINITY;
    for (long s = 0; s < S; ++s) {
        w[s] = 0;
        if (!source.mask[s]) continue;
        const float *k = source.keys + s * A, *v = source.v;
        float score = 0;
        for (long a = 0; a < A; ++a) score += v[a] * (1 - 2 / (q[a] * k[a] + 1));
        w[s] = score;
        largest = score > largest ? score : largest;
    }
    float sum = 0;
    for (long s = 0; s < S; ++s) {
        w[s] = source.mask[s] ? exp_(w[s] - largest) : 0.0f;
        sum += w[s];
    }
    for (long i = 0; i < C; ++i) c[i] = 0;
    for (long s = 0; s < S; ++s) {
        w[s] /= sum;
        if (!source.mask[s]) continue;
        const float* x = source.values + s * C;
        for (long i = 0; i < C; ++i) c[i] += w[s] * x[i];
    }
}

}  // namespace
