#include "hierarchy/hierarchy.hpp"

#include "hierarchy/aggregation.hpp"
#include "hierarchy/elimination_sweep.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gabp {
namespace {

// A model is solved by elimination if the factor has no more numbers than this; coarse ones are visited often.
constexpr std::int64_t exact_numbers_finest = 300000, exact_numbers_coarse = 40000;
constexpr std::int32_t largest_exact = 10000;
constexpr double least_contraction = 0.8;  // coarse n / fine n above which coarser models are not worth it
constexpr double least_inner = 0.12;       // couplings within clusters below which the graph is no mesh, ...
constexpr double most_couplings = 0.5;     // ... unless the coarse model has fewer than this share of the couplings
constexpr std::int32_t fewest_accelerated = serial_rows;  // the many visits of smaller models would cost too much
constexpr double second_step = 0.25;  // residual left by the first coarse step that calls for a second
constexpr std::int64_t slots_per_block = 1 << 17;
// Grounding (see Preparation) above which sweeps of the one model are done before coarser ones have been made. Steps
// go as its root: 30 at 0.025. They cost a sixth of a cycle through a hierarchy as long as the model stays in the
// cache, and half of one where it does not.
constexpr double well_grounded = 0.06, well_grounded_in_cache = 0.015;
constexpr std::int64_t in_cache = 1 << 20;  // rows and couplings
constexpr double parallel = 1e-7;  // the second direction adds nothing below this share of its energy

}  // namespace

template <class W>
Hierarchy::Hierarchy(Preparation<W> &&prepared, const Hierarchy *like, Team &team) {
    const RowsView<W> rows = prepared.rows();
    norm_bound_ = prepared.norm_bound();
    n_ = rows.n;
    couplings_ = rows.start[rows.n];
    if (prepared.scattered()) {
        keep_slots(rows, prepared.take_diagonal(), team);
        return;
    }
    const double enough = n_ + couplings_ <= in_cache ? well_grounded_in_cache : well_grounded;
    build(rows, prepared.is_mesh() && prepared.grounding() < enough, like, team);
    order_ = prepared.take_order();
    scale_ = prepared.take_scale();
    if (scaled()) weigh_norm(team);
}

void Hierarchy::weigh_norm(Team &team) {
    ModelMatrix &m = model_.front().matrix;
    m.norm_weight = Array<double>(m.n);
    team.each(m.blocks(), [&](std::int64_t k) {
        for (std::int64_t i = m.block[k]; i < m.block[k + 1]; ++i)
            m.norm_weight[i] = 1.0 / (scale_[i] * scale_[i]);
    });
}

template <class W>
void Hierarchy::keep_slots(const RowsView<W> &rows, Array<double> &&diagonal, Team &team) {
    slot_diagonal_ = std::move(diagonal);
    slot_inverse_ = Array<float>(rows.n);
    slot_block_.push_back(0);
    for (std::int32_t i = 1; i < rows.n; ++i)
        if (rows.start[i] - rows.start[slot_block_.back()] >= slots_per_block) slot_block_.push_back(i);
    slot_block_.push_back(rows.n);
    team.each(static_cast<std::int64_t>(slot_block_.size()) - 1, [&](std::int64_t k) {
        for (std::int32_t i = slot_block_[k]; i < slot_block_[k + 1]; ++i)
            slot_inverse_[i] = static_cast<float>(1.0 / slot_diagonal_[i]);
    });
    slots_ = {rows.start, rows.column, nullptr, nullptr, slot_diagonal_.data(), slot_inverse_.data()};
    if constexpr (sizeof(W) == sizeof(float))
        slots_.weight_float = rows.weight;
    else
        slots_.weight_double = rows.weight;
}

