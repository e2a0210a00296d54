// Approximate minimum degree (Amestoy, Davis and Duff 1996): the next node to eliminate is the one with the
// fewest neighbours. Eliminated nodes are kept as elements (the clique of their neighbours, by name, not by
// edges); indistinguishable nodes are merged into one supervariable; degrees are cheap upper bounds. Nodes of
// later stages take part in all of that, but are not eliminated before their stage.
#include "factor/ordering.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace gabp {
namespace {

constexpr std::int32_t none = -1;
constexpr std::int32_t unlisted = -2;  // a node of a later stage

class MinimumDegree {
public:
    // Node i stands for weight[i] indistinguishable ones and is eliminated in stage[i].
    MinimumDegree(const Pattern &pattern, std::vector<std::int32_t> weight, std::vector<std::int32_t> stage)
        : n_(static_cast<std::int32_t>(pattern.n)),
          total_(std::accumulate(weight.begin(), weight.end(), std::int32_t{0})),
          adjacency_(pattern.source, pattern.source + pattern.start[pattern.n]),
          first_(pattern.start, pattern.start + pattern.n),
          elements_(n_, 0),
          length_(n_),
          weight_(std::move(weight)),
          stage_(std::move(stage)),
          degree_(n_, 0),
          mark_(n_, 1),
          element_first_(n_, 0),
          element_length_(n_, 0),
          head_(total_ + 1, none),
          next_(n_, unlisted),
          previous_(n_, none),
          bucket_(n_, none),
          next_in_bucket_(n_, none),
          hash_(n_, 0),
          next_member_(n_, none),
          last_member_(n_) {
        std::iota(last_member_.begin(), last_member_.end(), 0);
        for (std::int32_t i = 0; i < n_; ++i) {
            length_[i] = static_cast<std::int32_t>(pattern.start[i + 1] - pattern.start[i]);
        }
    }

    // Empty where the factor takes more operations.
    std::vector<std::int32_t> run(double most_flops, const std::vector<char> *last = nullptr) {
        const std::vector<std::int32_t> dense = defer_nodes(last);
        std::vector<std::int32_t> order;
        order.reserve(n_);
        double flops = 0;
        const std::int32_t stages = stage_.empty() ? 0 : *std::max_element(stage_.begin(), stage_.end()) + 1;
        for (std::int32_t stage = 0; stage < stages; ++stage) {
            for (std::int32_t listed = list_nodes(stage); listed > eliminated_;) {
                const std::int32_t pivot = take_smallest_degree();
                eliminate(pivot);
                const double columns = weight_[pivot], height = degree_[pivot] + 0.5 * columns;
                flops += columns * height * height;
                if (flops > most_flops) return {};
                for (std::int32_t i = pivot; i != none; i = next_member_[i]) order.push_back(i);
            }
        }
        order.insert(order.end(), dense.begin(), dense.end());
        return order;
    }

private:
    // Nodes adjacent to a good part of the graph would join every element; they go last, before those that must.
    std::vector<std::int32_t> defer_nodes(const std::vector<char> *last) {
        const double limit = dense_degree(n_);
        std::vector<std::int32_t> dense;
        for (std::int32_t i = 0; i < n_; ++i) {
            degree_[i] = length_[i];
            if (n_ == total_) continue;
            for (std::int32_t k = 0; k < length_[i]; ++k) degree_[i] += weight_[adjacency_[first_[i] + k]] - 1;
        }
        for (std::int32_t i = 0; i < n_; ++i) {
            if (length_[i] > limit || (last != nullptr && (*last)[i])) {
                dense.push_back(i);
                weight_[i] = 0;
            }
        }
        if (last != nullptr) {
            std::stable_partition(dense.begin(), dense.end(), [&](std::int32_t i) { return !(*last)[i]; });
        }
        return dense;
    }

    // Returns what all nodes up to this stage weigh.
    std::int32_t list_nodes(std::int32_t stage) {
        std::int32_t listed = eliminated_;
        for (std::int32_t i = n_ - 1; i >= 0; --i) {
            if (weight_[i] == 0 || stage_[i] != stage) continue;
            insert(i, degree_[i]);
            listed += weight_[i];
        }
        return listed;
    }

    void insert(std::int32_t i, std::int32_t degree) {
        degree_[i] = degree;
        next_[i] = head_[degree];
        previous_[i] = none;
        if (head_[degree] != none) previous_[head_[degree]] = i;
        head_[degree] = i;
        smallest_ = std::min(smallest_, degree);
    }

    void remove(std::int32_t i) {
        if (next_[i] == unlisted) return;
        if (next_[i] != none) previous_[next_[i]] = previous_[i];
        if (previous_[i] != none) {
            next_[previous_[i]] = next_[i];
        } else {
            head_[degree_[i]] = next_[i];
        }
    }

    std::int32_t take_smallest_degree() {
        while (head_[smallest_] == none) ++smallest_;
        const std::int32_t pivot = head_[smallest_];
        remove(pivot);
        return pivot;
    }

