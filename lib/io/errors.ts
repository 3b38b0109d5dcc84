// One error class for everything the lab refuses: a sentence that names the thing, the value, and what to try.

/** What kind of trouble it is, so that a caller can tell "your file is damaged" from "the network broke". */
export type LabErrorKind =
  | "format" // a file's bytes break the rules of their format
  | "input" // an option, a shape or a text does not fit
  | "numeric" // NaN, infinity, or a matrix that is not positive definite
  | "device" // no adapter, a lost device, a limit, a shader that does not compile
  | "storage" // disk full, folder not writable, file missing
  | "network" // hub or server did not give what was asked
  | "resume"; // a checkpoint of another run

/**
 * The error the lab throws on purpose. `message` reads "thing: problem. hint".
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { LabError } from "./errors.ts";
 * const e = new LabError("numeric", "0.self_attn.q_proj", "NaN in weight at (3, 7)", "Download the file again.");
 * assert.equal(e.message, "0.self_attn.q_proj: NaN in weight at (3, 7). Download the file again.");
 * assert.equal(e.kind, "numeric");
 * ```
 */
export class LabError extends Error {
  override readonly name = "LabError";
  constructor(
    readonly kind: LabErrorKind,
    readonly thing: string,
    readonly problem: string,
    readonly hint = "",
    options?: ErrorOptions,
  ) {
    super(`${thing}: ${problem}.${hint ? ` ${hint}` : ""}`, options);
  }
}
