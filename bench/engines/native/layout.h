// How the kernels lay out memory and share out the batch.
//
// This header and its neighbours are parts of `ops.cpp`, the only file that is compiled. All of it is in an anonymous
// namespace, so that two versions of the library in one process never share a function.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

namespace {

enum Kind { RNN_TANH, RNN_RELU, LSTM, GRU };

constexpr int64_t kRows = 32;        // largest number of rows of the batch that one walk takes along
constexpr int64_t kChunkRows = 128;  // rows (steps x batch) of a chunk of the backward pass
constexpr int64_t kLine = 64;        // bytes of a cache line
#if defined(CPU_CAPABILITY_AVX2)
constexpr int kTile = 4;  // rows of a register tile, of 2 vectors each: 16 registers
#else
constexpr int kTile = 8;  // 32 registers
#endif

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

// The part of a row of `z` that a product reads: its start and its length.
template <Kind K>
inline std::pair<int64_t, int64_t> reads(const Shape& s, int product) {
  if (K == GRU && product == 2) return {0, s.hidden + 1};
  if (K == GRU && product == 3) return {s.hidden, 1 + s.input};
  return {0, s.hidden + 1 + s.input};
}

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename T>
struct Aligned {
  using value_type = T;
  Aligned() = default;
  template <typename U>
  Aligned(const Aligned<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(kLine))); }
  void deallocate(T* place, size_t) { ::operator delete(place, std::align_val_t(kLine)); }
  bool operator==(const Aligned&) const { return true; }
};
template <typename T>
using Buffer = std::vector<T, Aligned<T>>;

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
