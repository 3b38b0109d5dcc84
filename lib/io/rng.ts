// Named, seeded random streams. `Math.random` is banned: every random choice takes a stream of its own,
// so that one more draw in one place never shifts the draws of another.

/** A deterministic stream of random numbers. */
export interface Rng {
  /** The next unsigned 32-bit integer. */
  uint32(): number;
  /** Uniform in [0, 1), a multiple of 2^-32. */
  float(): number;
  /** Uniform integer in [0, n), without modulo bias. */
  int(n: number): number;
  /** Standard normal (Box–Muller). */
  normal(): number;
  /** A uniformly random permutation of 0 … n-1 (Fisher–Yates). */
  permutation(n: number): Int32Array<ArrayBuffer>;
}

/** FNV-1a over the UTF-16 units of a name, 32 bits: turns a stream's name into a part of its seed. */
function hashName(name: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** SplitMix32: spreads a counter over all 32 bits; only used to fill the state of the main generator. */
function splitmix32(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x9e3779b9) >>> 0;
    let z = s;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
}

/**
 * Opens the stream `name` of `seed` (xoshiro128**, Blackman and Vigna 2018, https://prng.di.unimi.it).
 *
 * @param seed any integer; only its low 32 bits count.
 * @param name the stream's purpose, such as "calibration windows".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { rng } from "./rng.ts";
 * const a = rng(1, "doc"), b = rng(1, "doc"), c = rng(1, "other");
 * const first = a.uint32();
 * assert.equal(first, b.uint32());
 * assert.notEqual(first, c.uint32());
 * ```
 */
export function rng(seed: number, name: string): Rng {
  const mix = splitmix32((seed ^ hashName(name)) >>> 0);
  let a = mix(), b = mix(), c = mix(), d = mix() | 1; // never all zero
  const uint32 = () => {
    const r = Math.imul(rotl(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotl(d, 11);
    return r;
  };
  const float = () => uint32() / 2 ** 32;
  const int = (n: number) => {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) throw new RangeError(`int(n) needs 1 <= n <= 2^32, got ${n}`);
    const limit = 2 ** 32 - (2 ** 32 % n);
    let x = uint32();
    while (x >= limit) x = uint32();
    return x % n;
  };
  let spare: number | undefined;
  const normal = () => {
    if (spare !== undefined) {
      const s = spare;
      spare = undefined;
      return s;
    }
    const r = Math.sqrt(-2 * Math.log((uint32() + 1) / 2 ** 32)), angle = 2 * Math.PI * float();
    spare = r * Math.sin(angle);
    return r * Math.cos(angle);
  };
  const permutation = (n: number) => {
    const p = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = int(i + 1);
      [p[i], p[j]] = [p[j], p[i]];
    }
    return p;
  };
  return { uint32, float, int, normal, permutation };
}

function rotl(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}
