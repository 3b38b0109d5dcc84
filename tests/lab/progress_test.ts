import assert from "node:assert/strict";
import type { Screen } from "../../lib/lab/display.ts";
import { progress } from "../../lib/lab/progress.ts";

function recorder(kind: "notebook" | "terminal") {
  const calls: string[] = [];
  const screen: Screen = {
    kind,
    put: (data, id) => Promise.resolve(void calls.push(`put ${id !== undefined} ${data["text/plain"]}`)),
    replace: (data) => Promise.resolve(void calls.push(`replace ${data["text/plain"]}`)),
    drain: () => Promise.resolve(void calls.push("drain")),
  };
  return { calls, screen };
}

Deno.test("progress() in a notebook opens one output and rewrites it, at most four times a second", async () => {
  const { calls, screen } = recorder("notebook");
  let clock = 0;
  const p = progress("quantizing", { total: 100, unit: "blocks", screen, now: () => clock });
  for (let i = 1; i <= 100; i++) {
    clock = i * 10;
    p.update(i);
  }
  await p.finish();
  assert.equal(calls.filter((c) => c.startsWith("put")).length, 1);
  assert.equal(calls.filter((c) => c.startsWith("replace")).length, 4); // three while it ran, one at the end
  assert.deepEqual(calls.slice(-2), ["replace quantizing: 100 blocks in 1.0 s", "drain"]);
});

Deno.test("progress() finishes honestly when the work stopped early", async () => {
  let text = "";
  const { screen } = recorder("terminal");
  const p = progress("w", {
    total: 4,
    unit: "blocks",
    screen,
    write: (t) => text += t,
    isTerminal: true,
    now: () => 0,
  });
  p.update(3);
  await p.finish();
  await p.finish();
  assert.match(text, /w: 3 of 4 blocks in 0 ms *\n$/);
});

Deno.test("progress() writes whole lines to a log, a few a minute, and follows a callback through its parts", async () => {
  let clock = 0, text = "";
  const { screen } = recorder("terminal");
  const p = progress("all", {
    total: 0,
    unit: "",
    screen,
    write: (t) => text += t,
    isTerminal: false,
    now: () => clock,
  });
  for (let i = 1; i <= 60; i++) {
    clock += 1000;
    p.onProgress({ what: "downloading a", done: i * 1e6, total: 60e6, unit: "bytes" });
  }
  await p.finish("done");
  const lines = text.trimEnd().split("\n");
  assert.equal(lines.length, 5);
  assert.equal(lines[0], "downloading a: 15.0 of 60.0 MB, 42 s left");
  assert.equal(lines.at(-1), "all: done in 1 min 0 s");
});

Deno.test("progress() survives a screen that fails", async () => {
  const { screen } = recorder("notebook");
  const broken: Screen = { ...screen, put: () => Promise.reject(new Error("gone")) };
  const p = progress("x", { total: 1, unit: "y", screen: broken });
  p.update(1);
  await p.finish();
});
