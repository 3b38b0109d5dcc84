import assert from "node:assert/strict";
import { book } from "../../lib/io/books.ts";

Deno.test("book() cuts between words and loses nothing when it splits", () => {
  const { train, heldOut } = book("moby-dick");
  const share = heldOut.length / (train.length + heldOut.length);
  assert.ok(share > 0.0499 && share <= 0.05, String(share));
  assert.match(heldOut, /^\s/);
  assert.match(train, /^CONTENTS/);
  assert.match(train, /\n\nETYMOLOGY\. /);
  assert.match(heldOut, /only found another orphan\.$/);
});

Deno.test("book() holds the addresses of all presidents when asked for sotu", () => {
  const { train, heldOut } = book("sotu");
  assert.match(train, /^Fellow-Citizens of the Senate/);
  assert.ok(train.length > 10_000_000 && heldOut.length > 500_000);
});
