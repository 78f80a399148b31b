// Recurrences on the CPU: tanh and relu RNN, LSTM, GRU; float and double.
//
// Each thread takes its own rows of the batch and walks through the whole sequence; no thread waits for another. A step
// is one matrix product [h, 1, x] W, computed in register tiles over packed weights. The gates are applied while the
// tile is in the first-level cache. The backward pass goes from the end to the start in chunks of steps. After each
// chunk, one product over the chunk's rows gives the gradients of the weights, while the rows are still in the
// second-level cache; each thread adds them to sums of its own.
//
// Notation: time T, batch B, hidden H, input I. A row of `z` is [h_{t-1} (H) | 1 | x_t (I) | zeros]. The 1 makes the
// biases a row of the weights, so that one product with the row gives the gradients of all parameters.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>
#include <torch/library.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using at::Tensor;
using at::vec::Vectorized;

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

// ---------------------------------------------------------------------------------------------------- functions

// The compiler's own vector types: the compiler would not keep arrays of a class with constructors in registers.
template <typename T>
struct Lanes {
  static constexpr int64_t count = Vectorized<T>::size();
  typedef T type __attribute__((vector_size(count * sizeof(T))));
  typedef T unaligned __attribute__((vector_size(count * sizeof(T)), aligned(sizeof(T)), may_alias));
};
template <typename T>
constexpr int64_t kWidth = 2 * Lanes<T>::count;  // columns of a register tile

using Floats = Lanes<float>::type;
typedef int32_t Ints __attribute__((vector_size(sizeof(Floats))));

// exp(x) for x in [-87, 87], to two units in the last place, as 2^n e^r with a whole n and |r| <= ln(2) / 2. For such
// an r, what the Taylor series omits after its eighth term is below half a unit.
inline Floats exp_of(Floats x) {
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, which is in the low bits
  const Floats shifted = x * 1.44269504f + shift;
  const Floats n = shifted - shift;
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first exact in a product
  Floats e = r * (1.0f / 5040) + 1.0f / 720;
  e = e * r + 1.0f / 120;
  e = e * r + 1.0f / 24;
  e = e * r + 1.0f / 6;
  e = e * r + 0.5f;
  e = e * r + 1.0f;
  e = e * r + 1.0f;
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(e) + (reinterpret_cast<Ints>(shifted) << 23));
}

inline Floats sigmoid_of(Floats x) { return 1.0f / (1.0f + exp_of(-x)); }

// tanh(x) as 1 - 2 / (e^2x + 1). Near 0, where that would lose digits, it is x + x^3 q(x^2); q is the polynomial with
// the least relative error for |x| < 0.625, which is 4.4e-9.
inline Floats tanh_of(Floats x) {
  const Floats far = 1.0f - 2.0f / (exp_of(x + x) + 1.0f);
  const Floats square = x * x;
  Floats near = square * -0.005704985f + 0.020639086f;
  near = near * square - 0.053739715f;
  near = near * square + 0.133314416f;
  near = near * square - 0.333332807f;
  near = near * square * x + x;
  const Ints small = square < 0.390625f;
  return reinterpret_cast<Floats>((reinterpret_cast<Ints>(near) & small) | (reinterpret_cast<Ints>(far) & ~small));
}

