import assert from "node:assert/strict";
import {
  compareRecord,
  exact,
  type LabRecord,
  readRecord,
  record,
  recordFile,
  relative,
  timing,
} from "../../lib/lab/record.ts";

const make = (numbers: LabRecord["numbers"], parameters = {}): LabRecord => ({
  format: 1,
  name: "n",
  model: "fixture",
  parameters,
  numbers,
  provenance: { deno: "", system: "", commit: "", date: "" },
});
const problems = (a: LabRecord["numbers"], b: LabRecord["numbers"]) =>
  compareRecord(make(a), make(b)).map((d) => `${d.key} ${d.problem}`);

Deno.test("compareRecord() holds each number to its own tolerance", () => {
  const stored = { ppl: relative(100, 0.01), ids: exact([1, 2]), time: timing(3), name: exact("a") };
  assert.deepEqual(problems(stored, { ...stored, ppl: relative(100.99, 0.01), time: timing(99) }), []);
  assert.match(problems(stored, { ...stored, ppl: relative(101.01, 0.01) })[0], /^ppl 101 is off by 1\.01 % from 100/);
  assert.match(problems(stored, { ...stored, ids: exact([1, 3]) })[0], /^ids element 1: 3 is not 2/);
  assert.match(problems(stored, { ...stored, ids: exact([1]) })[0], /has 1 values, stored are 2/);
  assert.match(problems(stored, { ...stored, name: exact("b") })[0], /"b" is not "a"/);
});

Deno.test("compareRecord() counts new and missing numbers as differences", () => {
  assert.deepEqual(problems({ a: exact(1) }, { b: exact(1) }), ["a is missing", "b is new"]);
});

Deno.test("compareRecord() never lets NaN pass, nor a value that was zero", () => {
  assert.equal(problems({ a: relative(1) }, { a: relative(NaN) }).length, 1);
  assert.equal(problems({ a: relative(0, 1) }, { a: relative(1e-9, 1) }).length, 1);
});

Deno.test("compareRecord() refuses to compare runs with different parameters", () => {
  const a = make({}, { bits: 3 }), b = make({}, { bits: 4 });
  assert.throws(() => compareRecord(a, b), /its parameter bits is 4, in the stored one 3/);
});

Deno.test("record() refuses NaN and infinity with the number's name and index", async () => {
  const folder = await Deno.makeTempDir();
  const write = (value: number[]) => record("n", { loss: relative(value) }, { model: "fixture", folder });
  await assert.rejects(write([1, NaN]), /record n: "loss" is NaN \(element 1\)/);
  await assert.rejects(write([Infinity]), /"loss" is Infinity/);
  assert.equal(await readRecord(`${folder}/${recordFile("n", "fixture")}`), null);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("readRecord() gives back what record() wrote and refuses other files", async () => {
  const folder = await Deno.makeTempDir();
  const numbers = { ppl: relative(94.63, 1e-3, "per token"), ids: exact([]) };
  const written = await record("03-owq", numbers, { model: "smollm2", parameters: { bits: 3.01 }, folder });
  assert.deepEqual(await readRecord(`${folder}/03-owq.smollm2.json`), written);
  await Deno.writeTextFile(`${folder}/x.json`, "{}");
  await assert.rejects(readRecord(`${folder}/x.json`), /is not a record/);
  await Deno.remove(folder, { recursive: true });
});
