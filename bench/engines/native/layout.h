// How the kernels lay out memory and share out the batch.
//
// This header and its neighbours are parts of `ops.cpp`, the only file that is compiled. All of it is in an anonymous
// namespace, so that two versions of the library in one process never share a function.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "memory.h"

namespace {

enum Kind { RNN_TANH, RNN_RELU, LSTM, GRU };

// The number of products of a step; their order is that of their columns. The GRU's fourth product is W_n x + b_n. It
// is apart from the third, U_n h + c_n, because the reset gate scales the third alone.
template <Kind K>
constexpr int kProducts = K == LSTM || K == GRU ? 4 : 1;
// The number of these products that h takes part in.
template <Kind K>
constexpr int kRecurrent = K == GRU ? 3 : kProducts<K>;
template <Kind K>
constexpr bool kKeeps = kProducts<K> == 4;  // whether the backward pass needs the gates: four values for each unit

struct Shape {
  int64_t time, batch, hidden, input, z;  // z: width of a row of `z`, a whole number of cache lines
};

// Products, one behind the other, that read the same part of a row of `z`: where it starts, and how long it is.
struct Group {
  int first, count;
  int64_t start, depth;
};
template <Kind K>
auto groups(const Shape& s) {
  const int64_t all = s.hidden + 1 + s.input;
  if constexpr (K == GRU) {
    return std::array<Group, 3>{{{0, 2, 0, all}, {2, 1, 0, s.hidden + 1}, {3, 1, s.hidden, 1 + s.input}}};
  } else {
    return std::array<Group, 1>{{{0, kProducts<K>, 0, all}}};
  }
}

int64_t worker_count(int64_t batch) { return std::min<int64_t>(batch, at::get_num_threads()); }

// Each worker takes its rows of the batch in pieces of at most kRows: walk(worker, first row, row after the last).
template <typename F>
void over_rows(int64_t batch, const F& walk) {
  const int64_t workers = worker_count(batch);
  at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      const int64_t first = worker * batch / workers, rows = (worker + 1) * batch / workers - first;
      const int64_t pieces = divide_up(rows, kRows);
      for (int64_t i = 0; i < pieces; ++i) walk(worker, first + i * rows / pieces, first + (i + 1) * rows / pieces);
    }
  });
}

}  // namespace
