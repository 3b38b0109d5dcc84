import { join } from "node:path";
import { atomicWriteText } from "../../io/atomic.ts";
import { LabError } from "../../io/errors.ts";
import { openLanguageModel } from "../../model/language_model.ts";
import { bitBounds, type MixedSpace } from "../../quant/mixed_bits.ts";
import { entryOf, type RoundOptions, runRounds, type Strategy } from "../amq/rounds.ts";
import type { Archive } from "../amq/archive.ts";
import {
  fidelityModels,
  fidelityTable,
  type FinalModel,
  finalModels,
  finalTable,
  type FinishedModel,
  pickEntry,
  proxyFidelity,
  runFinal,
  TOLERANCE,
} from "../amq/models.ts";
import { openProxy, type Proxy, type ProxySettings, proxySettings } from "../amq/proxy.ts";
import { frontEntries, roundLine, roundLog } from "../amq/round_log.ts";
import { installRay, rayPython, runOnRay } from "../amq/ray.ts";
import { PIN_THRESHOLD, readScan, type Scan, scanSearch } from "../amq/scan.ts";
import { modelSpace, textPlan } from "../amq/space.ts";
import {
  askRound,
  keepProxy,
  keepSearch,
  needsScan,
  readProxy,
  readRound,
  SCAN,
  type SearchRecord,
  searchRecord,
  studyArchive,
  type Way,
  WAYS,
} from "../amq/study.ts";
import { type CommandInfo, type CommandInput, helpText, runCommand } from "../command.ts";
import { requireSame } from "../journal.ts";
import { resolveModel } from "../open.ts";
import { labPaths, shortPath } from "../paths.ts";
import { progress } from "../progress.ts";
import { recipeCommand } from "../recipe_command.ts";
import { readShard } from "../sweep.ts";
import { table, tableText } from "../table.ts";
import { device, DEVICES, number, RECIPE_OPTIONS } from "./owq_options.ts";

const OUT = { value: "DIR", help: "folder of the study; out/amq/MODEL by default" };
const JSON_OPTION = { help: "one JSON object on standard output, nothing else" };
const DRY = { help: "say what would be evaluated and how long it will take" };
const PROXY_OPTIONS = {
  model: RECIPE_OPTIONS.model,
  bits: { value: "LIST", help: "bits that a linear may have, such as 2,3,4 (default)" },
  group: { value: "G", help: "columns a scale and a zero point; the largest of 128, 64, 32 that fits by default" },
  text: { value: "TEXT", help: "text that predictions are compared on, as --calib elsewhere; moby-dick by default" },
  samples: { value: "N", help: "its windows; 8 by default" },
  "seq-len": { value: "L", help: "tokens a window; 256 by default, 128 for the embedded model" },
  seed: { value: "S", help: "seed of every random choice; 0 by default" },
  "local-copy": RECIPE_OPTIONS["local-copy"],
};
const THRESHOLD = { value: "T", help: "pin linears above T medians of the scan; 0: none; 2 by default" };

const MODEL_OPTIONS = {
  out: OUT,
  name: { value: "NAME", help: "the search; amq by default" },
  methods: { value: "LIST", help: "final quantizers; optq,awq,owq by default" },
  calib: RECIPE_OPTIONS.calib,
  "calib-samples": RECIPE_OPTIONS["calib-samples"],
  eval: RECIPE_OPTIONS.eval,
  "eval-samples": RECIPE_OPTIONS["eval-samples"],
  "seq-len": RECIPE_OPTIONS["seq-len"],
  "local-copy": RECIPE_OPTIONS["local-copy"],
  device: { value: DEVICES.join("|"), help: "where the kernels run; auto by default" },
};

