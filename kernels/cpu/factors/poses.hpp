// Residuals of measured relative poses and their derivatives; see kernels/torch/poses.py.
#pragma once

#include <cstdint>

namespace gabp {

// Poses (count, 3): residual (count, 3), jacobian (count, 3, 6).
void between_se2(std::int64_t count, const double *first, const double *second, const double *measurement,
                 double *residual, double *jacobian);

// Poses (count, 7): residual (count, 6), jacobian (count, 6, 12).
void between_se3(std::int64_t count, const double *first, const double *second, const double *measurement,
                 double *residual, double *jacobian);

// Steps (count, 3) or (count, 6) from the right.
void retract_se2(std::int64_t count, const double *poses, const double *delta, double *moved);
void retract_se3(std::int64_t count, const double *poses, const double *delta, double *moved);

}  // namespace gabp
