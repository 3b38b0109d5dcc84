// The pictures, tables and sentences of the notebook on AMQ, and the numbers that it records.
import { choiceColumns, type MixedSpace } from "../../quant/mixed_bits.ts";
import { type Figure, lineFigure, scatterFigure } from "../figure.ts";
import { formatNumber, formatSeconds } from "../format.ts";
import { exact, type RecordedNumber, relative, timing } from "../record.ts";
import { type Table, table } from "../table.ts";
import type { AmqStudy, FinishedSearch } from "./amq_study.ts";
import type { Entry } from "./archive.ts";
import { uniformEntries } from "./baselines.ts";
import { kendall, spearman } from "./correlation.ts";
import { type FinishedModel, proxyFidelity } from "./models.ts";
import { hypervolume } from "./pareto.ts";
import { frontEntries, roundLog } from "./round_log.ts";
import type { Scan } from "./scan.ts";
import { textPlan } from "./space.ts";

/** The last word of a linear's name, "q_proj" of "self_attn.q_proj". */
const kindOf = (name: string) => name.split(".").at(-1) ?? name;

/** A value for each kind of linear by block, as curves. */
function byKind(space: MixedSpace, value: (name: string) => number) {
  const blocks = Array.from({ length: space.blocks }, (_, b) => b);
  return space.linears.map((l) => ({ name: kindOf(l.name), x: blocks, y: blocks.map((b) => value(`${b}.${l.name}`)) }));
}

/** Divergence with one linear at the least bits over the median, by depth and kind; pinned ones lie above the line. */
export function sensitivityFigure(space: MixedSpace, scan: Scan): Figure {
  const ratio = new Map(scan.linears.map((l) => [l.name, l.ratio]));
  const [least, most] = [space.bits[0], space.bits[space.bits.length - 1]];
  return lineFigure({
    title: `One linear at ${least} bits, all others at ${most}`,
    x: { name: "block" },
    y: { name: "divergence over the median", log: true },
    caption: `The dotted line is the threshold: linears above it keep ${most} bits in every configuration.`,
    guides: [{ axis: "y", at: scan.threshold, label: "pinned" }],
  }, byKind(space, (name) => ratio.get(name) ?? NaN));
}

/** Which kinds stand out, and whether both definitions of divergence say so. */
export function sensitivitySentence(scan: Scan): string {
  const jsd = scan.linears.map((l) => l.jsd), sorted = [...scan.linears].sort((a, b) => b.ratio - a.ratio);
  const rho = spearman(jsd, scan.linears.map((l) => l.old));
  const pinned = scan.pinned.length === 0 ? "None is pinned" : `Pinned are ${scan.pinned.join(", ")}`;
  return `${pinned}: ${scan.pinned.length} of ${scan.linears.length} linears lie above ${scan.threshold} medians. ` +
    `The first is ${sorted[0].name} with ${formatNumber(sorted[0].ratio)} medians, the last ${
      sorted.at(-1)!.name
    } with ` +
    `${formatNumber(sorted.at(-1)!.ratio)}; with all linears at the most bits the divergence is ` +
    `${
      formatNumber(scan.baseline.jsd / scan.median)
    } medians already. The older definition orders the linears alike: ` +
    `Spearman's ρ = ${rho.toFixed(3)}.`;
}

/** Linears that matter most and least, both definitions. */
export function sensitivityTable(scan: Scan, count = 6): Table {
  const sorted = [...scan.linears].sort((a, b) => b.jsd - a.jsd);
  const kept = sorted.length <= 2 * count ? sorted : [...sorted.slice(0, count), ...sorted.slice(-count)];
  const rows = kept.map((l) => [l.name, l.jsd, l.old, l.ratio, l.pinned]);
  const caption = kept.length < sorted.length ? `The first and the last ${count} of ${sorted.length}.` : "";
  return table(["linear", "divergence (nat)", "older form (nat)", "over the median", "pinned"], rows, caption);
}

const AXES = {
  x: { name: "average bits a weight, scales included" },
  y: { name: "divergence", unit: "nat", log: true },
};

const curve = (name: string, entries: readonly Entry[], style?: number) => ({
  name,
  x: entries.map((e) => e.bits),
  y: entries.map((e) => e.jsd),
  labels: entries.map((e) => e.point),
  ...(style === undefined ? {} : { style }),
});

