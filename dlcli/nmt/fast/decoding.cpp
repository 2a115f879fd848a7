// A whole beam search of one batch, on one thread of a CPU with AVX-512: the decoder's steps and
// the bookkeeping between them. `dlcli.nmt.fast.decoding` says what the functions take.
//
// Every sum stays within a row and in one order: what a sentence becomes does not depend on others.
// Words have their part in the decoder's products computed once, when they first occur.
//
// Legend: B sentences, S source length, E embedding, N hidden, C context, A attention size,
// R readout, V vocabulary, K extensions of a hypothesis.

#include <atomic>
#include <memory>

#if defined(__AVX512F__) && defined(__AVX512BW__)

#include "attend.h"
#include "beam.h"
#include "best_tokens.h"
#include "panels.h"

namespace {

// What does not change from batch to batch; see `Network` of decoding.py, which has the same fields.
struct Network {
    long V, E, N, C, A, R, maxout, updated;
    Panels word;     // E → 3N gates and the readout's units, with the biases of both
    Panels state;    // N → 3N gates
    Panels context;  // C → 3N gates, and the readout's units where the query is `previous`
    Panels query;    // N → A and the readout's units
    Panels seen;     // C → the readout's units
    Panels output;   // R → V
    const float *bias_n, *v, *embeddings;
    float* table;    // (V, 3N + units) of the words that `known` marks
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

// Rows of floats stored for products, in memory that is kept from step to step.
template <class Kind>
class Stored {
  public:
    explicit Stored(long inputs) : inputs(inputs), bytes(row_bytes<Kind>(inputs)) {}

    void resize(long count) {
        if (long(scales.size()) >= count) return;
        at.resize(count * bytes);
        scales.resize(count);
    }
    void put(long row, const float* values) {
        scales[row] = Kind::put(values, inputs, at.data() + row * bytes);
    }
    void copy(long row, const Stored& other, long from) {
        std::memcpy(at.data() + row * bytes, other.at.data() + from * bytes, bytes);
        scales[row] = other.scales[from];
    }
    Rows rows() { return {at.data(), scales.data(), bytes}; }

  private:
    long inputs, bytes;
    std::vector<char> at;
    std::vector<float> scales;
};

inline float* room(std::vector<float>& buffer, long size) {
    if (long(buffer.size()) < size) buffer.resize(size);
    return buffer.data();
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
        to[i] = (one > other) | (one != one) ? one : other;
    }
}

inline void put_tanh(long R, const float* x, const float* y, const float* c,
                     float* __restrict__ to) {
    for (long i = 0; i < R; ++i) to[i] = tanh_(x[i] + y[i] + c[i]);
}

template <class Kind>
class Decoder : public Search {
  public:
    Decoder(const Network& net, const Batch& batch)
        : net(net), batch(batch), units(net.maxout ? 2 * net.R : net.R), words(net.E),
          states(net.N), contexts(net.C), parent_states(net.N), parent_contexts(net.C),
          features(net.R), hidden(batch.hidden, batch.hidden + batch.B * net.N) {
        beam = std::make_unique<Beam>(batch.rules, batch.limit, batch.B);
        states.resize(batch.B);
        contexts.resize(batch.B);
        for (long b = 0; b < batch.B; ++b) {
            states.put(b, batch.hidden + b * net.N);
            contexts.put(b, batch.contexts + b * net.C);
        }
    }

    void step() override {
        if (beam->live.empty()) return;
        multiply_parents();
        learn_words();
        advance();
        look();
        read_out();
        long K = std::min(beam->most_room(), net.V - net.nevers);
        best.begin(beam->live.size(), K);
        multiply<Kind>(net.output, beam->live.size(), features.rows(),
                       [&](long row, long column, float* values) {
                           best.take(row, column, values, net.never, net.nevers);
                       });
        best.end();
        beam->grow(K, best.values.data(), best.tokens.data());
    }

  private:
    const Network net;
    const Batch batch;
    const long units;
    Stored<Kind> words, states, contexts, parent_states, parent_contexts, features;
    std::vector<float> hidden, next_hidden, from_states, from_contexts, queries, seen, row;
    std::vector<int32_t> place;
    BestTokens best;

    // Hypotheses often share a parent: the products of its state and context are taken once.
    void multiply_parents() {
        const std::vector<Live>& live = beam->live;
        long N = long(live.size()), count = 0;
        place.resize(N);
        parent_states.resize(N);
        parent_contexts.resize(N);
        std::vector<int32_t> seat(hidden.size() / net.N, -1);
        for (long n = 0; n < N; ++n) {
            int32_t& own = seat[live[n].parent];
            if (own < 0) {
                parent_states.copy(count, states, live[n].parent);
                parent_contexts.copy(count, contexts, live[n].parent);
                own = int32_t(count++);
            }
            place[n] = own;
        }
        multiply_into<Kind>(net.state, count, parent_states.rows(),
                            room(from_states, count * net.state.outputs));
        multiply_into<Kind>(net.context, count, parent_contexts.rows(),
                            room(from_contexts, count * net.context.outputs));
    }

