// The compiler's vectors, and the functions of the gates on them.
#pragma once

#include <cstdint>

namespace {

#if defined(CPU_CAPABILITY_AVX512)
constexpr int64_t kVector = 64;  // bytes of a vector, as torch has it
#elif defined(__aarch64__)
constexpr int64_t kVector = 16;
#else
constexpr int64_t kVector = 32;
#endif

// The compiler's own vector types: the compiler would not keep arrays of a class with constructors in registers.
template <typename T>
struct Lanes {
  static constexpr int64_t count = kVector / sizeof(T);
  typedef T type __attribute__((vector_size(count * sizeof(T))));
  typedef T unaligned __attribute__((vector_size(count * sizeof(T)), aligned(sizeof(T)), may_alias));
};
template <typename T>
constexpr int64_t kWidth = 2 * Lanes<T>::count;  // columns of a register tile

using Floats = Lanes<float>::type;
typedef int32_t Ints __attribute__((vector_size(sizeof(Floats))));

// exp(x) for x in [-87, 87], to two units in the last place, as 2^n e^r with a whole n and |r| <= ln(2) / 2. For such
// an r, what the Taylor series omits after its eighth term is below half a unit.
inline Floats exp_of(Floats x) {
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, which is in the low bits
  const Floats shifted = x * 1.44269504f + shift;
  const Floats n = shifted - shift;
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first exact in a product
  Floats e = r * (1.0f / 5040) + 1.0f / 720;
  e = e * r + 1.0f / 120;
  e = e * r + 1.0f / 24;
  e = e * r + 1.0f / 6;
  e = e * r + 0.5f;
  e = e * r + 1.0f;
  e = e * r + 1.0f;
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(e) + (reinterpret_cast<Ints>(shifted) << 23));
}

inline Floats sigmoid_of(Floats x) { return 1.0f / (1.0f + exp_of(-x)); }

// tanh(x) as 1 - 2 / (e^2x + 1). Near 0, where that would lose digits, it is x + x^3 q(x^2); q is the polynomial with
// the least relative error for |x| < 0.625, which is 4.4e-9.
inline Floats tanh_of(Floats x) {
  const Floats far = 1.0f - 2.0f / (exp_of(x + x) + 1.0f);
  const Floats square = x * x;
  Floats near = square * -0.005704985f + 0.020639086f;
  near = near * square - 0.053739715f;
  near = near * square + 0.133314416f;
  near = near * square - 0.333332807f;
  near = near * square * x + x;
  const Ints small = square < 0.390625f;
  return reinterpret_cast<Floats>((reinterpret_cast<Ints>(near) & small) | (reinterpret_cast<Ints>(far) & ~small));
}

}  // namespace
