// Every function of the compiled code on small numbers that are the same everywhere: what it prints
// on one processor is held against what it prints on another (`test_portable.py`).

#include <cstdio>

#include "../../../dlcli/nmt/fast/decoding.cpp"
#include "../../../dlcli/nmt/fast/elementwise.cpp"

using Numbers = std::vector<float>;

static Numbers draw(long count, float size = 1) {
    static uint32_t state = 1;
    Numbers made(count);
    for (float& one : made) {
        state = state * 1664525 + 1013904223;
        one = size * (float(state >> 8) / float(1 << 23) - 1);
    }
    return made;
}

static const char* kind = "float";

template <class T>
static void print(const char* name, const std::vector<T>& values) {
    std::printf("%s %s", kind, name);
    for (const T& one : values) std::printf(" %.7g", double(load(one)));
    std::printf("\n");
}

template <class Low>
static std::vector<Low> draw_low(long count, float size = 1) {
    Numbers values = draw(count, size);
    std::vector<Low> made(count);
    for (long i = 0; i < count; ++i) store(made[i], values[i]);
    return made;
}

template <class Low>
static void elementwise(int low) {
    const long B = 4, S = 5, A = 19, C = 21, N = 37, V = 203;
    const uint8_t mask[B * S] = {1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0};
    Numbers keys = draw(B * S * A), v = draw(A), values = draw(B * S * C), grad = draw(B * C);
    Numbers weights(B * S), context(B * C), sums(B * S * A), rows(B * A);
    std::vector<Low> query = draw_low<Low>(B * A), out = query, context_low(B * C);
    dl_exp_keys(0, 1, B * S * A, keys.data());
    dl_attend(low, 1, B, S, A, C, query.data(), A, keys.data(), v.data(), values.data(), mask,
              weights.data(), context.data(), context_low.data(), C);
    dl_attend_backward(low, 1, B, S, A, C, query.data(), A, keys.data(), v.data(), values.data(),
                       weights.data(), grad.data(), out.data(), A, sums.data(), rows.data());
    print("weights", weights), print("context", context), print("context_low", context_low);
    print("query", out), print("keys", sums), print("v", rows);
    std::vector<Low> x = draw_low<Low>(B * 3 * N, 3), c = draw_low<Low>(B * 3 * N);
    std::vector<Low> y = draw_low<Low>(B * 3 * N), back(B * 4 * N), next_low(B * N);
    Numbers bias = draw(2 * N), hidden = draw(B * N), kept(B * 4 * N), next(B * N);
    Numbers flowing = draw(B * N);
    dl_gates(low, 1, B, N, 2, x.data(), 3 * N, c.data(), y.data(), 3 * N, bias.data(),
             hidden.data(), mask, kept.data(), next.data(), next_low.data());
    dl_gates_backward(low, 1, B, N, flowing.data(), kept.data(), hidden.data(), mask, back.data(),
                      4 * N);
    print("gates", kept), print("state", next), print("state_low", next_low);
    print("back", back), print("flowing", flowing);
    std::vector<Low> logits = draw_low<Low>(B * V, 9);
    const int64_t targets[B] = {3, -1, 202, 0};
    Numbers losses(B), nlls(B), columns(V);
    dl_softmax_grads(low, 1, B, V, 0.1f, logits.data(), targets, losses.data(), nlls.data());
    dl_add_columns(low, 1, B, V, logits.data(), columns.data());
    print("logits", logits), print("losses", losses), print("nlls", nlls), print("sums", columns);
}

struct Drawn {
    Numbers weights, bias;
    Panels panels;
    Drawn(long outputs, long inputs)
        : weights(draw((outputs + WIDTH) / WIDTH * WIDTH * inputs)), bias(weights.size()) {
        // The same weights in panels of any width.
        Numbers plain = draw(outputs * inputs);
        long whole = (outputs + WIDTH - 1) / WIDTH * WIDTH;
        for (long o = 0; o < whole; ++o) {
            bias[o] = o < outputs ? 0.1f * float(o % 7) : -INFINITY;
            for (long i = 0; i < inputs; ++i)
                weights[o / PANEL * PANEL * inputs + i * PANEL + o % PANEL] =
                    o < outputs ? plain[o * inputs + i] : 0.0f;
        }
        panels = {outputs, inputs, weights.data(), bias.data()};
    }
};

static void search() {
    const long V = 70, E = 6, N = 9, C = 10, A = 5, R = 7, B = 3, S = 4, X = 3 * N + 2 * R;
    Drawn word(X, E), context(X, C), state(3 * N, N), query(A + 2 * R, N), output(V, R);
    Numbers bias = draw(N), v = draw(A), embeddings = draw(V * E), table(V * X);
    Numbers keys = draw(B * S * A), values = draw(B * S * C), hidden = draw(B * N);
    Numbers contexts = draw(B * C);
    std::vector<uint8_t> known(V);
    const uint8_t mask[B * S] = {1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0};
    const int64_t never[] = {0, 1}, limit[B] = {9, 5, 12};
    dl_exp_keys(0, 1, B * S * A, keys.data());
    Network net{V,
                N,
                A,
                R,
                1,
                1,
                word.panels,
                context.panels,
                state.panels,
                query.panels,
                output.panels,
                bias.data(),
                v.data(),
                embeddings.data(),
                table.data(),
                known.data(),
                never,
                2};
    Batch batch{B,
                S,
                keys.data(),
                values.data(),
                hidden.data(),
                contexts.data(),
                mask,
                limit,
                Rules{4, 2, 1, 2, 0.6f}};
    Search* search = nullptr;
    dl_search_begin(0, 1, &net, &batch, &search);
    int64_t live = 1, counts[B], total, lengths[2 * B], tokens[1000];
    while (live) dl_search_step(0, 1, search, 1, &live);
    dl_search_sizes(0, 1, search, B, counts, &total);
    float log_probs[2 * B], scores[2 * B];
    uint8_t finished[2 * B];
    dl_search_result(0, 1, search, B, log_probs, scores, finished, lengths, tokens);
    dl_search_end(0, 1, search);
    print("scores", Numbers(scores, scores + counts[0] + counts[1] + counts[2]));
    print("tokens", Numbers(tokens, tokens + total));
}

int main() {
    elementwise<float>(0);
    search();
    kind = "bfloat16";
    elementwise<BFloat16>(1);
}
