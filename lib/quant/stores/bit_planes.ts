// Store "bit-planes": Ŵ += zero[g] + Σ_k bit_k(code) · scale[g, k], groups along the inputs of a row.
//   codes (out, in), bit k for plane k · scale (out, groups, b) · zero (out, groups) · group_of (in) where the columns of a
//   group do not lie together
import type { Matrix } from "../../io/tensor.ts";
import { arrayOf, fillStore, floatSpec, intSpec, settingOf, type Store, type StorePlan } from "../store.ts";

/** What bit planes look like, before their values. */
export interface BitPlanesPlan {
  readonly rows: number;
  readonly cols: number;
  readonly bits: number;
  /** Columns that share scales; 0: the row. */
  readonly groupSize: number;
  readonly scaleBits: 16 | 32;
  readonly groupMap: boolean;
}

/** The arrays of bit planes. */
export function planBitPlanes(o: BitPlanesPlan): StorePlan {
  const groups = o.groupSize > 0 ? Math.ceil(o.cols / o.groupSize) : 1;
  return {
    kind: "bit-planes",
    settings: { groupSize: o.groupSize },
    arrays: {
      codes: intSpec(o.bits, [o.rows, o.cols], "codes"),
      scale: floatSpec(o.scaleBits, [o.rows, groups, o.bits], "scales"),
      zero: floatSpec(o.scaleBits, [o.rows, groups], "zeros"),
      ...(o.groupMap ? { group_of: intSpec(Math.max(1, Math.ceil(Math.log2(groups))), [o.cols], "indices") } : {}),
    },
  };
}

/** Bit planes with their values. */
export function bitPlanesStore(o: BitPlanesPlan, values: Readonly<Record<string, ArrayLike<number>>>): Store {
  return fillStore(planBitPlanes(o), values);
}

/** Adds the planes to W (out, in). */
export function applyBitPlanes(w: Matrix, s: Store): void {
  const codes = arrayOf(s, "codes"), scale = arrayOf(s, "scale").values, zero = arrayOf(s, "zero");
  const groups = zero.shape[1], size = settingOf(s, "groupSize") || w.cols, groupOf = s.arrays.group_of?.values;
  for (let i = 0; i < w.data.length; i++) {
    const j = i % w.cols, g = Math.floor(i / w.cols) * groups + (groupOf ? groupOf[j] : Math.floor(j / size));
    let v = zero.values[g];
    for (let k = 0; k < codes.bits; k++) if (codes.values[i] >> k & 1) v += scale[g * codes.bits + k];
    w.data[i] += v;
  }
}