    void eliminate(std::int32_t pivot) {
        std::int32_t pivot_weight = weight_[pivot];
        form_element(pivot);
        measure_overlaps(pivot);
        pivot_weight += update_neighbours(pivot);
        merge_indistinguishable(pivot);
        eliminated_ += pivot_weight;
        release_neighbours(pivot);
        weight_[pivot] = pivot_weight;
        if (static_cast<std::int64_t>(pool_.size()) > 2 * pool_live_ + n_) compact_pool();
    }

    // The pivot becomes the element of all its neighbours, absorbing the elements it was in. Members carry a
    // negative weight until the end of this elimination.
    void form_element(std::int32_t pivot) {
        weight_[pivot] = -weight_[pivot];
        const auto begin = static_cast<std::int64_t>(pool_.size());
        std::int32_t size = 0;
        const auto take = [&](std::int32_t i) {
            if (weight_[i] <= 0) return;
            size += weight_[i];
            weight_[i] = -weight_[i];
            pool_.push_back(i);
            remove(i);
        };
        const std::int64_t list = first_[pivot];
        for (std::int32_t k = 0; k < elements_[pivot]; ++k) {
            const std::int32_t e = adjacency_[list + k];
            if (mark_[e] == 0) continue;
            for (std::int32_t t = 0; t < element_length_[e]; ++t) take(pool_[element_first_[e] + t]);
            absorb_element(e);
        }
        for (std::int32_t k = elements_[pivot]; k < length_[pivot]; ++k) take(adjacency_[list + k]);
        element_first_[pivot] = begin;
        element_length_[pivot] = static_cast<std::int32_t>(static_cast<std::int64_t>(pool_.size()) - begin);
        degree_[pivot] = size;
        created_.push_back(pivot);
        pool_live_ += element_length_[pivot];
    }

    void absorb_element(std::int32_t e) {
        mark_[e] = 0;
        pool_live_ -= element_length_[e];
    }

    // mark_[e] - stamp_ becomes |e \ pivot's element| for every element e that overlaps it.
    void measure_overlaps(std::int32_t pivot) {
        stamp_ += total_ + 1;
        for (std::int32_t t = 0; t < element_length_[pivot]; ++t) {
            const std::int32_t i = pool_[element_first_[pivot] + t];
            const std::int32_t w = -weight_[i];
            for (std::int32_t k = 0; k < elements_[i]; ++k) {
                const std::int32_t e = adjacency_[first_[i] + k];
                if (mark_[e] >= stamp_) {
                    mark_[e] -= w;
                } else if (mark_[e] != 0) {
                    mark_[e] = degree_[e] + stamp_ - w;
                }
            }
        }
    }

    // Clean the lists of the pivot's neighbours and bound their new degrees. A neighbour that is left with
    // nothing but the pivot is eliminated along with it; returns the weight of those.
    std::int32_t update_neighbours(std::int32_t pivot) {
        std::int32_t eliminated = 0;
        for (std::int32_t t = 0; t < element_length_[pivot]; ++t) {
            const std::int32_t i = pool_[element_first_[pivot] + t];
            const std::int64_t begin = first_[i];
            const std::int64_t end_of_elements = begin + elements_[i];
            const std::int64_t end = begin + length_[i];
            std::int64_t write = begin;
            std::int64_t degree = 0;
            std::uint64_t hash = 0;
            for (std::int64_t k = begin; k < end_of_elements; ++k) {
                const std::int32_t e = adjacency_[k];
                if (mark_[e] == 0) continue;
                const std::int64_t outside = mark_[e] - stamp_;
                if (outside > 0) {
                    degree += outside;
                    adjacency_[write++] = e;
                    hash += static_cast<std::uint64_t>(e);
                } else {
                    absorb_element(e);  // its clique is within the pivot's
                }
            }
            const std::int64_t variables = write;
            elements_[i] = static_cast<std::int32_t>(variables - begin) + 1;
            for (std::int64_t k = end_of_elements; k < end; ++k) {
                const std::int32_t j = adjacency_[k];
                if (weight_[j] <= 0) continue;
                degree += weight_[j];
                adjacency_[write++] = j;
                hash += static_cast<std::uint64_t>(j);
            }
            if (degree == 0 && next_[i] != unlisted) {
                degree_[pivot] += weight_[i];
                eliminated -= weight_[i];
                weight_[i] = 0;
                join_members(pivot, i);
                continue;
            }
            degree_[i] = static_cast<std::int32_t>(std::min<std::int64_t>(degree_[i], degree));
            // the pivot goes first in the list; there is room, as it or an element it absorbed was in there
            adjacency_[write] = adjacency_[variables];
            adjacency_[variables] = adjacency_[begin];
            adjacency_[begin] = pivot;
            length_[i] = static_cast<std::int32_t>(write - begin) + 1;
            hash_[i] = static_cast<std::int32_t>(hash % static_cast<std::uint64_t>(n_));
            next_in_bucket_[i] = bucket_[hash_[i]];
            bucket_[hash_[i]] = i;
        }
        return eliminated;
    }

