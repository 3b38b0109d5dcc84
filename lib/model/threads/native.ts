// The inner loops of inference, in WebAssembly written by hand: the matrix product, exponentials. The product works on packed
// panels: A of 6 rows, B of 16 columns, both with
// the shared axis outermost, so that a tile of 6 × 16 sums stays in registers and every load is of neighbours.
//
// Why by hand: V8 joins neighbouring 128-bit operations into 256-bit ones (--experimental-wasm-revectorize) only where their
// addresses differ by a constant, which jax-js's code does not show. Measured, one thread: 45 GFLOP/s plain, 122 joined.
// That takes two flags of V8, --no-wasm-bounds-checks too; see `fastFlags`. Without them all is right, only slower.
import { assemble } from "./wat.ts";

/** Rows of an A panel, columns of a B panel. */
export const panelRows = 6, panelCols = 16;

/** For DENO_V8_FLAGS or --v8-flags: lets V8 use 256-bit registers for the product (2.7 times as fast). */
export const fastFlags = "--no-wasm-bounds-checks,--experimental-wasm-revectorize";

/** The most memory the module can be given, in pages of 64 KB. */
export const maximumPages = 65536;

const vectors = panelCols / 4;
const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const tile = (f: (row: number, vector: number) => string) =>
  range(panelRows).map((r) => range(vectors).map((v) => f(r, v)).join("\n")).join("\n");

/**
 * C = A·B (`multiply`) or C += A·B (`multiplyAdd`) over `rows` A panels and `cols` B panels that share `k`.
 * With `triangle` 1 only tiles that touch the upper triangle of a square C are computed.
 */
function product(name: string, add: boolean): string {
  const get = (x: string) => `(local.get ${x})`,
    increase = (x: string, by: string) => `(local.set ${x} (i32.add ${get(x)} ${by}))`;
  // All loads of a row of C come before its first store: between loads and stores V8 joins nothing.
  const loaded = () =>
    range(vectors).map((v) => `(local.set $b${v} (v128.load offset=${16 * v} ${get("$out")}))`).join("\n");
  const sum = (r: number, v: number) => add ? `(f32x4.add ${get(`$b${v}`)} ${get(`$c${r}_${v}`)})` : get(`$c${r}_${v}`);
  return `
(func ${name}
  (param $a i32) (param $b i32) (param $c i32)        ;; addresses of panels and of C
  (param $aStride i32) (param $bStride i32)           ;; bytes from one panel to the next
  (param $cStride i32)                                ;; bytes from one row of C to the next
  (param $k i32) (param $rows i32) (param $cols i32) (param $triangle i32)
  (local $i i32) (local $j i32) (local $n i32) (local $limit i32)
  (local $ap i32) (local $bp i32) (local $aRow i32) (local $cRow i32) (local $out i32) (local $one v128)
  ${range(vectors).map((v) => `(local $b${v} v128)`).join(" ")}
  ${tile((r, v) => `(local $c${r}_${v} v128)`)}
  (loop $columns
    ;; rows of panels down to the diagonal: (16 j + 15) / 6 + 1, or all
    (local.set $limit (i32.add (i32.div_u (i32.add (i32.mul ${get("$j")} (i32.const ${panelCols})) (i32.const ${
    panelCols - 1
  }))
      (i32.const ${panelRows})) (i32.const 1)))
    (local.set $limit (select ${get("$limit")} ${get("$rows")}
      (i32.mul ${get("$triangle")} (i32.lt_u ${get("$limit")} ${get("$rows")}))))
    (local.set $i (i32.const 0))
    (local.set $aRow ${get("$a")})
    (local.set $cRow ${get("$c")})
    (loop $panels
      (local.set $ap ${get("$aRow")})
      (local.set $bp ${get("$b")})
      (local.set $n ${get("$k")})
      ${tile((r, v) => `(local.set $c${r}_${v} (f32x4.splat (f32.const 0)))`)}
      (loop $inner
        ${range(vectors).map((v) => `(local.set $b${v} (v128.load offset=${16 * v} ${get("$bp")}))`).join("\n")}
        ${
    range(panelRows).map((r) => `
        (local.set $one (v128.load32_splat offset=${4 * r} ${get("$ap")}))
        ${
      range(vectors).map((v) =>
        `(local.set $c${r}_${v} (f32x4.relaxed_madd ${get("$one")} ${get(`$b${v}`)} ${get(`$c${r}_${v}`)}))`
      ).join("\n")
    }`).join("\n")
  }
        ${increase("$ap", `(i32.const ${4 * panelRows})`)}
        ${increase("$bp", `(i32.const ${4 * panelCols})`)}
        (br_if $inner (local.tee $n (i32.sub ${get("$n")} (i32.const 1)))))
      (local.set $out ${get("$cRow")})
      ${
    range(panelRows).map((r) => `
      ${add ? loaded() : ""}
      ${range(vectors).map((v) => `(v128.store offset=${16 * v} ${get("$out")} ${sum(r, v)})`).join("\n")}
      ${increase("$out", get("$cStride"))}`).join("\n")
  }
      (local.set $cRow ${get("$out")})
      ${increase("$aRow", get("$aStride"))}
      (br_if $panels (i32.lt_u (local.tee $i (i32.add ${get("$i")} (i32.const 1))) ${get("$limit")})))
    ${increase("$b", get("$bStride"))}
    ${increase("$c", `(i32.const ${4 * panelCols})`)}
    (br_if $columns (i32.lt_u (local.tee $j (i32.add ${get("$j")} (i32.const 1))) ${get("$cols")}))))`;
}

