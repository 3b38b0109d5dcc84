import assert from "node:assert/strict";
import { join } from "node:path";
import { type Claim, inOrder, NotMeasured, numbersOf } from "../../lib/lab/claims.ts";
import { CLAIMS } from "../../lib/lab/claims_data.ts";
import { checkLedger, type LedgerPlaces, writeLedger } from "../../lib/lab/claims_ledger.ts";
import { labPaths } from "../../lib/lab/paths.ts";
import { record, relative } from "../../lib/lab/record.ts";

const claim: Claim = {
  claim: "A is better than B",
  where: "table 9",
  notebook: "99-test",
  rule: "lower.",
  find: (n) => ({
    verdict: inOrder([n.get("A/perplexity"), n.get("B/perplexity")]),
    numbers: `A: ${n.say("A/perplexity")}`,
  }),
};

async function inFolder(
  work: (p: LedgerPlaces, write: (a: number | number[], b?: number) => Promise<unknown>) => Promise<void>,
) {
  const folder = await Deno.makeTempDir();
  try {
    const places = { file: join(folder, "CLAIMS.md"), records: folder, claims: [claim] };
    const write = (a: number | number[], b?: number) =>
      record("99-test", {
        "A/perplexity": relative(a),
        ...(b === undefined ? {} : { "B/perplexity": relative(b) }),
      }, { model: "fixture", folder });
    await work(places, write);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("checkLedger() is content after writeLedger() and names the line when a record changes", () =>
  inFolder(async (places, write) => {
    await write([10, 10.4], 12);
    assert.match((await checkLedger(places))!, /is not there/);
    await writeLedger(places);
    assert.equal(await checkLedger(places), null);
    const text = await Deno.readTextFile(places.file);
    assert.match(text, /embedded model.*: _holds_ · A: 10\.20 ± 0\.20/);
    assert.match(text, /SmolLM2-135M: _not measured here_$/m);
    assert.match(text, /1 holds, 0 holds in part, 0 does not hold here, 1 not measured here/);

    await write([10, 10.6], 12); // the verdict stays, the number does not
    assert.match((await checkLedger(places))!, /line \d+.*\n.*10\.20 ± 0\.20\n.*10\.30 ± 0\.30/);
    await write([13, 13], 12);
    await writeLedger(places);
    assert.match(await Deno.readTextFile(places.file), /embedded model.*_does not hold here_/);
  }));

Deno.test("writeLedger() names no result that no record holds", () =>
  inFolder(async (places, write) => {
    await write(10); // B is missing
    await writeLedger(places);
    assert.equal((await Deno.readTextFile(places.file)).match(/: _not measured here_$/gm)!.length, 2);
  }));

Deno.test("CLAIMS rest each on numbers of their own notebook's record, and on nothing where it has none", async () => {
  let judged = 0;
  for (const c of CLAIMS) {
    if (c.find) assert.throws(() => c.find!(numbersOf({})), NotMeasured, c.claim);
    for (const model of ["fixture", "smollm2"]) {
      const path = join(labPaths().storedRecords, `${c.notebook}.${model}.json`);
      const text = await Deno.readTextFile(path).catch(() => null);
      if (text === null || !c.find) continue;
      const { numbers } = JSON.parse(text) as { numbers: Record<string, { value: unknown }> };
      const found = c.find(numbersOf(numbers));
      assert.doesNotMatch(found.numbers, /NaN|undefined|Infinity/);
      assert.match(found.numbers, /\d/, c.claim);
      judged++;
    }
  }
  assert(judged >= 10, `only ${judged} verdicts`);
});
