import assert from "node:assert/strict";
import type { Screen } from "../../lib/lab/display.ts";
import { exact } from "../../lib/lab/record.ts";
import { labPaths } from "../../lib/lab/paths.ts";
import { startNotebook } from "../../lib/lab/session.ts";
import { storedRecords } from "../../lib/lab/side_by_side.ts";

const silent: Screen = {
  kind: "terminal",
  put: () => Promise.resolve(),
  replace: () => Promise.resolve(),
  drain: () => Promise.resolve(),
};
const session = (values: Record<string, string>) =>
  startNotebook("x", { environment: (name) => values[name], screen: silent });

Deno.test("parameter() takes the type of its standard value and says what does not fit", () => {
  const lab = session({ OWQ_BITS: "4.01", OWQ_METHOD: "owq", OWQ_TRUE_SEQUENTIAL: "true", OWQ_SEED: "one" });
  assert.equal(lab.parameter("bits", 3), 4.01);
  assert.equal(lab.parameter("method", "rtn"), "owq");
  assert.equal(lab.parameter("trueSequential", false), true);
  assert.equal(lab.parameter("samples", 8), 8);
  assert.throws(() => lab.parameter("seed", 1), /OWQ_SEED: "one" is not a number\. Its standard value is 1/);
  assert.equal(session({ OWQ_MODEL: "smollm2" }).model, "smollm2");
});

Deno.test("record() refuses after the GPU reported an error on its own", async () => {
  const lab = session({}), device = new EventTarget();
  lab.watchDevice(device);
  device.dispatchEvent(Object.assign(new Event("uncapturederror"), { error: new Error("binding too large") }));
  await assert.rejects(
    lab.record({ a: exact(1) }),
    /earlier cell failed unnoticed \(the GPU reports: binding too large\)/,
  );
});

Deno.test("record() shows a changed run beside what is recorded, and says what was changed; an unchanged one it does not", async () => {
  const folder = await Deno.makeTempDir(), before = Deno.env.get("OWQ_RECORDS");
  Deno.env.set("OWQ_RECORDS", folder);
  try {
    const stored = (await storedRecords("03-owq", labPaths().storedRecords)).find((r) => r.model === "fixture")!;
    const shown = async (samples: string) => {
      const texts: string[] = [];
      const put = (data: Record<string, unknown>) => Promise.resolve(void texts.push(String(data["text/plain"])));
      const lab = startNotebook("03-owq", {
        environment: (name) => name === "OWQ_SAMPLES" ? samples : undefined,
        screen: { ...silent, put },
      });
      for (const [key, value] of Object.entries(stored.parameters)) lab.parameter(key, value as number);
      await lab.record({ "OPTQ 3/perplexity": exact(77.5) });
      return texts.join("\n");
    };
    const standard = String(stored.parameters.samples), recorded = stored.numbers["OPTQ 3/perplexity"].value as number;
    const text = await shown("7");
    assert.ok(text.includes("77.5") && text.includes(String(Number(recorded.toPrecision(4)))), text);
    assert.match(text, new RegExp(`This run: fixture, samples 7 \\(recorded: ${standard}\\)`));
    assert.doesNotMatch(await shown(standard), /This run/);
  } finally {
    if (before === undefined) Deno.env.delete("OWQ_RECORDS");
    else Deno.env.set("OWQ_RECORDS", before);
    await Deno.remove(folder, { recursive: true });
  }
});
