// Pinhole cameras with radial distortion; see kernels/torch/cameras.py.
#pragma once

#include <cstdint>

namespace gabp {

// Cameras (count, 9), points (count, 3), pixels (count, 2): residual (count, 2), and jacobian (count, 2, 12) unless null.
void reprojection(std::int64_t count, const double *camera, const double *point, const double *pixel, double *residual,
                  double *jacobian);

}  // namespace gabp