template <Floats (*function)(Floats)>
inline Vectorized<float> bounded(Vectorized<float> x, float bound) {
  x = at::vec::minimum(at::vec::maximum(x, Vectorized<float>(-bound)), Vectorized<float>(bound));
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

// ------------------------------------------------------------------------------------------------------ products

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

// out (rows, columns) (+)= a (rows, depth) times weights that `pack_rows` has packed.
template <typename T, bool kAdd>
void times_packed(const T* a, int64_t a_row, const T* packed, int64_t depth, T* out, int64_t out_row, int64_t rows,
                  int64_t columns) {
  alignas(kLine) T spare[kRows * kWidth<T>];
  for (int64_t from = 0; from < columns; from += kWidth<T>, packed += depth * kWidth<T>) {
    const int64_t width = std::min(kWidth<T>, columns - from);
    if (width == kWidth<T>) {
      product<T, 2, kAdd>(a, a_row, 1, packed, kWidth<T>, depth, out + from, out_row, rows);
      continue;
    }
    product<T, 2, false>(a, a_row, 1, packed, kWidth<T>, depth, spare, kWidth<T>, rows);
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t u = 0; u < width; ++u) {
        T& place = out[m * out_row + from + u];
        place = kAdd ? place + spare[m * kWidth<T> + u] : spare[m * kWidth<T> + u];
      }
    }
  }
}

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

// Packs the weights for the backward pass: for each block of columns [rows, columns], with zeros after the last column.
template <typename T>
Buffer<T> pack_rows(const T* weights, int64_t rows, int64_t columns) {
  const int64_t blocks = divide_up(columns, kWidth<T>);
  Buffer<T> packed(blocks * rows * kWidth<T>, T(0));
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t width = std::min(kWidth<T>, columns - block * kWidth<T>);
    for (int64_t row = 0; row < rows; ++row) {
      std::copy_n(weights + row * columns + block * kWidth<T>, width, packed.data() + (block * rows + row) * kWidth<T>);
    }
  }
  return packed;
}

// ------------------------------------------------------------------------------------------------------- threads

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

// ------------------------------------------------------------------------------------------------------- forward

