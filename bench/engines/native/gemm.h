// The packing of the weights for the forward pass.
#pragma once

#include <algorithm>
#include <cstdint>

#include "layout.h"
#include "tile.h"

namespace {

// Packs the weights for the forward pass. For each block of units and each product it holds [what the product reads,
// units], with zeros after the last unit.
template <typename T, Kind K>
Buffer<T> pack_columns(const Shape& s, const T* w_ih, const T* w_hh, const T* b_ih, const T* b_hh) {
  const int64_t blocks = divide_up(s.hidden, kWidth<T>);
  int64_t depth_of_all = 0;
  for (int p = 0; p < kProducts<K>; ++p) depth_of_all += reads<K>(s, p).second;
  Buffer<T> packed(blocks * depth_of_all * kWidth<T>, T(0));
  T* out = packed.data();
  for (int64_t block = 0; block < blocks; ++block) {
    for (int p = 0; p < kProducts<K>; ++p) {
      const auto [start, depth] = reads<K>(s, p);
      const int64_t units = std::min(kWidth<T>, s.hidden - block * kWidth<T>);
      for (int64_t u = 0; u < units; ++u) {
        const int64_t row = (K == GRU && p == 3 ? 2 : p) * s.hidden + block * kWidth<T> + u;
        for (int64_t k = 0; k < depth; ++k) {
          const int64_t place = start + k;
          T value;
          if (place < s.hidden) value = w_hh[row * s.hidden + place];
          else if (place > s.hidden) value = w_ih[row * s.input + place - s.hidden - 1];
          else if (K == GRU && p >= 2) value = p == 2 ? b_hh[row] : b_ih[row];
          else value = b_ih[row] + b_hh[row];
          out[k * kWidth<T> + u] = value;
        }
      }
      out += depth * kWidth<T>;
    }
  }
  return packed;
}

}  // namespace
