// The search on a real Ray with two local workers, one of them killed. Ray is not part of the kit: without it this test is
// reported as ignored, and rounds_test.ts and amq_command_test.ts test what lies below it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rng } from "../../../lib/io/rng.ts";
import { writeSafetensors } from "../../../lib/io/safetensors_write.ts";
import { runRounds } from "../../../lib/lab/amq/rounds.ts";
import { openProxy, proxySettings } from "../../../lib/lab/amq/proxy.ts";
import { rayPython, runOnRay } from "../../../lib/lab/amq/ray.ts";
import { keepProxy, keepSearch, SCAN, searchRecord, studyArchive, studyStrategy } from "../../../lib/lab/amq/study.ts";
import { inTempFolder } from "../../python.ts";

const MODEL = fileURLToPath(new URL("../../../fixtures/golden/models/llama", import.meta.url));
const available = await rayPython() !== null;

Deno.test({
  name: "amq_on_ray.py with a worker killed ends with the archive of one process (needs Ray: owq amq ray --install)",
  ignore: !available,
  fn: () =>
    inTempFolder(async (folder) => {
      const stream = rng(5, "tokens"), data = Int32Array.from({ length: 2 * 32 }, () => stream.int(128));
      const text = join(folder, "ids.safetensors"),
        ids = { name: "input_ids", dtype: "I32", shape: [2, 32], data } as const;
      await writeSafetensors(text, [ids]);
      const settings = proxySettings(MODEL, { text: { text, samples: 2, seqLen: 32 } }),
        proxy = await openProxy(settings);
      const record = searchRecord("amq", { initial: 17, rounds: 1, candidates: 4 });
      const [whole, shared, pids] = ["whole", "shared", "pids"].map((name) => join(folder, name));
      for (const out of [whole, shared]) {
        await keepProxy(out, settings, proxy.fingerprint);
        await keepSearch(out, "amq", record);
      }
      for (const name of [SCAN, "amq"]) {
        const archive = await studyArchive(whole, name), strategy = await studyStrategy(whole, name, proxy.space);
        await runRounds(strategy, archive, (point) => proxy.evaluate(point));
      }
      proxy.close();

      await Deno.mkdir(pids);
      const said: string[] = [];
      let over = false;
      const driver = runOnRay(["--out", shared, "--pids", pids], (line) => void said.push(line)).finally(() =>
        over = true
      );
      let killed = 0;
      while (!over && killed === 0) {
        for (const file of Deno.readDirSync(pids)) {
          killed = Number(await Deno.readTextFile(join(pids, file.name)));
          if (killed > 0) break;
        }
        await new Promise((done) => setTimeout(done, 5));
      }
      Deno.kill(killed, "SIGKILL"); // the first worker, as soon as its first task has begun
      await driver;
      for (const name of [SCAN, "amq"]) {
        const [a, b] = await Promise.all([whole, shared].map((out) => Deno.readTextFile(join(out, `${name}.jsonl`))));
        assert.equal(b, a, name);
      }
      const tasks = Number(/amq: done, 21 evaluations, (\d+) tasks/.exec(said.join("\n"))?.[1]);
      const begun = [...Deno.readDirSync(pids)].length; // by all archives, once more for each that was lost
      assert(tasks === 4 && begun >= 2 + 4 + 1, `${begun} tasks begun, ${said.join("\n")}`);
    }),
});
