// HLQ by Nkniexin/ELUTQ: groups by alternating least squares, alone and inside the sweep.
import { LabError } from "../../io/errors.ts";
import { hlq, HLQ_DEFAULTS, hlqPlain } from "../../quant/hlq.ts";
import { Checks, difference, type GoldenCase, type GoldenFamily, hessianOf, outputError } from "../golden_check.ts";

/** Order, planes, scales, weights of both, errors. */
export const HLQ_GOLDEN: GoldenFamily = { names: ["hlq"], replay };

async function replay(golden: GoldenCase) {
  const optimizer = golden.text("optimizer");
  if (optimizer !== "alternating") {
    throw new LabError("input", golden.label, `optimizer ${optimizer} is unknown here`, "It knows alternating.");
  }
  const checks = new Checks(), w = await golden.matrix("weight"), x = await golden.matrix("inputs");
  const h = hessianOf(x, golden.number("batches"), golden.label);
  if (golden.has("hessian")) checks.close("Hessian", h.data, await golden.floats("hessian"), 1e-5);
  const size = golden.number("group_size"),
    o = {
      ...HLQ_DEFAULTS,
      bits: golden.number("bits"),
      groupSize: size > 0 ? size : 0,
      rounds: golden.number("rounds"),
      damp: golden.number("percdamp"),
      actOrder: golden.flag("act_order"),
    };
  const plain = hlqPlain(w, o).approximation, found = hlq(w, h, o);
  checks.weights("without data", plain, await golden.matrix("dequantized_plain"), 0.995);
  const squares = difference(plain, w).data.reduce((a, v) => a + v * v, 0);
  checks.relative("error without data", squares, golden.number("plain_error"), 1e-3);
  checks.share("order of work", found.order, golden.ints("perm"));
  checks.weights("dequantized", found.approximation, await golden.matrix("dequantized"), 0.995);
  checks.relative("loss", found.loss, golden.number("loss"), 1e-3);
  checks.relative("objective", outputError(x, w, found.approximation), golden.number("objective"), 1e-3);
  // A plane of one group that is the same everywhere can lie in the zero point as well: planes are compared by their values.
  const planes = golden.ints("bit_planes"), scale = await golden.floats("scale"), zero = await golden.floats("zero");
  const groups = zero.length / w.rows, n = w.rows * w.cols;
  const value = (i: number, bit: (k: number) => number, s: Float32Array, z: Float32Array) => {
    const g = Math.floor(i / w.cols) * groups + Math.floor(i % w.cols / (o.groupSize || w.cols));
    let v = z[g];
    for (let k = 0; k < o.bits; k++) v += bit(k) * s[g * o.bits + k];
    return v;
  };
  const ours = new Float32Array(n), theirs = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    ours[i] = value(i, (k) => found.codes[i] >> k & 1, found.scale, found.zero);
    theirs[i] = value(i, (k) => planes[k * n + i], scale, zero);
  }
  checks.weights("values of the planes", { ...w, data: ours }, { ...w, data: theirs }, 0.995);
  return checks.list;
}
