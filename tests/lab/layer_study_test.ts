import assert from "node:assert/strict";
import { matrix } from "../../lib/io/tensor.ts";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { during } from "../../lib/lab/during.ts";
import { openStudy } from "../../lib/lab/layer_study.ts";
import { replacing, trialFigure, trialTable, tryMethods } from "../../lib/lab/layer_trial.ts";
import { objective } from "../../lib/quant/hessian.ts";
import { perplexity } from "../../lib/model/perplexity.ts";
import { assertRelative, assertWithin } from "../assert.ts";

const context = { kernels: await openKernels("cpu") };
const text = { text: "moby-dick", samples: 2, seqLen: 64 };

Deno.test("studyLayers() hands out every layer once, with the moments that a whole pass gives", async () => {
  const study = await openStudy("fixture", { ...text, seed: 3 });
  try {
    const { model, windows } = study, names: string[] = [], seen = new Map<string, Float32Array>();
    for await (const layer of study.layers()) {
      names.push(layer.name);
      seen.set(layer.name, layer.hessian.data);
      assert.equal(layer.hessian.rows, layer.weight.cols);
      assert.equal(layer.weight.rows, layer.linear.out);
    }
    const all = Array.from({ length: model.blocks }, (_, b) => model.linears(b).map((l) => `${b}.${l.name}`)).flat();
    assert.deepEqual(names, all);
    // By hand: the inputs of the last block's MLP, one token at a time.
    let hidden = await model.embed(windows.ids, windows.windows, windows.length);
    for (let b = 0; b < model.blocks - 1; b++) {
      const block = await model.openBlock(b);
      hidden = await block.forward(hidden);
      block.close();
    }
    const last = await model.openBlock(model.blocks - 1), x = await last.capture(hidden, "mlp");
    const sums = new Float64Array(x.cols);
    for (let i = 0; i < x.data.length; i++) sums[i % x.cols] += 2 / windows.windows * x.data[i] ** 2;
    const h = seen.get(`${model.blocks - 1}.mlp.up_proj`)!;
    assertWithin(sums.map((_, j) => h[j * x.cols + j]), sums, (j) => 1e-4 * sums[j]);
    last.close();
  } finally {
    study.close();
  }
});

Deno.test("collect() takes a pattern, stops after its last block and says what it could have matched", async () => {
  const study = await openStudy("fixture", { ...text, seed: 3 });
  try {
    const reports: number[] = [];
    const layers = await study.collect("^[01]\\.self_attn\\.k_proj$", (p) => reports.push(p.total));
    assert.deepEqual(layers.map((l) => l.name), ["0.self_attn.k_proj", "1.self_attn.k_proj"]);
    assert.deepEqual([...new Set(reports)], [2]);
    await assert.rejects(study.collect("nothing"), /"nothing" matches no layer.*0\.self_attn\.q_proj/);
    await assert.rejects(study.collect("("), /regular expression/);
  } finally {
    study.close();
  }
});

Deno.test("tryMethods() compares methods on one layer, and replacing() puts the result into the model", async () => {
  const study = await openStudy("fixture", { ...text, seed: 3 });
  try {
    const [layer] = await study.collect("^1\\.mlp\\.down_proj$"), linears = study.model.linears(1);
    const cases = [
      { label: "RTN 3", method: "rtn", bits: 3 },
      { label: "OPTQ 3", method: "optq", bits: 3 },
      { label: "OWQ 3.1", method: "owq", bits: 3.1 },
    ];
    const trials = await tryMethods(layer, linears, cases, context), [rtn, optq, owq] = trials;
    assert.ok(optq.outputError < rtn.outputError && owq.outputError < optq.outputError, "second order helps");
    const d = { ...layer.weight, data: rtn.approximation.data.map((v, i) => v - layer.weight.data[i]) };
    assertRelative(rtn.outputError, objective(d, layer.hessian) / objective(layer.weight, layer.hessian), 1e-9);
    assert.ok(rtn.weak.length === 0 && owq.weak.length > 0 && owq.stored > rtn.stored);
    assertRelative(
      owq.outputError / optq.outputError,
      owq.quantized.report.objective / optq.quantized.report.objective,
      1e-6,
    );
    assert.deepEqual([trialTable(trials).rows.length, trialFigure(trials).data.length], [3, 3]);

    const windows = await study.evaluation({ text: "sotu", samples: 2, seqLen: 64 });
    const own = await perplexity(study.model, windows), kept = { ...rtn, approximation: layer.weight };
    const same = await perplexity(study.model, windows, { weights: replacing(kept) });
    assert.equal(same.perplexity, own.perplexity);
    const nothing = { ...rtn, approximation: matrix(layer.weight.rows, layer.weight.cols) };
    const broken = await perplexity(study.model, windows, { weights: replacing(nothing) });
    assert.notEqual(broken.perplexity, own.perplexity);
  } finally {
    study.close();
  }
});

Deno.test("during() ends its display when the work fails, and passes the error on", async () => {
  let written = "";
  const work = () => Promise.reject(new Error("the disk is full"));
  await assert.rejects(during("saving", work, { write: (t) => written += t, isTerminal: true }), /disk is full/);
  assert.match(written, /saving.*\n$/);
});