/** The front after some rounds. */
export function growthFigure(search: FinishedSearch): Figure {
  const last = Math.max(...search.entries.map((e) => e.round)), rounds = [...new Set([0, Math.ceil(last / 4), last])];
  return lineFigure(
    {
      ...AXES,
      title: "The front grows",
      caption:
        "A point is on the front where no other evaluated configuration is better in both. Lower left is better.",
    },
    rounds.map((r, i) => {
      const until = search.entries.filter((e) => e.round <= r);
      return curve(
        `${r === 0 ? "first sample" : `round ${r}`}, ${until.length} evaluations`,
        frontEntries(until),
        [7, 6, 1][i],
      );
    }),
  );
}

const WAYS = { amq: "AMQ", random: "random", greedy: "greedy", "one-shot": "one shot" } as const;

/** How a search calls itself in figures. */
const labelOf = (s: FinishedSearch) => s.logarithm ? `${WAYS[s.way]} on logarithms` : WAYS[s.way];

/** Fronts of several searches beside the uniform configurations. */
export function frontsFigure(space: MixedSpace, searches: readonly FinishedSearch[], scan: Scan): Figure {
  const all = searches.flatMap((s) => s.entries), styles = { amq: 1, random: 7, greedy: 0, "one-shot": 2 };
  const most = space.bits[space.bits.length - 1];
  return lineFigure({
    ...AXES,
    title: "Bits by linear, and bits for all alike",
    caption: `The same divergence at fewer bits lies to the left. With all at ${most} bits: ` +
      `${formatNumber(scan.baseline.jsd)} nat. Between the uniform points there is no uniform configuration.`,
  }, [
    ...searches.map((s) =>
      curve(`${labelOf(s)}, ${s.entries.length} evaluations`, frontEntries(s.entries), s.logarithm ? 3 : styles[s.way])
    ),
    curve("uniform", uniformEntries(space, all), 4),
  ]);
}

/** Divergence of the best configuration of a search that takes at most so many bits; null where it has none. */
export function bestAt(entries: readonly Entry[], bits: number): number | null {
  const within = entries.filter((e) => e.bits <= bits + 1e-9).map((e) => e.jsd);
  return within.length === 0 ? null : Math.min(...within);
}

/** Averages that fronts are compared at: evenly between the least that all searches reach and the most. */
export function comparedAverages(searches: readonly FinishedSearch[], count = 5): number[] {
  const least = Math.max(...searches.map((s) => Math.min(...s.entries.map((e) => e.bits))));
  const most = Math.min(...searches.map((s) => Math.max(...s.entries.map((e) => e.bits))));
  return Array.from({ length: count }, (_, i) => least + (most - least) * i / (count - 1));
}

/** Area between the averages that all searches reach, below one divergence: larger is better. */
export function searchAreas(searches: readonly FinishedSearch[]): number[] {
  const averages = comparedAverages(searches, 2),
    worst = Math.max(...searches.map((s) => bestAt(s.entries, averages[0])!));
  // Whatever lies left of the common range counts from its left end on.
  const clipped = (e: Entry) => [e.jsd, Math.max(e.bits, averages[0])];
  return searches.map((s) => hypervolume(s.entries.map(clipped), [1.01 * worst, averages[1]]));
}

/** Best divergence within some averages, by search. */
export function frontsTable(searches: readonly FinishedSearch[]): Table {
  const averages = comparedAverages(searches), areas = searchAreas(searches);
  const columns = averages.map((b) => `at most ${b.toFixed(2)} bits`);
  return table(
    ["search", "evaluations", ...columns, "area"],
    searches.map((s, i) => [labelOf(s), s.entries.length, ...averages.map((b) => bestAt(s.entries, b)), areas[i]]),
    "Least divergence (nat) of what each search evaluated; area: what its front dominates between those averages.",
  );
}

/** Who wins where. */
export function frontsSentence(searches: readonly FinishedSearch[]): string {
  const averages = comparedAverages(searches).slice(0, -1), [first, ...others] = searches;
  return others.map((o) => {
    const wins = averages.filter((b) => bestAt(first.entries, b)! < bestAt(o.entries, b)!).length;
    const ratio = averages.map((b) => bestAt(o.entries, b)! / bestAt(first.entries, b)!);
    const [low, high] = [Math.min(...ratio), Math.max(...ratio)].map((r) => formatNumber(r));
    return `${labelOf(o)} has ${low} to ${high} times the divergence of ${labelOf(first)}, which is better at ` +
      `${wins} of ${averages.length} averages`;
  }).join("; ").replace(/^./, (c) => c.toUpperCase()) + ".";
}

