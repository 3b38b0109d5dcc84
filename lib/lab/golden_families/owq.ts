// OWQ's own cases: what the reference implementation computed for one layer (fixtures/golden/README.md).
import type { SafetensorsFile } from "../../io/safetensors.ts";
import { asMatrix, type Matrix } from "../../io/tensor.ts";
import type { Kernels } from "../../kernels/kernels.ts";
import { columnScores } from "../../quant/sensitivity.ts";
import { dequantize } from "../../quant/dequantize.ts";
import { objective } from "../../quant/hessian.ts";
import { OPTQ_DEFAULTS } from "../../quant/optq.ts";
import { owq, OWQ_DEFAULTS, type OwqOptions, roundedForScore } from "../../quant/owq.ts";
import { rtn } from "../../quant/rtn.ts";
import type { GoldenCase, GoldenCheck, GoldenFamily } from "../golden_check.ts";

/** Scores, weak columns, grid, codes and objective of OWQ, OPTQ and RTN by OWQ's reference. */
export const OWQ_GOLDEN: GoldenFamily = { names: ["owq-golden-1"], replay };

/** A layer by the reference OWQ: scores, weak columns, grid, codes, objective (fixtures/golden/README.md). */
async function replay({ file }: GoldenCase, kernels: Kernels): Promise<GoldenCheck[]> {
  const meta = file.metadata;
  const read = async (name: string) => asMatrix(await file.read(name));
  const weight = await read("weight"), hessian = await read("hessian"), expected = await read("dequantized");
  const scale = (await file.read("scale")).data, zero = (await file.read("zero")).data;
  const score = (await file.read("score")).data, weakIds = file.readInts("weak_ids").data;
  const o = owqOptions(meta), count = Number(meta.get("n_out")), context = { kernels };
  const problem = { name: file.label, weight, hessian, seed: 0 };
  const at: GoldenCheck[] = [];
  const max = (what: string, value: number, bound: number) => at.push({ what, value, bound, sense: "max" });
  const min = (what: string, value: number, bound: number) => at.push({ what, value, bound, sense: "min" });

  max("Hessian from inputs, relative", relativeDistance(await hessianOf(file, kernels), hessian), 1e-5);
  const layer = await owq(problem, o, count, context), ours = dequantize(layer);
  const value = objective(difference(ours, weight), hessian), theirs = Number(meta.get("objective"));
  const rankDeficient = await isRankDeficient(file);
  max("objective, relative", Math.abs(value / theirs - 1), rankDeficient ? 0.02 : 0.005);
  if (rankDeficient) return at; // float32 rounding decides ties there: only the objective is meaningful

  max("objective in the report, relative", Math.abs(layer.report.objective / value - 1), 1e-4);
  const rounded = o.rule === "hessian" ? null : await roundedForScore(weight, o, o.sensitivitySteps, context);
  const scores = columnScores(o.rule, { ...problem, rounded });
  max(
    "column scores, median relative difference",
    median(scores.map((s, j) => Math.abs(s - score[j]) / (score[j] || 1))),
    1e-4,
  );
  min("weak columns equal", layer.weakIds.every((id, i) => id === weakIds[i]) ? 1 : 0, 1);
  const groups = layer.scale.length / layer.rows, last = groups - 1;
  const rowShare = (f: (r: number) => boolean) =>
    Array.from({ length: layer.rows }, (_, r) => f(r)).filter(Boolean).length / layer.rows;
  // One row may differ where 0.1 % of the rows is less than one.
  const rowBound = Math.min(0.999, 1 - 1 / layer.rows);
  const shift = o.symmetric ? 2 ** (o.bits - 1) : 0; // the reference's symmetric codes are signed, ours are not
  min(
    "rows with equal scale (1e-6)",
    rowShare((r) => Math.abs(layer.scale[r * groups + last] / scale[r] - 1) <= 1e-6),
    rowBound,
  );
  min("rows with equal zero", rowShare((r) => layer.zero[r * groups + last] - shift === zero[r]), rowBound);
  const weak = new Set(layer.weakIds);
  let same = 0, total = 0;
  for (let i = 0; i < ours.data.length; i++) {
    if (weak.has(i % layer.cols)) continue;
    total++;
    const step = layer.scale[Math.floor(i / layer.cols) * groups];
    if (Math.abs(ours.data[i] - expected.data[i]) <= 1e-3 * step) same++;
  }
  min("equal codes", same / total, 0.995);
  const plain = dequantize(rtn(problem, { ...o, scaleBits: 32, groupSize: 0 })), reference = await read("rtn_minmax");
  const equal =
    plain.data.filter((v, i) => Math.abs(v - reference.data[i]) <= 1e-5 * Math.abs(reference.data[i]) + 1e-9).length;
  min("equal round-to-nearest", equal / plain.data.length, 0.999);
  return at;
}

function owqOptions(meta: ReadonlyMap<string, string>): OwqOptions {
  const flag = (name: string) => meta.get(name) === "True", group = Number(meta.get("group_size"));
  return {
    ...OPTQ_DEFAULTS,
    bits: Number(meta.get("bits")),
    tuning: meta.get("tuning") === "mse" ? "mse" : "minmax",
    symmetric: flag("sym"),
    groupSize: group > 0 ? group : 0,
    actOrder: flag("act_order"),
    damp: Number(meta.get("percdamp")),
    blockSize: Number(meta.get("block_size")),
    deadColumns: "zero", // what the reference does
    rule: flag("score_uses_error") ? "hessian-error" : "hessian",
    sensitivitySteps: OWQ_DEFAULTS.sensitivitySteps,
  };
}

async function hessianOf(file: SafetensorsFile, kernels: Kernels): Promise<Matrix> {
  const { data, shape: [samples, tokens, width] } = await file.read("inputs");
  const mean = await kernels.gram(width, file.label);
  for (let s = 0; s < samples; s++) {
    await mean.add({ data: data.slice(s * tokens * width, (s + 1) * tokens * width), rows: tokens, cols: width });
  }
  const value = await mean.value();
  mean.close();
  return value;
}

/** Fewer calibration tokens than columns: H cannot have full rank. */
async function isRankDeficient(file: SafetensorsFile): Promise<boolean> {
  const [samples, tokens, width] = (await file.read("inputs")).shape;
  return samples * tokens < width;
}

function difference(a: Matrix, b: Matrix): Matrix {
  return { ...a, data: a.data.map((v, i) => v - b.data[i]) };
}

function relativeDistance(a: Matrix, b: Matrix): number {
  let distance = 0, norm = 0;
  for (let i = 0; i < b.data.length; i++) {
    distance += (a.data[i] - b.data[i]) ** 2;
    norm += b.data[i] ** 2;
  }
  return Math.sqrt(distance / norm);
}

function median(values: ArrayLike<number>): number {
  return Float64Array.from(values).sort()[Math.floor(values.length / 2)];
}
