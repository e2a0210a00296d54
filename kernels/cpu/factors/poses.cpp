#include "factors/poses.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

constexpr double two_pi = 6.283185307179586476925286766559;

struct Vector3 {
    double v[3];
    double operator[](int i) const { return v[i]; }
};

struct Matrix3 {
    double m[3][3];
};

struct Quaternion {
    double x, y, z, w;
    Quaternion conjugate() const { return {-x, -y, -z, w}; }
};

Quaternion multiply(const Quaternion &p, const Quaternion &q) {
    return {p.w * q.x + q.w * p.x + p.y * q.z - p.z * q.y, p.w * q.y + q.w * p.y + p.z * q.x - p.x * q.z,
            p.w * q.z + q.w * p.z + p.x * q.y - p.y * q.x, p.w * q.w - p.x * q.x - p.y * q.y - p.z * q.z};
}

Matrix3 rotation(const Quaternion &q) {
    const double x = q.x, y = q.y, z = q.z, w = q.w;
    return {{{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
             {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
             {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}}};
}

Vector3 apply_transposed(const Matrix3 &a, const Vector3 &x) {
    Vector3 y;
    for (int i = 0; i < 3; ++i) y.v[i] = a.m[0][i] * x[0] + a.m[1][i] * x[1] + a.m[2][i] * x[2];
    return y;
}

Quaternion exponential(const Vector3 &omega) {
    const double squared = omega[0] * omega[0] + omega[1] * omega[1] + omega[2] * omega[2];
    double over_angle, w;
    if (squared < 1e-8) {
        over_angle = 0.5 - squared / 48;
        w = 1 - squared / 8;
    } else {
        const double half = std::sqrt(squared) / 2;
        over_angle = std::sin(half) / (2 * half);
        w = std::cos(half);
    }
    return {over_angle * omega[0], over_angle * omega[1], over_angle * omega[2], w};
}

Vector3 logarithm(const Quaternion &q) {
    const double sign = q.w < 0 ? -1.0 : 1.0, upright = sign * q.w;
    const double squared = q.x * q.x + q.y * q.y + q.z * q.z;
    double factor;
    if (squared < 1e-8) {
        factor = 2 / upright * (1 - squared / (3 * upright * upright));
    } else {
        const double length = std::sqrt(squared);
        factor = 2 * std::atan2(length, upright) / length;
    }
    factor *= sign;
    return {{factor * q.x, factor * q.y, factor * q.z}};
}

// I + ½ [ω]× + c [ω]×², c = 1/θ² - cot(θ/2) / 2θ.
Matrix3 inverse_right_jacobian(const Vector3 &omega) {
    const double squared = omega[0] * omega[0] + omega[1] * omega[1] + omega[2] * omega[2];
    double c;
    if (squared < 1e-3) {
        c = 1.0 / 12 + squared * (1.0 / 720 + squared * (1.0 / 30240 + squared / 1209600));
    } else {
        const double theta = std::sqrt(squared);
        c = 1 / squared - 1 / (2 * theta * std::tan(theta / 2));
    }
    Matrix3 j;
    for (int a = 0; a < 3; ++a)
        for (int b = 0; b < 3; ++b) j.m[a][b] = c * (omega[a] * omega[b] - (a == b ? squared : 0)) + (a == b ? 1 : 0);
    const double x = 0.5 * omega[0], y = 0.5 * omega[1], z = 0.5 * omega[2];
    j.m[0][1] -= z, j.m[0][2] += y, j.m[1][2] -= x;
    j.m[1][0] += z, j.m[2][0] -= y, j.m[2][1] += x;
    return j;
}

}  // namespace

void between_se2(std::int64_t count, const double *first, const double *second, const double *measurement,
                 double *residual, double *jacobian) {
    for (std::int64_t f = 0; f < count; ++f, first += 3, second += 3, measurement += 3, residual += 3, jacobian += 18) {
        const double c = std::cos(first[2]), s = std::sin(first[2]);
        const double cz = std::cos(measurement[2]), sz = std::sin(measurement[2]);
        const double dx = second[0] - first[0], dy = second[1] - first[1];
        const double x = c * dx + s * dy, y = -s * dx + c * dy;
        const double ex = x - measurement[0], ey = y - measurement[1];
        const double angle = second[2] - first[2], turned = angle - measurement[2];
        residual[0] = cz * ex + sz * ey;
        residual[1] = -sz * ex + cz * ey;
        residual[2] = turned - two_pi * std::nearbyint(turned / two_pi);
        const double cr = std::cos(turned), sr = std::sin(turned);
        const double rows[18] = {-cz, -sz, cz * y - sz * x,  cr,  -sr, 0,  //
                                 sz,  -cz, -sz * y - cz * x, sr, cr,  0,  //
                                 0,   0,   -1,               0,  0,   1};
        std::copy(rows, rows + 18, jacobian);
    }
}

void between_se3(std::int64_t count, const double *first, const double *second, const double *measurement,
                 double *residual, double *jacobian) {
    for (std::int64_t f = 0; f < count;
         ++f, first += 7, second += 7, measurement += 7, residual += 6, jacobian += 72) {
        const Quaternion qi{first[3], first[4], first[5], first[6]}, qj{second[3], second[4], second[5], second[6]};
        const Quaternion qz{measurement[3], measurement[4], measurement[5], measurement[6]};
        const Quaternion between = multiply(qi.conjugate(), qj), turned = multiply(qz.conjugate(), between);
        const Matrix3 z = rotation(qz), r_ij = rotation(between), r = rotation(turned);
        const Vector3 t = apply_transposed(
            rotation(qi), {{second[0] - first[0], second[1] - first[1], second[2] - first[2]}});
        const Vector3 e =
            apply_transposed(z, {{t[0] - measurement[0], t[1] - measurement[1], t[2] - measurement[2]}});
        const Vector3 omega = logarithm(turned);
        const Matrix3 inverse = inverse_right_jacobian(omega);
        const double cross[3][3] = {{0, -t[2], t[1]}, {t[2], 0, -t[0]}, {-t[1], t[0], 0}};
        std::fill(jacobian, jacobian + 72, 0.0);
        for (int a = 0; a < 3; ++a) {
            residual[a] = e[a];
            residual[3 + a] = omega[a];
            double *upper = jacobian + 12 * a, *lower = jacobian + 12 * (3 + a);
            for (int b = 0; b < 3; ++b) {
                double moving = 0, turning = 0;
                for (int k = 0; k < 3; ++k) {
                    moving += z.m[k][a] * cross[k][b];
                    turning -= inverse.m[a][k] * r_ij.m[b][k];
                }
                upper[b] = -z.m[b][a];
                upper[3 + b] = moving;
                upper[6 + b] = r.m[a][b];
                lower[3 + b] = turning;
                lower[9 + b] = inverse.m[a][b];
            }
        }
    }
}

void retract_se2(std::int64_t count, const double *poses, const double *delta, double *moved) {
    for (std::int64_t v = 0; v < count; ++v, poses += 3, delta += 3, moved += 3) {
        const double c = std::cos(poses[2]), s = std::sin(poses[2]), angle = poses[2] + delta[2];
        moved[0] = poses[0] + c * delta[0] - s * delta[1];
        moved[1] = poses[1] + s * delta[0] + c * delta[1];
        moved[2] = angle - two_pi * std::nearbyint(angle / two_pi);
    }
}

void retract_se3(std::int64_t count, const double *poses, const double *delta, double *moved) {
    for (std::int64_t v = 0; v < count; ++v, poses += 7, delta += 6, moved += 7) {
        const Quaternion q{poses[3], poses[4], poses[5], poses[6]};
        const Matrix3 r = rotation(q);
        for (int a = 0; a < 3; ++a)
            moved[a] = poses[a] + r.m[a][0] * delta[0] + r.m[a][1] * delta[1] + r.m[a][2] * delta[2];
        const Quaternion turned = multiply(q, exponential({{delta[3], delta[4], delta[5]}}));
        const double squared =
            turned.x * turned.x + turned.y * turned.y + turned.z * turned.z + turned.w * turned.w;
        const double scale = 1.5 - 0.5 * squared;  // against the drift of repeated products
        moved[3] = scale * turned.x, moved[4] = scale * turned.y;
        moved[5] = scale * turned.z, moved[6] = scale * turned.w;
    }
}

}  // namespace gabp
