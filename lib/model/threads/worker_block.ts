// One window through one block, in one worker, on shared memory. forward.ts says what it means; here is how it runs fast.
import type { LinearInfo, ModelConfig } from "../config.ts";
import { type Native, panelCols, panelRows } from "./native.ts";
import {
  activateRows,
  addRows,
  type Memory,
  normRows,
  packColumns,
  packRows,
  packTransposed,
  rotateHead,
  softmaxPack,
} from "./ops.ts";

const up = (n: number, step: number) => Math.ceil(n / step) * step;

/** Where a linear lies: packed weights, and its bias or −1. */
export interface PlacedLinear {
  readonly info: LinearInfo;
  readonly packed: number;
  readonly bias: number;
}

/** Where everything lies that all workers read. All places are indices of floats. */
export interface SharedLayout {
  readonly linears: readonly PlacedLinear[];
  /** Gain and bias (−1: none) by the norm's name. */
  readonly norms: Readonly<Record<string, readonly [number, number]>>;
  /** (length, headDim) each; −1 where the model does not rotate. */
  readonly cos: number;
  readonly sin: number;
  /** (heads, length); −1 without alibi. */
  readonly alibi: number;
}

/** A worker's own memory. */
export interface Scratch {
  readonly x: number;
  readonly y: number;
  readonly normed: number;
  readonly attention: number;
  readonly hidden: number;
  readonly gate: number;
  readonly qkv: number;
  readonly panelsA: number;
  readonly panelsB: number;
  readonly scores: number;
  readonly end: number;
}

/** What a pass wants: second moments at `grams[input]`, a copy of one input at `copy`, and where it may stop. */
export interface Wants {
  readonly grams: Readonly<Record<string, number>>;
  readonly copyInput: string | null;
  readonly copyTo: number;
  readonly last: string | null;
}

/** Queries of one strip of the causal triangle: a multiple of both panel sizes. */
const stripRows = 96;

/** Lays out a worker's memory for windows of `length` tokens from `start`. */
export function layScratch(c: ModelConfig, length: number, start: number): Scratch {
  let at = start;
  const take = (n: number) => {
    const from = at;
    at += up(n, 16);
    return from;
  };
  const rows = up(length, panelRows) + panelRows, wide = (n: number) => rows * up(n, panelCols);
  const queries = c.heads * c.headDim, qkv = queries + 2 * c.kvHeads * c.headDim + 3 * panelCols;
  const widest = Math.max(...c.linears.map((l) => Math.max(l.in, l.out)));
  return {
    x: take(wide(c.width)),
    y: take(wide(c.width)),
    normed: take(wide(c.width)),
    attention: take(wide(queries)),
    hidden: take(wide(c.ffn)),
    gate: take(wide(c.ffn)),
    qkv: take(rows * up(qkv, panelCols)),
    panelsA: take(
      Math.max(rows * widest, up(widest, panelRows) * length, stripRows * (c.headDim + up(length, panelCols))),
    ),
    panelsB: take(Math.max(2 * up(length, panelCols) * up(c.headDim, panelCols), up(widest, panelCols) * length)),
    scores: take(stripRows * up(length, panelCols) + wide(c.headDim)),
    end: at,
  };
}

export class WorkerBlock {
  readonly #c: ModelConfig;
  readonly #f: Memory;
  readonly #s: Scratch;
  readonly #shared: SharedLayout;
  readonly #native: Native;

