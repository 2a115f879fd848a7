// Where a query looks, as steps of a training and of a search take it.

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

// Fill the weights w (S) of a query q (A), as e^2q, over the keys of one sentence (S, A), as e^2k;
// the mask (S) says what is no padding.
inline void attention_weights(long S, long A, const float* keys, const float* v,
                              const uint8_t* mask, const float* q, float* __restrict__ w) {
    float largest = -INFINITY, sum = 0;
    for (long s = 0; s < S; ++s) {
        w[s] = 0;
        if (!mask[s]) continue;
        const float* k = keys + s * A;
        float score = 0;
        for (long a = 0; a < A; ++a) score += v[a] * (1 - 2 / (q[a] * k[a] + 1));
        w[s] = score;
        largest = score > largest ? score : largest;
    }
    for (long s = 0; s < S; ++s) {
        w[s] = mask[s] ? exp_(w[s] - largest) : 0.0f;
        sum += w[s];
    }
    for (long s = 0; s < S; ++s) w[s] /= sum;
}

}  // namespace
