// A whole beam search of one batch, on one thread of a CPU: the decoder's steps and the bookkeeping
// between them. `dlcli.nmt.fast.decoding` says what the functions take.
//
// Every sum stays within a row and in one order: what a sentence becomes does not depend on others.
// Words have their part in the decoder's products computed once, when they first occur. So do the
// encoder's states, before the search begins: a context is an average of states, and its products
// are that average of theirs.
//
// Legend: B sentences, S source length, N hidden, A attention size, R readout, units of it (2R with
// maxout), X = 3N + units what words and contexts add to, V vocabulary, K extensions.

#include <atomic>
#include <memory>

#include "attend.h"
#include "beam.h"
#include "best_tokens.h"
#include "panels.h"

namespace {

// What does not change from batch to batch; see `Network` of decoding.py, which has the same
// fields.
struct Network {
    long V, N, A, R, maxout, updated;
    Panels word;     // embedding → X, gates and readout, with the biases of both
    Panels context;  // encoder's state → X
    Panels state;    // N → 3N gates
    Panels query;    // N → A and the readout's units
    Panels output;   // R → V
    const float *bias_n, *v, *embeddings;
    float* table;    // (V, X) of the words that `known` marks
    uint8_t* known;  // (V,)
    const int64_t* never;
    long nevers;
};

// A batch: see `Batch` of decoding.py, which has the same fields.
struct Batch {
    long B, S;
    const float *keys, *values, *hidden, *contexts;
    const uint8_t* mask;
    const int64_t* limit;
    Rules rules;
};

struct Search {
    virtual ~Search() = default;
    virtual void step() = 0;
    std::unique_ptr<Beam> beam;
};

// Rows of floats, in memory that is kept from step to step.
class Rows {
  public:
    explicit Rows(long length) : length(length) {}
    Rows(long length, const float* from, long count)
        : length(length), at(from, from + count * length) {}
    void resize(long count) {
        if (long(at.size()) < count * length) at.resize(count * length);
    }
    float* operator()(long row) { return at.data() + row * length; }
    void swap(Rows& other) { at.swap(other.at); }

  private:
    long length;
    std::vector<float> at;
};

// Multiply rows of floats, see `multiply`.
template <class Kind, class Take>
void multiply_rows(const Panels& panels, long count, const float* from, Take take) {
    Rows rows(places<Kind>(panels.inputs));
    rows.resize(count);
    for (long n = 0; n < count; ++n) Kind::put(from + n * panels.inputs, panels.inputs, rows(n));
    multiply<Kind>(panels, count, rows, take);
}

// Loops over one row, apart so that the compiler sees that nothing overlaps.

// A step of the GRU from state h, whose products with words, context and state are x, c and y.
inline void pass_gates(long N, const float* x, const float* c, const float* y, const float* bias_n,
                       const float* h, float* __restrict__ to) {
    for (long i = 0; i < N; ++i) {
        float r = sigmoid_(x[i] + c[i] + y[i]);
        float z = sigmoid_(x[N + i] + c[N + i] + y[N + i]);
        float u = y[2 * N + i] + bias_n[i];
        float candidate = tanh_(x[2 * N + i] + c[2 * N + i] + r * u);
        to[i] = candidate + z * (h[i] - candidate);
    }
}

inline void exp_query(long A, const float* query, float* __restrict__ q) {
    for (long a = 0; a < A; ++a) q[a] = twice_exp(query[a]);
}

inline void put_maxout(long R, const float* x, const float* y, const float* c,
                       float* __restrict__ to) {
    for (long i = 0; i < R; ++i) {
        float one = x[i] + y[i] + c[i], other = x[R + i] + y[R + i] + c[R + i];
        to[i] = ((one > other) | (one != one)) ? one : other;
    }
}

inline void put_tanh(long R, const float* x, const float* y, const float* c,
                     float* __restrict__ to) {
    for (long i = 0; i < R; ++i) to[i] = tanh_(x[i] + y[i] + c[i]);
}

template <class Kind>
class Decoder : public Search {
  public:
    Decoder(const Network& net, const Batch& batch) : net(net), batch(batch) {
        beam = std::make_unique<Beam>(batch.rules, batch.limit, batch.B);
        states.resize(batch.B);
        row.resize(1);
        for (long b = 0; b < batch.B; ++b) Kind::put(hidden(b), net.N, states(b));
        contexts.resize(batch.B);
        multiply_rows<Kind>(net.context, batch.B, batch.contexts,
                            [&](long b, long column, const float* values) {
                                copy(values, X - column, contexts(b) + column);
                            });
        if (batch.keys) multiply_values();
    }

