// AWQ by mit-han-lab/llm-awq: one linear behind a norm, or the gated MLP of a Llama block.
// After the clip: a group whose bound binds at both ends has a range of exactly [−c, c], so that its zero point is an exact
// tie, which float32 rounding decides. In float32 on the file's own scale the given cases come out equal to the last code;
// the bounds below are those of the cases' README, which are for a port in double.
import type { Matrix } from "../../io/tensor.ts";
import { clipGroups, roundScaled, searchAwqScale, searchClip } from "../../quant/awq.ts";
import { groupGrid, type GroupGridOptions, onGroupGrid } from "../../quant/group_grid.ts";
import { objective } from "../../quant/hessian.ts";
import { channelSize, linearOutput, scaleColumns } from "../../quant/smooth.ts";
import { Checks, difference, type GoldenCase, type GoldenFamily, hessianOf, outputError } from "../golden_check.ts";

/** Losses of the scale search, scale, clips, grids, weights, output error. */
export const AWQ_GOLDEN: GoldenFamily = {
  names: ["awq"],
  replay: (golden) => golden.has("weight_down") ? replayMlp(golden) : replayLinear(golden),
};

function optionsOf(golden: GoldenCase): GroupGridOptions {
  const rule = golden.flag("zero_point") ? "range" : "absmax";
  return { bits: golden.number("bits"), groupSize: golden.number("group_size"), axis: "in", rule };
}

/** Σ (a − b)² / n. */
function meanSquare(a: Matrix, b: Matrix): number {
  return difference(a, b).data.reduce((sum, v) => sum + v * v, 0) / a.data.length;
}

/** The clip of one matrix and what is left: W and X in the scaled basis, the scale as in the file. */
async function checkClip(
  golden: GoldenCase,
  checks: Checks,
  what: string,
  suffix: string,
  scaled: Matrix,
  x: Matrix,
  unscale: (m: Matrix) => Matrix,
) {
  const o = optionsOf(golden), every = Math.max(1, Math.floor(x.rows / golden.number("n_sample_token")));
  const kept = Array.from(
    { length: Math.ceil(x.rows / every) },
    (_, i) => x.data.slice(i * every * x.cols, (i * every + 1) * x.cols),
  );
  const sample = { data: Float32Array.from(kept.flatMap((row) => [...row])), rows: kept.length, cols: x.cols };
  const clip = { ...o, steps: golden.number("n_grid_clip"), shrink: golden.number("max_shrink") };
  const bounds = searchClip(scaled, hessianOf(sample, 1, golden.label), clip);
  const theirs = await golden.floats(`clip${suffix}`);
  const same = bounds.filter((b, i) => Math.abs(b - theirs[i]) <= 1e-5 * theirs[i]).length / bounds.length;
  checks.min(`${what}: equal clips`, same, 0.9);
  const ours = unscale(onGroupGrid(clipGroups(scaled, bounds, o.groupSize), o));
  const expected = await golden.matrix(what.replace(/^weight/, "dequantized"));
  checks.weights(`${what} with our clips`, ours, expected, 0.88);
  // With their clips nothing is left to chance but the ties.
  const clipped = clipGroups(scaled, theirs, o.groupSize), grid = groupGrid(clipped, o);
  checks.close(`${what}: scale on their clips`, grid.scale, await golden.floats(`scale${suffix}`), 1e-5);
  checks.weights(`${what} with their clips`, unscale(onGroupGrid(clipped, o)), expected, 0.99);
  return ours;
}

