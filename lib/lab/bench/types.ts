// The table's own types: what a row is, and what rows are given to work with.
import type { Gpu } from "../../gpu/device.ts";
import type { OnnxPeer } from "./onnx.ts";
import type { TorchPeer } from "./torch.ts";

/** One line of the table. */
export interface BenchRow {
  readonly name: string;
  /** Such as "2048 × 2048, 3 bits, 6 weak columns". */
  readonly shape: string;
  /** Median of our time; null where it could not be measured (the note says why). */
  readonly seconds: number | null;
  /** The least time that the two limits of the device allow for this work, over our time; null where that says nothing. */
  readonly shareOfLimit: number | null;
  /** Median of each peer's time in seconds, by name. */
  readonly peers: Readonly<Record<string, number>>;
  /** The first peer's time over ours; for rows of overhead ours over the first peer's. Null without a peer. */
  readonly ratio: number | null;
  readonly note: string;
  /** Distance of the quartiles of the ratio (of our time, relative, where there is no ratio). */
  readonly spread: number | null;
  readonly rounds: number;
  /** Share of the answer on which the first peer agrees with us, where that is checked. */
  readonly agreement?: number;
  /** More numbers of the row, by name, such as "tokensPerSecond". */
  readonly figures?: Readonly<Record<string, number>>;
}

/** The two measured limits, and what they were measured by. */
export interface DeviceLimits {
  /** Multiply-adds out of registers, two operations each, in 10⁹ a second. */
  readonly mulAddGflops: number;
  /** Bytes read plus bytes written of the fastest copy, in 10⁹ a second. */
  readonly copyGBps: number;
  /** Seconds of one empty dispatch among many in one pass. */
  readonly dispatchSeconds: number;
  readonly by: { readonly mulAdd: string; readonly copy: string };
  readonly spread: { readonly mulAdd: number; readonly copy: number };
}

/** What a row is given. */
export interface BenchContext {
  readonly gpu: Gpu | null;
  readonly limits: DeviceLimits | null;
  readonly quick: boolean;
  readonly seed: number;
  /** SPEC of the model for the rows that need one. */
  readonly model: string;
  /** Weights are rotated over so many bytes, so that no cache holds them. */
  readonly rotateBytes: number;
  /** null where no Python has torch, with the reason. */
  readonly torch: TorchPeer | null;
  readonly onnx: OnnxPeer | null;
  /** Why a peer is not there, by its name. */
  readonly absent: Readonly<Record<string, string>>;
  /** Seconds one sample of a short kernel should take. */
  readonly sampleSeconds: number;
  readonly rounds: number;
  /** Seconds a comparison goes on beyond its first rounds. */
  readonly rowSeconds: number;
}

/** A producer of rows of one name. */
export interface BenchTask {
  readonly name: string;
  readonly about: string;
  /** About how long it takes, in seconds on two cores: the scale of the progress bar. */
  readonly weight: number;
  /** The peers it would like to meet. */
  readonly needs?: readonly ("torch" | "onnx")[];
  run(c: BenchContext): Promise<BenchRow[]>;
}

/**
 * The share of the limit that a piece of work reached: max(operations / P, bytes / BW) / seconds.
 *
 * @param operations arithmetic operations, a multiply-add being two. @param bytes read and written at the least.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { shareOfLimit } from "./types.ts";
 * const limits = { mulAddGflops: 100, copyGBps: 10 };
 * assert.equal(shareOfLimit(limits, 1e9, 1e9, 0.2), 0.5); // 0.1 s of memory against 0.01 s of arithmetic
 * ```
 */
export function shareOfLimit(
  limits: Pick<DeviceLimits, "mulAddGflops" | "copyGBps"> | null,
  operations: number,
  bytes: number,
  seconds: number,
): number | null {
  if (limits === null) return null;
  return Math.max(operations / (limits.mulAddGflops * 1e9), bytes / (limits.copyGBps * 1e9)) / seconds;
}

/** A row for what could not be measured: it stays in the table and says why. */
export function emptyRow(name: string, shape: string, note: string): BenchRow {
  return { name, shape, seconds: null, shareOfLimit: null, peers: {}, ratio: null, note, spread: null, rounds: 0 };
}
