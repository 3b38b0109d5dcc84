// BitStack by xinghaow99/BitStack: scale, signs, factors as products, errors by number of blocks.
import type { Matrix } from "../../io/tensor.ts";
import { composeStack, plainBlock, plainRank, stackBlocks, stackScale } from "../../quant/bitstack.ts";
import { scaleColumns } from "../../quant/smooth.ts";
import { Checks, type GoldenCase, type GoldenFamily, outputError } from "../golden_check.ts";

/** Scale, signs, products of the factors, weights, errors after each block, the variant without signs. */
export const BITSTACK_GOLDEN: GoldenFamily = { names: ["bitstack"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(), w = await golden.matrix("weight"), x = await golden.matrix("inputs");
  const { rows, cols } = w, n = rows * cols, samples = golden.number("samples"), tokens = x.rows / samples;
  const blocks = golden.number("blocks"), k = golden.number("k");
  const parts = Array.from({ length: samples }, (_, s) => {
    return { ...x, data: x.data.slice(s * tokens * cols, (s + 1) * tokens * cols), rows: tokens };
  });
  const scale = stackScale(parts);
  checks.close("scale", scale, await golden.floats("scale"), 1e-5);
  const scaled = scaleColumns(w, scale), found = stackBlocks(scaled, new Array(blocks).fill(k));
  const signs = Int8Array.from(found.flatMap((b) => [...b.positive]), (v) => v ? 1 : -1);
  checks.share("signs", signs, golden.ints("signs"), 0.999);
  const u = await golden.floats("u"), vt = await golden.floats("vt");
  for (let t = 0; t < blocks; t++) {
    // Singular vectors are free in sign, so that only the products can be compared.
    const theirs = {
      positive: new Uint8Array(n).fill(1),
      u: { data: u.slice(t * rows * k, (t + 1) * rows * k), rows, cols: k },
      vt: { data: vt.slice(t * cols * k, (t + 1) * cols * k), rows: k, cols },
    };
    const sizes = (b: typeof theirs) => composeStack([{ ...b, positive: theirs.positive }], w).data;
    checks.close(`product of block ${t + 1}`, sizes(found[t]), sizes(theirs), 1e-3);
  }
  const squares = (m: Matrix) => m.data.reduce((a, v, i) => a + (v - scaled.data[i]) ** 2, 0);
  const partial = Array.from({ length: blocks }, (_, t) => composeStack(found.slice(0, t + 1), w));
  const errors: number[] = JSON.parse(golden.text("error_by_blocks"));
  const objectives: number[] = JSON.parse(golden.text("objective_by_blocks") || "[]");
  partial.forEach((m, t) => {
    checks.relative(`error after ${t + 1} blocks`, squares(m), errors[t], 5e-3);
    if (objectives.length === 0) return;
    checks.relative(`objective after ${t + 1}`, outputError(x, w, scaleColumns(m, scale, true)), objectives[t], 5e-3);
  });
  const ours = scaleColumns(partial[blocks - 1], scale, true);
  checks.weights("dequantized", ours, await golden.matrix("dequantized"), 0.995, 1e-3);
  checks.relative("objective", outputError(x, w, ours), golden.number("objective"), 5e-3);
  const rank = golden.number("plain_svd_rank");
  if (!Number.isNaN(rank)) {
    checks.share("rank without signs", [plainRank(rows, cols, k)], [rank]);
    checks.relative("error without signs", squares(plainBlock(scaled, rank)), golden.number("plain_svd_error_1"), 5e-3);
  }
  return checks.list;
}
