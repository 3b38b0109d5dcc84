// The parts of AMQ's search that draw no random number: pymoo's sorting and survival, the bounds, the choice of a spread set.
import { averageBits, bitBounds } from "../../quant/mixed_bits.ts";
import { gapSpread, hypervolume, sortCandidates, survivors } from "../amq/pareto.ts";
import { boundViolations } from "../amq/search_problem.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";
import { amqChoices, amqSpace } from "./amq_bits.ts";

/** Bits and their bounds, ranks, crowding, survivors, hypervolume, spread of chosen sets. */
export const AMQ_NSGA_GOLDEN: GoldenFamily = { names: ["amq-nsga"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(), m = await golden.matrix("objectives");
  const all = Array.from({ length: m.rows }, (_, i) => Array.from(m.data.slice(i * m.cols, (i + 1) * m.cols)));
  const space = amqSpace(golden), bounds = bitBounds(space);
  const bits = amqChoices(golden, space).map((c) => averageBits(space, c));
  checks.close("average bits", bits, all.map((f) => f[1]), 1e-5);
  const violations = bits.flatMap((b) => boundViolations(b, bounds));
  checks.close("constraints", violations, await golden.floats("constraints"), 1e-5);
  const sorting = sortCandidates(all), front = sorting.rank.flatMap((r, i) => r === 0 ? [i] : []);
  checks.share("ranks", sorting.rank, golden.ints("rank"));
  checks.share("first front", front, golden.ints("front"));
  const far = sorting.crowding.map((d) => d === Infinity ? -1 : d);
  checks.close("crowding", far, await golden.floats("crowding"), 1e-5);
  if (golden.has("survivors")) {
    checks.share("survivors", survivors(all, golden.number("n_survive")), golden.ints("survivors"));
  }
  const reference = [0, 1].map((j) => 1.01 * Math.max(...all.map((f) => f[j])));
  const area = hypervolume(all, reference);
  checks.close("reference point", reference, await golden.floats("reference_point"), 1e-5);
  checks.close("hypervolume", [area], await golden.floats("hypervolume"), 1e-5);
  const share = area / (reference[0] * reference[1]);
  checks.close("its share of the box", [share], await golden.floats("hypervolume_normalized"), 1e-5);
  if (golden.has("subset_mask")) {
    const mask = golden.ints("subset_mask"), n = all.length, wanted = golden.number("K");
    const sets = Array.from({ length: mask.length / n }, (_, s) => all.flatMap((_, i) => mask[s * n + i] ? [i] : []));
    const spreads = sets.map((set) => gapSpread([...front, ...set].map((i) => all[i][1])));
    checks.close("spread of chosen sets", spreads, await golden.floats("subset_objective"), 1e-5);
    const misses = sets.map((set) => (wanted - set.length) ** 2);
    checks.close("their sizes", misses, await golden.floats("subset_constraint"), 1e-5);
  }
  return checks.list;
}
