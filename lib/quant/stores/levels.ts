// Store "levels": Ŵ += scale[block] · level[code], blocks of the flattened matrix.
//   codes (out, in) · scale (blocks), or its 8-bit codes with scale_top and scale_offset (double quantization)
// The levels are a table that everybody knows ("nf" of the codes' width, "fp4") and is stored nowhere, or the array `level`.
import type { Matrix } from "../../io/tensor.ts";
import { decodeScales, fp4Levels, normalFloat } from "../levels.ts";
import { arrayOf, fillStore, floatSpec, intSpec, settingOf, type Store, type StorePlan } from "../store.ts";

/** What coded levels look like, before their values. */
export interface LevelsPlan {
  readonly rows: number;
  readonly cols: number;
  readonly bits: number;
  /** Weights that share a scale. */
  readonly block: number;
  /** "nf", "fp4", or "own": the levels are stored as 16-bit floats. */
  readonly table: "nf" | "fp4" | "own";
  /** 16, 32, or "double": 8-bit codes with a scale for each 256 of them. */
  readonly scale: 16 | 32 | "double";
  /** Scales that share a scale; 256 unless told. */
  readonly second?: number;
}

/** The arrays of coded levels. */
export function planLevels(o: LevelsPlan): StorePlan {
  const blocks = Math.ceil(o.rows * o.cols / o.block);
  return {
    kind: "levels",
    settings: { block: o.block, table: o.table, ...(o.scale === "double" ? { second: o.second ?? 256 } : {}) },
    arrays: {
      codes: intSpec(o.bits, [o.rows, o.cols], "codes"),
      ...(o.table === "own" ? { level: floatSpec(16, [2 ** o.bits], "other") } : {}),
      ...(o.scale === "double"
        ? {
          scale_codes: intSpec(8, [blocks], "scales"),
          scale_top: floatSpec(32, [Math.ceil(blocks / (o.second ?? 256))], "scales"),
          scale_offset: floatSpec(32, [1], "scales"),
        }
        : { scale: floatSpec(o.scale, [blocks], "scales") }),
    },
  };
}

/** Coded levels with their values, named as the arrays. */
export function levelsStore(o: LevelsPlan, values: Readonly<Record<string, ArrayLike<number>>>): Store {
  return fillStore(planLevels(o), values);
}

/** Adds scale · level[code] to W (out, in). */
export function applyLevels(w: Matrix, s: Store): void {
  const { values: codes, bits } = arrayOf(s, "codes"), block = settingOf(s, "block"), { table } = s.settings;
  const level = table === "nf" ? normalFloat(bits) : table === "fp4" ? fp4Levels() : arrayOf(s, "level").values;
  const coded = s.arrays.scale_codes;
  const scale = coded
    ? decodeScales(
      coded.values,
      arrayOf(s, "scale_top").values,
      arrayOf(s, "scale_offset").values[0],
      settingOf(s, "second"),
    )
    : arrayOf(s, "scale").values;
  for (let i = 0; i < codes.length; i++) w.data[i] += Math.fround(scale[Math.floor(i / block)] * level[codes[i]]);
}
