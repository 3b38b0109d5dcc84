// The sensitivity scan: every linear at the most bits, one at the least; those that stand out are pinned to the most.
import { LabError } from "../../io/errors.ts";
import { choiceColumns, type MixedSpace } from "../../quant/mixed_bits.ts";
import type { Entry } from "./archive.ts";
import type { Strategy } from "./rounds.ts";
import { choiceText, uniformChoice } from "./space.ts";

/** What one linear at the least bits does. */
export interface ScannedLinear {
  /** "0.self_attn.q_proj" */
  readonly name: string;
  /** Divergence with this linear alone at the least bits, nats. */
  readonly jsd: number;
  readonly old: number;
  /** jsd over the median of all linears. */
  readonly ratio: number;
  readonly pinned: boolean;
}

/** A finished scan. */
export interface Scan {
  /** With all linears at the most bits. */
  readonly baseline: { readonly jsd: number; readonly old: number };
  /** In the order of choiceColumns. */
  readonly linears: readonly ScannedLinear[];
  /** Of all linears' jsd. */
  readonly median: number;
  readonly threshold: number;
  readonly pinned: readonly string[];
}

/** A linear is pinned above this many medians. */
export const PIN_THRESHOLD = 2;

/** The configuration of a scan with linear `j` at the least bits; −1: none. */
function scanPoint(space: MixedSpace, j: number): string {
  const all = uniformChoice({ ...space, pinned: [] }, space.bits.length - 1);
  return choiceText(space, all.map((c, i) => i === j ? 0 : c));
}

/** The scan as a strategy of one round: the baseline, then each linear, last blocks first, so that what lies before runs once. */
export function scanSearch(space: MixedSpace): Strategy {
  const names = choiceColumns(space), block = (j: number) => Number(names[j].split(".")[0]);
  const order = names.map((_, j) => j).sort((a, b) => block(b) - block(a) || a - b);
  const points = [-1, ...order].map((j) => ({ point: scanPoint(space, j) }));
  return { name: "scan", total: points.length, propose: (_, round) => round > 0 ? [] : points };
}

/**
 * What a scan's entries say.
 *
 * pinned: jsd > threshold · median; the divergence includes that of all linears at the most bits, as in AMQ's code.
 *
 * @throws LabError "input" where a linear is not among the entries.
 * Source: dlwns147/amq@1909fec, sensitivity_threshold 2.0.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readScan, scanSearch } from "./scan.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 3, bits: [2, 4], groupSize: 64, pinned: [] };
 * const jsd: Record<string, number> = { "444": 0.01, "244": 0.09, "424": 0.02, "442": 0.03 };
 * const entries = scanSearch(space).propose([], 0).map(({ point }) => ({ round: 0, point, bits: 0, jsd: jsd[point], old: 0 }));
 * assert.deepEqual(readScan(space, entries).pinned, ["0.q"]); // 0.09 is above twice 0.03
 * ```
 */
export function readScan(space: MixedSpace, entries: readonly Entry[], threshold = PIN_THRESHOLD): Scan {
  const names = choiceColumns(space), byPoint = new Map(entries.map((e) => [e.point, e]));
  const entry = (j: number) => {
    const found = byPoint.get(scanPoint(space, j));
    if (found) return found;
    throw new LabError("input", "the scan", `has not evaluated ${names[j] ?? "the baseline"}`, "Run owq amq scan.");
  };
  const found = names.map((_, j) => entry(j)), median = middle(found.map((e) => e.jsd)), { jsd, old } = entry(-1);
  const linears = found.map((e, j) => ({
    name: names[j],
    jsd: e.jsd,
    old: e.old,
    ratio: e.jsd / median,
    pinned: e.jsd > threshold * median,
  }));
  const pinned = linears.filter((l) => l.pinned).map((l) => l.name);
  return { baseline: { jsd, old }, linears, median, threshold, pinned };
}

/**
 * The median; of an even number the mean of the two in the middle.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { middle } from "./scan.ts";
 * assert.equal(middle([5, 1, 2, 3]), 2.5);
 * ```
 */
export function middle(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b), n = sorted.length;
  return (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2;
}