  constructor(
    c: ModelConfig,
    f: Memory,
    scratch: Scratch,
    shared: SharedLayout,
    native: Native,
  ) {
    if (f.length < scratch.end) {
      throw new RangeError(`${f.length} floats of shared memory, ${scratch.end} are laid out`);
    }
    [this.#c, this.#f, this.#s, this.#shared] = [c, f, scratch, shared];
    this.#native = native;
  }

  #norm(name: string, x: number, y: number, rows: number): void {
    const [gain, bias] = this.#shared.norms[name], { kind, eps } = this.#c.norm;
    normRows(this.#f, kind, eps, x, y, rows, this.#c.width, gain, bias);
  }

  /** y (rows, out) = what lies packed in panelsA times Wᵀ, plus bias; rows of y are `stride` apart. */
  #linear(name: string, rows: number, y: number, stride: number): void {
    const { info, packed, bias } = this.#shared.linears.find((l) => l.info.name === name)!, k = info.in;
    const [panels, columns] = [Math.ceil(rows / panelRows), Math.ceil(info.out / panelCols)];
    this.#native.multiply(
      4 * this.#s.panelsA,
      4 * packed,
      4 * y,
      4 * panelRows * k,
      4 * panelCols * k,
      4 * stride,
      k,
      panels,
      columns,
      0,
    );
    if (bias >= 0) addRows(this.#f, y, stride, bias, 0, rows, info.out);
  }