// Computes all steps of some rows. inputs: (T, B, I). z: (T + 1, B, z), of which h at step 0 is already filled in.
// kept: (T, B, 4, H), or null to keep no gates. c: (T + 1, B, H), for the LSTM only, of which step 0 is already filled
// in.
template <typename T, Kind K>
void walk_forward(const Shape& s, const T* packed, const T* inputs, T* z, T* kept, T* c, int64_t first, int64_t last) {
  using Vec = Vectorized<T>;
  constexpr int P = kProducts<K>;
  const int64_t rows = last - first, blocks = divide_up(s.hidden, kWidth<T>);
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
    for (int64_t block = 0; block < blocks; ++block) {
      for (int p = 0; p < P; ++p) {
        const auto [start, depth] = reads<K>(s, p);
        product<T, 2, false>(z_in + start, s.z, 1, weights, kWidth<T>, depth, values + p * kRows * kWidth<T>, kWidth<T>,
                             rows);
        weights += depth * kWidth<T>;
      }
      for (int64_t m = 0; m < rows; ++m) {
        for (int64_t u = 0; u < kWidth<T>; u += Vec::size()) {
          const int64_t unit = block * kWidth<T> + u;
          const int64_t count = std::min<int64_t>(Vec::size(), s.hidden - unit);
          if (count <= 0) break;
          const auto value = [&](int p) { return Vec::loadu(values + (p * kRows + m) * kWidth<T> + u); };
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

// ------------------------------------------------------------------------------------------------------ backward

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

// sums += d_pre^T [h, 1, x] over the rows of a chunk. Each product covers only the columns that it reads.
template <typename T, Kind K>
void add_to_sums(const Shape& s, const T* d_pre, int64_t stride, const T* seen, int64_t rows, T* sums) {
  constexpr int64_t lanes = Lanes<T>::count;
  for (int p = 0; p < kProducts<K>; ++p) {
    const auto [start, length] = reads<K>(s, p);
    const T* left = d_pre + p * s.hidden;
    T* out = sums + p * s.hidden * s.z;
    for (int64_t column = start / lanes * lanes; column < start + length; column += 2 * lanes) {
      if (column + lanes < start + length) {
        product<T, 2, true>(left, 1, stride, seen + column, s.z, rows, out + column, s.z, s.hidden);
      } else {
        product<T, 1, true>(left, 1, stride, seen + column, s.z, rows, out + column, s.z, s.hidden);
      }
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
          const T* of_new = input_weights + divide_up(s.input, kWidth<T>) * kWidth<T> * depth;
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

// ------------------------------------------------------------------------------------------------------- tensors

template <typename F>
void with_kind(const std::string& name, const F& call) {
  if (name == "rnn_tanh") call(std::integral_constant<Kind, RNN_TANH>());
  else if (name == "rnn_relu") call(std::integral_constant<Kind, RNN_RELU>());
  else if (name == "lstm") call(std::integral_constant<Kind, LSTM>());
  else if (name == "gru") call(std::integral_constant<Kind, GRU>());
  else TORCH_CHECK_VALUE(false, "`recurrence` must be one of rnn_tanh, rnn_relu, lstm, gru, got ", name);
}

// The kernels read memory without bounds checks, so all shapes are checked before.
void check_shape(const char* name, const Tensor& given, at::IntArrayRef wanted, const Tensor& like) {
  TORCH_CHECK_VALUE(given.sizes() == wanted, "`", name, "` must have the shape ", wanted, ", got ", given.sizes());
  TORCH_CHECK_TYPE(given.scalar_type() == like.scalar_type(), "`", name, "` must be ", like.scalar_type(), ", got ",
                   given.scalar_type());
  TORCH_CHECK_VALUE(given.device().is_cpu(), "`", name, "` must be on the CPU, got ", given.device());
}

// Returns z (T + 1, B, width), kept (T, B, 4, H) and c (T + 1, B, H); the last two are empty where they do not exist.
std::tuple<Tensor, Tensor, Tensor> forward(std::string recurrence, const Tensor& inputs_, at::TensorList state,
                                           const Tensor& w_ih_, const Tensor& w_hh_, const Tensor& b_ih_,
                                           const Tensor& b_hh_, bool keep) {
  const Tensor inputs = inputs_.contiguous(), w_ih = w_ih_.contiguous(), w_hh = w_hh_.contiguous();
  const Tensor b_ih = b_ih_.contiguous(), b_hh = b_hh_.contiguous();
  TORCH_CHECK_VALUE(inputs.dim() == 3 && inputs.size(0) > 0, "`inputs` must be (time, batch, input) with at least one ",
                    "step, got ", inputs.sizes());
  TORCH_CHECK_VALUE(inputs.device().is_cpu(), "`inputs` must be on the CPU, got ", inputs.device());
  TORCH_CHECK_VALUE(w_hh.dim() == 2, "`w_hh` must be (rows, hidden), got ", w_hh.sizes());
  const int64_t hidden = w_hh.size(1), input = inputs.size(2), line = kLine / inputs.element_size();
  const int64_t blocks = recurrence == "lstm" ? 4 : recurrence == "gru" ? 3 : 1, parts = recurrence == "lstm" ? 2 : 1;
  check_shape("w_ih", w_ih, {blocks * hidden, input}, inputs);
  check_shape("w_hh", w_hh, {blocks * hidden, hidden}, inputs);
  check_shape("b_ih", b_ih, {blocks * hidden}, inputs);
  check_shape("b_hh", b_hh, {blocks * hidden}, inputs);
  TORCH_CHECK_VALUE(static_cast<int64_t>(state.size()) == parts, "`state` must have ", parts, " parts, got ", state.size());
  for (const Tensor& part : state) check_shape("state", part, {inputs.size(1), hidden}, inputs);
  const Shape s{inputs.size(0), inputs.size(1), hidden, input, divide_up(hidden + 1 + input, line) * line};
  Tensor z = at::empty({s.time + 1, s.batch, s.z}, inputs.options());
  z.select(0, 0).narrow(1, 0, hidden).copy_(state[0]);
  Tensor kept = at::empty({0}, inputs.options()), c = kept;
  AT_DISPATCH_FLOATING_TYPES(inputs.scalar_type(), "recurrence", [&] {
    with_kind(recurrence, [&](auto kind) {
      constexpr Kind K = decltype(kind)::value;
      if (kKeeps<K> && keep) kept = at::empty({s.time, s.batch, 4, hidden}, inputs.options());
      if constexpr (K == LSTM) {
        c = at::empty({s.time + 1, s.batch, hidden}, inputs.options());
        c.select(0, 0).copy_(state[1]);
      }
      const auto packed = pack_columns<scalar_t, K>(
          s, w_ih.const_data_ptr<scalar_t>(), w_hh.const_data_ptr<scalar_t>(), b_ih.const_data_ptr<scalar_t>(),
          b_hh.const_data_ptr<scalar_t>());
      const auto data = [](Tensor& t) { return t.numel() > 0 ? t.mutable_data_ptr<scalar_t>() : nullptr; };
      scalar_t *z_data = data(z), *kept_data = data(kept), *c_data = data(c);
      over_rows(s.batch, [&](int64_t, int64_t first, int64_t last) {
        walk_forward<scalar_t, K>(s, packed.data(), inputs.const_data_ptr<scalar_t>(), z_data, kept_data, c_data, first,
                                  last);
      });
    });
  });
  return {z, kept, c};
}

// Returns the gradients of inputs, h_0, c_0, w_ih, w_hh, b_ih, b_hh and all states (parts, T, B, H). Gradients that are
// not asked for are empty.
std::vector<Tensor> backward(std::string recurrence, int64_t input, const Tensor& z, const Tensor& kept,
                             const Tensor& c, const std::optional<Tensor>& d_hidden_, const std::optional<Tensor>& d_h_,
                             const std::optional<Tensor>& d_c_, const Tensor& w_ih_, const Tensor& w_hh_,
                             bool want_inputs, bool want_weights, bool want_states) {
  const Tensor w_hh = w_hh_.contiguous(), w_ih = w_ih_.contiguous();
  const int64_t hidden = w_hh.size(1);
  const Shape s{z.size(0) - 1, z.size(1), hidden, input, z.size(2)};
  if (d_hidden_.has_value()) check_shape("d_hidden", *d_hidden_, {s.time, s.batch, hidden}, z);
  for (const auto& given : {d_h_, d_c_}) {
    if (given.has_value()) check_shape("d_state", *given, {s.batch, hidden}, z);
  }
  const auto options = z.options();
  const Tensor none = at::empty({0}, options);
  const Tensor d_hidden = d_hidden_.has_value() ? d_hidden_->contiguous() : none;
  const auto start = [&](const std::optional<Tensor>& given) {
    return given.has_value() ? given->clone(at::MemoryFormat::Contiguous) : at::zeros({s.batch, hidden}, options);
  };
  Tensor d_h = start(d_h_), d_c = recurrence == "lstm" ? start(d_c_) : none;
  Tensor d_inputs = none, d_w_ih = none, d_w_hh = none, d_b_ih = none, d_b_hh = none, d_states = none;
  AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "recurrence", [&] {
    with_kind(recurrence, [&](auto kind) {
      constexpr Kind K = decltype(kind)::value;
      const auto data = [](const Tensor& t) { return t.numel() > 0 ? t.mutable_data_ptr<scalar_t>() : nullptr; };
      const int64_t products = kProducts<K>;
      const auto recurrent_weights = pack_rows(w_hh.const_data_ptr<scalar_t>(), w_hh.size(0), hidden);
      Buffer<scalar_t> input_weights;
      if (want_inputs) {
        const scalar_t* weights = w_ih.const_data_ptr<scalar_t>();
        input_weights = pack_rows(weights, (K == GRU ? 2 : products) * hidden, input);
        if constexpr (K == GRU) {
          const auto of_new = pack_rows(weights + 2 * hidden * input, hidden, input);
          input_weights.insert(input_weights.end(), of_new.begin(), of_new.end());
        }
        d_inputs = at::empty({s.time, s.batch, input}, options);
      }
      if (want_states) d_states = at::empty({K == LSTM ? 2 : 1, s.time, s.batch, hidden}, options);
      Tensor sums = none;
      if (want_weights) sums = at::zeros({worker_count(s.batch), products * hidden, s.z}, options);
      const Gradients<scalar_t> shared{data(d_hidden), data(d_h),      data(d_c),
                                       data(d_states), data(d_inputs), data(sums)};
      over_rows(s.batch, [&](int64_t worker, int64_t first, int64_t last) {
        Gradients<scalar_t> own = shared;
        if (want_weights) own.sums += worker * products * hidden * s.z;
        walk_backward<scalar_t, K>(s, recurrent_weights.data(), input_weights.data(), z.const_data_ptr<scalar_t>(),
                                   kept.const_data_ptr<scalar_t>(), c.const_data_ptr<scalar_t>(), own, first, last);
      });
      if (want_weights) {
        const Tensor sum = sums.size(0) == 1 ? sums.select(0, 0) : sums.sum(0);
        d_w_hh = sum.narrow(1, 0, hidden), d_b_hh = sum.select(1, hidden), d_w_ih = sum.narrow(1, hidden + 1, input);
        d_b_ih = d_b_hh;
        if constexpr (K == GRU) {
          const Tensor of_new = sum.narrow(0, 3 * hidden, hidden);
          d_w_ih = at::cat({d_w_ih.narrow(0, 0, 2 * hidden), of_new.narrow(1, hidden + 1, input)});
          d_b_ih = at::cat({d_b_hh.narrow(0, 0, 2 * hidden), of_new.select(1, hidden)});
          d_w_hh = d_w_hh.narrow(0, 0, 3 * hidden), d_b_hh = d_b_hh.narrow(0, 0, 3 * hidden);
        }
        const auto own = at::MemoryFormat::Contiguous;
        d_w_ih = d_w_ih.clone(own), d_w_hh = d_w_hh.clone(own), d_b_ih = d_b_ih.clone(own), d_b_hh = d_b_hh.clone(own);
      }
    });
  });
  return {d_inputs, d_h, d_c, d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_states};
}

// Returns the multiply-adds a second of all threads together, in register tiles from the first-level cache: the
// processor's limit.
double rate(double seconds) {
  using clock = std::chrono::steady_clock;
  constexpr int64_t depth = 128;
  const int64_t workers = at::get_num_threads();
  std::vector<double> rates(workers);
  at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      Buffer<float> a(kTile * depth, 1e-3f), b(depth * kWidth<float>, 1e-3f), out(kTile * kWidth<float>);
      const auto started = clock::now();
      double count = 0, spent = 0;
      while (spent < seconds) {
        for (int i = 0; i < 1000; ++i) {
          tile<float, kTile, 2, false>(a.data(), depth, 1, b.data(), kWidth<float>, depth, out.data(), kWidth<float>);
        }
        count += 1000.0 * kTile * depth * kWidth<float>;
        spent = std::chrono::duration<double>(clock::now() - started).count();
      }
      rates[worker] = count / spent + 0 * out[0];
    }
  });
  double sum = 0;
  for (const double each : rates) sum += each;
  return sum;
}

}  // namespace

TORCH_LIBRARY(rnn_bench, m) {
  m.def("rate(float seconds) -> float", &rate);
  m.def(
      "forward(str recurrence, Tensor inputs, Tensor[] state, Tensor w_ih, Tensor w_hh, Tensor b_ih, Tensor b_hh, "
      "bool keep) -> (Tensor, Tensor, Tensor)",
      &forward);
  m.def(
      "backward(str recurrence, int input, Tensor z, Tensor kept, Tensor c, Tensor? d_hidden, Tensor? d_h, "
      "Tensor? d_c, Tensor w_ih, Tensor w_hh, bool want_inputs, bool want_weights, bool want_states) -> Tensor[]",
      &backward);
}
