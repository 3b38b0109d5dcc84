// PTQTP. Without data: every group of a row as a sum of two scaled ternary vectors, scales by ridge regression and trits by
// trying all pairs, in turn. Two planes are about 3.4 bits, whatever the "1.58" of the title says.
//   ŵ = Σ_k α_k t_k,  t ∈ {−1, 0, 1};  α = (TᵀT + λI)⁻¹ Tᵀw,  then the best trits for each weight
// Stored a weight: K (8/5 + 16/g), K planes, five trits a byte.
// Source: PTQTP, arXiv 2509.16989; rules as in matteo-grella/fucina 4b636db (the authors have no public code).
// Ours: the last plane covers as many groups of columns as the target leaves room for, those that it helps most, so that
// one plane and a bit, or three, are possible; the bound that ends a group counts in units of its own size.
import { plannedBits } from "../quant/budget.ts";
import { packTrits, PTQTP_DEFAULTS, type TritGroup, tritGroup, tritMatrix } from "../quant/ptqtp.ts";
import { planTrits, tritsStore } from "../quant/stores/trits.ts";
import type { Matrix } from "../io/tensor.ts";
import type { StorePlan } from "../quant/store.ts";
import { groupSizes, wanted } from "./fit.ts";
import type { LinearShape, Method, Options, Setting } from "./method.ts";
import { storedLayer } from "./stored_layer.ts";

/** Planes that cover everything, and groups of columns that have one more. */
function coverage(cols: number, o: Options): { size: number; groups: number; whole: number; extra: number } {
  const size = Number(o.groupSize) || cols, groups = Math.ceil(cols / size), planes = Number(o.planes);
  const whole = Math.floor(planes), extra = Math.floor((planes - whole) * Math.floor(cols / size) + 1e-6);
  return { size, groups, whole, extra };
}

function plan({ rows, cols }: LinearShape, o: Options): StorePlan[] {
  const { size, groups, whole, extra } = coverage(cols, o);
  return Array.from(
    { length: whole + (extra > 0 ? 1 : 0) },
    (_, k) => planTrits(rows, cols, size, k < whole ? groups : extra),
  );
}

/** All groups with so many planes, packed, and each group's squared error. */
function solve(w: Matrix, size: number, planes: number, o: Options): { groups: TritGroup[]; errors: Float64Array } {
  const errors: number[] = [];
  const { groups } = tritMatrix(w, size, (g) => {
    // Scaled to a size near 1, so that epsilon and ridge mean the same in all layers.
    const norm = Math.sqrt(g.reduce((s, v) => s + v * v, 0) / g.length) || 1, unit = g.map((v) => v / norm);
    const options = { ...PTQTP_DEFAULTS, planes, rounds: Number(o.rounds), epsilon: Number(o.epsilon) };
    const free = tritGroup(unit, options), packed = packTrits(g, { ...free, scale: free.scale.map((v) => v * norm) });
    let error = 0;
    for (let j = 0; j < g.length; j++) {
      error += (packed.scale.reduce((v, s, k) => v + s * packed.trits[k][j], 0) - g[j]) ** 2;
    }
    errors.push(error);
    return packed;
  });
  return { groups, errors: Float64Array.from(errors) };
}

/** Post-training quantization to trit planes. */
export const PTQTP: Method = {
  name: "ptqtp",
  title: "PTQTP: sums of scaled ternary planes, no data",
  storage: "K(8/5 + 16/g), K planes of trits, five a byte, g columns a group",
  source: "arXiv 2509.16989",
  needs: { hessian: false },
  weakColumns: false,
  // planes: 1 to 3, of which the part after the point covers that share of the groups.
  defaults: { planes: 0, groupSize: 0, rounds: PTQTP_DEFAULTS.rounds, epsilon: PTQTP_DEFAULTS.epsilon },
  choices: {},
  stored: (shape, o) => plannedBits(plan(shape, o), shape.rows * shape.cols),
  *candidates(shape, o, target) {
    const { cols } = shape, sizes = groupSizes(cols), whole = sizes.filter((g) => cols % g === 0);
    const setting = (groupSize: number, planes: number) => ({
      bits: Math.max(2, Math.round(1.6 * planes)),
      options: { ...o, groupSize, planes },
    });
    // More than three planes hardly help: what is left goes into smaller groups.
    for (const g of wanted(o, "groupSize", sizes)) for (const k of wanted(o, "planes", [3])) yield setting(g, k);
    // A plane more does more than smaller groups: as much of the last plane as fits, in whatever groups allow the most.
    const found: Setting[] = [], usual = whole.filter((g) => g >= 16 && g <= 128);
    for (const g of wanted(o, "groupSize", usual.length > 0 ? usual : sizes.filter((s) => s <= 128))) {
      const steps = Math.floor(cols / (g || cols)), most = Math.ceil(target / (1.6 + 16 / (g || cols)) * steps) + 1;
      for (let n = Math.min(3 * steps - 1, most); n >= steps; n--) {
        for (const k of wanted(o, "planes", [n / steps])) found.push(setting(g, k));
      }
    }
    yield* found.sort((a, b) => Number(b.options.planes) - Number(a.options.planes));
    for (const g of wanted(o, "groupSize", sizes.filter((s) => s > 128))) {
      for (const k of wanted(o, "planes", [1])) yield setting(g, k);
    }
  },
  quantizeLayer: (problem, o, bits, _weak, context) => {
    const { weight } = problem, { rows, cols } = weight, { size, groups, whole, extra } = coverage(cols, o);
    const fewer = whole > 0 ? solve(weight, size, whole, o) : null;
    const more = extra > 0 ? solve(weight, size, whole + 1, o) : null;
    const gain = Float64Array.from({ length: groups }, (_, g) => {
      let sum = 0;
      for (let r = 0; more && r < rows; r++) {
        sum += (fewer?.errors[r * groups + g] ?? Infinity) - more.errors[r * groups + g];
      }
      return (g + 1) * size > cols ? -Infinity : sum; // a short last group stays out of the last plane
    });
    const chosen = Int32Array.from(gain.keys()).sort((a, b) => gain[b] - gain[a]).slice(0, extra).sort();
    const has = new Set(chosen),
      groupAt = (r: number, g: number) => (has.has(g) ? more : fewer)!.groups[r * groups + g];
    const stores = plan(weight, o).map((spec, k) => {
      const covered = k < whole ? Int32Array.from({ length: groups }, (_, g) => g) : chosen;
      const trits: number[] = [], scale: number[] = [];
      for (let r = 0; r < rows; r++) {
        for (const g of covered) {
          const found = groupAt(r, g);
          scale.push(found.scale[k]);
          for (const t of found.trits[k]) trits.push(t + 1);
        }
      }
      return tritsStore(spec, { trits, scale, groups: chosen });
    });
    return storedLayer(problem, "ptqtp", bits, stores, context);
  },
};
