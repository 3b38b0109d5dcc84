import assert from "node:assert/strict";
import { modelConfig } from "../../lib/model/families.ts";
import { estimateMemory } from "../../lib/model/memory.ts";
import { alibiSlopes, causalBias, rotaryFrequencies, rotaryTables } from "../../lib/model/positions.ts";
import { assertWithin } from "../assert.ts";
import { tinyModel } from "./tiny.ts";

const table = (family: string) =>
  modelConfig(tinyModel(family).config).linears.map((l) =>
    `${l.name} ${l.out}×${l.in} ${l.input} ${l.stage} ${l.ratio}`
  );

Deno.test("modelConfig() lists LLaMA's linears with their inputs, stages and shares of weak columns", () => {
  assert.deepEqual(table("llama"), [
    "self_attn.q_proj 64×64 attention 0 1",
    "self_attn.k_proj 32×64 attention 0 1",
    "self_attn.v_proj 32×64 attention 0 1",
    "self_attn.o_proj 64×64 output 1 1",
    "mlp.gate_proj 160×64 mlp 2 0.375",
    "mlp.up_proj 160×64 mlp 2 0.375",
    "mlp.down_proj 64×160 down 3 0.375",
  ]);
});

Deno.test("modelConfig() gives OPT, BLOOM and Falcon a quarter in the MLP, and Falcon one input for attention and MLP", () => {
  assert.deepEqual(table("opt").slice(3), [
    "self_attn.out_proj 64×64 output 1 1",
    "fc1 256×64 mlp 2 0.25",
    "fc2 64×256 down 3 0.25",
  ]);
  assert.equal(table("bloom")[0], "self_attention.query_key_value 192×64 attention 0 1");
  assert.deepEqual(table("falcon"), [
    "self_attention.query_key_value 96×64 attention 0 1",
    "self_attention.dense 64×64 output 1 1",
    "mlp.dense_h_to_4h 256×64 attention 2 0.25",
    "mlp.dense_4h_to_h 64×256 down 3 0.25",
  ]);
});

Deno.test("modelConfig() reads rotary settings from both generations of config.json", () => {
  const { rope_parameters: _, ...config } = tinyModel("llama").config;
  const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 };
  const old = modelConfig({ ...config, rope_theta: 500, rope_scaling: { type: "llama3", ...scaling } }).positions;
  const now =
    modelConfig({ ...config, rope_parameters: { rope_theta: 500, rope_type: "llama3", ...scaling } }).positions;
  assert.deepEqual(old, now);
  assert.equal(now.kind === "rotary" && now.theta, 500);
});

Deno.test("rotaryFrequencies() keeps fast turns, slows slow ones, and blends between for Llama 3", () => {
  const plain = { kind: "rotary", theta: 10000, scaling: null } as const;
  const scaling = { kind: "llama3", factor: 8, lowFactor: 1, highFactor: 4, original: 8192 } as const;
  const a = rotaryFrequencies(plain, 64), b = rotaryFrequencies({ ...plain, scaling }, 64);
  const ratio = [...a].map((f, i) => b[i] / f), turns = [...a].map((f) => 8192 * f / (2 * Math.PI));
  assert.ok(
    ratio.every((r, i) => turns[i] > 4 ? r === 1 : turns[i] < 1 ? Math.abs(r - 1 / 8) < 1e-6 : r > 0.125 && r < 1),
  );
  assert.ok(ratio.some((r) => r > 0.13 && r < 0.99), "none is blended");
});

Deno.test("rotaryTables() rotates the two halves of a head by position times frequency", () => {
  const p = { kind: "rotary", theta: 100, scaling: null } as const, { cos, sin } = rotaryTables(p, 4, 3, 2);
  assertWithin(cos.slice(4), [4, 0.4, 4, 0.4].map(Math.cos), 1e-6);
  assertWithin(sin.slice(4), [-Math.sin(4), -Math.sin(0.4), Math.sin(4), Math.sin(0.4)], 1e-6);
});

Deno.test("alibiSlopes() interleaves a second sequence when the heads are no power of two", () => {
  assertWithin(alibiSlopes(4), [1 / 4, 1 / 16, 1 / 64, 1 / 256], 1e-9);
  assertWithin(alibiSlopes(6), [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8], 1e-9);
});

Deno.test("causalBias() hides the future and what lies before the window", () => {
  const seen = (b: Float32Array) => [...b].map((v) => v === 0 ? 1 : 0).join("");
  assert.equal(seen(causalBias(0, 3, 3, null)), "100110111");
  assert.equal(seen(causalBias(2, 2, 5, 2)), "0110000110");
});

Deno.test("estimateMemory() counts Hessians only where layers are quantized", () => {
  const c = modelConfig(tinyModel("llama").config), r = { windows: 4, length: 64 };
  const plain = estimateMemory(c, { ...r, quantize: false }), full = estimateMemory(c, { ...r, quantize: true });
  assert.equal(plain.hessians, 0);
  assert.equal(plain.hidden, 2 * 4 * 4 * 64 * 64);
  assert.ok(full.total - plain.total >= 4 * (3 * 64 * 64 + 160 * 160));
  assert.match(full.sentence, /Hessians/);
});
