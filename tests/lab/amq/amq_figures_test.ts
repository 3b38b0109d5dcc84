import assert from "node:assert/strict";
import {
  bestAt,
  comparedAverages,
  frontsFigure,
  frontsSentence,
  frontsTable,
  growthFigure,
  keptBits,
  keptSentence,
  searchAreas,
  sensitivityFigure,
  sensitivitySentence,
  sensitivityTable,
} from "../../../lib/lab/amq/amq_figures.ts";
import type { FinishedSearch } from "../../../lib/lab/amq/amq_study.ts";
import type { Entry } from "../../../lib/lab/amq/archive.ts";
import { readScan, scanSearch } from "../../../lib/lab/amq/scan.ts";
import { assertWithin } from "../../assert.ts";
import { TOY, toyMeasure } from "./toy.ts";

const entry = (point: string, round = 0): Entry => ({ round, point, ...toyMeasure(point) });
const scan = readScan(TOY, scanSearch(TOY).propose([], 0).map((p) => entry(p.point)));
const better: FinishedSearch = {
  way: "amq",
  entries: [...["222222224222", "333333334333", "444444444444"].map((p) => entry(p)), entry("333343334333", 1)],
};
const worse: FinishedSearch = {
  way: "random",
  entries: ["222222222222", "333333333333", "444444444444"].map((p) => entry(p)),
};

Deno.test("searchAreas() and frontsTable() compare searches over the averages that all of them reach", () => {
  const averages = comparedAverages([better, worse]), least = toyMeasure("222222224222").bits;
  assert.deepEqual([averages[0], averages[4]], [least, 4.25]); // worse begins lower: that does not count for it
  assert.equal(bestAt(worse.entries, 3), toyMeasure("222222222222").jsd);
  assert.equal(bestAt(worse.entries, 2), null);
  const [a, b] = searchAreas([better, worse]), worst = 1.01 * toyMeasure("222222222222").jsd;
  assert(a > b, `${a} and ${b}`);
  // By hand: two steps of `worse` below the corner (worst, 4.25); its least configuration counts from `least` on.
  const [low, middle] = ["222222222222", "333333333333"].map(toyMeasure);
  const area = (worst - low.jsd) * (4.25 - least) + (low.jsd - middle.jsd) * (4.25 - middle.bits);
  assertWithin([b], [area], 1e-12, "area");
  assert.match(
    frontsSentence([better, worse]),
    /^Random has 1[\d.]* to [\d.]+ times the divergence of AMQ, which is better at \d of 4/,
  );
  const log = { ...worse, way: "amq" as const, logarithm: true };
  assert.equal(frontsTable([better, log]).rows[1][0], "AMQ on logarithms");
  assert.deepEqual(frontsTable([better, worse]).rows.map((r) => r.slice(0, 2)), [["AMQ", 4], ["random", 3]]);
});

Deno.test("figures of a study show what its entries hold", () => {
  const growth = growthFigure(better), fronts = frontsFigure(TOY, [better, worse], scan);
  assert.deepEqual(growth.data.map((d) => d.name), ["first sample, 3 evaluations", "round 1, 4 evaluations"]);
  assert.deepEqual(fronts.data.map((d) => d.name), ["AMQ, 4 evaluations", "random, 3 evaluations", "uniform"]);
  assert.deepEqual(fronts.data[2].x, [2.25, 3.25, 4.25]);
  const figure = sensitivityFigure(TOY, scan);
  assert.deepEqual(figure.data.map((d) => d.name), ["q", "v", "down"]);
  assertWithin([(figure.data[2].y as number[])[0]], [Math.max(...scan.linears.map((l) => l.ratio))], 1e-4, "0.down");
  assert.match(sensitivitySentence(scan), /Pinned are .*0\.down.* of 12 linears.*The first is 0\.down.*ρ = 1\.000/);
  assert.equal(sensitivityTable(scan, 3).rows.length, 6);

  const kept = keptBits(TOY, better.entries);
  assert.equal(kept.get("0.down"), 4);
  assert.equal(kept.get("0.v"), (2 + 3 + 4 + 4) / 4); // all four are on the front
  assert.match(keptSentence(TOY, scan, better), /By kind.*Spearman's ρ = /);
});
