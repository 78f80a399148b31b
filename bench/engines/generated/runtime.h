// What generated steps are made of: loads and stores of vectors, functions number by number, products, sums.
//
// A place of a thread has rows of `padded` numbers, so that a product may write whole tiles.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "../native/lanes.h"
#include "../native/memory.h"
#include "../native/tile.h"

#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
#include <immintrin.h>
#endif

namespace {

#define INLINE inline __attribute__((always_inline))

// A row of whole tiles and one cache line more: rows a power of two apart would fall into the same few cache sets.
template <typename T>
INLINE int64_t padded(int64_t width) {
  return divide_up(width, kWidth<T>) * kWidth<T> + kLine / sizeof(T);
}

template <typename F>
void over_rows(int64_t batch, int64_t workers, const F& walk) {
#pragma omp parallel for num_threads(workers) schedule(static, 1)
  for (int64_t worker = 0; worker < workers; ++worker) {
    const int64_t first = worker * batch / workers, rows = (worker + 1) * batch / workers - first;
    const int64_t pieces = divide_up(rows, kRows);
    for (int64_t i = 0; i < pieces; ++i) walk(worker, first + i * rows / pieces, first + (i + 1) * rows / pieces);
  }
}

using Whole = std::false_type;
using Part = std::true_type;

// Calls body(unit, whether only a part of a vector is there, how many units) for all units of a row.
template <typename T, typename F>
INLINE void over_units(int64_t width, const F& body) {
  constexpr int64_t lanes = Lanes<T>::count;
  int64_t u = 0;
  for (; u + lanes <= width; u += lanes) body(u, Whole(), lanes);
  if (u < width) body(u, Part(), width - u);
}

template <typename T>
INLINE typename Lanes<T>::type load(Whole, const T* place, int64_t) {
  return *reinterpret_cast<const typename Lanes<T>::unaligned*>(place);
}

template <typename T>
INLINE typename Lanes<T>::type load(Part, const T* place, int64_t count) {
#if defined(CPU_CAPABILITY_AVX512)
  if constexpr (std::is_same_v<T, float>) {
    return (typename Lanes<T>::type)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), place);
  }
#endif
  typename Lanes<T>::type value{};
  for (int64_t i = 0; i < count; ++i) value[i] = place[i];
  return value;
}

template <typename T>
INLINE void store(Whole, T* place, typename Lanes<T>::type value, int64_t) {
  *reinterpret_cast<typename Lanes<T>::unaligned*>(place) = value;
}

template <typename T>
INLINE void store(Part, T* place, typename Lanes<T>::type value, int64_t count) {
#if defined(CPU_CAPABILITY_AVX512)
  if constexpr (std::is_same_v<T, float>) {
    _mm512_mask_storeu_ps(place, (__mmask16)((1u << count) - 1), (__m512)value);
    return;
  }
#endif
  for (int64_t i = 0; i < count; ++i) place[i] = value[i];
}

template <typename T, typename P>
INLINE void accumulate(P part, T* place, typename Lanes<T>::type value, int64_t count) {
  store(part, place, load(part, place, count) + value, count);
}

template <typename T>
using Row = typename Lanes<T>::type;

// 1 where a test holds, else 0.
template <typename T, typename M>
INLINE Row<T> number(M test) {
  const Row<T> one = Row<T>{} + T(1);
  return test ? one : Row<T>{};
}

template <typename T, typename F>
INLINE Row<T> each(Row<T> x, const F& function) {
  for (int64_t i = 0; i < Lanes<T>::count; ++i) x[i] = function(x[i]);
  return x;
}

template <typename T>
INLINE Row<T> clamped(Row<T> x, T bound) {
  const Row<T> limit = Row<T>{} + bound;
  x = x > limit ? limit : x;
  return x < -limit ? -limit : x;
}

#define NUMBER_BY_NUMBER(name, call)          \
  template <typename T>                       \
  INLINE Row<T> name##_of(Row<T> x) {         \
    return each<T>(x, [](T v) { return call; }); \
  }