const INFO: Readonly<Record<string, CommandInfo>> = {
  scan: {
    name: "deno task owq amq scan",
    summary: "How much each linear matters: all at the most bits, one at the least; divergence of the predictions.",
    options: { ...PROXY_OPTIONS, threshold: THRESHOLD, out: OUT, "dry-run": DRY, json: JSON_OPTION },
  },
  search: {
    name: "deno task owq amq search",
    summary:
      "Searches for the bits of each linear, for every average at once. Ctrl-C or worse loses nothing: run it again.",
    options: {
      ...PROXY_OPTIONS,
      way: { value: WAYS.join("|"), help: "how; amq by default, the others to compare with" },
      name: { value: "NAME", help: "of its files in DIR; the way by default" },
      initial: { value: "N", help: "evaluations before the first prediction; 60 by default" },
      rounds: { value: "N", help: "20 by default" },
      candidates: { value: "N", help: "evaluations a round; 8 by default" },
      predictor: { value: "rbf|mlp", help: "rbf by default" },
      least: { value: "B", help: "only averages of at least B bits, scales and zero points included" },
      most: { value: "B", help: "only averages of at most B bits" },
      stride: { value: "N", help: "greedy: how many places of --bits a step goes down; 1 by default" },
      threshold: THRESHOLD,
      out: OUT,
      begin: { help: "only note what is to be searched in DIR, for `owq amq ask` on this machine or others" },
      "dry-run": DRY,
      json: JSON_OPTION,
    },
  },
  ask: {
    name: "deno task owq amq ask",
    summary: "Takes in what `owq amq evaluate` left in DIR/lines and says what is to be evaluated next, in a file.",
    options: {
      out: OUT,
      name: {
        value: "NAME",
        help: "scan, or a search that was begun in DIR; amq by default",
      },
      json: JSON_OPTION,
    },
  },
  evaluate: {
    name: "deno task owq amq evaluate",
    summary:
      "Evaluates the points of a round, or one part of them: a line each. Lines of all parts, joined, are the round's.",
    positionals: "FILE",
    options: {
      shard: { value: "I/N", help: "only the I-th of N parts" },
      lines: { value: "FILE", help: "where lines go; beside FILE, in lines/, by default" },
      "local-copy": RECIPE_OPTIONS["local-copy"],
      json: JSON_OPTION,
    },
  },
  ray: {
    name: "deno task owq amq ray",
    summary: "Runs a study's scan and search on Ray: on a cluster, or on so many processes of this machine.",
    options: {
      out: OUT,
      name: { value: "NAME", help: "archive to fill, in this order; scan and amq by default", multiple: true },
      workers: { value: "N", help: "shards a round; 2 by default" },
      address: {
        value: "URL",
        help: "of a running cluster, such as ray://head:10001; a local one is started by default",
      },
      kit: { value: "DIR", help: "folder of the kit on the cluster's nodes; this one's by default" },
      install: { help: "first put Ray into an environment of its own, some 300 MB, in the lab's cache" },
    },
    more:
      "The search must have been begun: deno task owq amq search --out DIR --begin. What ends it costs at most a round.",
  },
  models: {
    name: "deno task owq amq models",
    summary: "Final models at chosen averages, beside uniform bits at as many stored bits.",
    options: {
      targets: {
        value: "LIST",
        help: "average bits, scales included; three between the least and the most by default",
      },
      ...MODEL_OPTIONS,
      tolerance: { value: "B", help: `how far an average may lie below its target; ${TOLERANCE} by default` },
      "dry-run": { help: "choose configurations and write them, quantize nothing" },
      json: JSON_OPTION,
    },
  },
  fidelity: {
    name: "deno task owq amq fidelity",
    summary:
      "Whether the proxy orders configurations as final quantizers do: Spearman's and Kendall's rank correlation.",
    options: {
      count: { value: "N", help: "configurations, evenly over average bits; 12 by default" },
      ...MODEL_OPTIONS,
      "dry-run": { help: "list the models" },
      json: JSON_OPTION,
    },
    more: "Of a search the first sample is taken, which is random; `owq amq search --way random` makes more of them.",
  },
};

const HELP = helpText({
  name: "deno task owq amq",
  summary: "AMQ: which linear gets how many bits, by a search that quantizes nothing anew.",
  positionals: Object.keys(INFO).join("|"),
  options: {},
  more: [
    "  scan       how much each linear matters",
    "  search     the scan where it is missing, then the search; resumes by itself",
    "  models     final models by OPTQ, AWQ, OWQ from what was found",
    "  fidelity   whether what the search is judged by orders configurations as final quantizers do",
    "  ask, evaluate   the same search by several processes or machines, by hand",
    "  ray        the same search on a Ray cluster",
    "",
    "Each has --help.",
  ].join("\n"),
});

