// What the compiled files share: bfloat16, and functions that the compiler turns into vectors.

#pragma once

#include <cmath>
#include <cstdint>

namespace {

struct BFloat16 {
    uint16_t bits;
};

inline float load(float x) { return x; }
inline float load(BFloat16 x) { return __builtin_bit_cast(float, uint32_t(x.bits) << 16); }

inline void store(float& out, float x) { out = x; }
inline void store(BFloat16& out, float x) {
    uint32_t bits = __builtin_bit_cast(uint32_t, x);  // rounds to nearest, ties to even
    out.bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// A rational approximation, good to about 1e-7 (as in Eigen).
inline float tanh_(float x) {
    x = x < -7.90531110763549805f ? -7.90531110763549805f : x;
    x = x > 7.90531110763549805f ? 7.90531110763549805f : x;
    float y = x * x;
    float p = -2.76076847742355e-16f;
    p = p * y + 2.00018790482477e-13f;
    p = p * y - 8.60467152213735e-11f;
    p = p * y + 5.12229709037114e-08f;
    p = p * y + 1.48572235717979e-05f;
    p = p * y + 6.37261928875436e-04f;
    p = p * y + 4.89352455891786e-03f;
    float q = 1.19825839466702e-06f;
    q = q * y + 1.18534705686654e-04f;
    q = q * y + 2.26843463243900e-03f;
    q = q * y + 4.89352518554385e-03f;
    return x * p / q;
}

inline float sigmoid_(float x) { return 0.5f + 0.5f * tanh_(0.5f * x); }

// 2^n · e^r with |r| ≤ ln 2 / 2 (as in Cephes).
inline float exp_(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = __builtin_rintf(x * 1.44269504088896341f);
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * __builtin_bit_cast(float, (int32_t(n) + 127) << 23);
}

}  // namespace