NUMBER_BY_NUMBER(expm1, std::expm1(v))
NUMBER_BY_NUMBER(log, std::log(v))
NUMBER_BY_NUMBER(log1p, std::log1p(v))
NUMBER_BY_NUMBER(sqrt, std::sqrt(v))
NUMBER_BY_NUMBER(rsqrt, T(1) / std::sqrt(v))
NUMBER_BY_NUMBER(sin, std::sin(v))
NUMBER_BY_NUMBER(cos, std::cos(v))
NUMBER_BY_NUMBER(atan, std::atan(v))
NUMBER_BY_NUMBER(erf, std::erf(v))
NUMBER_BY_NUMBER(floor, std::floor(v))
NUMBER_BY_NUMBER(abs, std::abs(v))
NUMBER_BY_NUMBER(sign, v != v ? v : T((v > 0) - (v < 0)))

template <typename T>
INLINE Row<T> neg_of(Row<T> x) { return -x; }
template <typename T>
INLINE Row<T> square_of(Row<T> x) { return x * x; }
template <typename T>
INLINE Row<T> reciprocal_of(Row<T> x) { return T(1) / x; }
template <typename T>
INLINE Row<T> relu_of(Row<T> x) { return x < Row<T>{} ? Row<T>{} : x; }
template <typename T>
INLINE Row<T> flip_of(Row<T> x) { return number<T>(x == Row<T>{}); }
template <typename T>
INLINE Row<T> both_of(Row<T> x, Row<T> y) { return number<T>((x != Row<T>{}) & (y != Row<T>{})); }
template <typename T>
INLINE Row<T> either_of(Row<T> x, Row<T> y) { return number<T>((x != Row<T>{}) | (y != Row<T>{})); }
template <typename T>
INLINE Row<T> where_of(Row<T> test, Row<T> x, Row<T> y) { return test != Row<T>{} ? x : y; }
// A NaN of either side stays one.
template <typename T>
INLINE Row<T> maximum_of(Row<T> x, Row<T> y) { return x > y ? x : (x != x ? x : y); }
template <typename T>
INLINE Row<T> minimum_of(Row<T> x, Row<T> y) { return x < y ? x : (x != x ? x : y); }
template <typename T>
INLINE Row<T> pow_of(Row<T> x, Row<T> y) {
  for (int64_t i = 0; i < Lanes<T>::count; ++i) x[i] = std::pow(x[i], y[i]);
  return x;
}

template <typename T>
INLINE Row<T> exp_of(Row<T> x) {
  if constexpr (std::is_same_v<T, float>) {
    const Row<T> near = clamped<T>(x, 87.0f), e = exp_of(near) + (near - near);
    const Row<T> infinite = Row<T>{} + std::numeric_limits<T>::infinity();
    return x > 87.0f ? (x > 88.72f ? infinite : e * exp_of(x - near)) : (x < -87.0f ? Row<T>{} : e);
  } else {
    return each<T>(x, [](T v) { return std::exp(v); });
  }
}
template <typename T>
INLINE Row<T> sigmoid_of(Row<T> x) {
  if constexpr (std::is_same_v<T, float>) {
    x = clamped<T>(x, 87.0f);
    return sigmoid_of(x) + (x - x);  // this makes NaN of a NaN, whatever the function made of its bits
  } else {
    return each<T>(x, [](T v) { return T(1) / (T(1) + std::exp(-v)); });
  }
}
template <typename T>
INLINE Row<T> tanh_of(Row<T> x) {
  if constexpr (std::is_same_v<T, float>) {
    x = clamped<T>(x, 20.0f);
    return tanh_of(x) + (x - x);
  } else {
    return each<T>(x, [](T v) { return std::tanh(v); });
  }
}