const MAINS = { scan, search, ask, evaluate, ray, models, fidelity } as const;

/** `owq amq`. */
export async function main(args: readonly string[]): Promise<never> {
  const [command, ...rest] = args;
  if (command === undefined || command === "--help" || command === "-h") {
    console.log(HELP);
    Deno.exit(command === undefined ? 2 : 0);
  }
  const run = MAINS[command as keyof typeof MAINS];
  if (!run) {
    console.error(`deno task owq amq: there is no "${command}". It has ${Object.keys(MAINS).join(", ")}.`);
    Deno.exit(2);
  }
  return await runCommand(INFO[command], run, rest);
}

function folder(input: CommandInput): string {
  const model = (input.text("model") ?? "fixture").replace(/^.*[/\\](?=[^/\\])/, "").replace(/[^\w.-]+/g, "-");
  return input.text("out") ?? join(labPaths().out, "amq", model);
}

/** What was asked for over what the folder has: options may be left out when a study goes on. */
async function settingsOf(input: CommandInput, out: string): Promise<ProxySettings> {
  const before = (await readProxy(out))?.settings, model = input.text("model") ?? before?.model ?? "fixture";
  const base = before ?? proxySettings(model), list = input.text("bits");
  return {
    model,
    text: {
      text: input.text("text") ?? base.text.text,
      samples: number(input, "samples") ?? base.text.samples,
      seqLen: number(input, "seq-len") ?? base.text.seqLen,
    },
    bits: list === undefined ? base.bits : numbers("--bits", list),
    groupSize: number(input, "group") ?? base.groupSize,
    seed: number(input, "seed") ?? base.seed,
  };
}

function numbers(name: string, list: string): number[] {
  return list.split(/[,\s]+/).filter(Boolean).map((word) => {
    const value = Number(word);
    if (!Number.isFinite(value)) throw new LabError("input", name, `"${word}" is not a number`, "Such as 2,3,4.");
    return value;
  });
}

function wayOf(input: CommandInput): Way {
  const text = input.text("way") ?? "amq", way = WAYS.find((w) => w === text);
  if (!way) throw new LabError("input", "--way", `"${text}"`, `It takes ${WAYS.join(", ")}.`);
  return way;
}

/** The search that was asked for; null where nothing was said of it and the folder has one by that name. */
function recordOf(input: CommandInput): SearchRecord {
  const predictor = input.text("predictor") ?? "rbf";
  if (predictor !== "rbf" && predictor !== "mlp") {
    throw new LabError("input", "--predictor", `"${predictor}"`, "It takes rbf or mlp.");
  }
  const given = Object.fromEntries(
    ["initial", "rounds", "candidates", "least", "most", "seed", "threshold", "stride"].flatMap((name) => {
      const value = number(input, name);
      if (value === undefined) return [];
      if (!(value >= 0)) throw new LabError("input", `--${name}`, `${value} is below 0`);
      return [[name, value]];
    }),
  );
  return searchRecord(wayOf(input), { predictor, ...given });
}

function opened(settings: ProxySettings, input: CommandInput): Promise<Proxy> {
  const bar = progress("opening", { total: 0, unit: "blocks" }), localCopy = input.text("local-copy");
  return openProxy(settings, { onProgress: bar.onProgress, ...(localCopy === undefined ? {} : { localCopy }) });
}

/** Runs a strategy to its end under a progress display; what other processes evaluated is taken in first. */
async function run(out: string, name: string, proxy: Proxy, o: RoundOptions): Promise<Archive> {
  const { archive, strategy } = await askRound(out, name, proxy.space);
  await Deno.remove(join(out, `${name}.next.json`)).catch(() => {});
  const bar = progress(name, { total: strategy.total, unit: "evaluations" }), stop = new AbortController();
  const interrupt = () => {
    if (stop.signal.aborted) Deno.exit(130);
    stop.abort();
    console.error("\nstopping after this evaluation (Ctrl-C again: at once)");
  };
  const before = archive.entries.length, shown = { ...progressOver(before, strategy.total), what: name };
  Deno.addSignalListener("SIGINT", interrupt);
  try {
    await runRounds(strategy, archive, (p) => proxy.evaluate(p), {
      ...o,
      signal: stop.signal,
      onEntry: (e, count) => {
        bar.onProgress({ ...shown, done: count - before });
        o.onEntry?.(e, count);
      },
    });
    await bar.finish(`${archive.entries.length} evaluations, ${archive.entries.length - before} of them now`);
    return archive;
  } catch (e) {
    await bar.finish("stopped");
    if (!stop.signal.aborted) throw e;
    console.error(`Stopped with ${archive.entries.length} evaluations. Go on with the same command.`);
    Deno.exit(130);
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
  }
}

