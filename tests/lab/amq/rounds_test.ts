import assert from "node:assert/strict";
import { join } from "node:path";
import { AMQ_SETTINGS, amqSearch, randomPoints } from "../../../lib/lab/amq/amq_search.ts";
import { entryLine, openArchive, readEntries } from "../../../lib/lab/amq/archive.ts";
import { greedyPath, greedySearch, oneShotSearch, randomSearch } from "../../../lib/lab/amq/baselines.ts";
import { hypervolume } from "../../../lib/lab/amq/pareto.ts";
import { frontEntries, referencePoint, roundLog } from "../../../lib/lab/amq/round_log.ts";
import { entryOf, mergeRound, openRound, runRounds, type Strategy } from "../../../lib/lab/amq/rounds.ts";
import { readScan, scanSearch } from "../../../lib/lab/amq/scan.ts";
import { checkReachable, textBits, textChoice } from "../../../lib/lab/amq/space.ts";
import { inTempFolder } from "../../python.ts";
import { assertFinite } from "../../assert.ts";
import { TOY, toyMeasure } from "./toy.ts";

const SMALL = { ...AMQ_SETTINGS, initial: 20, rounds: 6, candidates: 5, population: 30, generations: 10 };
const measure = (point: string) => Promise.resolve(toyMeasure(point));

/** Runs a strategy in a folder; `stop` counts evaluations before it is aborted. */
async function run(file: string, strategy: Strategy, stop = Infinity) {
  const archive = await openArchive(file), control = new AbortController();
  let evaluated = 0;
  const evaluate = (point: string) => {
    if (++evaluated === stop) control.abort();
    return measure(point);
  };
  const ended = await runRounds(strategy, archive, evaluate, { signal: control.signal })
    .then(() => true, (e) => {
      if (e.name !== "AbortError") throw e;
      return false;
    });
  return { archive, evaluated, ended, text: await Deno.readTextFile(file) };
}

const pinned = { ...TOY, pinned: ["0.down"] };

Deno.test("runRounds() stopped anywhere, its last line torn, and run again leaves the same archive to the byte", () =>
  inTempFolder(async (folder) => {
    const whole = await run(join(folder, "whole.jsonl"), amqSearch(pinned, SMALL)), file = join(folder, "broken.jsonl");
    assert(whole.ended && whole.evaluated > 20 + 6 * 3, `${whole.evaluated} evaluations`);
    let evaluated = 0;
    for (const stop of [7, 13, 1, 4, 1e9]) { // within the first sample, in a round, at a round's end, …
      const part = await run(file, amqSearch(pinned, SMALL), stop);
      evaluated += part.evaluated;
      assert.equal(part.ended, stop === 1e9);
      if (stop < 1e9) await Deno.writeTextFile(file, '{"round":1,"point":"2', { append: true });
    }
    assert.equal(await Deno.readTextFile(file), whole.text);
    assert.equal(evaluated, whole.evaluated, "something was evaluated twice");
    const other = amqSearch(pinned, { ...SMALL, seed: 1 });
    await assert.rejects(run(file, other), /the archive of amq: evaluation \d+ of round 6 .* proposes/);
  }));

Deno.test("openArchive() notices that another process writes into its file", () =>
  inTempFolder(async (folder) => {
    const file = join(folder, "two.jsonl"), entry = { round: 0, point: "2", ...toyMeasure("222222222222") };
    const [a, b] = [await openArchive(file), await openArchive(file)];
    await a.append(entry);
    await a.append({ ...entry, point: "3" });
    await assert.rejects(b.append(entry), /two\.jsonl: another process writes into it/);
    assert.deepEqual((await openArchive(file)).entries, a.entries);
    await Deno.writeTextFile(file, "what is this\n", { append: true });
    await assert.rejects(openArchive(file), /line 3: is no evaluation/);
  }));

