import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import type { Screen } from "../../lib/lab/display.ts";
import {
  changeFigure,
  costFigure,
  liveCurve,
  tuningFigure,
  tuningNumbers,
  tuningSentence,
  tuningTable,
} from "../../lib/lab/tune_figures.ts";
import { bestRateSentence, rateFigure, rateNumbers } from "../../lib/lab/tune_sweep.ts";
import { tuneCases, type TuneRow } from "../../lib/lab/tune_study.ts";

/** A row with nothing in it but what pictures and sentences read. */
function row(word: string, values: number, losses: readonly number[]): TuneRow {
  const [c] = tuneCases(word);
  const reports = losses.map((stored) => ({
    heldOut: { base: 4, trained: stored, stored },
    cost: { values, percent: values / 1000, optimizerBytes: 8 * values, peakBytes: 1e6 + values },
    seconds: { step: 0.5 },
    residentBytes: 1e8,
    curve: [{ step: 0, heldOut: 4 }, { step: 1, heldOut: null }, { step: 2, heldOut: stored }],
  }));
  return { ...c, reports: reports as unknown as TuneRow["reports"], folders: losses.map(() => "") };
}

const rows = [
  row("wct:8:0.01", 100, [3.1, 3.3]),
  row("lora:8:0.01", 200, [3.2, 3.4]),
  row("lora:64:0.01", 1600, [2.9, 3.1]),
];

Deno.test("tuneCases() refuses words that are no way to tune", () => {
  const refused = (word: string, says: RegExp) =>
    assert.throws(() => tuneCases(word), (e) => e instanceof LabError && says.test(e.message));
  assert.deepEqual(tuneCases(" "), []);
  refused("wct", /way "wct": is not METHOD:RANK:RATE/);
  refused("wct:8:0", /is not METHOD:RANK:RATE/);
  refused("adapter:8:0.1", /tunes by "adapter"\. Ways are wct, lora and full/);
});

Deno.test("tuningSentence() compares the columns with the best LoRA, in nats over the base", () => {
  const perplexity = (a: number, b: number) => (Math.exp(a) + Math.exp(b)) / 2;
  const wct = perplexity(3.1, 3.3), lora = perplexity(2.9, 3.1), share = (4 - Math.log(wct)) / (4 - Math.log(lora));
  const text = tuningSentence(rows);
  assert.ok(
    text.startsWith(
      `WCT, 8 columns: perplexity ${wct.toPrecision(4)}; the best LoRA (rank 64): ${lora.toPrecision(4)}.`,
    ),
    text,
  );
  assert.ok(
    text.includes(`bring ${(100 * share).toFixed(0)} % of what it brings (in nats), with 16.0 times fewer`),
    text,
  );
  assert.ok(text.includes("would be 14.7 times fewer"), text);
});

Deno.test("figures, table and record of a tuning say the same numbers", () => {
  const curve = tuningFigure(rows).data[0];
  assert.deepEqual(curve.x, [0, 2]);
  assert.equal((curve.y as number[])[1], 3.2);
  assert.deepEqual(costFigure(rows, "trained values").data.map((d) => (d.x as number[])[0]), [100, 200, 1600]);
  const record = tuningNumbers(rows), [base, wct] = tuningTable(rows).rows;
  assert.equal(record["WCT, 8 columns/trained values"].value, 100);
  assert.deepEqual(record["LoRA, rank 8/perplexity"].value, [Math.exp(3.2), Math.exp(3.4)]);
  assert.equal(base[7], Math.exp(4));
  assert.equal(wct[7], (Math.exp(3.1) + Math.exp(3.3)) / 2);
  const change = changeFigure({ data: new Float32Array([0, 0.5, 0, 0, 0, 0.1]), rows: 2, cols: 3 }, "WCT", "q");
  assert.match(change.caption, /^2 of 3 columns changed/);
});

Deno.test("liveCurve() puts one picture into a notebook and replaces it, at most once a second; in a terminal nothing", async () => {
  let clock = 0;
  const calls: string[] = [], nothing = () => Promise.resolve();
  const screen = (kind: Screen["kind"]): Screen => ({
    kind,
    put: (_, id) => (calls.push(`put ${id !== undefined}`), nothing()),
    replace: () => (calls.push("replace"), nothing()),
    drain: nothing,
  });
  const point = (step: number) => ({ step, loss: step === 0 ? null : 3, norm: 1, heldOut: null, seconds: step });
  for (const kind of ["terminal", "notebook"] as const) {
    const live = liveCurve(screen(kind), () => clock);
    for (let step = 0; step <= 5; step++, clock += 400) {
      live.onPoint("a", Array.from({ length: step + 1 }, (_, i) => point(i)));
    }
    await live.close();
    assert.deepEqual(calls, kind === "terminal" ? [] : ["put true", "replace"]);
  }
});

Deno.test("tuningTable() and tuningNumbers() keep another base apart: its own start, and no part in the comparison", () => {
  const plain = row("lora:8:0.01", 200, [2.5]), heldOut = { base: 3.5, trained: 2.5, stored: 2.5 };
  const on = {
    ...plain,
    label: "NF4 and LoRA, rank 8",
    on: "NF4",
    reports: plain.reports.map((r) => ({ ...r, heldOut })),
  };
  const all = [...rows, on], labels = tuningTable(all).rows.map((r) => r[0]);
  assert.deepEqual(labels.slice(0, 2), ["none", "NF4, none"]);
  assert.deepEqual(tuningTable(all).rows[1][7], Math.exp(3.5));
  assert.equal(tuningNumbers(all)["NF4/perplexity"].value, Math.exp(3.5));
  assert.equal(tuningSentence(all), tuningSentence(rows));
});

Deno.test("bestRateSentence() says where the best rate lies at an end of what was tried", () => {
  const curve = (columns: number, perplexities: readonly number[]) => ({
    columns,
    rates: [0.001, 0.01, 0.1],
    perplexities,
  });
  const text = bestRateSentence([curve(2, [50, 47, 90]), curve(8, [50, 49, 40])]);
  assert.equal(text, "Best rate: 2 columns 0.01 (47.00), 8 columns 0.1 (40.00, an end of what was tried).");
  assert.deepEqual(rateFigure([curve(2, [50, 47, 90])]).data[0].x, [0.001, 0.01, 0.1]);
  assert.deepEqual(rateNumbers([curve(2, [50, 47, 90])])["2 columns by rate/perplexity"].value, [50, 47, 90]);
});
