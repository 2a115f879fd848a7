// What a search does with the products of its steps, for a CPU: rows to 8-bit integers and back, and
// the best tokens of each row. `dlcli.nmt.fast.stepping` says what the functions take.
//
// Rows are shared out among OpenMP threads and every sum stays within a row: results depend neither
// on the number of threads nor on the other rows.

#include <vector>

#include "floats.h"

namespace {

// Put a value into its place among the K largest so far, behind its equals.
inline void insert(long K, float value, int64_t place, float* best, int64_t* which) {
    if (!(value > best[K - 1])) return;
    long k = K - 1;
    for (; k > 0 && value > best[k - 1]; --k) {
        best[k] = best[k - 1];
        if (which) which[k] = which[k - 1];
    }
    best[k] = value;
    if (which) which[k] = place;
}

// The K largest logits of each row, the largest first, as logarithms of the whole row's softmax; of
// equals the first. Tokens that are `never` chosen count for the softmax only. K + nevers <= V.
//
// The K largest lie in blocks whose maxima are at least the K-th largest maximum.
template <typename Logit>
void best_tokens(int threads, long N, long V, long K, Logit logit, const int64_t* never,
                 long nevers, float* values, int64_t* tokens) {
    const long width = 64, blocks = (V + width - 1) / width;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> row(blocks * width, -INFINITY), tops(blocks), bars(K);
        float* e = row.data();
        auto top_of = [&](long b) {
            float top = -INFINITY;
            for (long i = b * width; i < (b + 1) * width; ++i) top = e[i] > top ? e[i] : top;
            return top;
        };
#pragma omp for schedule(static)
        for (long n = 0; n < N; ++n) {
            float* best = values + n * K;
            int64_t* which = tokens + n * K;
            float largest = -INFINITY, sum = 0;
            for (long b = 0; b < blocks; ++b) {
                long end = (b + 1) * width < V ? (b + 1) * width : V;
                for (long i = b * width; i < end; ++i) e[i] = logit(n, i);
                tops[b] = top_of(b);
                largest = tops[b] > largest ? tops[b] : largest;
            }
            for (long i = 0; i < V; ++i) sum += exp_(e[i] - largest);
            float log_sum = largest + std::log(sum);
            for (long i = 0; i < nevers; ++i) {
                e[never[i]] = -INFINITY;
                tops[never[i] / width] = top_of(never[i] / width);
            }
            for (long k = 0; k < K; ++k) {
                best[k] = bars[k] = -INFINITY;
                which[k] = V - 1 - k;  // should nothing be a number
            }
            for (long b = 0; b < blocks; ++b) insert(K, tops[b], b, bars.data(), nullptr);
            for (long b = 0; b < blocks; ++b) {
                if (tops[b] < bars[K - 1]) continue;
                for (long i = b * width; i < (b + 1) * width; ++i)
                    insert(K, e[i], i, best, which);
            }
            for (long k = 0; k < K; ++k) best[k] -= log_sum;
        }
    }
}

// Rows as 8-bit integers, each with a scale of its own, which is no number where a value is none.
void quantise(int threads, long N, long K, const float* rows, int8_t* out, float* scales) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < N; ++n) {
        const float* x = rows + n * K;
        float largest = 0, sum = 0;
        for (long i = 0; i < K; ++i) {
            float size = std::fabs(x[i]);
            largest = size > largest ? size : largest;
            sum += size;
        }
        float steps = largest > 0 ? 127 / largest : 0.0f;
        for (long i = 0; i < K; ++i) out[n * K + i] = int8_t(__builtin_rintf(x[i] * steps));
        scales[n] = largest / 127 + 0 * sum;
    }
}

// What products of 8-bit rows and columns stand for.
struct Scaled {
    const int32_t* products;
    const float *rows, *columns, *bias;
    long width;
    float operator()(long n, long i) const {
        return products[n * width + i] * (rows[n] * columns[i]) + bias[i];
    }
};

void rescale(int threads, long N, Scaled scaled, float* out) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long n = 0; n < N; ++n)
        for (long i = 0; i < scaled.width; ++i) out[n * scaled.width + i] = scaled(n, i);
}

}  // namespace

extern "C" {

void dl_best_tokens(int low, int threads, long N, long V, long K, const void* logits,
                    const int64_t* never, long nevers, float* values, int64_t* tokens) {
    if (low) {
        auto logit = [=](long n, long i) { return load(((const BFloat16*)logits)[n * V + i]); };
        best_tokens(threads, N, V, K, logit, never, nevers, values, tokens);
    } else {
        auto logit = [=](long n, long i) { return ((const float*)logits)[n * V + i]; };
        best_tokens(threads, N, V, K, logit, never, nevers, values, tokens);
    }
}

void dl_best_scaled(int, int threads, long N, long V, long K, const int32_t* products,
                    const float* rows, const float* columns, const float* bias,
                    const int64_t* never, long nevers, float* values, int64_t* tokens) {
    Scaled scaled{products, rows, columns, bias, V};
    best_tokens(threads, N, V, K, scaled, never, nevers, values, tokens);
}

void dl_quantise(int, int threads, long N, long K, const float* rows, int8_t* out, float* scales) {
    quantise(threads, N, K, rows, out, scales);
}

void dl_rescale(int, int threads, long N, long M, const int32_t* products, const float* rows,
                const float* columns, const float* bias, float* out) {
    rescale(threads, N, Scaled{products, rows, columns, bias, M}, out);
}
}
