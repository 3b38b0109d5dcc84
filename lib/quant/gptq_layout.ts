// GPTQ checkpoints, v1 ("gptq") and v2 ("gptq_v2"): the same codes as ours, the other way round.
//   qweight I32 (ceil(in · b / 32), out)   one least-significant-first stream down each column
//   qzeros  I32 (groups, ceil(out · b / 32))  the zero points of a group, one stream along the outputs; v1 stores zero − 1
//   scales  F16 (groups, out)
//   g_idx   I32 (in)                       the group of each column
//   ŵ[o, i] = scales[g, o] · (code[i, o] − zero[g, o]),  g = g_idx[i]
// Source: the code of AutoGPTQ 0.7.1 (nn_modules/qlinear) and GPTQModel 7.7.0 (nn_modules/qlinear, utils/model.py).
import { LabError } from "../io/errors.ts";
import type { Floats } from "../io/tensor.ts";
import { groupsOf } from "./budget.ts";
import { columnGroups } from "./dequantize.ts";
import type { QuantizedLayer } from "./layer.ts";
import { checkForeign, foreignLayer, type LayoutShape } from "./layout.ts";
import { packRows, unpackRows } from "./pack.ts";
import { transpose } from "./transpose.ts";

/** 1: zero points are stored less one. 2: as they are. */
export type GptqVersion = 1 | 2;

/** The tensors of one linear, words as I32 of the same bits. */
export interface GptqTensors {
  /** (ceil(in · bits / 32), out) */
  readonly qweight: Int32Array<ArrayBuffer>;
  /** (groups, ceil(out · bits / 32)) */
  readonly qzeros: Int32Array<ArrayBuffer>;
  /** (groups, out) */
  readonly scales: Floats;
  /** (in); null where a checkpoint has none. */
  readonly gIdx: Int32Array<ArrayBuffer> | null;
}

const words = (a: Int32Array<ArrayBuffer>) => new Uint32Array(a.buffer, a.byteOffset, a.length);
const ints = (a: Uint32Array<ArrayBuffer>) => new Int32Array(a.buffer, a.byteOffset, a.length);

/**
 * A quantized layer as GPTQ stores it.
 *
 * @param layer (out, in) without weak columns; in and out multiples of 32. @param version how zero points are stored.
 * @returns its four tensors; scales as they are.
 * @throws LabError as {@link checkGptq}.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { toGptq } from "./gptq_layout.ts";
 * import { NO_REPORT } from "./layer.ts";
 * const layer = { name: "fc", method: "rtn", rows: 32, cols: 32, bits: 4, groupSize: 0, scaleBits: 16 as const, groupOf: null,
 *   report: NO_REPORT, codes: new Uint8Array(1024).fill(9), scale: new Float32Array(32).fill(0.5),
 *   zero: new Float32Array(32).fill(8), weakIds: new Int32Array(0), weak: new Float32Array(0) };
 * assert.equal(toGptq(layer, 1).qweight[0], 0x99999999 | 0);
 * assert.equal(toGptq(layer, 1).qzeros[0], 0x77777777);
 * assert.equal(toGptq(layer, 2).qzeros[0], 0x88888888 | 0);
 * ```
 */
export function toGptq(layer: QuantizedLayer, version: GptqVersion): GptqTensors {
  checkGptq(layer, version);
  const { rows, cols, bits, codes, scale, zero } = layer, groups = scale.length / rows;
  const stored = Uint8Array.from(transpose(zero, rows, groups), (z) => version === 1 ? z - 1 : z);
  return {
    qweight: ints(transpose(packRows(codes, rows, cols, bits), rows, Math.ceil(cols * bits / 32))),
    qzeros: ints(packRows(stored, groups, rows, bits)),
    scales: transpose(scale, rows, groups),
    gIdx: columnGroups(layer).slice(),
  };
}

/**
 * Whether GPTQ can hold a layer.
 *
 * A zero point of 0 has no place in v1, and its readers do not agree on what to make of −1: AutoGPTQ's PyTorch path counts
 * modulo 2^b, vLLM's kernels read 2^b, GPTQModel adds to whole words, so that the carry changes the zero point beside it.
 *
 * @throws LabError "input" where the layer has weak columns, a side that is no multiple of 32, or in v1 a zero point of 0.
 */