    void join_members(std::int32_t i, std::int32_t j) {
        next_member_[last_member_[i]] = j;
        last_member_[i] = last_member_[j];
    }

    void merge_indistinguishable(std::int32_t pivot) {
        stamp_ += total_ + 1;
        for (std::int32_t t = 0; t < element_length_[pivot]; ++t) {
            const std::int32_t member = pool_[element_first_[pivot] + t];
            if (weight_[member] == 0) continue;
            std::int32_t i = bucket_[hash_[member]];
            bucket_[hash_[member]] = none;
            for (; i != none && next_in_bucket_[i] != none; i = next_in_bucket_[i]) {
                ++stamp_;
                for (std::int32_t k = 1; k < length_[i]; ++k) mark_[adjacency_[first_[i] + k]] = stamp_;
                std::int32_t kept = i;
                for (std::int32_t j = next_in_bucket_[i]; j != none; j = next_in_bucket_[j]) {
                    if (same_neighbours(i, j)) {
                        weight_[i] += weight_[j];
                        weight_[j] = 0;
                        join_members(i, j);
                        next_in_bucket_[kept] = next_in_bucket_[j];
                    } else {
                        kept = j;
                    }
                }
            }
        }
    }

    bool same_neighbours(std::int32_t i, std::int32_t j) const {
        if (length_[i] != length_[j] || elements_[i] != elements_[j]) return false;
        for (std::int32_t k = 1; k < length_[j]; ++k) {
            if (mark_[adjacency_[first_[j] + k]] != stamp_) return false;
        }
        return stage_[i] == stage_[j];
    }

    void release_neighbours(std::int32_t pivot) {
        const std::int64_t begin = element_first_[pivot];
        std::int64_t write = begin;
        for (std::int32_t t = 0; t < element_length_[pivot]; ++t) {
            const std::int32_t i = pool_[begin + t];
            if (weight_[i] == 0) continue;
            weight_[i] = -weight_[i];
            const std::int64_t bound = std::min<std::int64_t>(
                static_cast<std::int64_t>(degree_[i]) + degree_[pivot] - weight_[i], total_ - eliminated_ - weight_[i]);
            degree_[i] = static_cast<std::int32_t>(std::max<std::int64_t>(bound, 0));
            if (next_[i] != unlisted) insert(i, degree_[i]);
            pool_[write++] = i;
        }
        pool_live_ -= element_length_[pivot] - (write - begin);
        element_length_[pivot] = static_cast<std::int32_t>(write - begin);
        pool_.resize(write);
        if (element_length_[pivot] == 0) mark_[pivot] = 0;
    }

    void compact_pool() {
        std::int64_t write = 0;
        std::size_t kept = 0;
        for (const std::int32_t e : created_) {
            if (mark_[e] == 0) continue;
            std::copy_n(pool_.begin() + element_first_[e], element_length_[e], pool_.begin() + write);
            element_first_[e] = write;
            write += element_length_[e];
            created_[kept++] = e;
        }
        created_.resize(kept);
        pool_.resize(write);
    }

    std::int32_t n_;
    std::int32_t total_;  // weight of all nodes
    std::vector<std::int32_t> adjacency_;  // of each node: elements_[i] elements, then nodes; length_[i] in all
    std::vector<std::int64_t> first_;
    std::vector<std::int32_t> elements_, length_;
    std::vector<std::int32_t> weight_;  // nodes that a supervariable stands for; 0: merged or set aside
    std::vector<std::int32_t> stage_;
    std::vector<std::int32_t> degree_;  // bound on the neighbours of a node; size of the clique of an element
    std::vector<std::int64_t> mark_;    // 0: a dead element
    std::vector<std::int32_t> pool_;    // the members of the elements
    std::vector<std::int64_t> element_first_;
    std::vector<std::int32_t> element_length_;
    std::vector<std::int32_t> created_;  // elements in the order of their lists in the pool
    std::vector<std::int32_t> head_, next_, previous_;  // doubly linked lists of nodes by degree
    std::vector<std::int32_t> bucket_, next_in_bucket_, hash_;
    std::vector<std::int32_t> next_member_, last_member_;  // what was merged into each node
    std::int64_t stamp_ = 1;
    std::int64_t pool_live_ = 0;
    std::int32_t smallest_ = 0;
    std::int32_t eliminated_ = 0;
};

}  // namespace

double dense_degree(std::int64_t nodes) { return std::max(16.0, 10.0 * std::sqrt(static_cast<double>(nodes))); }

std::vector<std::int32_t> minimum_degree_order(const Pattern &pattern, double most_flops,
                                               const std::vector<char> *last) {
    return MinimumDegree(pattern, std::vector<std::int32_t>(pattern.n, 1), std::vector<std::int32_t>(pattern.n, 0))
        .run(most_flops, last);
}

std::vector<std::int32_t> constrained_minimum_degree_order(const Pattern &pattern, std::vector<std::int32_t> weight,
                                                           std::vector<std::int32_t> stage) {
    return MinimumDegree(pattern, std::move(weight), std::move(stage)).run(std::numeric_limits<double>::infinity());
}

}  // namespace gabp
