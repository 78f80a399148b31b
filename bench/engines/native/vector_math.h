// The functions of the gates on torch's vectors.
#pragma once

#include <ATen/cpu/vec/vec.h>

#include <cstring>

#include "lanes.h"

namespace {

using at::vec::Vectorized;
static_assert(Lanes<float>::count == Vectorized<float>::size() && Lanes<double>::count == Vectorized<double>::size());

template <Floats (*function)(Floats)>
inline Vectorized<float> bounded(Vectorized<float> x, float bound) {
  x = at::vec::clamp(x, Vectorized<float>(-bound), Vectorized<float>(bound));
  Floats value;
  std::memcpy(&value, &x, sizeof(value));
  value = function(value) + (value - value);  // this makes NaN of a NaN, whatever the function made of its bits
  std::memcpy(&x, &value, sizeof(value));
  return x;
}

inline Vectorized<float> sigmoid(Vectorized<float> x) { return bounded<sigmoid_of>(x, 87.0f); }
inline Vectorized<double> sigmoid(Vectorized<double> x) {
  return Vectorized<double>(1.0) / (Vectorized<double>(1.0) + x.neg().exp());
}
inline Vectorized<float> squash(Vectorized<float> x) { return bounded<tanh_of>(x, 20.0f); }
inline Vectorized<double> squash(Vectorized<double> x) { return x.tanh(); }

}  // namespace