Deno.test("amqSearch() respects pins and bounds, never asks twice, and its front beats chance and the uniform line", () =>
  inTempFolder(async (folder) => {
    const { archive } = await run(join(folder, "amq.jsonl"), amqSearch(pinned, SMALL)), all = archive.entries;
    const random = (await run(join(folder, "random.jsonl"), randomSearch(TOY, SMALL))).archive.entries;
    assert.equal(random.length, 20 + 6 * 5);
    assert.equal(new Set(all.map((e) => e.point)).size, all.length);
    assert(all.every((e) => textChoice(TOY, e.point)[8] === 2), "0.down is pinned");
    const corner = referencePoint(random),
      area = (entries: typeof all) => hypervolume(entries.map((e) => [e.jsd, e.bits]), corner);
    assert(area(all) > 1.1 * area(random), `search ${area(all)}, chance ${area(random)}`);
    const uniform = toyMeasure("333333333333");
    assert(all.some((e) => e.bits <= uniform.bits && e.jsd < 0.75 * uniform.jsd));

    const log = roundLog(all);
    assert.equal(log.length, 7);
    log.slice(1).forEach((r, i) => {
      assert(r.hypervolume >= log[i].hypervolume && r.evaluations > log[i].evaluations);
      assertFinite([r.rmse!, r.spearman!, r.kendall!]);
    });
    assert(log.slice(-3).every((r) => r.spearman! > 0.8), JSON.stringify(log));

    const narrow = amqSearch(TOY, { ...SMALL, least: 2.9, most: 3.4 });
    const within = (await run(join(folder, "narrow.jsonl"), narrow)).archive.entries;
    assert(within.length > 30 && within.every((e) => e.bits >= 2.9 && e.bits <= 3.4));
    assert.throws(() => amqSearch(TOY, { ...SMALL, least: 4.5 }), /an average of 4\.5 bits.*2\.2500 to 4\.2500/);
    assert.throws(() => amqSearch(TOY, { ...SMALL, initial: 8 }), /8 initial evaluations for 12 linears.*14 or more/);
    const bounds = { least: 3.2499, most: 3.2501 }, few = { count: 60, seed: 1, bounds: { least: 4.2499, most: 4.3 } };
    assert(randomPoints(TOY, { count: 60, seed: 1, bounds }).every((p) => Math.abs(textBits(TOY, p) - 3.25) < 1e-3));
    assert.throws(() => randomPoints(TOY, few), /only 1 of 60/);
    assert.throws(() => checkReachable(pinned, 2.3), /2\.4167 to 4\.2500 bits with 1 linears pinned/);
  }));

Deno.test("amqSearch() with a network for its predictor runs, is deterministic, and orders what it proposes", () =>
  inTempFolder(async (folder) => {
    const settings = { ...SMALL, predictor: "mlp" as const, rounds: 2 };
    const a = await run(join(folder, "a.jsonl"), amqSearch(TOY, settings));
    const b = await run(join(folder, "b.jsonl"), amqSearch(TOY, settings));
    assert.equal(a.text, b.text);
    assert(roundLog(a.archive.entries).at(-1)!.spearman! > 0.5);
  }));

Deno.test("amqSearch() on logarithms predicts divergence itself, and closely where it is small", () =>
  inTempFolder(async (folder) => {
    const { archive } = await run(join(folder, "log.jsonl"), amqSearch(TOY, { ...SMALL, logarithm: true }));
    const last = archive.entries.filter((e) => e.round >= 5),
      off = last.map((e) => Math.abs(Math.log(e.predicted! / e.jsd)));
    assert(last.length > 4 && off.every((v) => v < Math.LN2), `${off}`);
    assert(last.every((e) => e.predicted! > 0));
  }));

