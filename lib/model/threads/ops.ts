// What a worker computes besides matrix products: plain loops over rows of one shared Float32Array. All places are indices
// into it (floats, not bytes).
import type { Activation } from "../config.ts";
import { type Native, panelCols, panelRows } from "./native.ts";

export type Memory = Float32Array;

/** e^x for x ≤ 0, as expNegative of fast_math.ts: (Taylor₉(x/16))^16, x clamped to −40. A third of Math.exp's time. */
export function expNegative(x: number): number {
  const y = (x > -40 ? x : -40) * 0.0625;
  let r = 1 + y * (1 / 9);
  r = 1 + y * (1 / 8) * r;
  r = 1 + y * (1 / 7) * r;
  r = 1 + y * (1 / 6) * r;
  r = 1 + y * (1 / 5) * r;
  r = 1 + y * (1 / 4) * r;
  r = 1 + y * (1 / 3) * r;
  r = 1 + y * (1 / 2) * r;
  r = 1 + y * r;
  r *= r;
  r *= r;
  r *= r;
  return r * r;
}

/** Norm of each of `rows` rows of `width`: y = (x − mean)/√(variance + ε)·g + b, or x/√(mean x² + ε)·g. */
export function normRows(
  f: Memory,
  kind: "rms" | "layer",
  eps: number,
  x: number,
  y: number,
  rows: number,
  width: number,
  gain: number,
  bias: number,
): void {
  for (let r = 0; r < rows; r++) {
    const from = x + r * width, to = y + r * width;
    let mean = 0, square = 0;
    if (kind === "layer") {
      for (let j = 0; j < width; j++) mean += f[from + j];
      mean /= width;
    }
    for (let j = 0; j < width; j++) {
      const d = f[from + j] - mean;
      square += d * d;
    }
    const scale = 1 / Math.sqrt(square / width + eps);
    if (bias < 0) { for (let j = 0; j < width; j++) f[to + j] = (f[from + j] - mean) * scale * f[gain + j]; }
    else for (let j = 0; j < width; j++) f[to + j] = (f[from + j] - mean) * scale * f[gain + j] + f[bias + j];
  }
}

/** Rotates one head (d values from `at` in each of `rows` rows `stride` apart) by cos, sin (rows, d); see rotaryTables. */
export function rotateHead(f: Memory, at: number, stride: number, rows: number, d: number, cos: number, sin: number) {
  const half = d / 2;
  for (let r = 0; r < rows; r++) {
    const x = at + r * stride, t = r * d;
    for (let i = 0; i < half; i++) {
      const a = f[x + i], b = f[x + half + i];
      f[x + i] = a * f[cos + t + i] + b * f[sin + t + i];
      f[x + half + i] = b * f[cos + t + half + i] + a * f[sin + t + half + i];
    }
  }
}

/** Packs rows (rows, k), `stride` apart, into A panels at `to`, times `scale`; the last panel is filled up with zeros. */
export function packRows(f: Memory, from: number, stride: number, rows: number, k: number, to: number, scale: number) {
  for (let p = 0; p < rows; p += panelRows, to += panelRows * k) {
    if (p + panelRows <= rows) {
      let a = from + p * stride, at = to;
      const [b, c, d, e, g] = [a + stride, a + 2 * stride, a + 3 * stride, a + 4 * stride, a + 5 * stride];
      const [db, dc, dd, de, dg] = [b - a, c - a, d - a, e - a, g - a];
      for (let i = 0; i < k; i++, a++, at += 6) {
        f[at] = f[a] * scale;
        f[at + 1] = f[a + db] * scale;
        f[at + 2] = f[a + dc] * scale;
        f[at + 3] = f[a + dd] * scale;
        f[at + 4] = f[a + de] * scale;
        f[at + 5] = f[a + dg] * scale;
      }
    } else {
      for (let r = 0; r < panelRows; r++) {
        for (let i = 0; i < k; i++) {
          f[to + i * panelRows + r] = p + r < rows ? f[from + (p + r) * stride + i] * scale : 0;
        }
      }
    }
  }
}

/** Packs W (n, k), rows `stride` apart, into B panels of Wᵀ (k, n) at `to`; the last panel is filled up with zeros. */
export function packTransposed(f: Memory, from: number, stride: number, n: number, k: number, to: number) {
  for (let p = 0; p < n; p += panelCols, to += panelCols * k) {
    for (let c = 0; c < panelCols; c++) {
      const row = from + (p + c) * stride;
      if (p + c < n) { for (let i = 0, at = to + c; i < k; i++, at += panelCols) f[at] = f[row + i]; }
      else for (let i = 0, at = to + c; i < k; i++, at += panelCols) f[at] = 0;
    }
  }
}

