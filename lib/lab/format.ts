// Numbers and durations as people read them.

/**
 * A number with at most four significant digits, plain where that is short.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatNumber } from "./format.ts";
 * assert.deepEqual([3, 541.02, 0.000123456, 1234567, NaN].map((v) => formatNumber(v)), ["3", "541", "1.235e-4", "1234567", "NaN"]);
 * ```
 */
export function formatNumber(v: number): string {
  if (!Number.isFinite(v)) return String(v);
  if (Number.isInteger(v) && Math.abs(v) < 1e7) return String(v);
  const size = Math.abs(v);
  if (size >= 1e-3 && size < 1e6) return String(Number(v.toPrecision(4)));
  return v.toExponential(3).replace("e+", "e").replace(/\.?0+e/, "e");
}

/**
 * A duration with two units at most.
 *
 * @param seconds zero or more.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatSeconds } from "./format.ts";
 * assert.deepEqual([0.042, 3.21, 75, 7300].map(formatSeconds), ["42 ms", "3.2 s", "1 min 15 s", "2 h 2 min"]);
 * ```
 */
export function formatSeconds(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const s = Math.round(seconds);
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
}

/**
 * Text made safe inside HTML, in attribute values too.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { escapeHtml } from "./format.ts";
 * assert.equal(escapeHtml(`<a b="c">`), "&lt;a b=&quot;c&quot;&gt;");
 * ```
 */
export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
