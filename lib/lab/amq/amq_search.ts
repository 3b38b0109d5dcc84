// AMQ's search: a first sample, then rounds in which a predictor fitted to all evaluations is searched by NSGA-II, and of what it
// finds those are evaluated that spread the front evenly over average bits.
import { LabError } from "../../io/errors.ts";
import { rng } from "../../io/rng.ts";
import { averageBits, bitBounds, freeColumns, type MixedSpace } from "../../quant/mixed_bits.ts";
import type { Entry } from "./archive.ts";
import { fitNetwork } from "./network.ts";
import { nsga2 } from "./nsga2.ts";
import { frontRanks } from "./pareto.ts";
import { fitSurface } from "./rbf.ts";
import type { Proposal, Strategy } from "./rounds.ts";
import { boundViolations } from "./search_problem.ts";
import { checkReachable, choiceText, textChoice, uniformChoice } from "./space.ts";
import { chooseSpread } from "./spread.ts";

/** How much is evaluated, and how the predictor is searched. */
export interface SearchSettings {
  /** Evaluations before the first prediction: the uniform configurations and random ones. */
  readonly initial: number;
  readonly rounds: number;
  /** Evaluations a round. */
  readonly candidates: number;
  readonly predictor: "rbf" | "mlp";
  /** Fit the predictor to ln JSD, which spans less than JSD does: ours; AMQ's code fits JSD itself. */
  readonly logarithm: boolean;
  readonly population: number;
  readonly generations: number;
  readonly crossover: number;
  readonly mutation: number;
  /** Only configurations with average bits between these; 0: between the uniform ones. */
  readonly least: number;
  readonly most: number;
  readonly seed: number;
}

/** AMQ's own numbers for a model of 7B weights; `initial`, `rounds` and `candidates` are scaled down elsewhere. */
export const AMQ_SETTINGS: SearchSettings = {
  initial: 250,
  rounds: 200,
  candidates: 50,
  predictor: "rbf",
  logarithm: false,
  population: 200,
  generations: 20,
  crossover: 0.9,
  mutation: 0.1,
  least: 0,
  most: 0,
  seed: 0,
};

/** A divergence beyond this counts as this for the predictor, as in AMQ's code; the Jensen–Shannon one stays below 0.7. */
const CLIPPED = 1;

/**
 * The search as a strategy. Deterministic: a round's proposals depend on the settings and on earlier rounds' entries.
 *
 * @param space with the pinned linears. @param s settings.
 * @throws LabError "input" for fewer initial evaluations than a linear tail takes (free linears + 1), or bounds that no
 * configuration can reach.
 * Source: dlwns147/amq@1909fec, search/search.py, as research/papers.md 2.1 describes it.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { AMQ_SETTINGS, amqSearch } from "./amq_search.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 3, bits: [2, 3, 4], groupSize: 64, pinned: ["1.q"] };
 * const search = amqSearch(space, { ...AMQ_SETTINGS, initial: 5 }), first = search.propose([], 0).map((p) => p.point);
 * assert.deepEqual(first.slice(0, 3), ["242", "343", "444"]); // uniform but for the pinned one
 * assert(first.every((p) => p[1] === "4") && first.length === 5);
 * ```
 */
export function amqSearch(space: MixedSpace, s: SearchSettings): Strategy {
  const free = freeColumns(space), bounds = searchBounds(space, s), top = space.bits.length - 1;
  if (s.initial < free.length + 2) {
    const problem = `${s.initial} initial evaluations for ${free.length} linears`;
    throw new LabError("input", "a search", problem, `A predictor takes ${free.length + 2} or more.`);
  }
  const pins = uniformChoice(space, 0); // 0, or the top where pinned
  const lower = pins, upper = pins.map(() => top);
  const propose = (before: readonly Entry[], round: number): Proposal[] => {
    const random = rng(s.seed, `amq round ${round}`);
    if (round === 0) return initialPoints(space, s, bounds).map((point) => ({ point }));
    if (round > s.rounds) return [];
    const choices = before.map((e) => textChoice(space, e.point)), known = new Set(before.map((e) => e.point));
    const inputs = choices.map((c) => free.map((j) => c[j])), values = before.map((e) => Math.min(CLIPPED, e.jsd));
    const [scaled, unscaled] = s.logarithm ? [values.map(logOf), Math.exp] : [values, (v: number) => v];
    const surface = s.predictor === "rbf"
      ? fitSurface(inputs, scaled, { lower: 0, upper: top })
      : fitNetwork(inputs, scaled, { upper: top, seed: random.uint32() });
    const predict = (c: readonly number[]) => surface.predict(free.map((j) => c[j]));
    const rank = frontRanks(before.map((e, i) => [values[i], e.bits]));
    const front = before.flatMap((e, i) => rank[i] === 0 ? [{ bits: e.bits, choice: choices[i] }] : []);
    const problem = {
      lower,
      upper,
      objectives: (c: readonly number[]) => [predict(c), averageBits(space, c)],
      violations: (c: readonly number[]) => boundViolations(averageBits(space, c), bounds),
    };
    const found = nsga2(problem, { ...s, start: front.map((f) => f.choice), seed: random.uint32() })
      .filter((i) => i.violation === 0)
      .map((i) => ({ point: choiceText(space, i.point), predicted: unscaled(i.objectives[0]), bits: i.objectives[1] }))
      .filter((i) => !known.has(i.point));
    const bits = found.map((i) => i.bits), chosen = { count: s.candidates, seed: random.uint32() };
    return chooseSpread(bits, front.map((f) => f.bits), chosen)
      .map((i) => ({ point: found[i].point, predicted: found[i].predicted }));
  };
  return { name: "amq", total: s.initial + s.rounds * s.candidates, propose };
}

