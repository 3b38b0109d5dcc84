// BAQ. A first OPTQ pass shows what each input column loses at equal levels; the second gives every column so many levels
// that all lose the same. A soft form of OWQ: a weak column gets more levels, not all or nothing.
//   L_j = round(max(1, (ℓ_j / GM)^(1/θ) 2^R̄)),  ℓ_j = Σ_i ½((w_ij − ŵ_ij)/U_jj)², GM their geometric mean
// Stored a weight: mean log2 L_j, in words of 24 bits in mixed radix, + 32/in + 8/out.
// Source: BAQ, arXiv 2506.05664; rules as in CSU-ModelCompression/BAQ 4f2e027.
// Ours: the words, and with them a size that is known beforehand: R̄ is the largest rate whose levels fit; at most 256
// levels; rows' ranges in 16 bits.
import { baq, BAQ_DEFAULTS, levelsOf } from "../quant/baq.ts";
import { plannedBits } from "../quant/budget.ts";
import { MOST_LEVELS, planRadix, radixStore, radixWords, WORD_BITS } from "../quant/stores/radix.ts";
import type { Method } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

const STEPS = 40;

/** Levels at the largest rate that needs no more words than there are. */
export function levelsForWords(loss: ArrayLike<number>, words: number, theta: number): Int32Array<ArrayBuffer> {
  const at = (rate: number) => levelsOf(loss, rate, { theta, mostLevels: MOST_LEVELS });
  let low = -WORD_BITS, high = WORD_BITS;
  for (let i = 0; i < STEPS; i++) {
    const rate = (low + high) / 2;
    if (radixWords(at(rate)).length <= words) low = rate;
    else high = rate;
  }
  return at(low);
}

/** Bit allocation over columns. */
export const BAQ: Method = {
  name: "baq",
  title: "BAQ: levels by column so that all columns lose the same, swept twice",
  storage: "mean log2 L_j + 32/in + 8/out, L_j levels of column j, packed in mixed radix",
  source: "arXiv 2506.05664",
  needs: { hessian: true },
  weakColumns: false,
  // words: of 24 bits in a row.
  defaults: { words: 0, theta: BAQ_DEFAULTS.theta, damp: BAQ_DEFAULTS.damp },
  choices: {},
  stored: (shape, o) => plannedBits([planRadix(shape.rows, shape.cols, Number(o.words))], shape.rows * shape.cols),
  *candidates(shape, o, target) {
    const least = Math.ceil(shape.cols / WORD_BITS), most = Math.ceil(shape.cols / 3); // one bit a column, or eight
    const first = Math.min(most, Math.ceil(target * shape.cols / WORD_BITS));
    const all = Array.from({ length: Math.max(1, first - least + 1) }, (_, i) => Math.max(first, least) - i);
    for (const words of Number(o.words) > 0 ? [Number(o.words)] : all) {
      const bits = Math.max(1, Math.min(8, Math.round(WORD_BITS * words / shape.cols)));
      yield { bits, options: { ...o, words } };
    }
  },
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const { weight } = problem, words = Number(o.words), theta = Number(o.theta), { rows, cols } = weight;
    const options = { ...BAQ_DEFAULTS, bits, theta, damp: Number(o.damp), scaleBits: 16 as const };
    const found = baq(
      weight,
      required(problem, "hessian"),
      options,
      (loss) => levelsForWords(loss, words, theta),
    );
    const store = radixStore({ rows, cols, words }, { ...found, ...found.range });
    return storedLayer(problem, "baq", bits, [store], context, { damp: found.damp });
  },
};