/** The predictor, round by round. */
export function roundTable(search: FinishedSearch): Table {
  const rows = roundLog(search.entries)
    .map((r) => [r.round, r.evaluations, r.front, r.hypervolume, r.rmse, r.spearman, r.kendall]);
  return table(
    ["round", "evaluations", "on the front", "hypervolume", "error of predictions (nat)", "Spearman", "Kendall"],
    rows,
    "Predictions are those of a round's candidates, made before they were evaluated.",
  );
}

/** Mean bits of each linear over the front. */
export function keptBits(space: MixedSpace, entries: readonly Entry[]): Map<string, number> {
  const front = frontEntries(entries), plans = front.map((e) => textPlan(space, e.point));
  return new Map(
    choiceColumns(space).map((name) => [
      name,
      plans.reduce((sum, plan) => sum + (plan.get(name) ?? NaN), 0) / plans.length,
    ]),
  );
}

/** Which linears keep their bits, by depth and kind. */
export function keptFigure(space: MixedSpace, search: FinishedSearch): Figure {
  const kept = keptBits(space, search.entries);
  return lineFigure({
    title: "Which linears keep their bits",
    x: { name: "block" },
    y: { name: "bits, mean over the front" },
    caption: `Mean over the ${frontEntries(search.entries).length} configurations of the front.`,
  }, byKind(space, (name) => kept.get(name) ?? NaN));
}

/** Whether the search kept what the scan found sensitive. */
export function keptSentence(space: MixedSpace, scan: Scan, search: FinishedSearch): string {
  const kept = keptBits(space, search.entries), free = scan.linears.filter((l) => !l.pinned);
  const own = free.map((l) => kept.get(l.name) ?? 0), ratio = free.map((l) => l.ratio);
  const kinds = space.linears.map((l) => {
    const blocks = Array.from({ length: space.blocks }, (_, b) => kept.get(`${b}.${l.name}`) ?? 0);
    return { name: kindOf(l.name), mean: blocks.reduce((a, v) => a + v, 0) / blocks.length };
  }).sort((a, b) => b.mean - a.mean);
  return `By kind, from the most bits to the least: ${
    kinds.map((k) => `${k.name} ${k.mean.toFixed(2)}`).join(", ")
  }. ` +
    `Over the linears that were free, sensitivity in the scan and bits on the front agree with Spearman's ρ = ` +
    `${spearman(ratio, own).toFixed(2)}, Kendall's τ = ${
      kendall(ratio, own).toFixed(2)
    }. The sizes of the linears count too: a ` +
    `large one saves more.`;
}

/** Perplexity of final models over stored bits. */
export function finalFigure(models: readonly FinishedModel[]): Figure {
  const groups = new Map<string, FinishedModel[]>();
  for (const m of models) {
    const name = `${m.method.toUpperCase()} ${m.way === "search" ? "by linear" : "uniform"}`;
    groups.set(name, [...groups.get(name) ?? [], m]);
  }
  return lineFigure(
    {
      title: "Final models",
      x: { name: "stored bits a weight" },
      y: { name: "perplexity" },
      caption: "Everything stored is counted. Uniform: all linears held to the same stored bits.",
    },
    [...groups].map(([name, own]) => {
      const sorted = [...own].sort((a, b) => a.report.bits.stored - b.report.bits.stored);
      return { name, x: sorted.map((m) => m.report.bits.stored), y: sorted.map((m) => m.report.ppl.quantized ?? NaN) };
    }),
  );
}

/** What an evaluation costs beside a final model. */
export function costSentence(
  seconds: number,
  searches: readonly FinishedSearch[],
  models: readonly FinishedModel[],
): string {
  const evaluations = searches[0].entries.length, methods = [...new Set(models.map((m) => m.method))];
  const made = methods.map((method) => {
    const own = models.filter((m) => m.method === method).map((m) => m.report.seconds.quantizationWall);
    return { method, seconds: own.reduce((a, s) => a + s, 0) / own.length };
  });
  const times = made.map((m) =>
    `${m.method.toUpperCase()} ${formatSeconds(m.seconds)}, ${formatNumber(m.seconds / seconds)} times that`
  );
  return `An evaluation takes ${formatSeconds(seconds)} on this machine now, the search's ${evaluations} take ` +
    `${formatSeconds(evaluations * seconds)}. To quantize one configuration anew takes ${
      times.join("; ")
    }, and then its ` +
    `perplexity has still to be measured.`;
}