    void step() override {
        if (beam->live.empty()) return;
        multiply_parents();
        learn_words();
        advance();
        look();
        read_out();
        contexts.swap(next_contexts);
        long K = std::min(beam->most_room(), net.V - net.nevers);
        best.begin(beam->live.size(), K);
        multiply<Kind>(net.output, beam->live.size(), features,
                       [&](long n, long column, float* values) {
                           best.take(n, column, values, net.never, net.nevers);
                       });
        best.end();
        beam->grow(K, best.values.data(), best.tokens.data());
    }

  private:
    const Network net;
    const Batch batch;
    const long gates = 3 * net.N, X = net.word.outputs, wide = (X + WIDTH - 1) / WIDTH * WIDTH;
    // As Kind stores them:
    Rows words{places<Kind>(net.word.inputs)};
    Rows states{places<Kind>(net.N)}, features{places<Kind>(net.R)};
    // In floats:
    Rows hidden{net.N, batch.hidden, batch.B}, next_hidden{net.N}, from_states{gates};
    Rows contexts{X}, next_contexts{X}, queries{net.query.outputs}, weights{batch.S};
    Rows row{std::max(net.A, net.R)};
    std::vector<float> values;  // the products of each sentence's states (S, wide), in panels
    std::vector<int32_t> place, parents;
    BestTokens best;

    void multiply_values() {
        long S = batch.S, C = net.context.inputs;
        values.resize(batch.B * S * wide);
        for (long b = 0; b < batch.B; ++b)
            multiply_rows<Kind>(net.context, S, batch.values + b * S * C,
                                [&](long s, long column, const float* products) {
                                    float* to = values.data() + (b * wide + column) * S + s * PANEL;
                                    for (long part = 0; part < WIDTH; part += PANEL)
                                        copy(products + part, PANEL, to + part * S);
                                });
    }

    // Hypotheses often share a parent: the products of its state are taken once.
    void multiply_parents() {
        place.clear();
        parents.clear();
        std::vector<int32_t> seat;
        for (const Live& one : beam->live) {
            if (long(seat.size()) <= one.parent) seat.resize(one.parent + 1, -1);
            int32_t& own = seat[one.parent];
            if (own < 0) {
                own = int32_t(parents.size());
                parents.push_back(one.parent);
            }
            place.push_back(own);
        }
        from_states.resize(parents.size());
        multiply_into<Kind>(
            net.state, parents.size(), [&](long i) { return states(parents[i]); }, from_states(0));
    }

    // Other threads may do the same at the same time: they write the same numbers.
    void learn_words() {
        std::vector<int32_t> fresh;
        auto known = (std::atomic<uint8_t>*)net.known;
        for (const Live& one : beam->live)
            if (!known[one.token].load(std::memory_order_acquire)) fresh.push_back(one.token);
        std::sort(fresh.begin(), fresh.end());
        fresh.erase(std::unique(fresh.begin(), fresh.end()), fresh.end());
        words.resize(fresh.size());
        long E = net.word.inputs;
        for (long i = 0; i < long(fresh.size()); ++i)
            Kind::put(net.embeddings + fresh[i] * E, E, words(i));
        multiply<Kind>(net.word, fresh.size(), words,
                       [&](long i, long column, const float* values) {
                           copy(values, X - column, net.table + fresh[i] * X + column);
                       });
        for (int32_t token : fresh) known[token].store(1, std::memory_order_release);
    }

    // Take a step of the GRU, from the parents' states to the hypotheses' own.
    void advance() {
        const std::vector<Live>& live = beam->live;
        next_hidden.resize(live.size());
        states.resize(live.size());
        queries.resize(live.size());
        for (long n = 0; n < long(live.size()); ++n) {
            long parent = live[n].parent;
            pass_gates(net.N, net.table + live[n].token * X, contexts(parent),
                       from_states(place[n]), net.bias_n, hidden(parent), next_hidden(n));
            Kind::put(next_hidden(n), net.N, states(n));
        }
        hidden.swap(next_hidden);
        multiply_into<Kind>(net.query, live.size(), states, queries(0));
    }

