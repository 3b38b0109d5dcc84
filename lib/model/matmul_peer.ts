// jax-js's products as peers of our kernels: the same matrices, its own clock. Plain arrays come in and go out.
import { blockUntilReady, init, jit, numpy as np } from "@jax-js/jax";
import { LabError } from "../io/errors.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import { GramSum } from "./gram.ts";

/** One product, y = x·Wᵀ, whose time can be taken. */
export interface MatmulPeer {
  /** Computes it `repeats` times, each after the one before, and returns the seconds of one. */
  run(repeats: number): Promise<number>;
  /** y (vectors, out). */
  result(): Promise<Floats>;
  close(): void;
}

/**
 * Opens y = x·Wᵀ on a backend of jax-js, in the faster of the two layouts that W can have for it.
 *
 * Its wait for an idle WebGPU device (10 ms in Deno) is measured and taken off, as our own fence does without it.
 *
 * @param x (vectors, in). @param w W (out, in). @param backend "webgpu" or "wasm".
 * @throws LabError of kind "device" where the backend is not available.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openMatmulPeer } from "./matmul_peer.ts";
 * const m = (rows: number, cols: number, v: number[]) => ({ data: new Float32Array(v), rows, cols });
 * const peer = await openMatmulPeer(m(1, 2, [1, 2]), m(2, 2, [3, 4, 5, 6]), "wasm");
 * assert.deepEqual([...await peer.result()], [11, 17]);
 * peer.close();
 * ```
 */
export async function openMatmulPeer(x: Matrix, w: Matrix, backend: "webgpu" | "wasm"): Promise<MatmulPeer> {
  if (!(await init(backend)).includes(backend)) {
    throw new LabError("device", `jax-js on ${backend}`, "is not available here");
  }
  const place = (m: Matrix) => np.array(m.data, { shape: [m.rows, m.cols], device: backend });
  const a = place(x), outIn = place(w), inOut = place(transposed(w));
  const layouts = [
    { w: outIn, product: jit((p: np.Array, q: np.Array) => np.matmul(p, np.transpose(q))) },
    { w: inOut, product: jit((p: np.Array, q: np.Array) => np.matmul(p, q)) },
  ];
  const once = async (i: number, repeats: number) => {
    const begun = performance.now(), results: np.Array[] = []; // all are kept: one that is given back early is never computed
    for (let r = 0; r < repeats; r++) results.push(layouts[i].product(a.ref, layouts[i].w.ref));
    await blockUntilReady(results);
    const seconds = (performance.now() - begun) / 1000;
    for (const y of results) y.dispose();
    return seconds;
  };
  await blockUntilReady([a, outIn, inOut]);
  const idle: number[] = [];
  for (let i = 0; i < 5; i++) {
    const begun = performance.now();
    await blockUntilReady(a);
    idle.push((performance.now() - begun) / 1000);
  }
  const wait = Math.min(...idle), times: number[] = [];
  for (const i of layouts.keys()) {
    await once(i, 1);
    times.push(await once(i, 1));
  }
  const best = times[0] <= times[1] ? 0 : 1;
  return {
    run: async (repeats) => Math.max(0, await once(best, repeats) - wait) / repeats,
    result: async () => await layouts[best].product(a.ref, layouts[best].w.ref).data() as Floats,
    close() {
      for (const array of [a, outIn, inOut]) array.dispose();
      for (const l of layouts) l.product.dispose();
    },
  };
}

/**
 * The sum that calibration takes, Σ XᵀX on jax-js's WebAssembly (gram.ts), under the clock.
 *
 * @param x X (tokens, in). @returns `run` adds it to a running sum and gives the seconds; `result` is XᵀX (in, in).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openGramPeer } from "./matmul_peer.ts";
 * const peer = await openGramPeer({ data: Float32Array.of(1, 2, 3, 4), rows: 2, cols: 2 });
 * assert.ok(await peer.run() > 0);
 * assert.deepEqual([...(await peer.result()).data], [10, 14, 14, 20]);
 * peer.close();
 * ```
 */
export async function openGramPeer(
  x: Matrix,
): Promise<{ run(): Promise<number>; result(): Promise<Matrix>; close(): void }> {
  await init("wasm");
  const a = np.array(x.data, { shape: [x.rows, x.cols], device: "wasm" }), sum = new GramSum(x.cols);
  await blockUntilReady(a);
  return {
    async run() {
      const begun = performance.now();
      sum.add(a.ref);
      await sum.settle();
      return (performance.now() - begun) / 1000;
    },
    async result() {
      const once = new GramSum(x.cols);
      once.add(a.ref);
      return await once.close(1, "gram");
    },
    close() {
      sum.dispose();
      a.dispose();
    },
  };
}

function transposed(m: Matrix): Matrix {
  const data = new Float32Array(m.data.length);
  for (let r = 0; r < m.rows; r++) for (let c = 0; c < m.cols; c++) data[c * m.rows + r] = m.data[r * m.cols + c];
  return { data, rows: m.cols, cols: m.rows };
}
