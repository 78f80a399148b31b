// The forward pass: all steps of some rows of the batch, from the first to the last.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gemm.h"
#include "layout.h"
#include "vector_math.h"

namespace {

// Computes all steps of some rows. inputs: (T, B, I). z: (T + 1, B, z), of which h at step 0 is already filled in.
// kept: (T, B, 4, H), or null to keep no gates. c: (T + 1, B, H), for the LSTM only, of which step 0 is already filled
// in.
template <typename T, Kind K>
void walk_forward(const Shape& s, const T* packed, const T* inputs, T* z, T* kept, T* c, int64_t first, int64_t last) {
  using Vec = Vectorized<T>;
  constexpr int P = kProducts<K>;
  const int64_t rows = last - first;
  alignas(kLine) T values[P * kRows * kWidth<T>];
  const Vec one(T(1));
  for (int64_t t = 0; t < s.time; ++t) {
    T* z_in = z + (t * s.batch + first) * s.z;
    T* z_out = z_in + s.batch * s.z;
    for (int64_t m = 0; m < rows; ++m) {
      T* rest = z_in + m * s.z + s.hidden;
      *rest = T(1);
      std::copy_n(inputs + (t * s.batch + first + m) * s.input, s.input, rest + 1);
      std::fill(rest + 1 + s.input, z_in + (m + 1) * s.z, T(0));
    }
    const T* weights = packed;
    for (int64_t start = 0; start < s.hidden; start += kWidth<T>) {
      const int64_t units = std::min(kWidth<T>, s.hidden - start);
      for (const Group& group : groups<K>(s)) {
        for (int64_t from = 0; from < group.count * units; from += kWidth<T>) {
          const int64_t width = packed_width<T>(std::min(kWidth<T>, group.count * units - from));
          times_piece<T, false>(z_in + group.start, s.z, weights, width, group.depth,
                                values + group.first * units + from, P * kWidth<T>, rows);
          weights += group.depth * width;
        }
      }
      for (int64_t m = 0; m < rows; ++m) {
        for (int64_t u = 0; u < units; u += Vec::size()) {
          const int64_t unit = start + u, count = std::min<int64_t>(Vec::size(), units - u);
          const auto value = [&](int p) { return Vec::loadu(values + m * P * kWidth<T> + p * units + u); };
          const auto keep = [&](int p, const Vec& v) {
            if (kept != nullptr) v.store(kept + ((t * s.batch + first + m) * 4 + p) * s.hidden + unit, count);
          };
          Vec h;
          if constexpr (K == RNN_TANH) {
            h = squash(value(0));
          } else if constexpr (K == RNN_RELU) {
            h = at::vec::maximum(value(0), Vec(T(0)));
          } else if constexpr (K == LSTM) {
            const Vec i = sigmoid(value(0)), f = sigmoid(value(1)), g = squash(value(2)), o = sigmoid(value(3));
            T* before = c + (t * s.batch + first + m) * s.hidden + unit;
            const Vec now = at::vec::fmadd(f, Vec::loadu(before, count), i * g);
            now.store(before + s.batch * s.hidden, count);
            h = o * squash(now);
            keep(0, i), keep(1, f), keep(2, g), keep(3, o);
          } else {
            const Vec r = sigmoid(value(0)), update = sigmoid(value(1)), recurrent = value(2);
            const Vec n = squash(at::vec::fmadd(r, recurrent, value(3)));
            h = (one - update) * n + update * Vec::loadu(z_in + m * s.z + unit, count);
            keep(0, r), keep(1, update), keep(2, recurrent), keep(3, n);
          }
          h.store(z_out + m * s.z + unit, count);
        }
      }
    }
  }
}

}  // namespace
