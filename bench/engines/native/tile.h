// Matrix products in register tiles, and the packing of a matrix for them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "lanes.h"
#include "memory.h"

namespace {

// out[m, 0:V vectors] (+)= sum over k < depth of a[m, k] b[k, 0:V vectors], for M rows.
template <typename T, int M, int V, bool kAdd>
inline void tile(const T* a, int64_t a_row, int64_t a_column, const T* b, int64_t b_row, int64_t depth, T* out,
                 int64_t out_row) {
  constexpr int64_t lanes = Lanes<T>::count;
  using Unaligned = typename Lanes<T>::unaligned;
  using Vector = typename Lanes<T>::type;
  Vector sums[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      if constexpr (kAdd) sums[m][v] = *reinterpret_cast<const Unaligned*>(out + m * out_row + v * lanes);
      else sums[m][v] = Vector{};
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector right[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) right[v] = *reinterpret_cast<const Unaligned*>(b + k * b_row + v * lanes);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const T value = a[m * a_row + k * a_column];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sums[m][v] += value * right[v];
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) *reinterpret_cast<Unaligned*>(out + m * out_row + v * lanes) = sums[m][v];
  }
}

// The same as `tile` for any number of rows, in register tiles of nearly equal height.
template <typename T, int V, bool kAdd>
void product(const T* a, int64_t a_row, int64_t a_column, const T* b, int64_t b_row, int64_t depth, T* out,
             int64_t out_row, int64_t rows) {
  const int64_t tiles = divide_up(rows, kTile);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t from = i * rows / tiles, height = (i + 1) * rows / tiles - from;
    const T* left = a + from * a_row;
    T* result = out + from * out_row;
    const auto of_height = [&](auto m) {
      tile<T, decltype(m)::value, V, kAdd>(left, a_row, a_column, b, b_row, depth, result, out_row);
    };
    switch (height) {
      case 1: of_height(std::integral_constant<int, 1>()); break;
      case 2: of_height(std::integral_constant<int, 2>()); break;
      case 3: of_height(std::integral_constant<int, 3>()); break;
      case 4: of_height(std::integral_constant<int, 4>()); break;
      case 5: of_height(std::integral_constant<int, 5>()); break;
      case 6: of_height(std::integral_constant<int, 6>()); break;
      case 7: of_height(std::integral_constant<int, 7>()); break;
      default: of_height(std::integral_constant<int, 8>()); break;
    }
  }
}

// A packed matrix is in pieces of two vectors' width, [depth, width] each, with zeros after the last column; the last
// piece is one vector wide where that is enough.
template <typename T>
inline int64_t packed_width(int64_t columns) {
  return divide_up(columns, Lanes<T>::count) * Lanes<T>::count;
}

// out (rows, width) (+)= a (rows, depth) times a piece of a packed matrix.
template <typename T, bool kAdd>
void times_piece(const T* a, int64_t a_row, const T* piece, int64_t width, int64_t depth, T* out, int64_t out_row,
                 int64_t rows) {
  if (width == kWidth<T>) product<T, 2, kAdd>(a, a_row, 1, piece, width, depth, out, out_row, rows);
  else product<T, 1, kAdd>(a, a_row, 1, piece, width, depth, out, out_row, rows);
}

// out (rows, columns) (+)= a (rows, depth) times weights that `pack_rows` has packed. To what the last columns hold, the
// whole sum is added; to that of others, number by number.
template <typename T, bool kAdd>
void times_packed(const T* a, int64_t a_row, const T* packed, int64_t depth, T* out, int64_t out_row, int64_t rows,
                  int64_t columns) {
  alignas(kLine) T spare[kRows * kWidth<T>];
  for (int64_t from = 0; from < columns; from += kWidth<T>) {
    const int64_t there = std::min(kWidth<T>, columns - from), width = packed_width<T>(there);
    const T* piece = packed + from * depth;
    if (there == kWidth<T> || (there == width && !kAdd)) {
      times_piece<T, kAdd>(a, a_row, piece, width, depth, out + from, out_row, rows);
      continue;
    }
    times_piece<T, false>(a, a_row, piece, width, depth, spare, kWidth<T>, rows);
    for (int64_t m = 0; m < rows; ++m) {
      T* place = out + m * out_row + from;
      if constexpr (kAdd) {
        for (int64_t u = 0; u < there; ++u) place[u] += spare[m * kWidth<T> + u];
      } else {
        std::copy_n(spare + m * kWidth<T>, there, place);
      }
    }
  }
}

// Packs the weights for the backward pass.
template <typename T>
Buffer<T> pack_rows(const T* weights, int64_t rows, int64_t columns) {
  Buffer<T> packed(rows * packed_width<T>(columns), T(0));
  for (int64_t from = 0; from < columns; from += kWidth<T>) {
    const int64_t there = std::min(kWidth<T>, columns - from), width = packed_width<T>(there);
    for (int64_t row = 0; row < rows; ++row) {
      std::copy_n(weights + row * columns + from, there, packed.data() + rows * from + row * width);
    }
  }
  return packed;
}

}  // namespace