// A sum and a maximum over the units of a row: a vector to begin with, what a vector adds to it, and what is left of it.
template <typename T>
INLINE Row<T> sum_begin() { return Row<T>{}; }
template <typename V>
INLINE V sum_with(Whole, V sum, V value, int64_t) { return sum + value; }
template <typename V>
INLINE V sum_with(Part, V sum, V value, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += value[i];
  return sum;
}
template <typename T>
INLINE T sum_end(Row<T> value) {
  T sum = 0;
  for (int64_t i = 0; i < Lanes<T>::count; ++i) sum += value[i];
  return sum;
}
template <typename T>
INLINE Row<T> max_begin() { return Row<T>{} - std::numeric_limits<T>::infinity(); }
template <typename V>
INLINE V max_with(Whole, V most, V value, int64_t) { return most >= value ? most : value; }
template <typename V>
INLINE V max_with(Part, V most, V value, int64_t count) {
  for (int64_t i = 0; i < count; ++i) most[i] = most[i] >= value[i] ? most[i] : value[i];
  return most;
}
template <typename T>
INLINE T max_end(Row<T> value) {
  T most = value[0];
  for (int64_t i = 1; i < Lanes<T>::count; ++i) most = most >= value[i] ? most : value[i];
  return most;
}

// Packs a matrix (rows, columns) for `multiply`.
template <typename T>
Buffer<T> packed(const T* matrix, int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride) {
  Buffer<T> found(rows * packed_width<T>(columns), T(0));
  for (int64_t from = 0; from < columns; from += kWidth<T>) {
    const int64_t there = std::min(kWidth<T>, columns - from), width = packed_width<T>(there);
    T* out = found.data() + rows * from;
    const T* in = matrix + from * column_stride;
    if (column_stride == 1) {
      for (int64_t row = 0; row < rows; ++row) std::copy_n(in + row * row_stride, there, out + row * width);
    } else {
      for (int64_t u = 0; u < there; ++u) {
        for (int64_t row = 0; row < rows; ++row) out[row * width + u] = in[row * row_stride + u * column_stride];
      }
    }
  }
  return found;
}

// out (rows, columns) (+)= left (rows, depth) times a packed matrix; writes whole vectors.
template <typename T, bool kAdd>
void multiply(const T* left, int64_t left_stride, const T* matrix, int64_t depth, T* out, int64_t out_stride,
              int64_t rows, int64_t columns) {
  for (int64_t from = 0; from < columns; from += kWidth<T>) {
    const int64_t width = packed_width<T>(std::min(kWidth<T>, columns - from));
    times_piece<T, kAdd>(left, left_stride, matrix + from * depth, width, depth, out + from, out_stride, rows);
  }
}

// sums (ones, others) += the outer products of all rows of two places.
template <typename T>
void add_products(const T* one, int64_t ones, const T* other, int64_t others, int64_t rows, T* sums) {
  constexpr int64_t lanes = Lanes<T>::count;
  const int64_t one_stride = padded<T>(ones), stride = padded<T>(others);
  for (int64_t column = 0; column < others; column += 2 * lanes) {
    if (column + lanes < others) {
      product<T, 2, true>(one, 1, one_stride, other + column, stride, rows, sums + column, stride, ones);
    } else {
      product<T, 1, true>(one, 1, one_stride, other + column, stride, rows, sums + column, stride, ones);
    }
  }
}

// Adds a chunk's sums to those of all chunks.
template <typename T>
void flush(T* chunk, T* all, int64_t width) {
  for (int64_t i = 0; i < width; ++i) {
    all[i] += chunk[i];
    chunk[i] = T(0);
  }
}

template <typename T>
void copy_rows(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t rows, int64_t width) {
  for (int64_t m = 0; m < rows; ++m) std::copy_n(from + m * from_stride, width, to + m * to_stride);
}

template <typename T>
void add_rows(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t rows, int64_t width) {
  for (int64_t m = 0; m < rows; ++m) {
    over_units<T>(width, [&](int64_t u, auto part, int64_t count) {
      accumulate(part, to + m * to_stride + u, load(part, from + m * from_stride + u, count), count);
    });
  }
}

}  // namespace
