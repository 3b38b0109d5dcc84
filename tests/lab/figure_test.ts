import assert from "node:assert/strict";
import { barFigure, type Figure, heatmapFigure, histogramFigure, lineFigure } from "../../lib/lab/figure.ts";
import { bundleOf, PLOTLY_MIME } from "../../lib/lab/display.ts";

const axes = { title: "T", x: { name: "bits", unit: "bit" }, y: { name: "error" } };
// deno-lint-ignore no-explicit-any -- plotly's layout, read as JSON
const layout = (f: Figure) => JSON.parse(JSON.stringify(f.layout)) as any;

Deno.test("every figure names its axes with units and tells series apart by more than colour", () => {
  const f = lineFigure(axes, [{ name: "a", y: [1, 2] }, { name: "b", y: [2, 3] }]);
  assert.equal(layout(f).xaxis.title.text, "bits (bit)");
  assert.equal(layout(f).yaxis.title.text, "error");
  const dashes = new Set(f.data.map((t) => (t.line as { dash: string }).dash));
  const bars = barFigure(axes, ["q"], [{ name: "a", y: [1] }, { name: "b", y: [2] }]);
  const patterns = new Set(bars.data.map((t) => (t.marker as { pattern: { shape: string } }).pattern.shape));
  assert.equal(dashes.size, 2);
  assert.equal(patterns.size, 2);
});

Deno.test("a method keeps its look wherever it stands", () => {
  const [a, b] = [["RTN", "OWQ 3.01"], ["owq", "x"]].map((names) =>
    lineFigure(axes, names.map((name) => ({ name, y: [1] }))).data
  );
  assert.deepEqual(a[1].line as object, b[0].line as object);
});

Deno.test("series of one method in one figure share its colour and still differ without it", () => {
  const names = ["OPTQ 3", "OWQ 3.01", "OWQ 3.1", "OWQ 4.01", "RTN", "other", "more"];
  const lines = lineFigure(axes, names.map((name) => ({ name, y: [1] }))).data.map((t) =>
    t.line as Record<string, string>
  );
  assert.equal(new Set(lines.slice(1, 4).map((l) => l.color)).size, 1);
  assert.equal(new Set(lines.map((l) => l.dash)).size, names.length);
  const asked = lineFigure(axes, [{ name: "RTN", y: [1], style: 2 }]).data[0].line as { dash: string };
  assert.equal(asked.dash, "dot");
});

Deno.test("values that cannot be drawn are counted in the caption, never dropped in silence", () => {
  const f = lineFigure({ ...axes, y: { name: "error", log: true }, caption: "C." }, [{
    name: "a",
    y: [1, NaN, 0, -1],
  }]);
  assert.equal(f.caption, "C. (3 values cannot be drawn.)");
  assert.deepEqual(f.data[0].y, [1, null, null, null]);
});

Deno.test("series of unequal lengths are refused by name", () => {
  assert.throws(
    () => lineFigure(axes, [{ name: "a", x: [1], y: [1, 2] }]),
    /figure "T", series "a": 1 positions but 2/,
  );
  assert.throws(() => barFigure(axes, ["q", "k"], [{ name: "a", y: [1] }]), /2 positions but 1/);
});

Deno.test("histogramFigure() counts every finite value once, the largest too", () => {
  const f = histogramFigure(axes, [{ name: "a", y: new Float32Array([0, 1, 2, 3, 4, NaN]) }], { bins: 4 });
  assert.deepEqual(f.data[0].y, [1, 1, 1, 2]);
  assert.match(f.caption, /1 value cannot/);
  assert.deepEqual(histogramFigure(axes, [{ name: "a", y: [5, 5] }], { bins: 1 }).data[0].y, [2]); // no width
});

Deno.test("heatmapFigure() pools a large matrix by its largest value and says so", () => {
  const data = new Float32Array(400 * 2);
  data.set([7, 1], 3); // columns 3 and 4 of row 0: pooled cell 1
  const f = heatmapFigure(axes, { data, rows: 2, cols: 400 }, { name: "|w|" });
  const z = f.data[0].z as number[][];
  assert.equal(z[0].length, 134);
  assert.equal(z[0][1], 7);
  assert.match(f.caption, /largest of 1 × 3 values/);
});

Deno.test("markup in names stays text in titles, axes and the fallback", () => {
  const f = lineFigure({ ...axes, title: "<b>x</b>", x: { name: "<i>" } }, [{ name: "a", y: [1] }]);
  assert.equal(layout(f).title.text, "&lt;b&gt;x&lt;/b&gt;");
  assert.equal(layout(f).xaxis.title.text, "&lt;i&gt;");
  const bundle = bundleOf(f);
  assert.match(String(bundle["text/html"]), /&lt;b&gt;x/);
  assert.ok(bundle[PLOTLY_MIME]);
});
