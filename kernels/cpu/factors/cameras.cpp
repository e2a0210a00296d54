#include "factors/cameras.hpp"

#include <cmath>

namespace gabp {
namespace {

// R = I + a [ω]× + b [ω]×² and its left Jacobian I + b [ω]× + c [ω]×².
struct Rotation {
    double matrix[3][3], jacobian[3][3];

    explicit Rotation(const double *omega) {
        const double squared = omega[0] * omega[0] + omega[1] * omega[1] + omega[2] * omega[2];
        double a, b, c;
        if (squared < 1e-3) {
            a = 1 - squared * (1.0 / 6 - squared * (1.0 / 120 - squared * (1.0 / 5040 - squared / 362880)));
            b = 0.5 - squared * (1.0 / 24 - squared * (1.0 / 720 - squared / 40320));
            c = 1.0 / 6 - squared * (1.0 / 120 - squared * (1.0 / 5040 - squared / 362880));
        } else {
            const double theta = std::sqrt(squared), half = std::sin(theta / 2), sine = std::sin(theta);
            a = sine / theta;
            b = 2 * half * half / squared;
            c = (theta - sine) / (squared * theta);
        }
        const double cross[3][3] = {{0, -omega[2], omega[1]}, {omega[2], 0, -omega[0]}, {-omega[1], omega[0], 0}};
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) {
                const double one = i == j ? 1 : 0, square = omega[i] * omega[j] - one * squared;
                matrix[i][j] = one + a * cross[i][j] + b * square;
                jacobian[i][j] = one + b * cross[i][j] + c * square;
            }
    }
};

}  // namespace

void reprojection(std::int64_t count, const double *camera, const double *point, const double *pixel, double *residual,
                  double *jacobian) {
    for (std::int64_t f = 0; f < count; ++f, camera += 9, point += 3, pixel += 2, residual += 2) {
        const Rotation rotation(camera);
        double turned[3], seen[3];
        for (int i = 0; i < 3; ++i) {
            turned[i] = 0;
            for (int k = 0; k < 3; ++k) turned[i] += rotation.matrix[i][k] * point[k];
            seen[i] = turned[i] + camera[3 + i];
        }
        const double p[2] = {-seen[0] / seen[2], -seen[1] / seen[2]};
        const double focal = camera[6], k1 = camera[7], k2 = camera[8], squared = p[0] * p[0] + p[1] * p[1];
        const double distortion = 1 + squared * (k1 + squared * k2);
        for (int i = 0; i < 2; ++i) residual[i] = focal * distortion * p[i] - pixel[i];
        if (jacobian == nullptr) continue;
        const double slope = 2 * k1 + 4 * k2 * squared, scale = -focal / seen[2];
        for (int i = 0; i < 2; ++i, jacobian += 12) {
            double in_seen[3], in_turn[3];
            for (int j = 0; j < 2; ++j) in_seen[j] = scale * (slope * p[i] * p[j] + (i == j ? distortion : 0));
            in_seen[2] = in_seen[0] * p[0] + in_seen[1] * p[1];
            // the row in_seen times -[turned]×
            in_turn[0] = turned[1] * in_seen[2] - turned[2] * in_seen[1];
            in_turn[1] = turned[2] * in_seen[0] - turned[0] * in_seen[2];
            in_turn[2] = turned[0] * in_seen[1] - turned[1] * in_seen[0];
            for (int j = 0; j < 3; ++j) {
                double in_rotation = 0, in_point = 0;
                for (int k = 0; k < 3; ++k) {
                    in_rotation += in_turn[k] * rotation.jacobian[k][j];
                    in_point += in_seen[k] * rotation.matrix[k][j];
                }
                jacobian[j] = in_rotation;
                jacobian[3 + j] = in_seen[j];
                jacobian[9 + j] = in_point;
            }
            jacobian[6] = distortion * p[i];
            jacobian[7] = focal * squared * p[i];
            jacobian[8] = focal * squared * squared * p[i];
        }
    }
}

}  // namespace gabp
