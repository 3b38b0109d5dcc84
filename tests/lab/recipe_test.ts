import assert from "node:assert/strict";
import { makeRecipe, planBlock } from "../../lib/lab/recipe.ts";

const linears = ["q", "k", "down"].map((name, i) => ({
  name: name === "down" ? "mlp.down" : `attn.${name}`,
  out: 64,
  in: i === 2 ? 256 : 64,
  input: name,
  stage: i,
  ratio: i === 2 ? 0.375 : 1,
  bias: false,
}));

Deno.test("planBlock() quantizes and gives columns only where the patterns say so", () => {
  const plan = (o: object) => planBlock(makeRecipe({ method: "owq", bits: 3.2, ...o }), 4, linears);
  assert.deepEqual(plan({}).map((p) => [p.quantize, p.weakColumns]), [[true, 4], [true, 4], [true, 6]]);
  assert.deepEqual(plan({ layers: "attn" }).map((p) => p.quantize), [true, true, false]);
  assert.deepEqual(plan({ layers: "^3\\." }).map((p) => p.quantize), [false, false, false]);
  const only = plan({ weakLayers: "down$" });
  assert.deepEqual(only.map((p) => p.quantize), [true, true, true]);
  assert.deepEqual(only.map((p) => p.weakColumns > 0), [false, false, true]);
  assert.deepEqual(plan({ rank: 3 }).map((p) => p.weakColumns), [3, 3, 3]);
});

Deno.test("makeRecipe() refuses what no method can do, with what to try", () => {
  assert.throws(() => makeRecipe({ method: "gptz" }), /method "gptz".*rtn, optq, owq/);
  assert.throws(() => makeRecipe({ method: "optq", bits: 3.1 }), /3 or 4/);
  assert.throws(() => makeRecipe({ bits: 1 }), /bits/);
  assert.throws(() => makeRecipe({ bits: NaN }), /bits/);
  assert.throws(() => makeRecipe({ method: "rtn", bits: 3, rank: 4 }), /no weak columns/);
  assert.throws(() => makeRecipe({ layers: "(" }), /pattern/);
  assert.throws(() => makeRecipe({ options: { rule: "best" } }), /one of hessian-error/);
  assert.throws(() => makeRecipe({ options: { damp: "much" } }), /not a number/);
  assert.throws(() => makeRecipe({ options: { actOrder: "yes" } }), /true or false/);
  assert.throws(() => makeRecipe({ options: { colour: 1 } }), /no such option/);
});

Deno.test("planBlock() holds every method to stored bits where the budget says so, each linear by itself", () => {
  for (const [method, bits] of [["rtn", 3.7], ["optq", 4.5], ["owq", 4.6], ["hqq", 3.9], ["spqr", 4.2]] as const) {
    const plans = planBlock(makeRecipe({ method, bits, budget: "stored" }), 0, linears);
    for (const p of plans) {
      assert(
        p.stored.perWeight <= bits && p.stored.perWeight > bits - 0.45,
        `${method} ${p.name} ${p.stored.perWeight}`,
      );
    }
    if (method === "owq") assert(plans.every((p) => p.weakColumns > 0));
  }
  assert.throws(() => makeRecipe({ method: "owq", budget: "stored", rank: 4 }), /rank/);
  assert.throws(
    () => makeRecipe({ budget: "stored", weakLayers: "q_proj" }),
    /"q_proj" only: is not looked at.*nominal/,
  );
  assert.throws(
    () => planBlock(makeRecipe({ method: "hqq", bits: 2 }), 0, linears),
    /hqq stores at least .* 0\.attn\.q/,
  );
});