Deno.test("mergeRound() of any number of shards, lines late, doubled or missing, gives one process's archive", () =>
  inTempFolder(async (folder) => {
    const whole = await run(join(folder, "whole.jsonl"), amqSearch(TOY, SMALL)), strategy = amqSearch(TOY, SMALL);
    for (const count of [1, 3]) {
      const archive = await openArchive(join(folder, `shards${count}.jsonl`));
      for (let open = openRound(strategy, archive.entries); open; open = openRound(strategy, archive.entries)) {
        const now = open, rest = now.proposals.slice(now.done);
        const shards = Array.from({ length: count }, (_, i) =>
          rest.filter((_, j) => j % count === i)
            .map((p) => entryLine(entryOf(now.round, { point: p.point }, toyMeasure(p.point)))));
        const lines = readEntries(shards.reverse().flat().concat(shards[0].slice(0, 2)).join("\n"), "joined");
        const lost = lines.filter((l) => count === 1 || l.point !== rest[1].point); // one worker died before its last line
        const appended = await mergeRound(now, archive, lost);
        assert.equal(appended, count === 1 ? rest.length : 1);
        if (count > 1) await mergeRound(openRound(strategy, archive.entries)!, archive, lines);
      }
      assert.equal(await Deno.readTextFile(archive.file), whole.text);
    }
    const open = openRound(strategy, [])!, line = entryOf(0, open.proposals[0], toyMeasure(open.proposals[0].point));
    const archive = await openArchive(join(folder, "other.jsonl"));
    await assert.rejects(mergeRound(open, archive, [line, { ...line, jsd: line.jsd * 1.1 }]), /lines of one point/);
    assert.equal(await mergeRound(open, archive, [{ ...line, round: 3 }]), 0);
  }));

Deno.test("scanSearch() and readScan() find the linear that stands out and pin it", () =>
  inTempFolder(async (folder) => {
    const { archive } = await run(join(folder, "scan.jsonl"), scanSearch(pinned)),
      scan = readScan(TOY, archive.entries);
    assert.equal(archive.entries.length, 13);
    assert.deepEqual(scan.pinned, ["1.v", "0.down", "1.down", "3.down"].filter((n) => scan.pinned.includes(n)));
    assert(scan.pinned.includes("0.down") && !scan.pinned.includes("0.q"));
    const down = scan.linears.find((l) => l.name === "0.down")!;
    assert.equal(down.ratio, Math.max(...scan.linears.map((l) => l.ratio)));
    assert.equal(down.jsd, toyMeasure("444444442444").jsd);
    assert.equal(scan.linears.filter((l) => l.jsd > 2 * scan.median).length, scan.pinned.length);
    assert.deepEqual(readScan(TOY, archive.entries, Infinity).pinned, []);
    assert.throws(() => readScan(TOY, archive.entries.slice(0, 5)), /has not evaluated/);
  }));

Deno.test("greedySearch() keeps the best step of each round, and no worse front than one shot on a toy without surprises", () =>
  inTempFolder(async (folder) => {
    const greedy = (await run(join(folder, "greedy.jsonl"), greedySearch(TOY))).archive.entries,
      path = greedyPath(greedy);
    assert.equal(path.length, 1 + 24);
    assert.deepEqual([path[0].point, path[24].point], ["4".repeat(12), "2".repeat(12)]);
    path.slice(1).forEach((e, i) => {
      const tried = greedy.filter((t) => t.round === i + 1),
        cost = (t: typeof e) => (t.jsd - path[i].jsd) / (path[i].bits - t.bits);
      assert(tried.every((t) => cost(t) >= cost(e)) && e.bits < path[i].bits);
    });
    assert.equal(greedyPath((await run(join(folder, "two.jsonl"), greedySearch(TOY, 2))).archive.entries).length, 13);
    const some = (await run(join(folder, "some.jsonl"), greedySearch(TOY, 1, 30))).archive.entries;
    assert(some.length >= 30 && some.length < 30 + 12);

    const scan = readScan(TOY, (await run(join(folder, "scan.jsonl"), scanSearch(TOY))).archive.entries);
    const shot = (await run(join(folder, "one.jsonl"), oneShotSearch(TOY, scan))).archive.entries;
    assert.equal(shot.length, 13);
    const order = shot.slice(1).map((e, i) => [...e.point].findIndex((d, j) => d !== shot[i].point[j]));
    assert.equal(order[11], 8, "0.down is lowered last");
    const corner = referencePoint(shot),
      area = (entries: typeof shot) => hypervolume(frontEntries(entries).map((e) => [e.jsd, e.bits]), corner);
    assert(area(path) > area(shot));
  }));
