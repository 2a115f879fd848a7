// What lies between the products of the translator's recurrences and softmax, for a CPU.
//
// `dlcli.nmt.fast.kernels` and `dlcli.nmt.fast.recurrence` say what each function computes; this is
// the same in one pass over memory. Rows are shared out among OpenMP threads and every sum stays
// within a row, or runs through rows in order: results do not depend on the number of threads.
// There is no torch in it; `dlcli.nmt.fast.kernels` says what the functions take.
//
// A `long` after a pointer is the distance between its rows. Low is float or bfloat16.

#include <cstring>
#include <vector>

#include "attend.h"

namespace {

void exp_keys(int threads, long count, float* keys) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long i = 0; i < count; ++i) keys[i] = twice_exp(keys[i]);
}

template <typename Low>
void attend(int threads, long B, long S, long A, long C, const Low* query, long query_row,
            const float* keys, const float* v, const float* values, const uint8_t* mask,
            float* weights, float* context, Low* context_low, long context_low_row) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long b = 0; b < B; ++b) {
        std::vector<float> q(A);
        for (long a = 0; a < A; ++a) q[a] = twice_exp(load(query[b * query_row + a]));
        float *w = weights + b * S, *__restrict__ c = context + b * C;
        attention_weights(S, A, keys + b * S * A, v, mask + b * S, q.data(), w);
        for (long i = 0; i < C; ++i) c[i] = 0;
        for (long s = 0; s < S; ++s) {
            if (!mask[b * S + s]) continue;
            const float* x = values + (b * S + s) * C;
            for (long i = 0; i < C; ++i) c[i] += w[s] * x[i];
        }
        if (context_low)
            for (long i = 0; i < C; ++i) store(context_low[b * context_low_row + i], c[i]);
    }
}

template <typename Low>
void attend_backward(int threads, long B, long S, long A, long C, const Low* query, long query_row,
                     const float* keys, const float* v, const float* values, const float* weights,
                     const float* context_grad, Low* query_grad, long query_grad_row,
                     float* keys_sum, float* v_rows) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long b = 0; b < B; ++b) {
        std::vector<float> q(A), sum(A, 0.0f), grads(S);
        for (long a = 0; a < A; ++a) q[a] = twice_exp(load(query[b * query_row + a]));
        const float* w = weights + b * S;
        const float* dc = context_grad + b * C;
        float* v_row = v_rows + b * A;
        float mean = 0;
        for (long s = 0; s < S; ++s) {
            const float* x = values + (b * S + s) * C;
            float dot = 0;
            if (w[s] != 0)
                for (long i = 0; i < C; ++i) dot += dc[i] * x[i];
            grads[s] = dot;
            mean += w[s] * dot;
        }
        for (long s = 0; s < S; ++s) {
            float g = w[s] * (grads[s] - mean);
            if (g == 0) continue;
            const float* k = keys + (b * S + s) * A;
            float* into = keys_sum + (b * S + s) * A;
            for (long a = 0; a < A; ++a) {
                float t = 1 - 2 / (q[a] * k[a] + 1);
                float slope = g - g * t * t;
                v_row[a] += g * t;
                into[a] += slope;
                sum[a] += slope;
            }
        }
        for (long a = 0; a < A; ++a) store(query_grad[b * query_grad_row + a], sum[a] * v[a]);
    }
}

template <typename Low>
void gates(int threads, long B, long N, long groups, const Low* inputs, long inputs_row,
           const Low* contexts, const Low* state, long state_row, const float* bias_n,
           const float* hidden, const uint8_t* mask, float* kept, float* out, Low* out_low) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long b = 0; b < B; ++b) {
        const Low *x = inputs + b * inputs_row, *y = state + b * state_row;
        const Low* c = contexts ? contexts + b * 3 * N : nullptr;
        const float *h = hidden + b * N, *bias = bias_n + b / (B / groups) * N;
        float *reset = kept + b * 4 * N, *update = reset + N, *candidate = update + N;
        float *recurrent = candidate + N, *to = out + b * N;
        bool reads = !mask || mask[b];
        for (long i = 0; i < N; ++i) {
            float r = load(x[i]) + load(y[i]), z = load(x[N + i]) + load(y[N + i]);
            float n = load(x[2 * N + i]), u = load(y[2 * N + i]) + bias[i];
            if (c) {
                r += load(c[i]);
                z += load(c[N + i]);
                n += load(c[2 * N + i]);
            }
            r = sigmoid_(r);
            z = sigmoid_(z);
            n = tanh_(n + r * u);
            reset[i] = r;
            update[i] = z;
            candidate[i] = n;
            recurrent[i] = u;
            to[i] = reads ? n + z * (h[i] - n) : h[i];
        }
        if ((void*)out_low != (void*)out)
            for (long i = 0; i < N; ++i) store(out_low[b * N + i], to[i]);
    }
}

