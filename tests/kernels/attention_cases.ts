// Problems for the attention kernels, and the bound on what float32 may lose.
import type { AttentionSpec } from "../../lib/kernels/attention_scores.ts";
import { firstKey, scoresTwin } from "../../lib/kernels/attention_scores.ts";
import { mixTwin } from "../../lib/kernels/attention_mix.ts";
import { quadsOf } from "../../lib/kernels/rotary.ts";
import type { Floats } from "../../lib/io/tensor.ts";
import { normals, U } from "./bound_kernel_cases.ts";

export interface AttentionCase {
  readonly what: string;
  readonly spec: AttentionSpec;
  readonly start: number;
  readonly vectors: number;
  readonly queries: Floats;
  /** NaN at positions that no query may see. */
  readonly keys: Floats;
  readonly values: Floats;
}

/** One token and several, at the start and in the middle, with windows and alibi, heads of odd widths, rows of keys that are folded. */
export function attentionCases(): AttentionCase[] {
  const cases: AttentionCase[] = [];
  for (
    const [heads, keyHeads, dim, start, vectors, window, alibi] of [
      [1, 1, 1, 0, 1, null, false],
      [4, 2, 16, 0, 7, null, false],
      [9, 3, 64, 296, 4, null, false],
      [6, 1, 10, 30, 3, null, true],
      [4, 4, 33, 20, 5, 8, false],
      [2, 1, 128, 130, 2, 129, false],
      [2, 2, 16, 3, 4, 1, true],
      [12, 2, 8, 1022, 3, null, false],
      [1, 1, 4, 4100, 1, 50, false],
    ] as const
  ) {
    const capacity = start + vectors + 3, padded = 4 * quadsOf(dim), quads = padded / 4;
    const bias = alibi ? normals(heads * capacity, "alibi", 3) : null;
    const spec = { heads, keyHeads, dim, capacity, window, bias };
    const queries = normals(vectors * heads * padded, "queries", 3 / Math.sqrt(dim));
    const keys = normals(keyHeads * capacity * padded, "keys"),
      values = normals(keyHeads * capacity * padded, "values");
    const seen = (position: number) => position >= firstKey(window, start) && position < start + vectors;
    for (let h = 0; h < keyHeads; h++) {
      for (let s = 0; s < capacity; s++) {
        if (seen(s)) continue;
        values.fill(NaN, (h * capacity + s) * padded, (h * capacity + s + 1) * padded);
        for (let i = 0; i < quads; i++) {
          const at = ((h * quads + i) * capacity + s) * 4;
          keys.fill(NaN, at, at + 4);
        }
      }
    }
    const what = `${heads}/${keyHeads} heads of ${dim}, ${vectors} from ${start}, window ${window}`;
    cases.push({ what, spec, start, vectors, queries, keys, values });
  }
  return cases;
}

/** What the kernels must give: scores and the mix of their softmax, each with its bound. */
export function expected(c: AttentionCase) {
  const { spec, start, vectors } = c;
  const scores = scoresTwin(spec, c.queries, c.keys, start, vectors);
  const absolute = scoresTwin(
    { ...spec, bias: spec.bias?.map(Math.abs) ?? null },
    c.queries.map(Math.abs),
    c.keys.map(Math.abs),
    start,
    vectors,
  );
  const scoreBound = (i: number) => (spec.dim + 6) * U * absolute[i] + 1e-12;
  const mixed = mixTwin(spec, scores, c.values, start, vectors);
  const absoluteMix = mixTwin(spec, scores, c.values.map(Math.abs), start, vectors);
  // e^(s − m) is right to (3 + 2|s − m|) units in the last place (WGSL, section 15.7.4.2), and to what s was off by, twice.
  const mixBound = (i: number) => {
    const head = Math.floor(i / spec.dim), at = head * spec.capacity, position = start + Math.floor(head / spec.heads);
    let most = -Infinity, least = Infinity, off = 0;
    for (let s = firstKey(spec.window, position); s <= position; s++) {
      most = Math.max(most, scores[at + s]);
      least = Math.min(least, scores[at + s]);
      off = Math.max(off, scoreBound(at + s));
    }
    const share = 4 * off + 2 * (3 + 2 * (most - least)) * 2 * U + 2 * (position + 8) * U;
    return share * absoluteMix[i] + 1e-12;
  };
  return { scores, scoreBound, mixed, mixBound };
}
