// A model in several stored forms, for its speed and its memory alone: rounded to nearest, the strongest columns kept.
import { type Matrix, matrix } from "../../io/tensor.ts";
import type { PackedMatrix } from "../../kernels/packed_matrix.ts";
import type { LinearInfo } from "../../model/config.ts";
import type { LanguageModel } from "../../model/language_model.ts";
import { columnsForTarget } from "../../quant/budget.ts";
import { toPackedMatrix } from "../../quant/packed_matrix.ts";
import { rtn } from "../../quant/rtn.ts";
import { unpacked } from "./cases.ts";

/** The linears of a model in one stored form, by "BLOCK.NAME". */
export interface StoredModel {
  readonly target: number;
  readonly packed: ReadonlyMap<string, PackedMatrix>;
  readonly weakColumns: number;
}

/**
 * Packs every linear of a model: the target's whole bits, its weak columns those with the largest weights.
 *
 * Not OWQ: nothing is calibrated, so that it takes a second. Kernels neither know nor care which columns are weak.
 *
 * @param target nominal bits, such as 3.01.
 */
export async function storedModel(model: LanguageModel, target: number): Promise<StoredModel> {
  const bits = Math.floor(target), packed = new Map<string, PackedMatrix>();
  let weakColumns = 0;
  for (let b = 0; b < model.blocks; b++) {
    const block = await model.openBlock(b), linears = model.linears(b);
    const counts = target > bits ? columnsForTarget(linears, bits, target) : new Map<string, number>();
    for (const l of linears) {
      const k = counts.get(l.name) ?? 0;
      packed.set(`${b}.${l.name}`, packLinear(block.weight(l.name), l, bits, k));
      weakColumns += k;
    }
    block.close();
  }
  return { target, packed, weakColumns };
}

function packLinear(w: Matrix, l: LinearInfo, bits: number, k: number): PackedMatrix {
  const size = new Float64Array(w.cols);
  for (let i = 0; i < w.data.length; i++) size[i % w.cols] += w.data[i] ** 2;
  const weakIds = Int32Array.from([...size.keys()].sort((a, b) => size[b] - size[a] || a - b).slice(0, k)).sort();
  const rest = matrix(w.rows, w.cols);
  rest.data.set(w.data);
  for (let r = 0; r < w.rows; r++) for (const c of weakIds) rest.data[r * w.cols + c] = 0; // rounds to the zero point
  const layer = rtn({ name: l.name, weight: rest, hessian: null, seed: 0 }, {
    bits,
    symmetric: false,
    groupSize: 0,
    scaleBits: 32,
  });
  const weak = new Float32Array(w.rows * k);
  for (let r = 0; r < w.rows; r++) {
    for (let i = 0; i < k; i++) weak[r * k + i] = Math.f16round(w.data[r * w.cols + weakIds[i]]);
  }
  return toPackedMatrix({ ...layer, weakIds, weak });
}

/** Ŵ of every linear of a stored model, by the same names. */
export function dequantized(s: StoredModel): Map<string, Matrix> {
  return new Map([...s.packed].map(([name, m]) => [name, unpacked(m)]));
}

/**
 * What the packed runtime asks for by a tensor's name, "PREFIX.BLOCK.LINEAR": what stands before the block differs by family.
 */
export function layerFinder<T>(layers: ReadonlyMap<string, T>): (tensor: string) => Promise<T | null> {
  return (tensor) => {
    const key = [...layers.keys()].find((k) => tensor === k || tensor.endsWith(`.${k}`));
    return Promise.resolve(key === undefined ? null : layers.get(key)!);
  };
}
