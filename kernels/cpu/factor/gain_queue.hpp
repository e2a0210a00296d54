// Nodes by gain.
#pragma once

#include <cstdint>
#include <vector>

namespace gabp {

// The node of the largest gain comes first, of equal ones that of the smallest number: a binary heap that knows where
// each node is.
class GainQueue {
public:
    explicit GainQueue(std::int32_t nodes) : place_(nodes, -1) {}

    bool empty() const { return heap_.empty(); }
    bool contains(std::int32_t i) const { return place_[i] >= 0; }
    std::int32_t top() const { return heap_.front().node; }

    void insert(std::int32_t i, std::int64_t gain) {
        heap_.emplace_back();
        rise(size() - 1, {gain, i});
    }

    void change(std::int32_t i, std::int64_t gain) { replace(place_[i], {gain, i}); }

    void remove(std::int32_t i) {
        const std::int64_t k = place_[i];
        const Entry last = heap_.back();
        heap_.pop_back();
        place_[i] = -1;
        if (last.node != i) replace(k, last);
    }

    void clear() {
        for (const Entry &entry : heap_) place_[entry.node] = -1;
        heap_.clear();
    }

private:
    struct Entry {
        std::int64_t gain = 0;
        std::int32_t node = 0;
        bool before(const Entry &other) const {
            return gain > other.gain || (gain == other.gain && node < other.node);
        }
    };

    std::int64_t size() const { return static_cast<std::int64_t>(heap_.size()); }

    void put(std::int64_t k, Entry entry) {
        heap_[k] = entry;
        place_[entry.node] = static_cast<std::int32_t>(k);
    }

    void replace(std::int64_t k, Entry entry) {
        if (k > 0 && entry.before(heap_[(k - 1) / 2])) {
            rise(k, entry);
        } else {
            sink(k, entry);
        }
    }

    void rise(std::int64_t k, Entry entry) {
        for (; k > 0 && entry.before(heap_[(k - 1) / 2]); k = (k - 1) / 2) put(k, heap_[(k - 1) / 2]);
        put(k, entry);
    }

    void sink(std::int64_t k, Entry entry) {
        for (std::int64_t child = 2 * k + 1; child < size(); child = 2 * k + 1) {
            if (child + 1 < size() && heap_[child + 1].before(heap_[child])) ++child;
            if (!heap_[child].before(entry)) break;
            put(k, heap_[child]);
            k = child;
        }
        put(k, entry);
    }

    std::vector<Entry> heap_;
    std::vector<std::int32_t> place_;
};

}  // namespace gabp
