import assert from "node:assert/strict";
import { predictionProfiles } from "../../lib/model/exit_profile.ts";
import { openLanguageModel } from "../../lib/model/language_model.ts";
import { assertWithin } from "../assert.ts";
import { randomIds, smallLlama } from "./tiny.ts";

const source = smallLlama(3);
const model = await openLanguageModel(source), ids = [...randomIds(20, 64)];
const texts = [{ context: ids.slice(0, 1), continuation: ids.slice(1) }];

Deno.test("predictionProfiles() of nothing left out is the model's own; an exit is the model without all later blocks", async () => {
  const found = await predictionProfiles(model, texts, [0, 1], [[], [1, 2], [2]]);
  assert.deepEqual(found.pruned[0], found.expert);
  assert.deepEqual([found.expert.overlap, Math.abs(found.expert.divergence) < 1e-12], [1, true]);
  assert.deepEqual(found.exits, [found.pruned[1], found.pruned[2]]);
  assert.notDeepEqual(found.exits[0], found.exits[1]);
  assert(found.exits[0].divergence > 0 && found.exits[0].divergence < Math.LN2 && found.exits[0].overlap < 1);
});

Deno.test("predictionProfiles() means what it says: entropy and peak against the logits, counted by hand", async () => {
  const { expert } = await predictionProfiles(model, [{ context: ids.slice(0, 5), continuation: [ids[5]] }], [], []);
  const decoder = await model.openDecoder({ capacity: 8 }), logits = await decoder.append(ids.slice(0, 5));
  decoder.close();
  const most = Math.max(...logits),
    parts = [...logits].map((x) => Math.exp(x - most)),
    all = parts.reduce((s, x) => s + x);
  const entropy = -parts.reduce((s, x) => s + x / all * Math.log(x / all), 0);
  const mean = logits.reduce((s, x) => s + x, 0) / logits.length;
  assertWithin([expert.entropy, expert.peak], [entropy, most - mean], 1e-4);
});
