// Q-Palette. Rotated by random signs and a Hadamard matrix, weights look normal, so that one codebook, the best for normal
// numbers, serves all; pairs of weights share an entry, which gives steps of half a bit and less error than single levels.
//   R = W diag(σ) Had/√n,  R̂_i = c_i · book[nearest(R_i / c_i)], c_i = rms(R_i),  Ŵ = R̂ Had/√n diag(σ)
// Stored a weight: L/v + 16/in + 1/out + 16 v 2^L/(in · out), 2^L entries of v weights each.
// Source: Q-Palette, arXiv 2509.20214; rules as in snu-mllab/Q-Palette c53f473; feedback: QuIP, arXiv 2307.13304.
// Ours: of the palette the scalar and the plane books, without trellis codes; two neighbouring books share the columns so
// that the target is met; feedback by H unless told (the paper's default is without data); blocks of the Hadamard matrix
// where in is no power of two; allocation between linears is a function of its own (quant/allocate.ts).
import { rng } from "../io/rng.ts";
import { plannedBits } from "../quant/budget.ts";
import { type Codebook, GAUSSIAN_DISTORTION, lloydMax, planeCodebook } from "../quant/codebook.ts";
import { qPalette } from "../quant/q_palette.ts";
import { planRotated, type RotatedPlan, rotatedStore } from "../quant/stores/rotated.ts";
import type { LinearShape, Method, Options, Setting } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

function plan({ rows, cols }: LinearShape, o: Options): RotatedPlan {
  return { rows, cols, dim: Number(o.dim), lutBits: Number(o.lutBits), split: Number(o.split) };
}

/** The best book of its size, with entries as they are stored. */
function storedBook(dim: number, lutBits: number): Codebook {
  const book = dim === 1 ? lloydMax(lutBits) : planeCodebook(lutBits);
  return { ...book, entries: book.entries.map(Math.f16round) };
}

/** Rotation and codebooks. */
export const Q_PALETTE: Method = {
  name: "q-palette",
  title: "Q-Palette: rotated rows, codebooks for normal numbers, one or two weights an entry",
  storage: "L/v + 16/in + 1/out + 16v·2^L/(in·out), 2^L entries of v weights; two neighbouring L share the columns",
  source: "arXiv 2509.20214",
  needs: { hessian: true },
  weakColumns: false,
  // dim: weights of an entry; lutBits: L; split: columns that have L bits an entry, the rest has L + 1.
  defaults: { dim: 0, lutBits: 0, split: -1, feedback: true, damp: 0.01 },
  choices: { dim: [0, 1, 2] },
  stored: (shape, o) => plannedBits([planRotated(plan(shape, o))], shape.rows * shape.cols),
  *candidates(shape, o, target) {
    const found: (Setting & { readonly lost: number })[] = [], { cols } = shape;
    for (const dim of Number(o.dim) > 0 ? [Number(o.dim)] : [2, 1]) {
      if (cols % dim !== 0) continue;
      const lost = GAUSSIAN_DISTORTION[dim], least = dim; // at least one bit a weight
      for (let lutBits = least; lutBits < lost.length - 1; lutBits++) {
        if (Number(o.lutBits) > 0 && lutBits !== Number(o.lutBits)) continue;
        for (const split of Number(o.split) >= 0 ? [Number(o.split)] : splits(shape, o, dim, lutBits, target)) {
          const share = split / cols, error = share * lost[lutBits] + (1 - share) * lost[lutBits + 1];
          const bits = Math.max(1, Math.min(8, Math.round((lutBits + 1 - share) / dim)));
          found.push({ bits, options: { ...o, dim, lutBits, split }, lost: error });
        }
      }
    }
    for (const { bits, options } of found.sort((a, b) => a.lost - b.lost)) yield { bits, options };
  },
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const { weight } = problem, rotated = plan(weight, o), { dim, lutBits, split } = rotated, { rows, cols } = weight;
    const stream = rng(problem.seed, `signs of ${problem.name}`),
      signs = Int8Array.from({ length: cols }, () => stream.int(2) * 2 - 1);
    const low = split > 0 ? storedBook(dim, lutBits) : null, high = split < cols ? storedBook(dim, lutBits + 1) : null;
    const hessian = required(problem, "hessian");
    const found = qPalette(weight, {
      signs,
      books: [...(low ? [{ from: 0, book: low }] : []), ...(high ? [{ from: split, book: high }] : [])],
      hessian: o.feedback === true ? hessian : null,
      damp: Number(o.damp),
      scaleBits: 16,
    });
    const vectors = cols / dim,
      first = split / dim,
      part = (from: number, to: number) =>
        Int32Array.from({ length: rows * (to - from) }, (_, i) => {
          const r = Math.floor(i / (to - from));
          return found.codes[r * vectors + from + i % (to - from)];
        });
    const store = rotatedStore(rotated, {
      signs: signs.map((s) => s > 0 ? 1 : 0),
      scale: found.scale,
      ...(low ? { low_codes: part(0, first), low_entries: low.entries } : {}),
      ...(high ? { high_codes: part(first, vectors), high_entries: high.entries } : {}),
    });
    return storedLayer(problem, "q-palette", bits, [store], context);
  },
};

/** Splits worth trying for a pair of books: all columns on one of them, and the split that meets the target. */
function splits(shape: LinearShape, o: Options, dim: number, lutBits: number, target: number): number[] {
  const { rows, cols } = shape,
    at = (split: number) =>
      plannedBits([planRotated(plan(shape, { ...o, dim, lutBits, split }))], rows * cols).perWeight;
  let from = dim, to = cols - dim; // the least split with both books that stores no more than the target
  if (from > to) return [cols, 0];
  while (from < to) {
    const middle = dim * Math.floor((from + to) / 2 / dim);
    if (at(middle) <= target + 1e-9) to = middle;
    else from = middle + dim;
  }
  return [cols, 0, from];
}
