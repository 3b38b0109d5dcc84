import assert from "node:assert/strict";
import { table, tableHtml, tableText } from "../../lib/lab/table.ts";

const column = (values: readonly (number | string | null)[]) =>
  tableText(table(["v"], values.map((v) => [v]))).split("\n").slice(2).map((line) => line.trim());

Deno.test("tableText() writes a column with one number of decimals, enough for four digits of its least number", () => {
  assert.deepEqual(column([2, 2.0489, null, 5.1]), ["2.000", "2.049", "–", "5.100"]);
  assert.deepEqual(column([0.07198, 0.26514]), ["0.07198", "0.26514"]);
  assert.deepEqual(column([0.01, 0.003]), ["0.010", "0.003"]);
});

Deno.test("tableText() writes whole numbers whole, and numbers of very different sizes each by itself", () => {
  assert.deepEqual(column([12, 300]), ["12", "300"]);
  assert.deepEqual(column([429, 0.0123456]), ["429", "0.01235"]);
  assert.deepEqual(column([NaN, 1.5, 0]), ["NaN", "1.5", "0.0"]);
});

Deno.test("tableHtml() puts numbers to the right, written out with their spread too, and never parts those", () => {
  const html = tableHtml(table(["a", "b", "c"], [["OWQ 3", "38.12 ± 0.31", "−2 %"], ["RTN 3", null, "1.4 %"]]));
  assert.match(
    html,
    /<td style="text-align:left">OWQ 3<\/td><td style="text-align:right">38.12\u00a0±\u00a00.31<\/td>/,
  );
  assert.match(html, /<td style="text-align:right">−2 %<\/td>/);
});
