// A small neural network as the predictor of a configuration's divergence: AMQ's alternative to radial basis functions.
import { LabError } from "../../io/errors.ts";
import { rng } from "../../io/rng.ts";

/** How the network is made and trained; AMQ's own are 300 wide, 2000 epochs. */
export interface NetworkOptions {
  /** The largest input; inputs are scaled by it to [0, 1]. */
  readonly upper: number;
  readonly seed: number;
  readonly width?: number;
  readonly epochs?: number;
  readonly rate?: number;
}

/** A fitted network. */
export interface Network {
  predict(point: ArrayLike<number>): number;
  /** Smooth-L1 loss on the points kept aside, of the weights that are used. */
  readonly loss: number;
}

/** Layers behind the first: AMQ's stem and two hidden ones. */
const HIDDEN = 3, KEPT_ASIDE = 0.2, B1 = 0.9, B2 = 0.999;

interface Layer {
  readonly from: number;
  readonly to: number;
  /** W (to, from) and b (to), one after the other. */
  readonly at: number;
}

/**
 * y = w·relu(…relu(W₁x + b₁)…) + b, trained on 4 of 5 points by Adam with a cosine schedule on the smooth-L1 loss of values
 * scaled to a standard deviation of 1; the weights with the least loss on the fifth are kept.
 *
 * @param points X (n, inputs). @param values y (n).
 * @throws LabError "input" for fewer than five points.
 * Source: dlwns147/amq@1909fec, predictor/mlp.py (300 wide, dropout 0.2, Adam 8e-4, cosine, 2000 epochs, full batch). Ours: 32
 * wide and 300 epochs unless told, and no dropout, so that a fit takes a second in plain TypeScript.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { fitNetwork } from "./network.ts";
 * const points = Array.from({ length: 27 }, (_, i) => [i % 3, Math.floor(i / 3) % 3, Math.floor(i / 9)]);
 * const net = fitNetwork(points, points.map(([a, b]) => a + b), { upper: 2, seed: 1 });
 * assert(net.predict([2, 2, 1]) > net.predict([0, 0, 1]) + 2);
 * ```
 */
export function fitNetwork(
  points: readonly ArrayLike<number>[],
  values: ArrayLike<number>,
  o: NetworkOptions,
): Network {
  const n = points.length, dim = points[0]?.length ?? 0, { width = 32, epochs = 300, rate = 8e-3 } = o;
  if (n < 5) throw new LabError("input", "a network", `${n} points`, "It takes five or more.");
  const random = rng(o.seed, "network"),
    order = [...random.permutation(n)],
    aside = Math.max(1, Math.round(n * KEPT_ASIDE));
  const [test, train] = [order.slice(0, aside), order.slice(aside)];
  const y = Array.from(values), mean = y.reduce((a, v) => a + v, 0) / n;
  const deviation = Math.sqrt(y.reduce((a, v) => a + (v - mean) ** 2, 0) / n) || 1;
  const scaled = (x: ArrayLike<number>) => Float64Array.from({ length: dim }, (_, j) => x[j] / o.upper);
  const x = points.map(scaled), target = y.map((v) => (v - mean) / deviation);
  const layers: Layer[] = [];
  let size = 0;
  for (let l = 0; l <= HIDDEN; l++) {
    const from = l === 0 ? dim : width, to = l === HIDDEN ? 1 : width;
    layers.push({ from, to, at: size });
    size += from * to + to;
  }
  const w = new Float64Array(size), m = new Float64Array(size), v = new Float64Array(size), g = new Float64Array(size);
  for (const { from, to, at } of layers) {
    for (let i = 0; i < from * to; i++) w[at + i] = random.normal() * Math.sqrt(2 / from);
  }
  const loss = (set: readonly number[]) =>
    set.reduce((sum, i) => sum + smoothL1(forward(layers, w, x[i]).at(-1)![0] - target[i]), 0) / set.length;
  let best = { loss: loss(test), w: w.slice() };
  for (let epoch = 0; epoch < epochs; epoch++) {
    g.fill(0);
    for (const i of train) {
      const out = forward(layers, w, x[i]), error = out.at(-1)![0] - target[i];
      backward(layers, w, g, out, Math.max(-1, Math.min(1, error)) / train.length);
    }
    const step = rate * (1 + Math.cos(Math.PI * epoch / epochs)) / 2, k = epoch + 1;
    for (let i = 0; i < size; i++) {
      m[i] = B1 * m[i] + (1 - B1) * g[i];
      v[i] = B2 * v[i] + (1 - B2) * g[i] * g[i];
      w[i] -= step * m[i] / (1 - B1 ** k) / (Math.sqrt(v[i] / (1 - B2 ** k)) + 1e-8);
    }
    const now = loss(test);
    if (now < best.loss) best = { loss: now, w: w.slice() };
  }
  return { loss: best.loss, predict: (p) => mean + deviation * forward(layers, best.w, scaled(p)).at(-1)![0] };
}

/** ½d² within 1, |d| − ½ beyond. */
function smoothL1(d: number): number {
  const size = Math.abs(d);
  return size < 1 ? size * size / 2 : size - 0.5;
}

/** What leaves each layer, the inputs first. */
function forward(layers: readonly Layer[], w: Float64Array, x: Float64Array): Float64Array[] {
  const out = [x];
  layers.forEach(({ from, to, at }, l) => {
    const h = out[l], y = new Float64Array(to);
    for (let i = 0; i < to; i++) {
      let sum = w[at + from * to + i];
      for (let j = 0; j < from; j++) sum += w[at + i * from + j] * h[j];
      y[i] = l + 1 < layers.length ? Math.max(0, sum) : sum;
    }
    out.push(y);
  });
  return out;
}

/** Adds the gradient of one point to g; `error` is ∂loss/∂output. */
function backward(
  layers: readonly Layer[],
  w: Float64Array,
  g: Float64Array,
  out: readonly Float64Array[],
  error: number,
): void {
  let d = Float64Array.of(error);
  for (let l = layers.length - 1; l >= 0; l--) {
    const { from, to, at } = layers[l], h = out[l], before = new Float64Array(from);
    for (let i = 0; i < to; i++) {
      if (d[i] === 0) continue;
      g[at + from * to + i] += d[i];
      for (let j = 0; j < from; j++) {
        g[at + i * from + j] += d[i] * h[j];
        before[j] += d[i] * w[at + i * from + j];
      }
    }
    for (let j = 0; j < from; j++) if (h[j] <= 0) before[j] = 0; // relu; for the inputs themselves it is not used
    d = before;
  }
}