/** Lines that put e^x of `x`, a local with values ≤ 0, into `x`; see expNegative of ops.ts. `y` and `r` are scratch. */
function exponential(x: string, y: string, r: string): string {
  const get = (name: string) => `(local.get ${name})`, constant = (c: number) => `(f32x4.splat (f32.const ${c}))`;
  const factors = [9, 8, 7, 6, 5, 4, 3, 2, 1].map((n) =>
    `(local.set ${r} (f32x4.relaxed_madd (f32x4.mul ${get(y)} ${constant(1 / n)}) ${get(r)} ${constant(1)}))`
  );
  return `
    (local.set ${y} (f32x4.mul (f32x4.max ${get(x)} ${constant(-40)}) ${constant(1 / 16)}))
    (local.set ${r} ${constant(1)})
    ${factors.join("\n")}
    ${range(4).map(() => `(local.set ${r} (f32x4.mul ${get(r)} ${get(r)}))`).join("\n")}
    (local.set ${x} ${get(r)})`;
}

/** Two vectors side by side: what V8 joins to one of eight lanes. */
const pair = (f: (i: number) => string) => [0, 1].map(f).join("\n");

/** x[i] ← e^(x[i] − most), `eights` times eight values. */
const expShifted = `
(func expShifted (param $x i32) (param $eights i32) (param $most f32)
  ${pair((i) => `(local $v${i} v128) (local $y${i} v128) (local $r${i} v128)`)} (local $shift v128)
  (local.set $shift (f32x4.splat (local.get $most)))
  (loop $l
    ${pair((i) => `(local.set $v${i} (f32x4.sub (v128.load offset=${16 * i} (local.get $x)) (local.get $shift)))`)}
    ${pair((i) => exponential(`$v${i}`, `$y${i}`, `$r${i}`))}
    ${pair((i) => `(v128.store offset=${16 * i} (local.get $x) (local.get $v${i}))`)}
    (local.set $x (i32.add (local.get $x) (i32.const 32)))
    (br_if $l (local.tee $eights (i32.sub (local.get $eights) (i32.const 1))))))`;

/** x[i] ← silu(x[i])·times[i], `eights` times eight values; silu(x) = x/(1 + e^−|x|), times e^−|x| where x < 0. */
const siluTimes = `
(func siluTimes (param $x i32) (param $times i32) (param $eights i32)
  ${pair((i) => `(local $v${i} v128) (local $e${i} v128) (local $y${i} v128) (local $r${i} v128) (local $t${i} v128)`)}
  (loop $l
    ${pair((i) => `(local.set $v${i} (v128.load offset=${16 * i} (local.get $x)))`)}
    ${pair((i) => `(local.set $t${i} (v128.load offset=${16 * i} (local.get $times)))`)}
    ${pair((i) => `(local.set $e${i} (f32x4.neg (f32x4.abs (local.get $v${i}))))`)}
    ${pair((i) => exponential(`$e${i}`, `$y${i}`, `$r${i}`))}
    ${
  pair((i) => `
    (local.set $r${i} (f32x4.div (f32x4.mul (local.get $v${i}) (local.get $t${i}))
      (f32x4.add (local.get $e${i}) (f32x4.splat (f32.const 1)))))
    (local.set $v${i} (v128.bitselect (f32x4.mul (local.get $r${i}) (local.get $e${i})) (local.get $r${i})
      (f32x4.lt (local.get $v${i}) (f32x4.splat (f32.const 0)))))`)
}
    ${pair((i) => `(v128.store offset=${16 * i} (local.get $x) (local.get $v${i}))`)}
    (local.set $x (i32.add (local.get $x) (i32.const 32)))
    (local.set $times (i32.add (local.get $times) (i32.const 32)))
    (br_if $l (local.tee $eights (i32.sub (local.get $eights) (i32.const 1))))))`;

/** The module's bytes; it exports what `Native` lists. */
export function nativeModule(): Uint8Array<ArrayBuffer> {
  return assemble(product("multiply", false) + product("multiplyAdd", true) + expShifted + siluTimes, maximumPages);
}

/** What the module exports. All places are addresses (bytes). */
export interface Native {
  readonly multiply: Multiply;
  readonly multiplyAdd: Multiply;
  expShifted(x: number, eights: number, most: number): void;
  siluTimes(x: number, times: number, eights: number): void;
}

/** Signature of both products; see the comments in `product`. */
type Multiply = (
  a: number,
  b: number,
  c: number,
  aStride: number,
  bStride: number,
  cStride: number,
  k: number,
  rows: number,
  cols: number,
  triangle: number,
) => void;
