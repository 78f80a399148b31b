// The readout and its mean cross entropy over many positions in one pass, forward and backward.
//
// Each worker takes its own positions, a few rows at a time: the logits of a few rows, their softmax, and from it all
// gradients, while the rows are in the first-level cache. So the logits of all positions are never there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "lanes.h"
#include "memory.h"
#include "tile.h"

namespace {

template <typename T>
struct Readout {
  int64_t positions, hidden, classes;
  const T* h;             // a row of `hidden` numbers for each position
  int64_t h_row;          // what lies between the beginnings of two rows
  const T* weight;        // (classes, hidden)
  const T* bias;          // (classes)
  const int64_t* target;  // the right class of each position
  const bool* scored;     // whether the position counts
  T share;                // what one position adds to the mean: 1 / number of scored positions
  T* d_h;                 // (positions, hidden), or null where no gradient is wanted

  // Numbers of a row of logits, and of a row [h | 1 | zeros]: a whole number of vectors. The 1 makes the bias a row of
  // the weights.
  int64_t logits_row() const { return divide_up(classes, Lanes<T>::count) * Lanes<T>::count; }
  int64_t seen_row() const { return divide_up(hidden + 1, Lanes<T>::count) * Lanes<T>::count; }
};

// out (rows, columns) (+)= a b, where the rows of b and of out are whole vectors.
template <typename T, bool kAdd>
void times_whole(const T* a, int64_t a_row, int64_t a_column, const T* b, int64_t depth, T* out, int64_t rows,
                 int64_t columns) {
  constexpr int64_t lanes = Lanes<T>::count;
  int64_t from = 0;
  for (; from + 2 * lanes <= columns; from += 2 * lanes) {
    product<T, 2, kAdd>(a, a_row, a_column, b + from, columns, depth, out + from, columns, rows);
  }
  if (from < columns) product<T, 1, kAdd>(a, a_row, a_column, b + from, columns, depth, out + from, columns, rows);
}

// The weights and the bias for the logits: (hidden + 1, logits_row), with zeros after the last class.
template <typename T>
Buffer<T> pack_readout(const Readout<T>& r) {
  const int64_t row = r.logits_row();
  Buffer<T> packed((r.hidden + 1) * row, T(0));
  for (int64_t k = 0; k < r.classes; ++k) {
    for (int64_t j = 0; j < r.hidden; ++j) packed[j * row + k] = r.weight[k * r.hidden + j];
    packed[r.hidden * row + k] = r.bias[k];
  }
  return packed;
}

inline void exp_all(float* x, int64_t count, float most) {
  for (int64_t k = 0; k < count; k += Lanes<float>::count) {
    Floats& place = *reinterpret_cast<Floats*>(x + k);
    const Floats below = place - most;
    const Floats bounded = below > -87.0f ? below : Floats{} - 87.0f;
    place = exp_of(bounded) + (below - below);  // this makes NaN of a NaN, and of an infinite number
  }
}

inline void exp_all(double* x, int64_t count, double most) {
  for (int64_t k = 0; k < count; ++k) x[k] = std::exp(x[k] - most);
}

// Turns the logits of a position into their gradient, which is zero where it does not count, and returns its loss.
template <typename T>
T soften(const Readout<T>& r, T* logits, int64_t position) {
  if (!r.scored[position]) {
    std::fill_n(logits, r.logits_row(), T(0));
    return 0;
  }
  const int64_t right = r.target[position];
  const T most = *std::max_element(logits, logits + r.classes), at_right = logits[right];
  exp_all(logits, r.logits_row(), most);
  T sum = 0;
  for (int64_t k = 0; k < r.classes; ++k) sum += logits[k];
  const T scale = r.share / sum;
  for (int64_t k = 0; k < r.logits_row(); ++k) logits[k] *= scale;
  logits[right] -= r.share;
  return std::log(sum) + (most - at_right);
}

// Takes the positions from `first` on, returns the sum of their losses, and adds to `sums` (classes, seen_row), which may
// be null, the gradients of the weights and of the bias, which is the column behind them.
template <typename T>
double walk_readout(const Readout<T>& r, const T* forward_weights, const T* backward_weights, T* sums, int64_t first,
                    int64_t last) {
  const int64_t row = r.logits_row(), seen_row = r.seen_row();
  Buffer<T> logits(kRows * row), seen(kRows * seen_row, T(0)), d_seen(kRows * seen_row);
  for (int64_t m = 0; m < kRows; ++m) seen[m * seen_row + r.hidden] = 1;
  double loss = 0;
  for (int64_t from = first; from < last; from += kRows) {
    const int64_t rows = std::min(kRows, last - from);
    for (int64_t m = 0; m < rows; ++m) std::copy_n(r.h + (from + m) * r.h_row, r.hidden, seen.data() + m * seen_row);
    times_whole<T, false>(seen.data(), seen_row, 1, forward_weights, r.hidden + 1, logits.data(), rows, row);
    for (int64_t m = 0; m < rows; ++m) loss += soften(r, logits.data() + m * row, from + m);
    if (sums == nullptr) continue;
    times_whole<T, true>(logits.data(), 1, row, seen.data(), rows, sums, r.classes, seen_row);
    times_whole<T, false>(logits.data(), row, 1, backward_weights, r.classes, d_seen.data(), rows, seen_row);
    for (int64_t m = 0; m < rows; ++m) std::copy_n(d_seen.data() + m * seen_row, r.hidden, r.d_h + (from + m) * r.hidden);
  }
  return loss * r.share;
}

}  // namespace
