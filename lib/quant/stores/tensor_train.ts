// Store "tensor-train": Ŵ += the matrix of a chain of cores (tensor_train.ts), each core in codes on a signed grid of
// groups of 64, or in 16-bit floats.
import type { Matrix } from "../../io/tensor.ts";
import { groupGrid } from "../group_grid.ts";
import { arrayOf, type ArraySpec, fillStore, floatSpec, intSpec, type Store, type StorePlan } from "../store.ts";
import { fromTrain, type Sites, type TensorTrain } from "../tensor_train.ts";

/** Numbers of a core that share a scale. */
const GROUP = 64;

/** The arrays of a chain. @param bits 2 … 8: codes with a scale for each 64; 16: floats. */
export function planTrain(sites: Sites, ranks: readonly number[], bits: number): StorePlan {
  const arrays: Record<string, ArraySpec> = {};
  for (let k = 0; k < sites.out.length; k++) {
    const shape = [ranks[k], sites.out[k], sites.in[k], ranks[k + 1]], n = shape.reduce((a, b) => a * b, 1);
    if (bits === 16) arrays[`core${k}`] = floatSpec(16, shape, "other");
    else {
      arrays[`core${k}`] = intSpec(bits, shape, "codes");
      arrays[`scale${k}`] = floatSpec(16, [Math.ceil(n / GROUP)], "scales");
    }
  }
  return { kind: "tensor-train", settings: { bits }, arrays };
}

/** A chain with its numbers rounded. */
export function trainStore(t: TensorTrain, bits: number): Store {
  const values: Record<string, ArrayLike<number>> = {};
  for (const [k, core] of t.cores.entries()) {
    if (bits === 16) values[`core${k}`] = core;
    else {
      const line = { data: Float32Array.from(core), rows: 1, cols: core.length };
      const g = groupGrid(line, { bits, groupSize: GROUP, axis: "in", rule: "absmax", scaleBits: 16 });
      [values[`core${k}`], values[`scale${k}`]] = [g.codes, g.scale];
    }
  }
  return fillStore(planTrain(t.sites, t.ranks, bits), values);
}

/** Adds the chain's matrix to W (out, in). */
export function applyTrain(w: Matrix, s: Store): void {
  const cores: ArrayLike<number>[] = [], out: number[] = [], into: number[] = [], ranks = [1];
  for (let k = 0; `core${k}` in s.arrays; k++) {
    const { values, shape, bits } = arrayOf(s, `core${k}`),
      scale = s.arrays[`scale${k}`]?.values,
      half = 2 ** (bits - 1);
    cores.push(scale ? Float32Array.from(values, (q, i) => scale[Math.floor(i / GROUP)] * (q - half)) : values);
    out.push(shape[1]);
    into.push(shape[2]);
    ranks.push(shape[3]);
  }
  const { data } = fromTrain({ sites: { out, in: into }, ranks, cores });
  for (let i = 0; i < data.length; i++) w.data[i] += data[i];
}