    // Other threads may do the same at the same time: they write the same numbers.
    void learn_words() {
        std::vector<int32_t> fresh;
        auto known = (std::atomic<uint8_t>*)net.known;
        for (const Live& one : beam->live)
            if (!known[one.token].load(std::memory_order_acquire)) fresh.push_back(one.token);
        std::sort(fresh.begin(), fresh.end());
        fresh.erase(std::unique(fresh.begin(), fresh.end()), fresh.end());
        words.resize(long(fresh.size()));
        for (long i = 0; i < long(fresh.size()); ++i)
            words.put(i, net.embeddings + fresh[i] * net.E);
        multiply<Kind>(net.word, fresh.size(), words.rows(),
                       [&](long i, long column, const float* values) {
                           long left = std::min(net.word.outputs - column, WIDTH);
                           float* to = net.table + fresh[i] * net.word.outputs + column;
                           std::memcpy(to, values, left * sizeof(float));
                       });
        for (int32_t token : fresh) known[token].store(1, std::memory_order_release);
    }

    // Take a step of the GRU, from the parents' states to the hypotheses' own.
    void advance() {
        const std::vector<Live>& live = beam->live;
        long count = long(live.size()), N = net.N;
        room(next_hidden, count * N);
        states.resize(count);
        for (long n = 0; n < count; ++n) {
            const float* x = net.table + live[n].token * net.word.outputs;
            const float* c = from_contexts.data() + place[n] * net.context.outputs;
            const float* y = from_states.data() + place[n] * net.state.outputs;
            const float* h = hidden.data() + live[n].parent * N;
            float* to = next_hidden.data() + n * N;
            pass_gates(N, x, c, y, net.bias_n, h, to);
            states.put(n, to);
        }
        hidden.swap(next_hidden);
        multiply_into<Kind>(net.query, count, states.rows(),
                            room(queries, count * net.query.outputs));
    }

    // Attend to the source from each state.
    void look() {
        const std::vector<Live>& live = beam->live;
        long S = batch.S, A = net.A, C = net.C;
        contexts.resize(long(live.size()));
        float *q = room(row, A + S + C), *weights = q + A, *context = weights + S;
        for (long n = 0; n < long(live.size()); ++n) {
            long b = live[n].sentence;
            Source source{S, A, C, batch.keys + b * S * A, net.v, batch.values + b * S * C,
                          batch.mask + b * S};
            const float* query = queries.data() + n * net.query.outputs;
            exp_query(A, query, q);
            attend_row(source, q, weights, context);
            contexts.put(n, context);
        }
    }

    // Compute the deep output of state, last word and context.
    void read_out() {
        const std::vector<Live>& live = beam->live;
        long count = long(live.size()), gates = 3 * net.N;
        features.resize(count);
        if (net.updated)
            multiply_into<Kind>(net.seen, count, contexts.rows(), room(seen, count * units));
        float* t = room(row, units);
        for (long n = 0; n < count; ++n) {
            const float* x = net.table + live[n].token * net.word.outputs + gates;
            const float* y = queries.data() + n * net.query.outputs + net.A;
            const float* c = net.updated
                                 ? seen.data() + n * units
                                 : from_contexts.data() + place[n] * net.context.outputs + gates;
            if (net.maxout)
                put_maxout(net.R, x, y, c, t);
            else
                put_tanh(net.R, x, y, c, t);
            features.put(n, t);
        }
    }
};

Search* begin(int kind, const Network& net, const Batch& batch) {
    switch (kind) {
        case 0: return new Decoder<Floats>(net, batch);
#ifdef __AVX512BF16__
        case 1: return new Decoder<BFloats>(net, batch);
#endif
#ifdef __AVX512VNNI__
        case 2: return new Decoder<Integers>(net, batch);
#endif
        default: return nullptr;
    }
}

template <class Kind>
void multiply_rows(const Panels& panels, long count, const float* rows, float* out) {
    Stored<Kind> stored(panels.inputs);
    stored.resize(count);
    for (long n = 0; n < count; ++n) stored.put(n, rows + n * panels.inputs);
    multiply_into<Kind>(panels, count, stored.rows(), out);
}

}  // namespace

extern "C" {

// Say whether there are instructions for a kind: 0 floats, 1 bfloat16, 2 8-bit integers.
void dl_has(int kind, int, int64_t* found) {
    *found = kind == 0;
#ifdef __AVX512BF16__
    *found |= kind == 1;
#endif
#ifdef __AVX512VNNI__
    *found |= kind == 2;
#endif
}

void dl_multiply(int kind, int, const Panels* panels, long count, const float* rows, float* out) {
    if (kind == 0) multiply_rows<Floats>(*panels, count, rows, out);
#ifdef __AVX512BF16__
    if (kind == 1) multiply_rows<BFloats>(*panels, count, rows, out);
#endif
#ifdef __AVX512VNNI__
    if (kind == 2) multiply_rows<Integers>(*panels, count, rows, out);
#endif
}

void dl_search_begin(int kind, int, const Network* net, const Batch* batch, Search** search) {
    *search = begin(kind, *net, *batch);
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

#endif
