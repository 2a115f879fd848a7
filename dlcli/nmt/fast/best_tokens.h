// The likeliest tokens of rows whose logits come 64 at a time, so that they need not be kept.

#pragma once

#include <vector>

#include "panels.h"

namespace {

// As `best_tokens` of `dlcli.nmt.search`: log-probabilities and tokens (N, K), the likeliest first,
// of equals the first. The softmax's sum, in LANES parts, goes along with a bar: the largest logit
// so far. What is no number is none of the best, and the sum is none either.
class BestTokens {
  public:
    std::vector<float> values;
    std::vector<int64_t> tokens;

    void begin(long rows, long count) {
        K = count;
        values.assign(rows * K, -INFINITY);
        tokens.assign(rows * K, 0);
        bars.assign(rows, -INFINITY);
        sums.assign(rows * LANES, 0.0f);
    }

    // Take the next 64 logits x of a row; tokens that are `never` chosen count for the sum only.
    void take(long row, long column, float* __restrict__ x, const int64_t* never, long nevers) {
        float top = -INFINITY, bar = bars[row];
        for (long i = 0; i < WIDTH; ++i) top = x[i] > top ? x[i] : top;
        float* sum = &sums[row * LANES];
        if (top > bar) {
            float less = exp_(bar - top);
            for (long i = 0; i < LANES; ++i) sum[i] *= less;
            bars[row] = bar = top;
        }
        float part[LANES] = {};
        for (long c = 0; c < WIDTH; c += LANES)
            for (long i = 0; i < LANES; ++i) part[i] += exp_(x[c + i] - bar);
        for (long i = 0; i < LANES; ++i) sum[i] += part[i];
        if (top > values[row * K + K - 1]) insert(row, column, x, never, nevers);
    }

    void end() {
        for (long n = 0; n < long(bars.size()); ++n) {
            float sum = 0;
            for (long i = 0; i < LANES; ++i) sum += sums[n * LANES + i];
            for (long k = 0; k < K; ++k) values[n * K + k] -= bars[n] + std::log(sum);
        }
    }

  private:
    long K = 0;
    std::vector<float> bars, sums;

    // Put those of 64 logits that are among the K largest so far into their places.
    void insert(long row, long column, float* x, const int64_t* never, long nevers) {
        for (long i = 0; i < nevers; ++i)
            if (never[i] >= column && never[i] < column + WIDTH) x[never[i] - column] = -INFINITY;
        float* best = &values[row * K];
        int64_t* which = &tokens[row * K];
        for (long i = 0; i < WIDTH; ++i) {
            if (!(x[i] > best[K - 1])) continue;
            long k = K - 1;
            for (; k > 0 && x[i] > best[k - 1]; --k) {
                best[k] = best[k - 1];
                which[k] = which[k - 1];
            }
            best[k] = x[i];
            which[k] = column + i;
        }
    }
};

}  // namespace
