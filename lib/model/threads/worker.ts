// The worker: waits for one window at a time, computes it on the shared memory, says that it is done.
import type { ModelConfig } from "../config.ts";
import { type Native, panelCols, panelRows } from "./native.ts";
import { packRows } from "./ops.ts";
import { type Scratch, type SharedLayout, type Wants, WorkerBlock } from "./worker_block.ts";

/** What the main thread says. */
export type Order =
  | { readonly type: "start"; readonly memory: WebAssembly.Memory; readonly module: WebAssembly.Module }
  | { readonly type: "block"; readonly config: ModelConfig; readonly scratch: Scratch; readonly shared: SharedLayout }
  | { readonly type: "run"; readonly rows: number; readonly window: number | null; readonly wants: Wants }
  /** For rows of scratch.x (rows, width): largest logit and Σ e^(logit − largest) over `vocab` packed columns. */
  | {
    readonly type: "score";
    readonly scratch: Scratch;
    readonly rows: number;
    readonly width: number;
    readonly head: number;
    readonly vocab: number;
  };

/** What the worker answers: nothing but "done" (the results lie in memory), or what went wrong. */
export interface Answer {
  readonly error: string | null;
}

interface WorkerScope {
  onmessage: ((e: MessageEvent<Order>) => void) | null;
  postMessage(answer: Answer): void;
}

const scope = self as unknown as WorkerScope;
let memory: WebAssembly.Memory, native: Native, block: WorkerBlock;

/** All shared memory, which the main thread may have grown since: growing by nothing is what makes that visible here. */
function floats(): Float32Array<SharedArrayBuffer> {
  memory.grow(0);
  return new Float32Array(memory.buffer as unknown as SharedArrayBuffer);
}

/** Columns of logits at a time: they stay in the cache. */
const scoredAtOnce = 512;

/** Writes the largest logits to scratch.y (rows) and the sums behind them (rows). */
function score(o: Order & { type: "score" }): void {
  const f = floats(), { x, y, panelsA, hidden } = o.scratch;
  const most = new Float64Array(o.rows).fill(-Infinity), sum = new Float64Array(o.rows);
  packRows(f, x, o.width, o.rows, o.width, panelsA, 1);
  const panel = 4 * panelCols * o.width, rows = Math.ceil(o.rows / panelRows);
  for (let from = 0; from < o.vocab; from += scoredAtOnce) {
    const count = Math.min(scoredAtOnce, o.vocab - from), columns = Math.ceil(count / panelCols);
    native.multiply(
      4 * panelsA,
      4 * o.head + from / panelCols * panel,
      4 * hidden,
      4 * panelRows * o.width,
      panel,
      4 * scoredAtOnce,
      o.width,
      rows,
      columns,
      0,
    );
    for (let r = 0; r < o.rows; r++) {
      const at = hidden + r * scoredAtOnce, end = at + count;
      let larger = most[r];
      for (let i = at; i < end; i++) if (f[i] > larger) larger = f[i];
      let s = sum[r] * Math.exp(most[r] - larger);
      native.expShifted(4 * at, (count + 7) >>> 3, larger);
      for (let i = at; i < end; i++) s += f[i];
      most[r] = larger;
      sum[r] = s;
    }
  }
  for (let r = 0; r < o.rows; r++) {
    f[y + r] = most[r];
    f[y + o.rows + r] = sum[r];
  }
}

function obey(o: Order): void {
  switch (o.type) {
    case "start":
      memory = o.memory;
      native = new WebAssembly.Instance(o.module, { env: { memory } }).exports as unknown as Native;
      break;
    case "block":
      block = new WorkerBlock(o.config, floats(), o.scratch, o.shared, native);
      break;
    case "run":
      block.run(o.rows, o.window, o.wants);
      break;
    case "score":
      score(o);
  }
}

scope.onmessage = (e) => {
  try {
    obey(e.data);
    scope.postMessage({ error: null });
  } catch (error) {
    scope.postMessage({ error: error instanceof Error ? `${error.message}\n${error.stack}` : String(error) });
  }
};
