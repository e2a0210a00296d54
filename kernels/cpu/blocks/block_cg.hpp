// Conjugate gradients preconditioned by the V-cycle of a hierarchy of vector-valued nodes.
#pragma once

#include "blocks/block_hierarchy.hpp"
#include "hierarchy/cg_solver.hpp"

namespace gabp {

class BlockCG : public CGSolver {
public:
    // residual: (n, columns) by rows with the given stride; columns is 1 to 8.
    BlockCG(const BlockHierarchy &hierarchy, const double *residual, std::int64_t stride, int columns, Team &team);

    void iterate() override;
    void write_solution(double *out, std::int64_t stride) override;
    void write_direction(int column, double *out) const override;

private:
    struct Column {
        Array<double> solution, residual, direction, image;
    };
    void iterate_column(int c);
    void measure(int c);
    template <class Term>
    double sum(const Term &term);

    const BlockHierarchy &hierarchy_;
    Team &team_;
    BlockCycle cycle_;
    std::vector<Column> column_;
    Array<double> norm_weight_;  // of a squared residual in the user's units
    Array<float> b_, z_;
    std::vector<double> partial_;
};

}  // namespace gabp
