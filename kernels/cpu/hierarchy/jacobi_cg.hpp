// Conjugate gradients preconditioned by the diagonal alone, for graphs whose couplings no order of the rows brings
// together: row blocks would see few of them and clusters could not hold them. They read the user's own rows.
#pragma once

#include "hierarchy/cg_solver.hpp"
#include "hierarchy/hierarchy.hpp"

namespace gabp {

class DiagonalGradients : public Gradients {
public:
    // residual: (n, columns) by rows with the given stride; columns is 1 to 8.
    DiagonalGradients(const Hierarchy &hierarchy, const double *residual, std::int64_t stride, int columns, Team &team);

    void step() override;
    void write_solution(double *out, std::int64_t stride) override;
    void write_direction(int column, double *out) const override;

private:
    void choose_direction();  // a suspect one is kept until the next step, as a witness

    const Hierarchy &hierarchy_;
    const std::vector<std::int32_t> &block_;
    Team &team_;
    Array<double> solution_, residual_, image_;
    // Rounded to float32, so that more of what the rows gather stays in the cache. The steps along a direction are
    // exact for whatever direction it is; rounding costs no more than some of the conjugacy.
    Array<float> direction_;
    std::vector<double> match_;  // p'r
};

}  // namespace gabp
