// The command as a user has it, on a tiny model: killed, resumed, spread over processes, refused.
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rng } from "../../../lib/io/rng.ts";
import { writeSafetensors } from "../../../lib/io/safetensors_write.ts";
import { inTempFolder } from "../../python.ts";

const at = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const MODEL = at("fixtures/golden/models/llama");

function start(folder: string, ...args: string[]) {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", at("lib/lab/commands/owq.ts"), "amq", ...args],
    env: { OWQ_LAB_CACHE: join(folder, "cache"), NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function run(folder: string, ...args: string[]) {
  const { code, stdout, stderr } = await start(folder, ...args).output(), text = new TextDecoder();
  return { code, out: text.decode(stdout), error: text.decode(stderr) };
}

async function json(folder: string, ...args: string[]) {
  const r = await run(folder, ...args, "--json");
  assert.equal(r.code, 0, r.error);
  return JSON.parse(r.out);
}

/** A folder with the tokens that a study of the tiny model is judged by, and its options. */
async function study(folder: string): Promise<(out: string) => string[]> {
  const stream = rng(5, "tokens"), data = Int32Array.from({ length: 2 * 32 }, () => stream.int(128));
  const text = join(folder, "ids.safetensors");
  await writeSafetensors(text, [{ name: "input_ids", dtype: "I32", shape: [2, 32], data }]);
  return (out) => ["--model", MODEL, "--text", text, "--out", join(folder, out)];
}

const SMALL = ["--initial", "17", "--rounds", "3", "--candidates", "4"];
const lines = (file: string) => Deno.readTextFile(file).then((t) => t.split("\n").length - 1, () => 0);

Deno.test("owq amq search, killed by SIGKILL after so many evaluations, resumes and ends with the same archive to the byte", () =>
  inTempFolder(async (folder) => {
    const options = await study(folder), whole = await json(folder, "search", ...options("whole"), ...SMALL);
    const total = await lines(whole.archive);
    assert(total >= 17 + 3 && whole.rounds.length === 4, `${total} evaluations`);
    const file = join(folder, "broken", "amq.jsonl"), scan = join(folder, "broken", "scan.jsonl");
    let killed = 0;
    for (const [path, count] of [[scan, 5], [file, 3], [file, 19]] as const) {
      const child = start(folder, "search", ...options("broken"), ...SMALL), ended = child.output();
      let over = false;
      ended.finally(() => over = true);
      while (!over && await lines(path) < count) await new Promise((done) => setTimeout(done, 2));
      if (!over) child.kill("SIGKILL");
      if ((await ended).signal === "SIGKILL") killed++;
      assert(await lines(path) >= count);
    }
    assert(killed >= 2, `${killed} of 3 runs could be killed before they ended`);
    const last = await json(folder, "search", ...options("broken"), ...SMALL);
    for (const name of ["amq.jsonl", "scan.jsonl", "amq.json", "proxy.json", "amq.rounds.json"]) {
      const [a, b] = await Promise.all(["broken", "whole"].map((d) => Deno.readTextFile(join(folder, d, name))));
      assert.equal(a, b, name);
    }
    assert.deepEqual(last.front, whole.front);

    const other = await run(folder, "search", ...options("broken"), ...SMALL, "--seed", "3");
    assert.equal(other.code, 1);
    assert.match(other.error, /broken.* was made with .*this run has/);
  }));

Deno.test("owq amq ask and evaluate in two shards, one lost and done again, end with the archive of one process", () =>
  inTempFolder(async (folder) => {
    const options = await study(folder), small = [...SMALL.slice(0, 2), "--rounds", "1", "--candidates", "4"];
    const whole = join(folder, "whole"), out = join(folder, "shards");
    const [searched] = await Promise.all([
      json(folder, "search", ...options("whole"), ...small),
      json(folder, "search", ...options("shards"), ...small, "--begin"),
    ]);
    assert.equal(await lines(join(out, "amq.jsonl")), 0);
    const ask = (name: string) => json(folder, "ask", "--out", out, "--name", name);
    const evaluate = (file: string, shard: string) => json(folder, "evaluate", file, "--shard", shard);
    const scan = await ask("scan");
    assert.deepEqual([scan.evaluations, scan.next.missing], [0, 15]);
    await Promise.all(["2/2", "1/2"].map((shard) => evaluate(scan.next.file, shard)));
    assert.equal((await ask("scan")).next, null);

    const first = await ask("amq");
    assert.deepEqual([first.next.round, first.next.missing], [0, 17]);
    await evaluate(first.next.file, "1/2"); // the machine with the second shard is lost
    const second = await ask("amq");
    assert.deepEqual([second.next.round, second.next.missing, second.evaluations], [0, 8, 1]);
    await evaluate(second.next.file, "1/1");
    const third = await ask("amq");
    assert.equal(third.next.round, 1);
    await evaluate(third.next.file, "1/1");
    const last = await ask("amq");
    assert.deepEqual([last.next, last.evaluations], [null, await lines(searched.archive)]);
    for (const name of ["scan.jsonl", "amq.jsonl"]) {
      const [a, b] = await Promise.all([out, whole].map((d) => Deno.readTextFile(join(d, name))));
      assert.equal(a, b, name);
    }
  }));

Deno.test("owq amq says in a sentence what it cannot do", () =>
  inTempFolder(async (folder) => {
    const options = await study(folder), out = join(folder, "out");
    await json(folder, "scan", ...options("out"));
    const refuses = async (pattern: RegExp, ...args: string[]) => {
      const r = await run(folder, ...args);
      assert.equal(r.code, 1, r.out);
      assert.match(r.error, pattern);
      assert(!/\n {4}at /.test(r.error), "a stack");
    };
    await Promise.all([
      refuses(/has no search "amq"/, "models", "--out", out),
      refuses(/holds no study/, "ask", "--out", join(folder, "none")),
      refuses(/3 initial evaluations for \d+ linears/, "search", "--out", out, "--initial", "3"),
    ]);
    await Deno.writeTextFile(join(folder, "bad.json"), '{"format": "x"}');
    await Deno.copyFile(join(out, "scan.jsonl"), join(out, "mine.jsonl"));
    const near = ["models", "--out", out, "--name", "mine", "--targets", "4"];
    await Promise.all([
      refuses(/bad\.json: is no round/, "evaluate", join(folder, "bad.json")),
      refuses(
        /an average of 9 bits: no configuration has it/,
        "models",
        "--out",
        out,
        "--name",
        "mine",
        "--targets",
        "9",
      ),
      refuses(/the nearest has 4\.\d/, ...near, "--tolerance", "0.0001"),
      refuses(/--way: "best"/, "search", "--out", out, "--way", "best"),
    ]);
  }));
