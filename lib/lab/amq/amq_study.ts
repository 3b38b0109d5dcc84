// What a notebook on AMQ calls: one folder a study, known by what it is made of, so that whatever was evaluated before is read
// back, by a notebook or by `owq amq` with the same --out.
import { join } from "node:path";
import { sha256Hex } from "../../io/digest.ts";
import { secondsSince } from "../../quant/context.ts";
import type { MixedSpace } from "../../quant/mixed_bits.ts";
import { labPaths, shortPath } from "../paths.ts";
import { progress } from "../progress.ts";
import type { RecipeInput } from "../recipe.ts";
import type { SweepOptions } from "../sweep.ts";
import type { SearchSettings } from "./amq_search.ts";
import type { Entry } from "./archive.ts";
import { fidelityModels, type FinalModel, finalModels, type FinishedModel, runFinal } from "./models.ts";
import { openProxy, type Proxy, type ProxySettings, proxySettings } from "./proxy.ts";
import { runRounds } from "./rounds.ts";
import { middle, readScan, type Scan } from "./scan.ts";
import { keepProxy, keepSearch, SCAN, searchRecord, studyArchive, studyStrategy, type Way } from "./study.ts";

/** What a study is asked for. */
export interface AmqOptions {
  readonly model: string;
  /** Text that predictions are compared on, and how much of it. */
  readonly text: ProxySettings["text"];
  readonly bits?: readonly number[];
  /** Medians of the scan above which a linear is pinned. */
  readonly threshold: number;
  readonly search: Pick<SearchSettings, "initial" | "rounds" | "candidates" | "seed">;
  /** Folder of the study; out/amq/MODEL-HASH by default. */
  readonly out?: string;
}

/** A search that has ended. */
export interface FinishedSearch {
  readonly way: Way;
  /** The predictor was fitted to logarithms. */
  readonly logarithm?: boolean;
  readonly entries: readonly Entry[];
}

/** An open study. */
export interface AmqStudy {
  readonly out: string;
  readonly space: MixedSpace;
  readonly options: AmqOptions;
  readonly proxy: Proxy;
  readonly scan: Scan;
  /**
   * Runs a search, or reads it back.
   *
   * @param way "amq-log": amq with its predictor fitted to logarithms. Greedy descent goes from the most bits to the least at once.
   */
  search(way: Way | "amq-log"): Promise<FinishedSearch>;
  /** Seconds that an evaluation takes now, all linears changing places: the median of three. */
  seconds(): Promise<number>;
  close(): void;
}

/** The folder where a study lies unless told. */
export function studyFolder(o: AmqOptions): string {
  const { out: _, ...made } = o, name = o.model.replace(/^.*[/\\](?=[^/\\])/, "").replace(/[^\w.-]+/g, "-");
  return join(labPaths().out, "amq", `${name}-${sha256Hex(JSON.stringify(made)).slice(0, 8)}`);
}

/** The command that runs the same search without a notebook, for hours where it takes them. */
export function studyCommand(o: AmqOptions): string {
  const { text, search: s } = o, bits = o.bits ? ` --bits ${o.bits.join(",")}` : "";
  return `deno task owq amq search --model ${o.model} --text ${text.text} --samples ${text.samples} --seq-len ${text.seqLen}` +
    `${bits} --initial ${s.initial} --rounds ${s.rounds} --candidates ${s.candidates} --seed ${s.seed}` +
    ` --threshold ${o.threshold} --out ${shortPath(o.out ?? studyFolder(o))}`;
}

/** Runs what an archive lacks, under a progress display. */
async function fill(out: string, name: string, proxy: Proxy): Promise<Entry[]> {
  const archive = await studyArchive(out, name), strategy = await studyStrategy(out, name, proxy.space);
  const bar = progress(name, { total: strategy.total - archive.entries.length, unit: "evaluations" });
  try {
    await runRounds(strategy, archive, (point) => proxy.evaluate(point), { onEntry: () => bar.step() });
  } finally {
    await bar.finish(`${archive.entries.length} evaluations`);
  }
  return [...archive.entries];
}

/**
 * Opens a study: the model, its copies, and the sensitivity scan, run where it is not on disk.
 *
 * @throws LabError as openProxy and keepProxy.
 */
export async function openAmqStudy(o: AmqOptions): Promise<AmqStudy> {
  const out = o.out ?? studyFolder(o), { model, text, search: { seed } } = o;
  const settings = proxySettings(model, { text, seed, ...(o.bits ? { bits: o.bits } : {}) });
  const bar = progress("making copies", { total: 0, unit: "blocks" });
  const proxy = await openProxy(settings, { onProgress: bar.onProgress }).finally(() => bar.finish("ready"));
  try {
    await keepProxy(out, settings, proxy.fingerprint);
    const scan = readScan(proxy.space, await fill(out, SCAN, proxy), o.threshold || Infinity);
    return {
      out,
      space: proxy.space,
      options: o,
      proxy,
      scan,
      async search(name) {
        const logarithm = name === "amq-log", way = logarithm ? "amq" : name, stride = proxy.space.bits.length - 1;
        const budget = way === "greedy" ? { initial: 1_000_000, rounds: 0, stride } : {}; // to its end
        const threshold = way === "amq" ? o.threshold : 0, record = { ...o.search, ...budget, threshold, logarithm };
        await keepSearch(out, name, searchRecord(way, record));
        return { way, ...(logarithm ? { logarithm } : {}), entries: await fill(out, name, proxy) };
      },
      seconds: () => secondsOf(proxy),
      close: () => proxy.close(),
    };
  } catch (e) {
    proxy.close();
    throw e;
  }
}

async function secondsOf(proxy: Proxy): Promise<number> {
  const { bits, blocks, linears } = proxy.space, taken: number[] = [];
  for (const b of [bits[0], bits[1], bits[0], bits[1]]) {
    const start = performance.now();
    await proxy.evaluate(String(b).repeat(blocks * linears.length));
    taken.push(secondsSince(start));
  }
  return middle(taken.slice(1)); // the first opens what is not open yet
}

/** Final models of a search at some averages, beside uniform bits; finished ones are read back. */
export function finalStudy(
  study: Pick<AmqStudy, "space">,
  search: FinishedSearch,
  common: RecipeInput,
  o: { targets: readonly number[]; methods: readonly string[]; tolerance?: number },
  run: SweepOptions = {},
): Promise<FinishedModel[]> {
  return shown(finalModels(study.space, search.entries, common, o), run);
}

/** Models to see how well the proxy orders configurations. */
export function fidelityStudy(
  study: Pick<AmqStudy, "space">,
  search: FinishedSearch,
  common: RecipeInput,
  o: { count: number; methods: readonly string[] },
  run: SweepOptions = {},
): Promise<FinishedModel[]> {
  return shown(fidelityModels(study.space, search.entries, common, o), run);
}

async function shown(models: readonly FinalModel[], run: SweepOptions): Promise<FinishedModel[]> {
  const bar = progress("models", { total: models.length, unit: "models" });
  try {
    return await runFinal(models, { ...run, onCell: (done) => bar.update(done) });
  } finally {
    await bar.finish(`${models.length} models`);
  }
}
