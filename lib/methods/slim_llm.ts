// SliM-LLM. Salience clusters in input channels, so whole groups of columns get a bit more or a bit less, equally many of
// each, as the layer's output distribution asks; each group's range is then searched inside an OPTQ sweep.
//   bits_g ∈ {b − 1, b, b + 1}: the t least salient groups lose the bit that the t most salient gain, Σ w²/U_jj² a group
//   t = argmin KL(softmax(X Ŵᵀ) ‖ softmax(X Wᵀ))
// Stored a weight: b + (16 + b + 1)/g + 2/(g · out); zeros of 16 bits where there are 1-bit groups.
// Source: SliM-LLM, arXiv 2405.14917; rules as in Aaronhuang-778/SliM-LLM cfdf5ff.
// Ours: t = 0 is tried as well; no group is symmetric (in the reference the first ones are, by an oversight); scales in 16
// bits; the sample of inputs counts as one sequence; ranges in steps of 1 %, not 0.2 %, a fifth of the time.
import { plannedBits, type StoredBits } from "../quant/budget.ts";
import { bestTrade, searchSalience, searchTrades, SLIM_DEFAULTS, slimLlm, tradedBits } from "../quant/slim_llm.ts";
import { mixedGridStore, planMixedGrid } from "../quant/stores/mixed_grid.ts";
import { groupSizes, wanted } from "./fit.ts";
import type { Method } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

const { bits: _, groupSize: __, startSymmetric: ___, scaleBits: ____, ...defaults } = { ...SLIM_DEFAULTS, steps: 10 };

/** Salience-driven mixed precision. */
export const SLIM_LLM: Method = {
  name: "slim-llm",
  title: "SliM-LLM: groups of b − 1, b and b + 1 bits by salience, swept",
  storage: "b + (16 + z)/g + 2/(g·out), z = b + 1 bits a zero, 16 where there are 1-bit groups",
  source: "arXiv 2405.14917",
  needs: { hessian: true, inputs: true },
  weakColumns: false,
  defaults: { codeBits: 0, groupSize: 0, ...defaults },
  choices: {},
  storedExactly: false, // three streams end on a word each, and a short last group may get the bit
  stored: ({ rows, cols }, o, bits): StoredBits => {
    const size = Number(o.groupSize), groups = Math.ceil(cols / size), short = groups * size - cols;
    // Three groups have nothing to trade; a short last one counts most where it gives its bit away.
    const spread = tradedBits(Array.from({ length: groups }, (_, g) => -g), groups > 3 ? 1 : 0, bits);
    const all = plannedBits([planMixedGrid(rows, cols, bits, size, spread)], rows * cols);
    const slack = 64 + rows * short;
    return { ...all, codes: all.codes + slack, perWeight: all.perWeight + slack / all.weights };
  },
  *candidates({ cols }, o, target) {
    for (const bits of wanted(o, "codeBits", [7, 6, 5, 4, 3, 2].filter((b) => b <= target))) {
      for (const groupSize of wanted(o, "groupSize", groupSizes(cols).filter((g) => g >= 16 || g === cols))) {
        yield { bits, options: { ...o, codeBits: bits, groupSize } };
      }
    }
  },
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const { weight } = problem, h = required(problem, "hessian"), x = required(problem, "inputs");
    const options = {
      ...SLIM_DEFAULTS,
      bits,
      groupSize: Number(o.groupSize),
      damp: Number(o.damp),
      lambda: Number(o.lambda),
      norm: Number(o.norm),
      tau: Number(o.tau),
      steps: Number(o.steps),
      startSymmetric: false,
      scaleBits: 16 as const,
    };
    const scores = searchTrades(weight, x, searchSalience(weight, h, options.groupSize), options, 0);
    const found = slimLlm(weight, h, scores.length > 0 ? bestTrade(scores, 0) : 0, options);
    const shape = { rows: weight.rows, cols: weight.cols, base: bits, groupSize: options.groupSize };
    return storedLayer(problem, "slim-llm", bits, [mixedGridStore(shape, found)], context, { damp: found.damp });
  },
};
