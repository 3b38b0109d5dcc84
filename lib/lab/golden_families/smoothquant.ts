// SmoothQuant by mit-han-lab/smoothquant: everything is plain arithmetic, equal to float32's last digits.
import { LabError } from "../../io/errors.ts";
import type { Matrix } from "../../io/tensor.ts";
import { type GroupGridOptions, onGroupGrid } from "../../quant/group_grid.ts";
import { channelSize, columnMax, linearOutput, scaleColumns, smoothScale } from "../../quant/smooth.ts";
import { Checks, type GoldenCase, type GoldenFamily, outputError } from "../golden_check.ts";

/** Scale, folded norm, smoothed and rounded weights, outputs with rounded activations. */
export const SMOOTHQUANT_GOLDEN: GoldenFamily = { names: ["smoothquant"], replay };

/** On the signed grid of each row, or of the whole matrix. */
function rounded(m: Matrix, bits: number, whole: boolean): Matrix {
  const o: GroupGridOptions = { bits, groupSize: 0, axis: "in", rule: "absmax" };
  return whole
    ? { ...m, data: onGroupGrid({ data: m.data, rows: 1, cols: m.data.length }, o).data }
    : onGroupGrid(m, o);
}

async function replay(golden: GoldenCase) {
  const checks = new Checks(), w = await golden.matrix("weight"), x = await golden.matrix("inputs");
  const whole = (key: string, row: string) => {
    const how = golden.text(key);
    if (how === row || how === "per_tensor") return how === "per_tensor";
    throw new LabError("input", golden.label, `${key} ${how} is unknown here`, `It knows ${row}, per_tensor.`);
  };
  const alpha = golden.number("alpha"), act = channelSize(x, "max");
  const s = smoothScale(act, columnMax(w), alpha, 1 - alpha), smoothed = scaleColumns(w, s);
  checks.close("max|x|", act, await golden.floats("act_scales"), 1e-5);
  checks.close("scale", s, await golden.floats("scale"), 1e-5);
  checks.close("smoothed weight", smoothed.data, await golden.floats("weight_smoothed"), 1e-5);
  for (const name of ["norm_weight", "norm_bias"]) {
    if (!golden.has(name)) continue;
    const folded = (await golden.floats(name)).map((v, j) => v / s[j]);
    checks.close(`${name} folded`, folded, await golden.floats(`${name}_smoothed`), 1e-5);
  }
  // Linears that share the norm are stacked; each has a scale of its own where one a matrix is asked for.
  const parts: Matrix[] = [], splits = JSON.parse(golden.text("splits")) as number[];
  for (const [i, rows] of splits.entries()) {
    const from = splits.slice(0, i).reduce((a, b) => a + b, 0) * w.cols;
    const part = { data: smoothed.data.slice(from, from + rows * w.cols), rows, cols: w.cols };
    parts.push(rounded(part, golden.number("bits_weight"), whole("weight_quant", "per_channel")));
  }
  const q = { ...w, data: Float32Array.from(parts.flatMap((p) => [...p.data])) }, back = scaleColumns(q, s, true);
  checks.close("rounded weight", q.data, await golden.floats("weight_smoothed_quantized"), 1e-5);
  checks.close("dequantized", back.data, await golden.floats("dequantized"), 1e-5);
  checks.relative("objective", outputError(x, w, back), golden.number("objective"), 1e-3);
  const inputs = rounded(scaleColumns(x, s, true), golden.number("bits_activation"), whole("act_quant", "per_token"));
  const y = linearOutput(inputs, q), exact = linearOutput(x, w);
  checks.close("output with rounded activations", y.data, await golden.floats("output_w8a8"), 1e-3);
  const error = y.data.reduce((a, v, i) => a + (v - exact.data[i]) ** 2, 0);
  checks.relative("its error", error, golden.number("objective_w8a8"), 0.01);
  return checks.list;
}