  /** Packs an input of linears (rows, k), rows `stride` apart, and takes from it what is wanted. @returns true: stop. */
  #input(name: string, x: number, stride: number, rows: number, k: number, wants: Wants): boolean {
    const f = this.#f, s = this.#s, gram = wants.grams[name];
    if (gram !== undefined) {
      packColumns(f, x, stride, rows, k, s.panelsA, panelRows);
      packColumns(f, x, stride, rows, k, s.panelsB, panelCols);
      const size = up(k, panelCols), [panels, columns] = [Math.ceil(k / panelRows), size / panelCols];
      const [a, b] = [4 * panelRows * rows, 4 * panelCols * rows];
      this.#native.multiplyAdd(4 * s.panelsA, 4 * s.panelsB, 4 * gram, a, b, 4 * size, rows, panels, columns, 1);
    }
    if (wants.copyInput === name) {
      for (let r = 0; r < rows; r++) f.copyWithin(wants.copyTo + r * k, x + r * stride, x + r * stride + k);
    }
    if (wants.last === name) return true;
    packRows(f, x, stride, rows, k, s.panelsA, 1);
    return false;
  }

  /** What lies packed in panelsA → attention (rows, heads·d). */
  #attend(rows: number, window: number | null): void {
    const c = this.#c, f = this.#f, s = this.#s, d = c.headDim, group = c.heads / c.kvHeads, { qkv: names } = c.names;
    const fused = names.length === 1, queries = c.heads * d, keys = c.kvHeads * d;
    // Where head h, key head h and value head h begin in a row, and how long rows are.
    const pads = fused ? [0, 0] : [up(queries, panelCols), up(queries, panelCols) + up(keys, panelCols)];
    const stride = fused ? up(queries + 2 * keys, panelCols) : pads[1] + up(keys, panelCols);
    names.forEach((name, i) => this.#linear(name, rows, s.qkv + (i === 0 ? 0 : pads[i - 1]), stride));
    const each = (group + 2) * d;
    const query = (h: number) => s.qkv + (fused ? Math.floor(h / group) * each + (h % group) * d : h * d);
    const key = (h: number) => s.qkv + (fused ? h * each + group * d : pads[0] + h * d);
    const value = (h: number) => s.qkv + (fused ? h * each + (group + 1) * d : pads[1] + h * d);
    const { cos, sin, alibi } = this.#shared;
    if (cos >= 0) {
      for (let h = 0; h < c.heads; h++) rotateHead(f, query(h), stride, rows, d, cos, sin);
      for (let h = 0; h < c.kvHeads; h++) rotateHead(f, key(h), stride, rows, d, cos, sin);
    }
    const padded = up(rows, panelCols), wide = up(d, panelCols), mixed = s.scores + stripRows * padded;
    const keyPanels = s.panelsB, valuePanels = s.panelsB + padded * d;
    for (let kv = 0; kv < c.kvHeads; kv++) {
      packTransposed(f, key(kv), stride, rows, d, keyPanels);
      packColumns(f, value(kv), stride, rows, d, valuePanels, panelCols);
      for (let h = kv * group; h < (kv + 1) * group; h++) {
        for (let from = 0; from < rows; from += stripRows) {
          const count = Math.min(stripRows, rows - from), seen = Math.min(rows, up(from + count, panelCols));
          const panels = Math.ceil(count / panelRows), columns = Math.ceil(seen / panelCols);
          packRows(f, query(h) + from * stride, stride, count, d, s.panelsA, 1 / Math.sqrt(d));
          const shares = s.panelsA + stripRows * d;
          const [a, b] = [4 * panelRows, 4 * panelCols];
          this.#native.multiply(
            4 * s.panelsA,
            4 * keyPanels,
            4 * s.scores,
            a * d,
            b * d,
            4 * padded,
            d,
            panels,
            columns,
            0,
          );
          const bias = alibi >= 0 ? alibi + h * rows : -1;
          softmaxPack(f, this.#native, s.scores, padded, count, seen, from, window ?? 0, bias, shares);
          for (let r = count; r < panels * panelRows; r++) {
            const at = shares + Math.floor(r / panelRows) * panelRows * seen + r % panelRows;
            for (let t = 0; t < seen; t++) f[at + t * panelRows] = 0;
          }
          this.#native.multiply(
            4 * shares,
            4 * valuePanels,
            4 * mixed,
            a * seen,
            b * rows,
            4 * wide,
            seen,
            panels,
            wide / panelCols,
            0,
          );
          for (let r = 0; r < count; r++) {
            f.copyWithin(s.attention + (from + r) * queries + h * d, mixed + r * wide, mixed + r * wide + d);
          }
        }
      }
    }
  }

  /** Rows of a linear's output lie `up(out, 16)` apart; this puts them next to each other. */
  #tighten(x: number, rows: number, width: number): void {
    const stride = up(width, panelCols);
    if (stride === width) return;
    for (let r = 1; r < rows; r++) this.#f.copyWithin(x + r * width, x + r * stride, x + r * stride + width);
  }

  /** scratch.x (rows, width) → scratch.y, or as far as what is wanted takes. */
  run(rows: number, window: number | null, wants: Wants): void {
    const c = this.#c, f = this.#f, s = this.#s, { names, width } = c, size = rows * width;
    const queries = c.heads * c.headDim;
    let y = s.x;
    if (!c.normAfter) this.#norm(names.norm1, s.x, y = s.normed, rows);
    if (this.#input("attention", y, width, rows, width, wants)) return;
    this.#attend(rows, window);
    if (this.#input("output", s.attention, queries, rows, queries, wants)) return;
    const h = s.y, wide = up(width, panelCols);
    this.#linear(names.output, rows, h, wide);
    this.#tighten(h, rows, width);
    addRows(f, h, width, c.residualAfterNorm ? y : s.x, width, rows, width);
    if (c.normAfter) this.#norm(names.norm1, h, h, rows);
    let z = c.normAfter ? h : s.normed;
    if (!c.normAfter && names.norm2 !== null) this.#norm(names.norm2, c.parallel ? s.x : h, s.normed, rows);
    if (c.normAfter) z = h;
    if (names.norm2 !== null) {
      if (this.#input("mlp", z, width, rows, width, wants)) return;
    } else packRows(f, z, width, rows, width, s.panelsA, 1);
    const ffn = up(c.ffn, panelCols);
    if (names.gate !== null) {
      this.#linear(names.gate, rows, s.hidden, ffn);
      this.#linear(names.up, rows, s.gate, ffn);
    } else this.#linear(names.up, rows, s.hidden, ffn);
    activateRows(f, this.#native, c.activation, s.hidden, rows * ffn, names.gate === null ? -1 : s.gate);
    if (this.#input("down", s.hidden, ffn, rows, c.ffn, wants)) return;
    // The residual waits in x: the product overwrites y.
    if (c.residualAfterNorm) f.copyWithin(s.x, z, z + size);
    else f.copyWithin(s.x, h, h + size);
    this.#linear(names.down, rows, s.y, wide);
    this.#tighten(s.y, rows, width);
    addRows(f, s.y, width, s.x, width, rows, width);
    if (c.normAfter && names.norm2 !== null) this.#norm(names.norm2, s.y, s.y, rows);
  }
}