template <typename Low>
void gates_backward(int threads, long B, long N, float* grad, const float* kept,
                    const float* hidden, const uint8_t* mask, Low* gates_grad,
                    long gates_grad_row) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long b = 0; b < B; ++b) {
        const float *reset = kept + b * 4 * N, *update = reset + N, *candidate = update + N;
        const float *recurrent = candidate + N, *h = hidden + b * N;
        Low *to_n = gates_grad + b * gates_grad_row, *to_r = to_n + N, *to_z = to_r + N;
        Low* to_recurrent = to_z + N;
        float* g = grad + b * N;
        bool reads = !mask || mask[b];
        for (long i = 0; i < N; ++i) {
            float flowing = reads ? g[i] : 0.0f;
            float r = reset[i], z = update[i], n = candidate[i];
            float dn = flowing * (1 - z) * (1 - n * n);
            store(to_n[i], dn);
            store(to_recurrent[i], dn * r);
            store(to_r[i], dn * recurrent[i] * r * (1 - r));
            store(to_z[i], flowing * (h[i] - n) * z * (1 - z));
            g[i] = reads ? g[i] * z : g[i];
        }
    }
}

template <typename Low>
void softmax_grads(int threads, long M, long V, float smoothing, Low* logits,
                   const int64_t* targets, float* losses, float* nlls) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> kept(V);
        float* e = kept.data();
#pragma omp for schedule(static)
        for (long m = 0; m < M; ++m) {
            Low* x = logits + m * V;
            if (targets[m] < 0) {  // a row that only fills up
                std::memset((void*)x, 0, V * sizeof(Low));
                losses[m] = nlls[m] = 0;
                continue;
            }
            float largest = -INFINITY, total = 0, sum = 0;
#pragma omp simd reduction(+ : total) reduction(max : largest)
            for (long i = 0; i < V; ++i) {
                float value = load(x[i]);
                e[i] = value;
                total += value;
                largest = value > largest ? value : largest;
            }
            float wanted = e[targets[m]];
            for (long i = 0; i < V; ++i) {
                e[i] = exp_(e[i] - largest);
                sum += e[i];
            }
            float log_sum = largest + std::log(sum), share = 1 / sum, floor = smoothing / V;
            for (long i = 0; i < V; ++i) store(x[i], e[i] * share - floor);
            store(x[targets[m]], e[targets[m]] * share - floor - (1 - smoothing));
            nlls[m] = log_sum - wanted;
            losses[m] = (1 - smoothing) * nlls[m] + smoothing * (log_sum - total / V);
        }
    }
}

template <typename Low>
void add_columns(int threads, long M, long V, const Low* rows, float* sums) {
    const long width = 256;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long start = 0; start < V; start += width) {
        long count = V - start < width ? V - start : width;
        for (long m = 0; m < M; ++m)
            for (long i = 0; i < count; ++i) sums[start + i] += load(rows[m * V + start + i]);
    }
}

// Call with an element of Low, float or bfloat16.
template <class Call>
void with(int low, Call call) {
    low ? call(BFloat16()) : call(float());
}

}  // namespace

// Functions with C names; `low` says whether Low is bfloat16.

extern "C" {

void dl_exp_keys(int, int threads, long count, float* keys) { exp_keys(threads, count, keys); }

void dl_attend(int low, int threads, long B, long S, long A, long C, const void* query,
               long query_row, const float* keys, const float* v, const float* values,
               const uint8_t* mask, float* weights, float* context, void* context_low,
               long context_low_row) {
    with(low, [=](auto kind) {
        using Low = decltype(kind);
        attend(threads, B, S, A, C, (const Low*)query, query_row, keys, v, values, mask, weights,
               context, (Low*)context_low, context_low_row);
    });
}

void dl_attend_backward(int low, int threads, long B, long S, long A, long C, const void* query,
                        long query_row, const float* keys, const float* v, const float* values,
                        const float* weights, const float* context_grad, void* query_grad,
                        long query_grad_row, float* keys_sum, float* v_rows) {
    with(low, [=](auto kind) {
        using Low = decltype(kind);
        attend_backward(threads, B, S, A, C, (const Low*)query, query_row, keys, v, values, weights,
                        context_grad, (Low*)query_grad, query_grad_row, keys_sum, v_rows);
    });
}

void dl_gates(int low, int threads, long B, long N, long groups, const void* inputs,
              long inputs_row, const void* contexts, const void* state, long state_row,
              const float* bias_n, const float* hidden, const uint8_t* mask, float* kept,
              float* out, void* out_low) {
    with(low, [=](auto kind) {
        using Low = decltype(kind);
        gates(threads, B, N, groups, (const Low*)inputs, inputs_row, (const Low*)contexts,
              (const Low*)state, state_row, bias_n, hidden, mask, kept, out, (Low*)out_low);
    });
}

void dl_gates_backward(int low, int threads, long B, long N, float* grad, const float* kept,
                       const float* hidden, const uint8_t* mask, void* gates_grad,
                       long gates_grad_row) {
    with(low, [=](auto kind) {
        using Low = decltype(kind);
        gates_backward(threads, B, N, grad, kept, hidden, mask, (Low*)gates_grad, gates_grad_row);
    });
}

void dl_softmax_grads(int low, int threads, long M, long V, float smoothing, void* logits,
                      const int64_t* targets, float* losses, float* nlls) {
    with(low, [=](auto kind) {
        softmax_grads(threads, M, V, smoothing, (decltype(kind)*)logits, targets, losses, nlls);
    });
}

void dl_add_columns(int low, int threads, long M, long V, const void* rows, float* sums) {
    with(low, [=](auto kind) { add_columns(threads, M, V, (const decltype(kind)*)rows, sums); });
}
}
