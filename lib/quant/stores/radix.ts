// Store "radix": columns with any number of levels each, a few columns' codes to a word of 24 bits in mixed radix, so that
// three levels cost log2 3 bits and not two.
//   levels (in), less one · words (out, words) · min, max (out), 0 between them
//   Ŵ_ij += s (code − z), s = (max_i − min_i)/(levels_j − 1), z = round(−min_i / s); a column of one level adds nothing
// Which columns share a word follows from the levels: the columns in descending order of levels, each to the first word
// that has room for it.
import type { Matrix } from "../../io/tensor.ts";
import { levelsGrid } from "../baq.ts";
import { arrayOf, fillStore, floatSpec, intSpec, type Store, type StorePlan } from "../store.ts";

/** Bits of a word, and the most levels of a column: what one byte tells. */
export const WORD_BITS = 24, MOST_LEVELS = 256;

/** The arrays of a matrix (out, in) whose rows take so many words. */
export function planRadix(rows: number, cols: number, words: number): StorePlan {
  return {
    kind: "radix",
    settings: {},
    arrays: {
      words: intSpec(WORD_BITS, [rows, words], "codes"),
      levels: intSpec(8, [cols], "indices"),
      min: floatSpec(16, [rows], "scales"),
      max: floatSpec(16, [rows], "scales"),
    },
  };
}

/**
 * Which columns share a word.
 *
 * @param levels (in) from 1 to 256. @returns columns by word; those of one level are nowhere.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { radixWords } from "./radix.ts";
 * assert.deepEqual(radixWords([3, 256, 1, 256, 200, 256, 2]), [[1, 3, 5], [4, 0, 6]]); // 256³ = 2^24
 * ```
 */
export function radixWords(levels: ArrayLike<number>): number[][] {
  const order = Array.from(levels, (_, j) => j).filter((j) => levels[j] > 1).sort((a, b) => levels[b] - levels[a]);
  const words: number[][] = [], sizes: number[] = [], most = 2 ** WORD_BITS;
  let full = 0; // words before this one cannot take even two levels more
  for (const j of order) {
    let i = full;
    while (i < words.length && sizes[i] * levels[j] > most) i++;
    if (i === words.length) {
      words.push([]);
      sizes.push(1);
    }
    words[i].push(j);
    sizes[i] *= levels[j];
    while (full < words.length && sizes[full] * 2 > most) full++;
  }
  return words;
}

/** A matrix with its values: codes (out, in) below levels (in), min and max (out); `words` at least what they need. */
export function radixStore(
  o: { rows: number; cols: number; words: number },
  v: {
    levels: ArrayLike<number>;
    codes: ArrayLike<number>;
    min: ArrayLike<number>;
    max: ArrayLike<number>;
  },
): Store {
  const words = new Int32Array(o.rows * o.words);
  radixWords(v.levels).forEach((columns, i) => {
    for (let r = 0; r < o.rows; r++) {
      let word = 0;
      for (const j of columns.toReversed()) word = word * v.levels[j] + v.codes[r * o.cols + j];
      words[r * o.words + i] = word;
    }
  });
  const levels = Array.from(v.levels, (l) => l - 1);
  return fillStore(planRadix(o.rows, o.cols, o.words), { words, levels, min: v.min, max: v.max });
}

/** Adds the columns to W (out, in). */
export function applyRadix(w: Matrix, s: Store): void {
  const words = arrayOf(s, "words"), levels = Array.from(arrayOf(s, "levels").values, (l) => l + 1);
  const min = arrayOf(s, "min").values, max = arrayOf(s, "max").values, count = words.shape[1];
  radixWords(levels).forEach((columns, i) => {
    for (let r = 0; r < w.rows; r++) {
      let word = words.values[r * count + i];
      for (const j of columns) {
        const [scale, zero] = levelsGrid(min[r], max[r], levels[j]);
        w.data[r * w.cols + j] += scale * (word % levels[j] - zero);
        word = Math.floor(word / levels[j]);
      }
    }
  });
}
