import assert from "node:assert/strict";
import type { Screen } from "../../lib/lab/display.ts";
import { exact } from "../../lib/lab/record.ts";
import { startNotebook } from "../../lib/lab/session.ts";

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
