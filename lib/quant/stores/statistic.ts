// Scales and zeros that are stored as codes: value = qq_scale · (code − qq_zero), the second-level grid shared by a run of
// rows of one group column (SpQR, arXiv 2306.03078).
import type { Floats } from "../../io/tensor.ts";
import { arrayOf, type ArraySpec, type Counted, floatSpec, intSpec, settingOf, type Store } from "../store.ts";

/** How a statistic is coded. */
export interface StatisticPlan {
  readonly bits: number;
  /** Rows that share a second-level grid. */
  readonly run: number;
  /** Width of the second-level scale and zero. */
  readonly qqBits: 16 | 32;
}

/** The arrays of a coded statistic (rows, groups). */
export function planStatistic(
  name: string,
  [rows, groups]: readonly number[],
  o: StatisticPlan,
  counts: Counted,
): Record<string, ArraySpec> {
  const runs = Math.ceil(rows / o.run);
  return {
    [`${name}_codes`]: intSpec(o.bits, [rows, groups], counts),
    [`${name}_qq_scale`]: floatSpec(o.qqBits, [runs, groups], counts),
    [`${name}_qq_zero`]: floatSpec(o.qqBits, [runs, groups], counts),
  };
}

/** The values of a statistic, coded or plain, in the order of the groups. */
export function readStatistic(s: Store, name: string): Floats {
  const plain = s.arrays[name];
  if (plain) return plain.values instanceof Float32Array ? plain.values : Float32Array.from(plain.values);
  const codes = arrayOf(s, `${name}_codes`), run = settingOf(s, `${name}Run`), [rows, groups] = codes.shape;
  const scale = arrayOf(s, `${name}_qq_scale`).values, zero = arrayOf(s, `${name}_qq_zero`).values;
  const out = new Float32Array(rows * groups);
  for (let r = 0, i = 0; r < rows; r++) {
    for (let g = 0; g < groups; g++, i++) {
      const q = Math.floor(r / run) * groups + g;
      out[i] = scale[q] * (codes.values[i] - zero[q]);
    }
  }
  return out;
}
