// Workers over one shared memory: each computes whole windows, so that they never wait for one another.
import { LabError } from "../../io/errors.ts";
import { maximumPages, nativeModule } from "./native.ts";
import type { Answer, Order } from "./worker.ts";

const pageFloats = 65536 / 4;

/** A few workers and the memory they share. */
export class Pool {
  readonly memory = new WebAssembly.Memory({ initial: 1, maximum: maximumPages, shared: true });
  readonly #workers: Worker[];
  readonly #started: Promise<unknown>;

  /** @param size how many workers; one a core unless told. */
  constructor(size = navigator.hardwareConcurrency) {
    const module = new WebAssembly.Module(nativeModule()), url = new URL("./worker.ts", import.meta.url).href;
    this.#workers = Array.from({ length: size }, () => new Worker(url, { type: "module" }));
    this.#started = this.#tellAll({ type: "start", memory: this.memory, module });
  }

  get size(): number {
    return this.#workers.length;
  }

  /** All memory as floats; grows it to `floats` first. @throws LabError beyond 4 GB. */
  floats(floats: number): Float32Array<SharedArrayBuffer> {
    const pages = Math.ceil(floats / pageFloats), have = this.memory.buffer.byteLength / 65536;
    if (pages > maximumPages) {
      const needed = `${(floats * 4 / 1e9).toFixed(1)} GB of shared memory`;
      throw new LabError(
        "input",
        "a block",
        `needs ${needed}, 4.3 is the most`,
        "Use shorter windows, or --backend wasm.",
      );
    }
    if (pages > have) this.memory.grow(pages - have);
    return new Float32Array(this.memory.buffer as unknown as SharedArrayBuffer);
  }

  /** Gives worker `index` an order and waits for it. @throws Error with the worker's own words. */
  async tell(index: number, order: Order): Promise<void> {
    if (order.type !== "start") await this.#started;
    const worker = this.#workers[index];
    await new Promise<void>((resolve, reject) => {
      worker.onmessage = (e: MessageEvent<Answer>) =>
        e.data.error === null ? resolve() : reject(new Error(`worker ${index}: ${e.data.error}`));
      worker.onerror = (e) => reject(new Error(`worker ${index}: ${e.message}`));
      worker.postMessage(order);
    });
  }

  async #tellAll(order: Order): Promise<void> {
    await Promise.all(this.#workers.map((_, i) => this.tell(i, order)));
  }

  /**
   * Does `work` for windows 0 … count − 1, worker i taking windows i, i + size, … in their order, whatever their speed: sums
   * over a worker's windows are the same each time.
   */
  async each(count: number, work: (window: number, worker: number) => Promise<void>): Promise<void> {
    await Promise.all(this.#workers.map(async (_, i) => {
      for (let w = i; w < count; w += this.size) await work(w, i);
    }));
  }

  close(): void {
    for (const worker of this.#workers) worker.terminate();
  }
}
