// The bookkeeping of a beam search: which hypotheses live, how they grow, what has ended. It is
// that of `dlcli.nmt.search`, which says why; here nothing is a tensor, and prefixes are chains of
// nodes.

#pragma once

#include <algorithm>
#include <vector>

#include "floats.h"

namespace {

// A prefix is a chain: its last token, and the node before; the first token's comes after -1.
struct Node {
    int32_t before, token;
};

// A hypothesis that lives: `parent` is the row, in the step before, whose state it goes on from.
struct Live {
    int32_t sentence, parent, token, node;
    float log_prob;
};

struct Ended {
    int32_t node;
    float log_prob, score;
    bool finished;
};

struct Rules {
    long beam_size, n_best, first, last;  // the tokens that begin and end a sentence
    float length_penalty;
};

class Beam {
  public:
    Beam(Rules rules, const int64_t* limit, long sentences)
        : rules(rules), limit(limit, limit + sentences), room(sentences, rules.beam_size),
          ended(sentences) {
        for (long b = 0; b < sentences; ++b)
            live.push_back({int32_t(b), int32_t(b), int32_t(rules.first), -1, 0.0f});
    }

    Rules rules;
    std::vector<int64_t> limit;  // the most tokens a hypothesis may have
    std::vector<long> room;      // places that are left
    std::vector<std::vector<Ended>> ended;
    std::vector<Node> nodes;
    std::vector<Live> live;  // sorted by sentence, those of a sentence from the best to the worst
    long length = 0;

    long most_room() const {
        long most = 0;
        for (const Live& one : live) most = std::max(most, room[one.sentence]);
        return most;
    }

    // Take the best K extensions of each live hypothesis: log-probabilities and tokens (N, K).
    void grow(long K, const float* values, const int64_t* tokens) {
        std::vector<Live> before;
        before.swap(live);
        ++length;
        long N = long(before.size());
        for (long from = 0, to = 0; from < N; from = to) {
            while (to < N && before[to].sentence == before[from].sentence) ++to;
            choose(before, from, to, K, values, tokens);
        }
    }

    // Return a sentence's n best, the finished ones first, by falling score.
    std::vector<Ended> ranked(long sentence) const {
        std::vector<Ended> found = ended[sentence];
        std::stable_sort(found.begin(), found.end(), [](const Ended& one, const Ended& other) {
            return one.finished != other.finished ? one.finished : one.score > other.score;
        });
        if (long(found.size()) > rules.n_best) found.resize(rules.n_best);
        return found;
    }

  private:
    std::vector<float> totals;
    std::vector<long> places;

    // Choose among the extensions of one sentence; of equals the first. What is no number is none.
    void choose(const std::vector<Live>& before, long from, long to, long K, const float* values,
                const int64_t* tokens) {
        long b = before[from].sentence, most = room[b];
        totals.assign(most, -INFINITY);
        places.assign(most, -1);
        for (long n = from; n < to; ++n)
            for (long k = 0; k < K && k < most; ++k) {
                float total = before[n].log_prob + values[n * K + k];
                if (!(total > totals[most - 1])) break;
                long at = most - 1;
                for (; at > 0 && total > totals[at - 1]; --at) {
                    totals[at] = totals[at - 1];
                    places[at] = places[at - 1];
                }
                totals[at] = total;
                places[at] = n * K + k;
            }
        long first_live = long(live.size());
        for (long at = 0; at < most && places[at] >= 0; ++at) {
            long row = places[at] / K;
            int32_t token = int32_t(tokens[places[at]]);
            extend({int32_t(b), int32_t(row), token, before[row].node, totals[at]});
        }
        if (settled(b, first_live)) live.resize(first_live);
    }

    // Let a hypothesis, whose node is still its parent's, live or end.
    void extend(Live made) {
        long b = made.sentence;
        float score = made.log_prob / float(std::pow(double(length), rules.length_penalty));
        if (made.token == rules.last) {
            ended[b].push_back({made.node, made.log_prob, score, true});
            --room[b];
            return;
        }
        nodes.push_back({made.node, made.token});
        made.node = int32_t(nodes.size()) - 1;
        if (limit[b] <= length)
            ended[b].push_back({made.node, made.log_prob, score, false});
        else
            live.push_back(made);
    }

    // Whether none of a sentence's hypotheses can become one of its n best any more.
    bool settled(long b, long first_live) const {
        std::vector<Ended> best = ranked(b);
        if (long(best.size()) < rules.n_best || !best.back().finished) return false;
        float longest = std::pow(float(limit[b]), rules.length_penalty), reach = -INFINITY;
        for (long n = first_live; n < long(live.size()); ++n)
            reach = std::max(reach, live[n].log_prob / longest);
        return best.back().score >= reach;
    }
};

}  // namespace
