// PTQTP by matteo-grella/fucina, from the paper's formulas: free, packed, single-plane and tied groups.
import { LabError } from "../../io/errors.ts";
import type { Matrix } from "../../io/tensor.ts";
import { packTrits, tiedGroup, type TritGroup, tritGroup, tritMatrix, type TritOptions } from "../../quant/ptqtp.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** Trits, rounds, scales and weights; packed; one plane; tied scales. */
export const PTQTP_GOLDEN: GoldenFamily = { names: ["ptqtp"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(), w = await golden.matrix("weight"), size = golden.number("group_size");
  const o: TritOptions = {
    planes: golden.number("planes"),
    groupSize: size > 0 ? size : 0,
    rounds: golden.number("max_iterations"),
    epsilon: golden.number("epsilon"),
    ridge: golden.number("lambda0"),
    mostRidge: golden.number("lambda_max"),
    condition: golden.number("kappa_max"),
  };
  if (!(o.planes >= 1 && o.planes <= 3)) {
    throw new LabError("input", golden.label, `${o.planes} planes are unknown here`, "It knows 1 to 3.");
  }
  const free = tritMatrix(w, o.groupSize, (g) => tritGroup(g, o));
  checkPlanes(checks, golden, "trits_", w, free.groups, o);
  checks.share("rounds", free.groups.map((g) => g.rounds), golden.ints("iterations"));
  checks.share("converged", free.groups.map((g) => g.converged ? 1 : 0), golden.ints("converged"));
  checks.close("scale", free.groups.flatMap((g) => [...g.scale]), await golden.floats("scale"), 1e-5);
  checks.close("dequantized", free.approximation.data, await golden.floats("dequantized"), 1e-5);
  let at = 0;
  const packed = tritMatrix(w, o.groupSize, (g) => packTrits(g, free.groups[at++]));
  checkPlanes(checks, golden, "packed_trits_", w, packed.groups, o);
  checks.close("packed scale", packed.groups.flatMap((g) => [...g.scale]), await golden.floats("packed_scale"), 1e-5);
  checks.close("packed", packed.approximation.data, await golden.floats("packed_dequantized"), 1e-5);
  const found: Matrix[] = [free.approximation, packed.approximation];
  if (golden.has("single_plane")) {
    const single = tritMatrix(w, o.groupSize, (g) => tritGroup(g, { ...o, planes: 1 }));
    checks.close("one plane", single.approximation.data, await golden.floats("single_plane"), 1e-5);
    found.push(single.approximation);
  }
  if (golden.has("tied")) {
    const tied = tritMatrix(w, o.groupSize, (g) => tiedGroup(g, o.planes));
    checks.close("tied", tied.approximation.data, await golden.floats("tied"), 1e-5);
    const steps = tied.groups.map((g) => g.scale[o.planes - 1]);
    checks.close("tied step", steps, await golden.floats("tied_step"), 1e-5);
    found.push(tied.approximation);
  }
  checks.close("relative errors", found.map((m) => relativeError(m, w)), await golden.floats("relative_error"), 1e-5);
  return checks.list;
}

function checkPlanes(
  checks: Checks,
  golden: GoldenCase,
  prefix: string,
  w: Matrix,
  groups: readonly TritGroup[],
  o: TritOptions,
) {
  for (let k = 0; k < o.planes; k++) {
    const trits = new Int8Array(w.data.length);
    let at = 0;
    for (const g of groups) {
      trits.set(g.trits[k], at);
      at += g.trits[k].length;
    }
    checks.share(`${prefix}${k + 1}`, trits, golden.ints(`${prefix}${k + 1}`));
  }
}

function relativeError(a: Matrix, w: Matrix): number {
  let error = 0, size = 0;
  for (let i = 0; i < w.data.length; i++) {
    error += (a.data[i] - w.data[i]) ** 2;
    size += w.data[i] ** 2;
  }
  return error / size;
}