async function replayLinear(golden: GoldenCase) {
  const checks = new Checks(),
    o = optionsOf(golden),
    w = await golden.matrix("weight"),
    x = await golden.matrix("inputs");
  const h = hessianOf(x, 1, golden.label), act = channelSize(x, "mean"), outputs = x.rows * w.rows;
  const found = await searchAwqScale(
    act,
    golden.number("n_grid_scale"),
    (s) => Promise.resolve(objective(difference(roundScaled(w, s, o), w), h) / 2 / outputs),
  ); // H counts 2 XᵀX
  checks.close("losses of the scale search", found.losses, await golden.floats("loss_history"), 1e-5);
  checks.share("best ratio", [found.ratio], [golden.number("best_ratio")]);
  checks.close("scale", found.scale, await golden.floats("scale_search"), 1e-5);
  const theirs = await golden.floats("scale_search");
  const plain = roundScaled(w, theirs, o);
  checks.weights("dequantized without clip", plain, await golden.matrix("dequantized_no_clip"), 0.999);
  checks.relative("objective without clip", outputError(x, w, plain), golden.number("objective_no_clip"), 1e-3);
  for (const name of ["norm_weight", "norm_bias"]) {
    if (!golden.has(name)) continue;
    const folded = (await golden.floats(name)).map((v, j) => v / found.scale[j]);
    checks.close(`${name} folded`, folded, await golden.floats(`${name}_folded`), 1e-5);
  }
  if (golden.flag("clip_applied")) {
    const unscale = (m: Matrix) => scaleColumns(m, theirs, true);
    const ours = await checkClip(
      golden,
      checks,
      "weight",
      "",
      scaleColumns(w, theirs),
      scaleColumns(x, theirs, true),
      unscale,
    );
    checks.relative("objective", outputError(x, w, ours), golden.number("objective"), 0.01);
  }
  return checks.list;
}

async function replayMlp(golden: GoldenCase) {
  const checks = new Checks(),
    o = optionsOf(golden),
    x = await golden.matrix("inputs"),
    steps = golden.number("n_grid_scale");
  const [gate, up, down] = await Promise.all(["weight", "weight_up", "weight_down"].map((n) => golden.matrix(n)));
  const inner = (g: Matrix, u: Matrix) => product(linearOutput(x, g), linearOutput(x, u));
  const hidden = inner(gate, up), output = linearOutput(hidden, down);
  const first = await searchAwqScale(channelSize(x, "mean"), steps, (s) => {
    const y = linearOutput(inner(roundScaled(gate, s, o), roundScaled(up, s, o)), down);
    return Promise.resolve(meanSquare(y, output));
  });
  const second = await searchAwqScale(
    channelSize(hidden, "mean"),
    steps,
    (s) => Promise.resolve(meanSquare(linearOutput(hidden, roundScaled(down, s, o)), output)),
  );
  for (const [what, found, suffix] of [["gate and up", first, ""], ["down", second, "_down"]] as const) {
    checks.close(
      `${what}: losses of the scale search`,
      found.losses,
      await golden.floats(`loss_history${suffix}`),
      1e-5,
    );
    checks.share(`${what}: best ratio`, [found.ratio], [golden.number(`best_ratio${suffix}`)]);
    checks.close(`${what}: scale`, found.scale, await golden.floats(`scale_search${suffix}`), 1e-5);
  }
  const folded = (await golden.floats("norm_weight")).map((v, j) => v / first.scale[j]);
  checks.close("norm folded", folded, await golden.floats("norm_weight_folded"), 1e-5);
  // In the file's own basis from here on, so that float32 ties fall as there.
  const s = await golden.floats("scale_search"), t = await golden.floats("scale_search_down");
  const xs = scaleColumns(x, s, true), hs = scaleColumns(hidden, t, true);
  const rows = (m: Matrix, f: (v: number, s: number) => number) => ({
    ...m,
    data: m.data.map((v, i) => f(v, t[Math.floor(i / m.cols)])),
  });
  const upScaled = rows(scaleColumns(up, s), (v, f) => v / f);
  const g = await checkClip(
    golden,
    checks,
    "weight",
    "_gate",
    scaleColumns(gate, s),
    xs,
    (m) => scaleColumns(m, s, true),
  );
  const u = await checkClip(
    golden,
    checks,
    "weight_up",
    "_up",
    upScaled,
    xs,
    (m) => rows(scaleColumns(m, s, true), (v, f) => v * f),
  );
  const d = await checkClip(
    golden,
    checks,
    "weight_down",
    "_down",
    scaleColumns(down, t),
    hs,
    (m) => scaleColumns(m, t, true),
  );
  checks.relative("objective of gate", outputError(x, gate, g), golden.number("objective"), 0.01);
  const error = meanSquare(linearOutput(inner(g, u), d), output) * output.data.length;
  checks.relative("objective of the MLP", error, golden.number("mlp_objective"), 0.01);
  return checks.list;
}

/** silu(a) · b. */
function product(a: Matrix, b: Matrix): Matrix {
  return { ...a, data: a.data.map((v, i) => v / (1 + Math.exp(-v)) * b.data[i]) };
}