/** Only what is done now counts, or the time left would be too short. */
function progressOver(before: number, total: number) {
  return { total: Math.max(1, total - before), unit: "evaluations" };
}

async function scanned(out: string, proxy: Proxy, threshold: number): Promise<Scan> {
  return readScan(proxy.space, (await run(out, SCAN, proxy, {})).entries, threshold || Infinity);
}

async function scan(input: CommandInput): Promise<void> {
  const out = folder(input), settings = await settingsOf(input, out), json = input.on("json");
  const threshold = number(input, "threshold") ?? PIN_THRESHOLD;
  if (input.on("dry-run")) return await dryRun(settings, (space) => [scanSearch(space)], json);
  const proxy = await opened(settings, input);
  await keepProxy(out, settings, proxy.fingerprint);
  const found = await scanned(out, proxy, threshold), file = join(out, "scan.json");
  await atomicWriteText(file, `${JSON.stringify(found, null, 1)}\n`);
  if (json) return console.log(JSON.stringify({ out, ...found }));
  const rows = [...found.linears].sort((a, b) => b.jsd - a.jsd)
    .map((l) => [l.name, l.jsd, l.old, l.ratio, l.pinned ? "pinned" : ""]);
  console.log(tableText(table(["linear at the least bits", "divergence", "older form", "over the median", ""], rows)));
  console.log(
    `\nall linears at the most bits: ${found.baseline.jsd.toExponential(3)}; median ${found.median.toExponential(3)}`,
  );
  console.log(`pinned above ${threshold} medians: ${found.pinned.join(", ") || "none"}\nscan: ${shortPath(file)}`);
}

async function search(input: CommandInput): Promise<void> {
  const out = folder(input), settings = await settingsOf(input, out), json = input.on("json"), way = wayOf(input);
  const name = input.text("name") ?? way, record = recordOf(input);
  if (!/^[\w.-]+$/.test(name) || name === SCAN || name === "proxy") {
    throw new LabError("input", "--name", `"${name}"`, "Letters, digits and hyphens, and not scan or proxy.");
  }
  if (input.on("dry-run")) {
    const total = ({ initial, rounds, candidates }: SearchRecord["settings"]) => initial + rounds * candidates;
    const planned = (): Strategy => ({ name, total: total(record.settings), propose: () => [] });
    return await dryRun(settings, (s) => [...(needsScan(record) ? [scanSearch(s)] : []), planned()], json);
  }
  const proxy = await opened(settings, input);
  await keepProxy(out, settings, proxy.fingerprint);
  await keepSearch(out, name, record);
  if (input.on("begin")) return json ? console.log(JSON.stringify({ out, name, scan: needsScan(record) })) : undefined;
  if (needsScan(record)) {
    const { pinned } = await scanned(out, proxy, record.threshold);
    if (!json && way === "amq") console.log(`pinned: ${pinned.join(", ") || "none"}`);
  }
  const archive = await run(out, name, proxy, {
    onRound: (_, entries) => {
      const log = roundLog(entries).at(-1);
      if (log && !json) console.log(roundLine(log));
    },
  });
  const log = roundLog(archive.entries), front = frontEntries(archive.entries);
  await atomicWriteText(join(out, `${name}.rounds.json`), `${JSON.stringify(log, null, 1)}\n`);
  if (json) return console.log(JSON.stringify({ out, archive: archive.file, rounds: log, front }));
  const rows = front.map((e) => [e.bits, e.jsd, e.point]);
  console.log(tableText(table(["average bits", "divergence", "bits by linear"], rows)));
  console.log(`\narchive: ${shortPath(archive.file)}; final models: deno task owq amq models --out ${shortPath(out)}`);
}

