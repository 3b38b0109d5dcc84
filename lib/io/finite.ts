// The scan that keeps NaN and infinity out of every computation: they pass min, max and rounding without a sign (in WGSL
// a NaN weight quantizes to a legal code), so they are looked for where data comes in.
import { LabError } from "./errors.ts";
import type { Tensor } from "./tensor.ts";

/**
 * The index of the first NaN or infinity.
 *
 * @param data (n).
 * @returns its index, −1 where all are finite.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { firstNonFinite } from "./finite.ts";
 * assert.equal(firstNonFinite([1, NaN, Infinity]), 1);
 * assert.equal(firstNonFinite([1, 2]), -1);
 * ```
 */
export function firstNonFinite(data: ArrayLike<number>): number {
  for (let i = 0; i < data.length; i++) if (data[i] - data[i] !== 0) return i; // Inf − Inf and NaN − NaN are NaN
  return -1;
}

/**
 * Passes a finite tensor through, refuses any other by its name and the place of the first bad element.
 *
 * @param name the layer or tensor, for the message.
 * @returns the tensor itself.
 * @throws LabError("numeric") with the element's index in each dimension.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { requireFinite } from "./finite.ts";
 * const t = { data: Float32Array.of(0, 1, 2, NaN, 4, 5), shape: [2, 3] };
 * assert.throws(() => requireFinite("w", t), /w: NaN at index \[1, 0\] of shape \[2, 3\]/);
 * ```
 */
export function requireFinite(name: string, tensor: Tensor): Tensor {
  const at = firstNonFinite(tensor.data);
  if (at < 0) return tensor;
  const index: number[] = [];
  for (let d = tensor.shape.length - 1, rest = at; d >= 0; d--) {
    index.unshift(rest % tensor.shape[d]);
    rest = Math.floor(rest / tensor.shape[d]);
  }
  throw new LabError(
    "numeric",
    name,
    `${tensor.data[at]} at index [${index.join(", ")}] of shape [${tensor.shape.join(", ")}]`,
    "Weights and calibration data must be finite: fetch the file again, or find out which step made it.",
  );
}
