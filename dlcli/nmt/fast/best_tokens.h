// The likeliest tokens of rows whose logits come 64 at a time, so that they need not be kept.

#pragma once

#include <algorithm>
#include <vector>

#include "panels.h"

namespace {

// e^x for x ≤ 0, as `exp_`, for 16 numbers at once; what is no number stays none.
inline __m512 exp_lanes(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x);
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    for (float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                       5.0000001201e-1f, 1.0f, 1.0f})
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(next));
    return _mm512_scalef_ps(p, n);
}

// As `best_tokens` of searching.cpp: log-probabilities and tokens (N, K), the likeliest first, of
// equals the first. The softmax's sum, in 16 parts, goes along with a bar: the largest logit so far.
class BestTokens {
  public:
    std::vector<float> values;
    std::vector<int64_t> tokens;

    void begin(long rows, long count) {
        N = rows, K = count;
        values.assign(N * K, -INFINITY);
        tokens.assign(N * K, 0);
        bars.assign(N, -INFINITY);
        sums.assign(N * LANES, 0.0f);
    }

    // Take the next 64 logits x of a row; tokens that are `never` chosen count for the sum only.
    void take(long row, long column, float* x, const int64_t* never, long nevers) {
        __m512 part[PARTS], top = _mm512_set1_ps(-INFINITY);
        for (long c = 0; c < PARTS; ++c) {
            part[c] = _mm512_loadu_ps(x + c * LANES);
            top = _mm512_max_ps(part[c], top);
        }
        __m512 bar = _mm512_set1_ps(bars[row]), sum = _mm512_loadu_ps(&sums[row * LANES]);
        if (_mm512_cmp_ps_mask(top, bar, _CMP_GT_OQ)) {
            bars[row] = _mm512_reduce_max_ps(_mm512_max_ps(top, bar));
            __m512 higher = _mm512_set1_ps(bars[row]);
            sum = _mm512_mul_ps(sum, exp_lanes(_mm512_sub_ps(bar, higher)));
            bar = higher;
        }
        for (long c = 0; c < PARTS; ++c)
            sum = _mm512_add_ps(sum, exp_lanes(_mm512_sub_ps(part[c], bar)));
        _mm512_storeu_ps(&sums[row * LANES], sum);
        float* best = &values[row * K];
        if (!_mm512_cmp_ps_mask(top, _mm512_set1_ps(best[K - 1]), _CMP_GT_OQ)) return;
        for (long i = 0; i < nevers; ++i)
            if (never[i] >= column && never[i] < column + WIDTH) x[never[i] - column] = -INFINITY;
        insert(column, x, best, &tokens[row * K]);
    }

    void end() {
        for (long n = 0; n < N; ++n) {
            float log_sum = bars[n] + std::log(_mm512_reduce_add_ps(_mm512_loadu_ps(&sums[n * LANES])));
            for (long k = 0; k < K; ++k) values[n * K + k] -= log_sum;
        }
    }

  private:
    long N = 0, K = 0;
    std::vector<float> bars, sums;

    // Put those of 64 logits that are among the K largest so far into their places.
    void insert(long column, const float* x, float* best, int64_t* which) {
        for (long c = 0; c < WIDTH; c += LANES) {
            __m512 part = _mm512_loadu_ps(x + c);
            unsigned larger = _mm512_cmp_ps_mask(part, _mm512_set1_ps(best[K - 1]), _CMP_GT_OQ);
            for (; larger; larger &= larger - 1) {
                long i = c + __builtin_ctz(larger), k = K - 1;
                if (!(x[i] > best[k])) continue;
                for (; k > 0 && x[i] > best[k - 1]; --k) {
                    best[k] = best[k - 1];
                    which[k] = which[k - 1];
                }
                best[k] = x[i];
                which[k] = column + i;
            }
        }
    }
};

}  // namespace