async function ask(input: CommandInput): Promise<void> {
  const out = folder(input), name = input.text("name") ?? "amq", json = input.on("json");
  const { archive, next, file, strategy } = await askRound(out, name, await spaceOf(out));
  const evaluations = archive.entries.length;
  if (json) {
    const open = next === null ? null : { round: next.round, missing: next.points.length, file };
    return console.log(JSON.stringify({ name, evaluations, total: strategy.total, next: open }));
  }
  console.log(
    next === null
      ? `${name}: done, ${evaluations} evaluations`
      : `${name}: ${evaluations} of ${strategy.total} evaluations, round ${next.round} lacks ${next.points.length}: ` +
        `deno task owq amq evaluate ${shortPath(file)}`,
  );
}

/** The space of a study's model, without its weights. */
async function spaceOf(out: string): Promise<MixedSpace> {
  const record = await readProxy(out);
  if (!record) throw new LabError("input", out, "holds no study", "Begin one with owq amq scan --out DIR.");
  const { model, bits, groupSize } = record.settings, files = await resolveModel(model);
  try {
    return modelSpace(await openLanguageModel(files), bits, groupSize);
  } finally {
    files.source.close();
  }
}

async function evaluate(input: CommandInput): Promise<void> {
  const [path, ...more] = input.positionals, json = input.on("json");
  if (path === undefined || more.length > 0) {
    throw new LabError("input", INFO.evaluate.name, `takes one FILE, not ${input.positionals.length}`, "See --help.");
  }
  const round = await readRound(path), shard = readShard(input.text("shard") ?? "1/1");
  const points = round.points.filter((_, i) => i % shard.count === shard.index - 1);
  const part = `${round.name}.round-${round.round}.${shard.index}-of-${shard.count}`;
  const file = input.text("lines") ?? join(path, "..", "lines", `${part}.jsonl`);
  const lines = await studyArchive(join(file, ".."), file.replace(/^.*[/\\]/, "").replace(/\.jsonl$/, ""));
  const known = new Map(lines.entries.filter((e) => e.round === round.round).map((e) => [e.point, e]));
  const missing = points.filter((p) => !known.has(p));
  if (missing.length > 0) {
    const proxy = await opened(round.settings, input);
    requireSame(path, round.fingerprint, proxy.fingerprint);
    const bar = progress(part, { total: missing.length, unit: "evaluations" });
    for (const point of missing) {
      await lines.append(entryOf(round.round, { point }, await proxy.evaluate(point)));
      bar.step();
    }
    await bar.finish();
  }
  const own = lines.entries.filter((e) => e.round === round.round && points.includes(e.point));
  if (json) console.log(JSON.stringify({ name: round.name, round: round.round, shard, file, lines: own }));
  else console.log(`${own.length} lines: ${shortPath(file)}`);
}

async function ray(input: CommandInput): Promise<void> {
  const out = folder(input), say = (line: string) => console.log(line);
  if (!await readProxy(out)) {
    throw new LabError("input", out, "holds no study", "Begin one with owq amq search --out DIR --begin.");
  }
  if (input.on("install") && !await rayPython()) await installRay(say);
  const given = (name: string) => input.all(name).flatMap((value) => [`--${name}`, value]);
  await runOnRay(["--out", out, ...["name", "workers", "address", "kit"].flatMap(given)], say);
}

/** A search that was run, and how its models are made. */
async function searched(input: CommandInput) {
  const out = folder(input), name = input.text("name") ?? "amq", record = await readProxy(out);
  const space = await spaceOf(out), { entries } = await studyArchive(out, name);
  if (!record || entries.length === 0) {
    throw new LabError("input", out, `has no search "${name}"`, "Run owq amq search.");
  }
  const { model, seed } = record.settings, seqLen = number(input, "seq-len") ?? (model === "fixture" ? 256 : 512);
  const text = (key: "calib" | "eval", standard: string) => ({
    text: input.text(key) ?? standard,
    samples: number(input, `${key}-samples`) ?? 32,
    seqLen,
  });
  const common = { model, calibration: text("calib", "moby-dick"), evaluation: text("eval", "sotu"), seed };
  const methods = (input.text("methods") ?? "optq,awq,owq").split(/[,\s]+/).filter(Boolean);
  return { out, name, model, space, entries, common, methods };
}

