// The packing of the weights for the forward pass.
#pragma once

#include <algorithm>
#include <cstdint>

#include "layout.h"
#include "tile.h"

namespace {

// Packs the weights for the forward pass. For each block of units and each group of products it holds a packed matrix
// [what the products read, units of one product after the other].
template <typename T, Kind K>
Buffer<T> pack_columns(const Shape& s, const T* w_ih, const T* w_hh, const T* b_ih, const T* b_hh) {
  Buffer<T> packed;
  for (int64_t unit = 0; unit < s.hidden; unit += kWidth<T>) {
    const int64_t units = std::min(kWidth<T>, s.hidden - unit);
    for (const Group& group : groups<K>(s)) {
      for (int64_t from = 0; from < group.count * units; from += kWidth<T>) {
        const int64_t there = std::min(kWidth<T>, group.count * units - from), width = packed_width<T>(there);
        T* out = &*packed.insert(packed.end(), group.depth * width, T(0));
        for (int64_t column = 0; column < there; ++column) {
          const int p = group.first + static_cast<int>((from + column) / units);
          const int64_t row = (K == GRU && p == 3 ? 2 : p) * s.hidden + unit + (from + column) % units;
          for (int64_t k = 0; k < group.depth; ++k) {
            const int64_t place = group.start + k;
            T value;
            if (place < s.hidden) value = w_hh[row * s.hidden + place];
            else if (place > s.hidden) value = w_ih[row * s.input + place - s.hidden - 1];
            else if (K == GRU && p >= 2) value = p == 2 ? b_hh[row] : b_ih[row];
            else value = b_ih[row] + b_hh[row];
            out[k * width + column] = value;
          }
        }
      }
    }
  }
  return packed;
}

}  // namespace