template <class W>
void Hierarchy::build(const RowsView<W> &rows, bool contract_further, const Hierarchy *like, Team &team) {
    const std::size_t level = model_.size();
    const bool finest = level == 0;
    Model model;
    model.matrix = lay_out(rows, finest, team);
    if (rows.n <= largest_exact && model.exact.factor(rows, finest ? exact_numbers_finest : exact_numbers_coarse)) {
        model_.push_back(std::move(model));
        return;
    }
    Clusters clusters;
    double inner = 0.0;
    Rows coarse;
    if (like != nullptr)
        clusters = clusters_of(like->model_.at(level).matrix);
    else if (contract_further)
        clusters = find_clusters(rows, model.matrix.block, team);
    bool last = clusters.count() == 0 || clusters.count() > least_contraction * rows.n;
    if (!last) {
        coarse = contract(rows, model.matrix.block, clusters, team, inner);
        last = like == nullptr && inner < least_inner &&
               coarse.start[coarse.n] > most_couplings * static_cast<double>(rows.start[rows.n]);
    }
    if (last) {
        set_pivots(rows, whole_sweep, model.matrix, team);
        model_.push_back(std::move(model));
        return;
    }
    set_pivots(rows, half_sweep, model.matrix, team);
    model.matrix.cluster = std::move(clusters.of);
    model_.push_back(std::move(model));
    build(coarse.view(), true, like, team);
}

std::int64_t Hierarchy::bytes() const {
    std::int64_t sum = order_.bytes() + scale_.bytes() + slot_diagonal_.bytes() + slot_inverse_.bytes();
    for (const Model &model : model_) sum += model.matrix.bytes() + model.exact.size() * 8;
    return sum;
}

template Hierarchy::Hierarchy(Preparation<float> &&, const Hierarchy *, Team &);
template Hierarchy::Hierarchy(Preparation<double> &&, const Hierarchy *, Team &);

Passage::Passage(const Hierarchy &hierarchy, int columns, Cycle cycle, Team &team)
    : hierarchy_(hierarchy), columns_(columns), kind_(cycle), team_(team), kernel_(row_kernels(columns)) {
    std::size_t blocks = 1;
    for (std::size_t l = 0; l < hierarchy.models().size(); ++l) {
        const ModelMatrix &m = hierarchy.models()[l].matrix;
        const std::int64_t size = std::int64_t(m.n) * columns;
        Vectors v;
        v.x = Array<float>(size);
        if (l > 0) {
            v.b = Array<float>(size);
            v.c = Array<float>(size);
            if (accelerates(hierarchy.models()[l])) {
                v.image = Array<float>(size);
                v.d = Array<float>(size);
            }
        }
        vector_.push_back(std::move(v));
        blocks = std::max(blocks, m.block.size());
        if (!hierarchy.models()[l].exact.empty()) work_.resize(static_cast<std::size_t>(size));
    }
    dots_.resize(blocks * product_dots * static_cast<std::size_t>(columns));
}

bool Passage::accelerates(const Model &coarse) const {
    return kind_ == Cycle::k && coarse.matrix.n >= fewest_accelerated && coarse.exact.empty();
}

bool Passage::varies() const {
    const std::vector<Model> &models = hierarchy_.models();
    return std::any_of(models.begin() + 1, models.end(), [&](const Model &coarse) { return accelerates(coarse); });
}

void Passage::cycle(std::size_t l, const float *b, float *out) {
    const Model &model = hierarchy_.models()[l];
    if (!model.exact.empty()) {
        model.exact.solve(b, out, columns_, work_.data());
        return;
    }
    const ModelMatrix &m = model.matrix;
    const SweepView view = m.view();
    float *x = vector_[l].x.data();
    team_.each(m.blocks(), [&](std::int64_t k) { kernel_.forward(view, m.block_run[k], m.block_run[k + 1], b, x); });
    after_forward(l, b, out);
}