/** Runs models under a progress display, in the study's own folder. */
async function made(input: CommandInput, out: string, cells: readonly FinalModel[]): Promise<FinishedModel[]> {
  const bar = progress("models", { total: cells.length, unit: "models" }), localCopy = input.text("local-copy");
  const finished = await runFinal(cells, {
    device: device(input.text("device")),
    folder: join(out, "runs"),
    onCell: (done, total) => bar.onProgress({ what: "models", done, total, unit: "models" }),
    ...(localCopy === undefined ? {} : { localCopy }),
  });
  await bar.finish();
  return finished;
}

async function models(input: CommandInput): Promise<void> {
  const { out, name, model, space, entries, common, methods } = await searched(input), json = input.on("json");
  const { leastPinned, most } = bitBounds(space), tolerance = number(input, "tolerance") ?? TOLERANCE;
  const given = input.text("targets"),
    between = (share: number) => Number((leastPinned + share * (most - leastPinned)).toFixed(2));
  const targets = given === undefined ? [0.25, 0.5, 0.75].map(between) : numbers("--targets", given);
  const cells = finalModels(space, entries, common, { targets, methods, tolerance }), plans: string[] = [];
  for (const target of targets) {
    const entry = pickEntry(space, entries, target, tolerance), path = join(out, `${name}-${target}.bits.json`);
    const about = `${model} at ${entry.bits} bits a weight, divergence ${entry.jsd}`;
    const linearBits = Object.fromEntries(textPlan(space, entry.point));
    await atomicWriteText(path, `${JSON.stringify({ about, linearBits }, null, 1)}\n`);
    plans.push(path);
    const found = `${entry.bits.toFixed(4)} bits, divergence ${entry.jsd.toFixed(5)}`;
    if (!json) console.log(`${target}: ${found}, ${shortPath(path)}`);
  }
  if (input.on("dry-run")) {
    if (json) console.log(JSON.stringify({ out, targets, plans }));
    else for (const { cell } of cells) console.log(recipeCommand(cell.recipe));
    return;
  }
  const finished = await made(input, out, cells);
  if (json) console.log(JSON.stringify({ out, targets, plans, models: finished }));
  else console.log(tableText(finalTable(finished)));
}

async function fidelity(input: CommandInput): Promise<void> {
  const { out, space, entries, common, methods } = await searched(input), json = input.on("json");
  const first = entries.filter((e) => e.round === 0), count = number(input, "count") ?? 12;
  const cells = fidelityModels(space, first, common, { count, methods });
  if (input.on("dry-run")) {
    for (const { cell } of cells) console.log(recipeCommand(cell.recipe));
    return;
  }
  const finished = await made(input, out, cells), found = proxyFidelity(finished);
  const pairs = finished.map((m) => ({
    method: m.method,
    bits: m.entry?.bits,
    jsd: m.entry?.jsd,
    perplexity: m.report.ppl.quantized,
  }));
  if (json) console.log(JSON.stringify({ out, fidelity: found, models: pairs }));
  else console.log(tableText(fidelityTable(found)));
}

/** Evaluations, bounds, and the time by one run of the float model on the text. */
async function dryRun(
  settings: ProxySettings,
  strategies: (space: MixedSpace) => Strategy[],
  json: boolean,
): Promise<void> {
  const proxy = await openProxy(settings), space = proxy.space, bounds = bitBounds(space);
  const point = String(space.bits[0]).repeat(space.blocks * space.linears.length), start = performance.now();
  await proxy.evaluate(point);
  const seconds = (performance.now() - start) / 1000, all = strategies(space);
  const evaluations = all.reduce((sum, s) => sum + s.total, 0);
  if (json) {
    return console.log(JSON.stringify({ settings, space, bounds, evaluations, seconds: evaluations * seconds }));
  }
  console.log(
    `${settings.model}: ${space.blocks * space.linears.length} linears of ${
      space.bits.join(", ")
    } bits in groups of ${space.groupSize}`,
  );
  console.log(
    `average bits from ${bounds.least.toFixed(4)} to ${bounds.most.toFixed(4)}, scales and zero points included`,
  );
  for (const s of all) console.log(`${s.name}: at most ${s.total} evaluations`);
  console.log(`time: about ${(evaluations * seconds / 60).toFixed(1)} minutes (${seconds.toFixed(2)} s an evaluation)`);
}
