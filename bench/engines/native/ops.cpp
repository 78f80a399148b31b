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
#include <torch/library.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "backward.h"
#include "cross_entropy.h"
#include "forward.h"
#include "gemm.h"
#include "layout.h"
#include "vector_math.h"

namespace {

using at::Tensor;

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

// Returns the mean cross entropy of a readout over its scored positions, and the gradients of h (T, B, H), the weights
// and the bias; these are empty where no gradient is wanted.
std::tuple<Tensor, Tensor, Tensor, Tensor> cross_entropy(const Tensor& hidden_, const Tensor& weight_,
                                                         const Tensor& bias_, const Tensor& target_,
                                                         const Tensor& scored_, bool want_gradients) {
  TORCH_CHECK_VALUE(hidden_.dim() == 3 && hidden_.size(0) > 0 && hidden_.device().is_cpu(),
                    "`hidden` must be (time, batch, hidden) on the CPU, got ", hidden_.sizes());
  // What a recurrence returns is a view into longer rows, which lie one after the other.
  const bool in_rows = hidden_.stride(2) == 1 && hidden_.stride(0) == hidden_.size(1) * hidden_.stride(1);
  const Tensor hidden = in_rows ? hidden_ : hidden_.contiguous();
  const Tensor weight = weight_.contiguous(), bias = bias_.contiguous();
  const Tensor target = target_.contiguous(), scored = scored_.contiguous();
  const int64_t time = hidden.size(0), batch = hidden.size(1), positions = time * batch;
  TORCH_CHECK_VALUE(weight.dim() == 2 && weight.size(0) > 0, "`weight` must be (classes, hidden), got ", weight.sizes());
  check_shape("weight", weight, {weight.size(0), hidden.size(2)}, hidden);
  check_shape("bias", bias, {weight.size(0)}, hidden);
  TORCH_CHECK_VALUE(target.sizes() == at::IntArrayRef({time, batch}) && scored.sizes() == target.sizes(),
                    "`target` and `scored` must be (time, batch), got ", target.sizes(), " and ", scored.sizes());
  TORCH_CHECK_TYPE(target.scalar_type() == at::kLong && scored.scalar_type() == at::kBool,
                   "`target` must be int64 and `scored` bool, got ", target.scalar_type(), " and ", scored.scalar_type());
  const int64_t *classes = target.const_data_ptr<int64_t>(), last = weight.size(0) - 1;
  const bool* counts = scored.const_data_ptr<bool>();
  int64_t count = 0;
  for (int64_t i = 0; i < positions; ++i) {
    count += counts[i];
    if (counts[i] && (classes[i] < 0 || classes[i] > last)) {
      TORCH_CHECK_INDEX(false, "`target` must be from 0 to ", last, " where it is scored, got ", classes[i]);
    }
  }
  const Tensor none = at::empty({0}, hidden.options());
  Tensor loss, d_hidden = none, d_weight = none, d_bias = none;
  AT_DISPATCH_FLOATING_TYPES(hidden.scalar_type(), "cross_entropy", [&] {
    if (want_gradients) d_hidden = at::empty({time, batch, hidden.size(2)}, hidden.options());
    const Readout<scalar_t> r{positions, hidden.size(2), weight.size(0), hidden.const_data_ptr<scalar_t>(),
                              hidden.stride(1), weight.const_data_ptr<scalar_t>(), bias.const_data_ptr<scalar_t>(),
                              classes, counts, scalar_t(1.0 / count),
                              want_gradients ? d_hidden.mutable_data_ptr<scalar_t>() : nullptr};
    const auto forward_weights = pack_readout(r);
    Buffer<scalar_t> backward_weights(r.classes * r.seen_row(), scalar_t(0));
    for (int64_t k = 0; k < r.classes; ++k) {
      std::copy_n(r.weight + k * r.hidden, r.hidden, backward_weights.data() + k * r.seen_row());
    }
    const int64_t workers = worker_count(positions);
    Tensor sums = none;
    if (want_gradients) sums = at::zeros({workers, r.classes, r.seen_row()}, hidden.options());
    scalar_t* all_sums = want_gradients ? sums.mutable_data_ptr<scalar_t>() : nullptr;
    std::vector<double> losses(workers);
    at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
      for (int64_t worker = begin; worker < end; ++worker) {
        scalar_t* own = want_gradients ? all_sums + worker * r.classes * r.seen_row() : nullptr;
        losses[worker] = walk_readout(r, forward_weights.data(), backward_weights.data(), own,
                                      worker * positions / workers, (worker + 1) * positions / workers);
      }
    });
    double sum = 0;
    for (const double each : losses) sum += each;
    loss = at::scalar_tensor(sum, hidden.options());
    if (want_gradients) {
      const Tensor all = sums.size(0) == 1 ? sums.select(0, 0) : sums.sum(0);
      d_weight = all.narrow(1, 0, r.hidden).clone(at::MemoryFormat::Contiguous);
      d_bias = all.select(1, r.hidden).clone(at::MemoryFormat::Contiguous);
    }
  });
  return {loss, d_hidden, d_weight, d_bias};
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
  m.def(
      "cross_entropy(Tensor hidden, Tensor weight, Tensor bias, Tensor target, Tensor scored, bool want_gradients) -> "
      "(Tensor, Tensor, Tensor, Tensor)",
      &cross_entropy);
}