/** Packs X (k, n), rows `stride` apart, into panels of `size` columns: B panels of X, or A panels of Xᵀ. */
export function packColumns(f: Memory, from: number, stride: number, k: number, n: number, to: number, size: number) {
  for (let p = 0; p < n; p += size, to += size * k) {
    const count = Math.min(size, n - p);
    for (let i = 0, at = to; i < k; i++, at += size) {
      const row = from + i * stride + p;
      for (let c = 0; c < count; c++) f[at + c] = f[row + c];
      for (let c = count; c < size; c++) f[at + c] = 0;
    }
  }
}

/**
 * softmax over the keys that each query may see, written as A panels; what it may not see becomes 0.
 *
 * @param scores (rows, stride), the first row that of position `first`. @param keys columns that are packed.
 * @param window how many tokens back a query sees; 0: all. @param bias added to key t's score; −1: nothing.
 */
export function softmaxPack(
  f: Memory,
  native: Native,
  scores: number,
  stride: number,
  rows: number,
  keys: number,
  first: number,
  window: number,
  bias: number,
  to: number,
): void {
  for (let r = 0; r < rows; r++) {
    const x = scores + r * stride, position = first + r, start = window > 0 ? Math.max(0, position - window + 1) : 0;
    const at = to + Math.floor(r / panelRows) * panelRows * keys + r % panelRows;
    if (bias >= 0) { for (let t = start; t <= position; t++) f[x + t] += f[bias + t]; }
    let most = f[x + start], sum = 0;
    for (let t = start + 1; t <= position; t++) if (f[x + t] > most) most = f[x + t];
    // By eights: it may run into keys after the position, within the row; they are not read.
    native.expShifted(4 * (x + start), (position - start + 8) >>> 3, most);
    for (let t = start; t <= position; t++) sum += f[x + t];
    const scale = 1 / sum;
    for (let t = 0; t < start; t++) f[at + t * panelRows] = 0;
    for (let t = start; t <= position; t++) f[at + t * panelRows] = f[x + t] * scale;
    for (let t = position + 1; t < keys; t++) f[at + t * panelRows] = 0;
  }
}

/** erf by its Taylor series near 0 and a continued fraction elsewhere, to 1e−12: exact GELU has no other home in JavaScript. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a, sum = a;
    for (let n = 1; n < 60 && Math.abs(term) > 1e-17; n++) {
      term *= -a * a / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * 2 / Math.sqrt(Math.PI) * sum;
  }
  let fraction = 0;
  for (let n = 40; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}

/** x[i] ← act(x[i])·(times[i] or 1). */
export function activateRows(
  f: Memory,
  native: Native,
  kind: Activation,
  x: number,
  count: number,
  times: number,
): void {
  if (kind === "silu" && times >= 0 && count % 8 === 0) return native.siluTimes(4 * x, 4 * times, count / 8);
  switch (kind) {
    case "silu":
      for (let i = x; i < x + count; i++) {
        const v = f[i], e = expNegative(v < 0 ? v : -v);
        f[i] = v < 0 ? v * e / (1 + e) : v / (1 + e);
      }
      break;
    case "relu":
      for (let i = x; i < x + count; i++) if (f[i] < 0) f[i] = 0;
      break;
    case "gelu":
      for (let i = x; i < x + count; i++) f[i] = 0.5 * f[i] * (1 + erf(f[i] * Math.SQRT1_2));
      break;
    case "gelu-tanh":
      for (let i = x; i < x + count; i++) {
        const v = f[i];
        f[i] = 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)));
      }
  }
  if (times >= 0) { for (let i = 0; i < count; i++) f[x + i] *= f[times + i]; }
}

/** y[r, j] += x[r, j] for rows of `width`, x's rows `stride` apart; x and y may be the same or a bias with stride 0. */
export function addRows(f: Memory, y: number, yStride: number, x: number, stride: number, rows: number, width: number) {
  for (let r = 0; r < rows; r++) {
    const a = y + r * yStride, b = x + r * stride;
    for (let j = 0; j < width; j++) f[a + j] += f[b + j];
  }
}