/** At how many targets bits by linear won, by method. */
export function finalSentence(models: readonly FinishedModel[]): string {
  const methods = [...new Set(models.map((m) => m.method))];
  return methods.map((method) => {
    const own = models.filter((m) => m.method === method), mixed = own.filter((m) => m.way === "search");
    const pairs = mixed.map((m) => [m, own.find((o) => o.way === "uniform" && o.target === m.target)!] as const);
    const gain = pairs.map(([a, b]) => (b.report.ppl.quantized ?? NaN) - (a.report.ppl.quantized ?? NaN));
    const won = gain.filter((g) => g > 0).length, said = gain.map((g) => g.toFixed(2)).join(", ");
    return `${method.toUpperCase()}: by linear is better at ${won} of ${gain.length} targets (perplexity lower by ${said})`;
  }).join("; ") + ".";
}

/** The proxy's divergence against final perplexity. */
export function fidelityFigure(models: readonly FinishedModel[]): Figure {
  const methods = [...new Set(models.map((m) => m.method))];
  return scatterFigure(
    {
      title: "Does the proxy judge as the final quantizer does?",
      x: { name: "divergence of the proxy", unit: "nat", log: true },
      y: { name: "perplexity of the final model" },
      caption: "Each point is a configuration. A faithful proxy gives a rising line.",
    },
    methods.map((method) => {
      const own = models.filter((m) => m.method === method && m.entry);
      const labels = own.map((m) => `${m.entry!.bits.toFixed(3)} bits`);
      return {
        name: method.toUpperCase(),
        x: own.map((m) => m.entry!.jsd),
        y: own.map((m) => m.report.ppl.quantized ?? NaN),
        labels,
      };
    }),
  );
}

/**
 * What the notebook leaves in its record. Another machine may differ in the last bit of a divergence and then propose another
 * candidate: what depends on the whole path of the search is recorded more loosely than what a scan or a copy gives.
 */
export function amqNumbers(
  study: Pick<AmqStudy, "scan" | "space">,
  searches: readonly FinishedSearch[],
  final: readonly FinishedModel[],
  fidelity: readonly FinishedModel[],
  seconds: number,
): Record<string, RecordedNumber> {
  const { scan, space } = study, areas = searchAreas(searches), averages = comparedAverages(searches);
  const numbers: Record<string, RecordedNumber> = {
    "seconds an evaluation": timing(seconds, "s"),
    "scan/median": relative(scan.median, 1e-2, "nat"),
    "scan/all at the most bits": relative(scan.baseline.jsd, 1e-2, "nat"),
    "scan/pinned": exact(scan.pinned.length),
    "scan/divergence by linear": relative(scan.linears.map((l) => l.jsd), 2e-2, "nat"),
    "scan/older form by linear": relative(scan.linears.map((l) => l.old), 2e-2, "nat"),
  };
  searches.forEach((s, i) => {
    const name = labelOf(s);
    numbers[`${name}/evaluations`] = relative(s.entries.length, 0.1);
    numbers[`${name}/area`] = relative(areas[i], 5e-2, "nat · bit");
    numbers[`${name}/best divergence`] = relative(averages.slice(1).map((b) => bestAt(s.entries, b)!), 0.15, "nat");
  });
  numbers["averages compared"] = relative(averages.slice(1), 1e-2, "bit");
  numbers["uniform/divergence"] = relative(
    uniformEntries(space, searches.flatMap((s) => s.entries)).map((e) => e.jsd),
    2e-2,
    "nat",
  );
  for (const m of final) {
    const name = `${m.method.toUpperCase()} ${m.way === "search" ? "by linear" : "uniform"} ${m.target}`;
    numbers[`${name}/perplexity`] = relative(m.report.ppl.quantized ?? NaN, 2e-2);
    numbers[`${name}/stored bits`] = relative(m.report.bits.stored, 2e-2, "bit");
  }
  for (const f of fidelity.length > 0 ? proxyFidelity(fidelity) : []) {
    numbers[`proxy/Spearman with ${f.method.toUpperCase()}`] = relative(f.spearman, 0.15);
    numbers[`proxy/Kendall with ${f.method.toUpperCase()}`] = relative(f.kendall, 0.25);
  }
  return numbers;
}

/** Where a study's numbers come from. */
export function amqProvenance(study: Pick<AmqStudy, "proxy" | "options">): Record<string, unknown> {
  const { fingerprint, settings } = study.proxy;
  return { modelSha256: fingerprint["model sha256"], ...fingerprint, proxy: settings, search: study.options.search };
}