    // Attend to the source from each state, sentence by sentence; without keys a context stays.
    void look() {
        const std::vector<Live>& live = beam->live;
        long S = batch.S, A = net.A;
        next_contexts.resize(live.size());
        for (long n = 0; n < long(live.size()) && !batch.keys; ++n)
            std::copy_n(contexts(live[n].parent), X, next_contexts(n));
        if (!batch.keys) return;
        weights.resize(live.size());
        for (long from = 0, to = 0; from < long(live.size()); from = to) {
            long b = live[from].sentence;
            for (; to < long(live.size()) && live[to].sentence == b; ++to) {
                exp_query(A, queries(to), row(0));
                attention_weights(S, A, batch.keys + b * S * A, net.v, batch.mask + b * S, row(0),
                                  weights(to));
            }
            Panels states{X, S, values.data() + b * S * wide, nullptr};
            multiply_into<Floats>(
                states, to - from, [&](long i) { return weights(from + i); }, next_contexts(from));
        }
    }

    // Compute the deep output of state, last word and context.
    void read_out() {
        const std::vector<Live>& live = beam->live;
        features.resize(live.size());
        for (long n = 0; n < long(live.size()); ++n) {
            const float* x = net.table + live[n].token * X + gates;
            const float* y = queries(n) + net.A;
            const float* c = (net.updated ? next_contexts(n) : contexts(live[n].parent)) + gates;
            (net.maxout ? put_maxout : put_tanh)(net.R, x, y, c, row(0));
            Kind::put(row(0), net.R, features(n));
        }
    }
};

}  // namespace

// Functions with C names; `low` says whether products are of bfloat16.

extern "C" {

// Say how many outputs a panel has, and whether there are products of bfloat16.
void dl_describe(int, int, int64_t* panel, int64_t* bfloats) {
    *panel = PANEL;
#ifdef __AVX512BF16__
    *bfloats = 1;
#else
    *bfloats = 0;
#endif
}

void dl_multiply(int low, int, const Panels* panels, long count, const float* rows, float* out) {
    auto take = [=](long n, long column, const float* values) {
        copy(values, panels->outputs - column, out + n * panels->outputs + column);
    };
#ifdef __AVX512BF16__
    if (low) return multiply_rows<BFloats>(*panels, count, rows, take);
#endif
    multiply_rows<Floats>(*panels, count, rows, take);
}

void dl_search_begin(int low, int, const Network* net, const Batch* batch, Search** search) {
#ifdef __AVX512BF16__
    if (low) return void(*search = new Decoder<BFloats>(*net, *batch));
#endif
    *search = new Decoder<Floats>(*net, *batch);
}

// Take some steps; say how many hypotheses live on.
void dl_search_step(int, int, Search* search, long steps, int64_t* live) {
    for (long i = 0; i < steps; ++i) search->step();
    *live = int64_t(search->beam->live.size());
}

// Say of each sentence how many hypotheses there are, and how many tokens these have in all.
void dl_search_sizes(int, int, const Search* search, long sentences, int64_t* hypotheses,
                     int64_t* tokens) {
    const Beam& beam = *search->beam;
    *tokens = 0;
    for (long b = 0; b < sentences; ++b) {
        std::vector<Ended> found = beam.ranked(b);
        hypotheses[b] = int64_t(found.size());
        for (const Ended& one : found)
            for (long node = one.node; node >= 0; node = beam.nodes[node].before) ++*tokens;
    }
}

// Write them out, sentence after sentence; their tokens stand one after the other.
void dl_search_result(int, int, const Search* search, long sentences, float* log_probs,
                      float* scores, uint8_t* finished, int64_t* lengths, int64_t* tokens) {
    const Beam& beam = *search->beam;
    for (long b = 0; b < sentences; ++b)
        for (const Ended& one : beam.ranked(b)) {
            int64_t* start = tokens;
            for (long node = one.node; node >= 0; node = beam.nodes[node].before)
                *tokens++ = beam.nodes[node].token;
            std::reverse(start, tokens);
            *log_probs++ = one.log_prob;
            *scores++ = one.score;
            *finished++ = one.finished;
            *lengths++ = tokens - start;
        }
}

void dl_search_end(int, int, Search* search) { delete search; }
}
