// The backward pass: all steps of some rows of the batch, from the last to the first.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gemm.h"
#include "layout.h"
#include "vector_math.h"

namespace {

template <typename T>
struct Gradients {
  const T* d_hidden;  // (T, B, H) or null: the gradient that the layer above hands down
  T* d_h;             // (B, H): first what the later step passes back, then what this step passes to the earlier one
  T* d_c;             // the same for c
  T* d_states;        // (parts, T, B, H) or null: receives the whole gradient of every state
  T* d_inputs;        // (T, B, I) or null
  T* sums;            // (products, H, z) or null: the worker's share of d_pre^T [h, 1, x]
};

// Computes one step of some rows, from the gradients of the states to d_pre (rows, products, H): the gradients of the
// gates' arguments. Rows of d_pre are `stride` apart.
template <typename T, Kind K>
void step_backward(const Shape& s, const T* z, const T* kept, const T* c, const Gradients<T>& d, T* d_pre,
                   int64_t stride, int64_t t, int64_t first, int64_t last) {
  using Vec = Vectorized<T>;
  const Vec one(T(1));
  for (int64_t m = 0; m < last - first; ++m) {
    const int64_t row = t * s.batch + first + m;
    for (int64_t unit = 0; unit < s.hidden; unit += Vec::size()) {
      const int64_t count = std::min<int64_t>(Vec::size(), s.hidden - unit);
      const auto value = [&](int p) { return Vec::loadu(kept + (row * 4 + p) * s.hidden + unit, count); };
      const auto put = [&](int p, const Vec& v) { v.store(d_pre + m * stride + p * s.hidden + unit, count); };
      T* later = d.d_h + (first + m) * s.hidden + unit;
      Vec dh = Vec::loadu(later, count);
      if (d.d_hidden != nullptr) dh = dh + Vec::loadu(d.d_hidden + row * s.hidden + unit, count);
      if (d.d_states != nullptr) dh.store(d.d_states + row * s.hidden + unit, count);
      if constexpr (K == RNN_TANH) {
        const Vec h = Vec::loadu(z + (row + s.batch) * s.z + unit, count);
        put(0, dh * (one - h * h));
      } else if constexpr (K == RNN_RELU) {
        const Vec h = Vec::loadu(z + (row + s.batch) * s.z + unit, count);
        put(0, Vec::blendv(Vec(T(0)), dh, h > Vec(T(0))));
      } else if constexpr (K == LSTM) {
        const Vec i = value(0), f = value(1), g = value(2), o = value(3);
        const T* before = c + row * s.hidden + unit;
        const Vec squashed = squash(Vec::loadu(before + s.batch * s.hidden, count));
        T* later_c = d.d_c + (first + m) * s.hidden + unit;
        const Vec dc = Vec::loadu(later_c, count) + dh * o * (one - squashed * squashed);
        if (d.d_states != nullptr) dc.store(d.d_states + (s.time * s.batch + row) * s.hidden + unit, count);
        put(0, dc * g * i * (one - i));
        put(1, dc * Vec::loadu(before, count) * f * (one - f));
        put(2, dc * i * (one - g * g));
        put(3, dh * squashed * o * (one - o));
        (dc * f).store(later_c, count);
      } else {
        const Vec r = value(0), update = value(1), recurrent = value(2), n = value(3);
        const Vec h = Vec::loadu(z + row * s.z + unit, count);
        const Vec d_n = dh * (one - update) * (one - n * n);
        put(0, d_n * recurrent * r * (one - r));
        put(1, dh * (h - n) * update * (one - update));
        put(2, d_n * r);
        put(3, d_n);
        (dh * update).store(later, count);  // the product below adds the rest, which passes through the gates
      }
    }
  }
}

// sums += d_pre^T [h, 1, x] over the rows of a chunk. Each group covers only the columns that it reads.
template <typename T, Kind K>
void add_to_sums(const Shape& s, const T* d_pre, int64_t stride, const T* seen, int64_t rows, T* sums) {
  constexpr int64_t lanes = Lanes<T>::count;
  for (const Group& group : groups<K>(s)) {
    const int64_t end = group.start + group.depth, units = group.count * s.hidden;
    const T* left = d_pre + group.first * s.hidden;
    T* out = sums + group.first * s.hidden * s.z;
    for (int64_t column = group.start / lanes * lanes; column < end; column += 2 * lanes) {
      if (column + lanes < end) product<T, 2, true>(left, 1, stride, seen + column, s.z, rows, out + column, s.z, units);
      else product<T, 1, true>(left, 1, stride, seen + column, s.z, rows, out + column, s.z, units);
    }
  }
}

// Computes all steps of some rows, from the last to the first.
template <typename T, Kind K>
void walk_backward(const Shape& s, const T* recurrent_weights, const T* input_weights, const T* z, const T* kept,
                   const T* c, const Gradients<T>& d, int64_t first, int64_t last) {
  constexpr int P = kProducts<K>;
  const int64_t rows = last - first, chunk = std::max<int64_t>(1, std::min(s.time, kChunkRows / rows));
  // The stride is one cache line more than a row: rows a power of two apart would fall into the same few cache sets.
  const int64_t stride = divide_up(P * s.hidden * sizeof(T), kLine) * (kLine / sizeof(T)) + kLine / sizeof(T);
  Buffer<T> d_pre(chunk * rows * stride), seen(d.sums != nullptr ? chunk * rows * s.z : 0);
  for (int64_t to = s.time; to > 0; to -= std::min(chunk, to)) {
    const int64_t from = std::max<int64_t>(0, to - chunk);
    for (int64_t t = to - 1; t >= from; --t) {
      T* now = d_pre.data() + (t - from) * rows * stride;
      step_backward<T, K>(s, z, kept, c, d, now, stride, t, first, last);
      times_packed<T, K == GRU>(now, stride, recurrent_weights, kRecurrent<K> * s.hidden, d.d_h + first * s.hidden,
                                s.hidden, rows, s.hidden);
      if (d.d_inputs != nullptr) {
        T* out = d.d_inputs + (t * s.batch + first) * s.input;
        const int64_t depth = (K == GRU ? 2 : P) * s.hidden;
        times_packed<T, false>(now, stride, input_weights, depth, out, s.input, rows, s.input);
        if constexpr (K == GRU) {
          const T* of_new = input_weights + packed_width<T>(s.input) * depth;
          times_packed<T, true>(now + 3 * s.hidden, stride, of_new, s.hidden, out, s.input, rows, s.input);
        }
      }
      if (d.sums != nullptr) {
        std::copy_n(z + (t * s.batch + first) * s.z, rows * s.z, seen.data() + (t - from) * rows * s.z);
      }
    }
    if (d.sums != nullptr) add_to_sums<T, K>(s, d_pre.data(), stride, seen.data(), (to - from) * rows, d.sums);
  }
}

}  // namespace
