// Every method on a layer of the embedded model (a small one, for the sake of the suite): what it stores, and the relation
// that its specification is sure of.
import assert from "node:assert/strict";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { openStudy, type StudyLayer } from "../../lib/lab/layer_study.ts";
import { type Trial, tryMethods } from "../../lib/lab/layer_trial.ts";
import { METHODS } from "../../lib/methods/table.ts";

const context = { kernels: await openKernels("cpu") };
const study = await openStudy("fixture", {
  text: "moby-dick",
  samples: 8,
  seqLen: 128,
  seed: 0,
  inputs: true,
  gradient: 2,
});
const layers = await study.collect("^1\\.self_attn\\.k_proj$");
const linears = study.model.linears(1);

async function one(layer: StudyLayer, method: string, bits: number, options = {}): Promise<Trial> {
  const [trial] = await tryMethods(
    layer,
    linears,
    [{ label: method, method, bits, budget: "stored", options }],
    context,
  );
  return trial;
}

/** Methods that store more than a target whatever their knobs. */
const LEAST: Record<string, number> = { fp4: 4, "llm-int8": 8 };

for (const name of METHODS.keys()) {
  Deno.test(`${name} on the embedded model stores no more than 3.1 and 4.1 bits, and loses less with more`, async () => {
    for (const layer of layers) {
      const errors: number[] = [];
      for (const bits of name === "llm-int8" ? [3.1, 8.9] : [3.1, 4.1]) {
        if (bits < (LEAST[name] ?? 0)) {
          await assert.rejects(one(layer, name, bits), /bits/);
          continue;
        }
        const t = await one(layer, name, bits, name === "svdquant" ? { grids: 2, iterations: 3 } : {});
        assert(t.stored <= bits + 1e-9, `${t.stored} bits`);
        errors.push(t.outputError);
      }
      assert(errors.every((e, i) => e < 1 && (i === 0 || e <= errors[i - 1])), `${layer.name}: ${errors}`);
    }
  });
}

/** The same grid for all: 3 bits, groups of 64 (knobs of every method that has them). */
const same = { codeBits: 3, groupSize: 64 }, at = { weight: "weightError", output: "outputError" } as const;
const relations: [what: string, error: keyof typeof at, smaller: [string, object], larger: [string, object]][] = [
  ["HQQ moves zero points to the good of the weights", "weight", ["hqq", same], ["adadim", {
    ...same,
    dimension: "oc",
    sweep: false,
  }]],
  ["a sweep is better for the output than rounding", "output", ["adadim", { ...same, dimension: "oc" }], ["adadim", {
    ...same,
    dimension: "oc",
    sweep: false,
  }]],
  ["and worse for the weights", "weight", ["adadim", { ...same, dimension: "oc", sweep: false }], ["adadim", {
    ...same,
    dimension: "oc",
  }]],
  ["AWQ's scale and clip help the output", "output", ["awq", same], ["adadim", {
    ...same,
    dimension: "oc",
    sweep: false,
  }]],
  ["so does the best smoothing", "output", ["smoothquant+", same], ["adadim", {
    ...same,
    dimension: "oc",
    sweep: false,
  }]],
  ["SpQR's kept weights help the output", "output", ["spqr", { ...same, groupSize: 16, share: 0.01 }], ["spqr", {
    ...same,
    groupSize: 16,
    share: -1,
  }]],
  ["weights of large gradient are worth keeping", "output", ["gwq", { ...same, share: 0.01 }], ["gwq", {
    ...same,
    share: -1,
  }]],
  ["a low-rank correction helps the weights", "weight", ["lorc", { ...same, rank: 8 }], ["lorc", { ...same, rank: 1 }]],
  ["LQER helps the output more than LoRC", "output", ["lqer", { ...same, rank: 8 }], ["lorc", { ...same, rank: 8 }]],
  ["SVDQuant beats its own grid without smoothing", "output", ["svdquant", {
    ...same,
    rank: 4,
    grids: 4,
    iterations: 3,
  }], ["smoothquant", { ...same, alpha: 0 }]],
  ["NormalFloat suits weights better than FP4", "weight", ["nf4", { codeBits: 4, groupSize: 64 }], ["fp4", {
    codeBits: 4,
    groupSize: 64,
  }]],
  ["wider bonds keep more", "weight", ["compactifai", { chi: 120 }], ["compactifai", { chi: 60 }]],
];

for (const [what, error, [a, o], [b, p]] of relations) {
  Deno.test(`${what} (${a} against ${b}), on the embedded model`, async () => {
    for (const layer of layers) {
      const [x, y] = [(await one(layer, a, 8.9, o))[at[error]], (await one(layer, b, 8.9, p))[at[error]]];
      assert(x < y, `${layer.name}: ${x} is not below ${y}`);
    }
  });
}
