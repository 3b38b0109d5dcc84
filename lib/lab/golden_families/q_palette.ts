// Q-Palette by snu-mllab/Q-Palette: rotation, scale, codes with and without feedback; the shipped table of distortions.
import { lloydMax, planeCodebook } from "../../quant/codebook.ts";
import { qPalette } from "../../quant/q_palette.ts";
import { Checks, type GoldenCase, type GoldenFamily, hessianOf, outputError } from "../golden_check.ts";

/** Scale, rotated weight, codes, weights, errors; or, of the table, our own codebooks' distortions. */
export const Q_PALETTE_GOLDEN: GoldenFamily = {
  names: ["q-palette"],
  replay: (golden) => golden.has("distortion") ? replayTable(golden) : replayLayer(golden),
};

async function replayLayer(golden: GoldenCase) {
  const checks = new Checks(), w = await golden.matrix("weight"), x = await golden.matrix("inputs");
  const book = { dim: golden.number("vec_size"), entries: await golden.floats("codebook") };
  const hessian = golden.flag("use_hessian") ? hessianOf(x, 1, golden.label) : null; // twice XᵀX: its scale is free
  const found = qPalette(w, {
    signs: await golden.floats("signs"),
    books: [{ from: 0, book }],
    hessian,
    damp: golden.number("sigma_reg"),
    scaleBits: 32,
  });
  checks.close("scale", found.scale, await golden.floats("scale"), 1e-5);
  checks.close("rotated", found.rotated, await golden.floats("rotated"), 1e-5);
  checks.share("codes", found.codes, golden.ints("codes"), 0.999);
  const theirs = await golden.matrix("rotated_dequantized");
  const ours = { ...theirs, data: Float32Array.from(found.rotatedApproximation) };
  checks.weights("rotated weights", ours, theirs, 0.998);
  let lost = 0, energy = 0;
  ours.data.forEach((v, i) => {
    const exact = found.rotated[i] * found.scale[Math.floor(i / w.cols)];
    lost += (v - exact) ** 2;
    energy += exact ** 2;
  });
  checks.relative("error after rotation", lost / energy, golden.number("rotated_error"), 1e-3);
  checks.relative("objective", outputError(x, w, found.approximation), golden.number("objective"), 5e-3);
  // A code that differs moves a whole row on the way back: as many rows may.
  checks.weights("dequantized", found.approximation, await golden.matrix("dequantized"), 0.9);
  return checks.list;
}

async function replayTable(golden: GoldenCase) {
  const checks = new Checks(), distortion = await golden.floats("distortion");
  const names: string[] = JSON.parse(golden.text("names")), remeasured = JSON.parse(golden.text("remeasured") || "{}");
  for (const [i, name] of names.entries()) {
    const [, dim, bits] = /^ldlq_(\d)_(\d+)_/.exec(name) ?? []; // trellis codes are numbers only
    if (!dim) continue;
    const own = dim === "1" ? lloydMax(Number(bits)) : planeCodebook(Number(bits), Number(bits) > 10 ? 20 : 40);
    checks.relative(`distortion of ${name}`, own.distortion, distortion[i], dim === "1" ? 0.01 : 0.02);
    if (golden.has(`codebook_${dim}d_${bits}`) && dim === "1") {
      // The shipped levels are fitted to a sample, ours to the law: they differ by the sample's noise.
      const theirs = [...await golden.floats(`codebook_1d_${bits}`)].sort((a, b) => a - b);
      checks.close(`levels of ${name}`, own.entries, theirs, 0.05);
    }
    const measured = remeasured[`${dim}d_${bits}`];
    if (measured) checks.relative(`measured distortion of ${name}`, own.distortion, measured, 0.03);
  }
  return checks.list;
}
