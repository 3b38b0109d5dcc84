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
import { openProxy, planProxy, type Proxy, type ProxySettings, proxySettings } from "../amq/proxy.ts";
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
import { type CommandInput, runCommand } from "../command.ts";
import { formatSeconds } from "../format.ts";
import { requireSame } from "../journal.ts";
import { resolveModel } from "../open.ts";
import { labPaths, shortPath } from "../paths.ts";
import { progress } from "../progress.ts";
import { recipeCommand } from "../recipe_command.ts";
import { readShard } from "../sweep.ts";
import { table, tableText } from "../table.ts";
import { HELP, INFO } from "./owq_amq_options.ts";
import { device, number } from "./owq_options.ts";

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
  return searchRecord(wayOf(input), { predictor, logarithm: input.on("logarithm"), ...given });
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
    const own = { name, total: total(record.settings) };
    return await dryRun(settings, (s) => [...(needsScan(record) ? [scanSearch(s)] : []), own], json);
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

/** Evaluations, bounds, and the time by a few passes of the float model. */
async function dryRun(
  settings: ProxySettings,
  strategies: (space: MixedSpace) => Pick<Strategy, "name" | "total">[],
  json: boolean,
): Promise<void> {
  const { space, seconds } = await planProxy(settings), bounds = bitBounds(space), all = strategies(space);
  const evaluations = all.reduce((sum, s) => sum + s.total, 0), linears = space.blocks * space.linears.length;
  if (json) {
    return console.log(JSON.stringify({ settings, space, bounds, evaluations, seconds: evaluations * seconds }));
  }
  console.log(`${settings.model}: ${linears} linears of ${space.bits.join(", ")} bits in groups of ${space.groupSize}`);
  console.log(
    `average bits from ${bounds.least.toFixed(4)} to ${bounds.most.toFixed(4)}, scales and zero points included`,
  );
  for (const s of all) console.log(`${s.name}: at most ${s.total} evaluations`);
  const each = `${formatSeconds(seconds)} an evaluation, by the float model now`;
  console.log(`time: about ${formatSeconds(evaluations * seconds)} (${each}), and the copies once`);
}