void Passage::after_forward(std::size_t l, const float *b, float *out) {
    const ModelMatrix &m = hierarchy_.models()[l].matrix;
    const SweepView view = m.view();
    float *x = vector_[l].x.data();
    if (m.cluster.size() == 0) {
        team_.each(m.blocks(), [&](std::int64_t k) {
            std::copy(x + std::int64_t(m.block[k]) * columns_, x + std::int64_t(m.block[k + 1]) * columns_,
                      out + std::int64_t(m.block[k]) * columns_);
            kernel_.backward(view, m.block_run[k], m.block_run[k + 1], out);
        });
        return;
    }
    Vectors &coarse = vector_[l + 1];
    std::fill(coarse.b.data(), coarse.b.data() + coarse.b.size(), 0.0f);
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.restrict_residual(view, m.block_run[k], m.block_run[k + 1], x, coarse.b.data());
    });
    const Model &next = hierarchy_.models()[l + 1];
    if (accelerates(next))
        accelerate(l + 1);
    else
        cycle(l + 1, coarse.b.data(), coarse.c.data());
    team_.each(m.blocks(), [&](std::int64_t k) { kernel_.prolong(view, m.block[k], m.block[k + 1], coarse.c.data(), x); });
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.correct_backward(view, m.block_run[k], m.block_run[k + 1], b, x, out);
    });
}

// image of the level = A c, and the sums over all blocks.
void Passage::product(std::size_t l, const float *c, const float *r, const float *o, double *dots) {
    const ModelMatrix &m = hierarchy_.models()[l].matrix;
    const SweepView view = m.view();
    const std::int64_t count = product_dots * columns_;
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.product(view, m.block_run[k], m.block_run[k + 1], c, r, o, vector_[l].image.data(),
                        dots_.data() + k * count);
    });
    std::fill(dots, dots + count, 0.0);
    for (int k = 0; k < m.blocks(); ++k)
        for (std::int64_t d = 0; d < count; ++d) dots[d] += dots_[static_cast<std::size_t>(k * count + d)];
}

// At most two steps of flexible conjugate gradients on the coarse model (Notay 2010, algorithm 3.2):
// c of the level becomes an approximation to A^-1 b; b is overwritten.
void Passage::accelerate(std::size_t l) {
    Vectors &v = vector_[l];
    const ModelMatrix &m = hierarchy_.models()[l].matrix;
    float *b = v.b.data(), *c = v.c.data(), *d = v.d.data();
    const int w = columns_;
    double first[product_dots * 8], second[product_dots * 8];
    float along_c[8], along_d[8];
    cycle(l, b, c);
    product(l, c, b, b, first);
    bool enough = true;
    for (int k = 0; k < w; ++k) {
        const double energy = first[k], match = first[w + k], overlap = first[2 * w + k], image2 = first[3 * w + k];
        const double before = first[4 * w + k];
        const double step = energy > 0.0 ? match / energy : 0.0;
        if (before - 2.0 * step * overlap + step * step * image2 > second_step * second_step * before) enough = false;
        along_c[k] = static_cast<float>(step);
        along_d[k] = 0.0f;
    }
    if (!enough) {
        team_.each(m.blocks(), [&](std::int64_t k) {
            kernel_.subtract(m.block[k], m.block[k + 1], along_c, v.image.data(), b);
        });
        cycle(l, b, d);
        product(l, d, b, c, second);
        for (int k = 0; k < w; ++k) {
            const double energy = first[k], match = first[w + k], coupling = second[2 * w + k];
            double rest = second[k];  // the energy of d once its part along c is taken off
            if (energy > 0.0) rest -= coupling * coupling / energy;
            const double step = rest > parallel * second[k] ? second[w + k] / rest : 0.0;
            along_d[k] = static_cast<float>(step);
            along_c[k] = static_cast<float>(energy > 0.0 ? (match - coupling * step) / energy : 0.0);
        }
    } else {
        d = c;
    }
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.combine(m.block[k], m.block[k + 1], along_c, c, along_d, d, c);
    });
}

}  // namespace gabp
