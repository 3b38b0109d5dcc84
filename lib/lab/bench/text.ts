// The table for people.
import { formatNumber } from "../format.ts";
import { type Table, table } from "../table.ts";
import type { BenchReport } from "./run.ts";
import type { BenchRow } from "./types.ts";

/**
 * A short time with its unit.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { shortTime } from "./text.ts";
 * assert.deepEqual([0.0000305, 0.0042, 1.25].map(shortTime), ["30.5 µs", "4.2 ms", "1.25 s"]);
 * ```
 */
export function shortTime(seconds: number): string {
  const [value, unit] = seconds < 1e-3 ? [seconds * 1e6, "µs"] : seconds < 1 ? [seconds * 1e3, "ms"] : [seconds, "s"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

/** The rows as a table: time, share of the limit, ratio with its spread, the peers' times. */
export function benchTable(rows: readonly BenchRow[]): Table {
  return table(
    ["row", "shape", "time", "of limit", "ratio", "±", "peers"],
    rows.map((r) => [
      r.name,
      r.shape,
      r.seconds === null ? null : shortTime(r.seconds),
      r.shareOfLimit === null ? null : `${Number((100 * r.shareOfLimit).toPrecision(2))} %`,
      r.ratio === null
        ? null
        : r.name.startsWith("weak-")
        ? r.ratio.toFixed(4)
        : formatNumber(Number(r.ratio.toPrecision(3))),
      r.spread === null ? null : formatNumber(Number(r.spread.toPrecision(2))),
      Object.entries(r.peers).map(([name, s]) => `${name} ${shortTime(s)}`).join(", "),
    ]),
    "Ratio: the first peer's time over ours; in rows of overhead (weak-…) ours over it. ±: distance of the ratio's quartiles.",
  );
}

/** What stands above the table: adapter, limits, versions. */
export function benchHead(r: BenchReport): string[] {
  const l = r.limits;
  return [
    `${r.adapter}; ${r.device.cores} cores, ${r.device.system}, load ${r.device.load.toFixed(1)}${
      r.device.load > 1.5 * r.device.cores
        ? ": the machine was busy with other work, and multi-threaded peers suffer most"
        : ""
    }`,
    l
      ? `limits: ${l.mulAddGflops.toFixed(1)} GFLOP/s multiply-add (${l.by.mulAdd}), ${
        l.copyGBps.toFixed(1)
      } GB/s copy (${l.by.copy}), ${shortTime(l.dispatchSeconds)} a dispatch`
      : "limits: none measured without an adapter",
    Object.entries(r.versions).map(([name, v]) => v.startsWith(name) ? v : `${name} ${v}`).join("; "),
  ];
}

/** The notes under the table, one a row. */
export function benchNotes(rows: readonly BenchRow[]): string[] {
  return rows.filter((r) => r.note !== "").map((r) => `${r.name} ${r.shape}: ${r.note}`);
}