/** ln, finite for a configuration that is the float model itself. */
function logOf(jsd: number): number {
  return Math.log(Math.max(jsd, 1e-12));
}

/** Bounds of average bits that a search keeps to. @throws LabError "input" where no configuration lies between. */
export function searchBounds(
  space: MixedSpace,
  s: Pick<SearchSettings, "least" | "most">,
): { least: number; most: number } {
  const all = bitBounds(space), least = s.least || all.least, most = s.most || all.most;
  if (s.most) checkReachable(space, Math.min(most, all.most));
  if (s.least) checkReachable(space, Math.max(least, all.least));
  if (!(least < most)) {
    throw new LabError("input", "a search", `average bits from ${least} to ${most}`, "Give the lower bound first.");
  }
  return { least, most };
}

/** The uniform configurations (pinned linears at the top) that lie within the bounds, then random ones. */
function initialPoints(space: MixedSpace, s: SearchSettings, bounds: { least: number; most: number }): string[] {
  const uniform = space.bits.map((_, at) => uniformChoice(space, at))
    .filter((c) => boundViolations(averageBits(space, c), bounds).every((v) => v <= 1e-12));
  return randomPoints(space, {
    count: s.initial,
    seed: s.seed,
    bounds,
    first: uniform.map((c) => choiceText(space, c)),
  });
}

/** Draws for one point before it is given up. */
const ATTEMPTS = 200;

/**
 * Random configurations, each with chances of its own for the bits: first the chances are drawn, then each free linear's bits.
 *
 * @param o how many, those that come first, and bounds of average bits. @returns no point twice.
 * @throws LabError "input" where the bounds are so narrow that draw after draw misses them.
 * Source: the first sample of dlwns147/amq.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { randomPoints } from "./amq_search.ts";
 * const space = { linears: [{ name: "q", rows: 4, cols: 64 }], blocks: 3, bits: [2, 3, 4], groupSize: 64, pinned: ["1.q"] };
 * const points = randomPoints(space, { count: 4, seed: 1, bounds: { least: 3, most: 4 } });
 * assert.equal(new Set(points).size, 4);
 * ```
 */
export function randomPoints(
  space: MixedSpace,
  o: { count: number; seed: number; bounds: { least: number; most: number }; first?: readonly string[] },
): string[] {
  const random = rng(o.seed, "amq first sample"), free = freeColumns(space), points = new Set(o.first ?? []);
  const draw = () => {
    const weights = space.bits.map(() => random.float()), sum = weights.reduce((a, b) => a + b, 0);
    const choice = uniformChoice(space, 0);
    for (const j of free) {
      let left = random.float() * sum, at = 0;
      while (at < weights.length - 1 && (left -= weights[at]) > 0) at++;
      choice[j] = at;
    }
    return choice;
  };
  for (let tries = 0; points.size < o.count; tries++) {
    if (tries > o.count * ATTEMPTS) {
      const problem =
        `only ${points.size} of ${o.count} random configurations have ${o.bounds.least} to ${o.bounds.most} bits`;
      throw new LabError("input", "a search", problem, "Widen the bounds, or ask for fewer.");
    }
    const choice = draw();
    if (boundViolations(averageBits(space, choice), o.bounds).some((v) => v > 1e-12)) continue;
    points.add(choiceText(space, choice));
  }
  return [...points].slice(0, Math.max(o.count, o.first?.length ?? 0));
}