export function checkGptq(layer: QuantizedLayer, version: GptqVersion): void {
  checkForeign(layer);
  const { name, rows, cols, zero } = layer;
  if (rows % 32 !== 0 || cols % 32 !== 0) {
    const problem = `(${rows}, ${cols}) are no multiples of 32, which readers of GPTQ want`;
    throw new LabError("input", name, problem, "compressed-tensors takes any shape.");
  }
  const none = version === 1 ? zero.reduce((n, z) => z === 0 ? n + 1 : n, 0) : 0;
  if (none > 0) {
    const problem = `${none} of ${zero.length} zero points are 0, which GPTQ v1 would have to store as -1, ` +
      "and its readers disagree on what that means";
    throw new LabError("input", name, problem, "Take --format gptq-v2 or compressed-tensors, or a symmetric grid.");
  }
}

/** How a v1 file with a zero point of 0 was made: field by field modulo 2^b, or by subtracting from whole words. */
export type ZeroArithmetic = "fields" | "words";

/**
 * A layer out of a GPTQ checkpoint; the inverse of {@link toGptq}.
 *
 * @param t the tensors. @param s what the checkpoint says of the linear; rows and cols may be no multiples of 32.
 * @param version how zero points are stored. @param scaleBits 16 where scales were f16.
 * @param arithmetic matters only in v1 where a zero point is 0.
 * @throws LabError "format" where lengths do not fit, the map of groups is no map, or zero points break the promise of
 *   symmetry; "numeric" where a scale is not finite.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { dequantize } from "./dequantize.ts";
 * import { fromGptq } from "./gptq_layout.ts";
 * const t = { qweight: Int32Array.of(0x4321), qzeros: Int32Array.of(1), scales: Float32Array.of(0.5), gIdx: null };
 * const s = { name: "fc", rows: 1, cols: 4, bits: 4, groupSize: 0, symmetric: false };
 * assert.deepEqual([...dequantize(fromGptq(t, s, 1, 16)).data], [-0.5, 0, 0.5, 1]);
 * assert.deepEqual([...dequantize(fromGptq(t, s, 2, 16)).data], [0, 0.5, 1, 1.5]);
 * ```
 */
export function fromGptq(
  t: GptqTensors,
  s: LayoutShape,
  version: GptqVersion,
  scaleBits: 16 | 32,
  arithmetic: ZeroArithmetic = "fields",
): QuantizedLayer {
  const { rows, cols, bits, groupSize } = s, groups = groupsOf(cols, groupSize), width = Math.ceil(cols * bits / 32);
  const need = (what: string, found: number, wanted: number) => {
    if (found === wanted) return;
    const hint = "The configuration's bits or group size do not belong to these weights, or the file is damaged.";
    throw new LabError("format", `${s.name}.${what}`, `${found} values, not ${wanted}`, hint);
  };
  need("qweight", t.qweight.length, width * rows);
  need("qzeros", t.qzeros.length, groups * Math.ceil(rows * bits / 32));
  need("scales", t.scales.length, groups * rows);
  const byWords = version === 1 && arithmetic === "words" && bits !== 3, byFields = version === 1 && !byWords ? 1 : 0;
  const stored = unpackRows(byWords ? raiseWords(t.qzeros, bits) : words(t.qzeros), groups, rows, bits);
  const zero = Float32Array.from(stored, (z) => (z + byFields) & (2 ** bits - 1));
  return foreignLayer(s, "gptq", {
    codes: unpackRows(transpose(words(t.qweight), width, rows), rows, cols, bits),
    scale: transpose(t.scales, groups, rows),
    zero: transpose(zero, groups, rows),
    groupOf: t.gIdx,
  }, scaleBits);
}

/** Adds one to every field by adding to whole words, carries included, as GPTQModel does (but for 3 bits). */
function raiseWords(qzeros: Int32Array<ArrayBuffer>, bits: number): Uint32Array<ArrayBuffer> {
  let ones = 0;
  for (let at = 0; at < 32; at += bits) ones |= 1 << at;
  return Uint32Array.from(words(qzeros), (w) => w + (ones >>> 0)); // the array keeps 32 bits, as torch does
}
