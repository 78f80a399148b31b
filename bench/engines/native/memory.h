// Memory of the kernels, and how much of the batch one walk takes along.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace {

constexpr int64_t kRows = 32;        // largest number of rows of the batch that one walk takes along
constexpr int64_t kChunkRows = 128;  // rows (steps x batch) of a chunk of the backward pass
constexpr int64_t kLine = 64;        // bytes of a cache line
#if defined(CPU_CAPABILITY_AVX2)
constexpr int kTile = 6;  // rows of a register tile, of 2 vectors each: 12 sums, 2 weights and 1 input of 16 registers
#else
constexpr int kTile = 8;  // 32 registers
#endif

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

}  // namespace
