import assert from "node:assert/strict";
import { LabError } from "../../lib/io/errors.ts";
import { openShardedSafetensors } from "../../lib/io/safetensors_index.ts";
import { writeSafetensors } from "../../lib/io/safetensors_write.ts";
import { inTempFolder } from "../python.ts";

const A = "model-00001-of-00002.safetensors", B = "model-00002-of-00002.safetensors";

/** A folder with tensors x, y in shard A and z in shard B, and the given index text (default: the right one). */
async function folderWith(folder: string, index?: string) {
  const t = (name: string, value: number) => ({ name, dtype: "F32", shape: [1], data: [value] });
  await writeSafetensors(`${folder}/${A}`, [t("x", 1), t("y", 2)], { format: "pt" });
  await writeSafetensors(`${folder}/${B}`, [t("z", 3)], { format: "pt" });
  const right = JSON.stringify({ metadata: { total_size: 12 }, weight_map: { x: A, y: A, z: B } });
  await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, index ?? right);
}

function refusal(folder: string, kind: string, message: RegExp) {
  assert.throws(
    () => openShardedSafetensors(folder),
    (e) => e instanceof LabError && e.kind === kind && message.test(e.message),
    `expected ${message}`,
  );
}

Deno.test("openShardedSafetensors() reads tensors out of the shards that the index names", async () => {
  await inTempFolder(async (folder) => {
    await folderWith(folder);
    const model = openShardedSafetensors(folder);
    assert.deepEqual([...model.tensors.keys()], ["x", "y", "z"]);
    for (const [name, value] of [["x", 1], ["y", 2], ["z", 3]] as const) {
      assert.deepEqual((await model.read(name)).data, Float32Array.of(value));
    }
    assert.equal(model.metadata.get("format"), "pt");
    await assert.rejects(model.read("w"), /has no tensor "w"/);
    const sum = await model.sha256();
    model.close();
    await writeSafetensors(`${folder}/${B}`, [{ name: "z", dtype: "F32", shape: [1], data: [4] }], { format: "pt" });
    const changed = openShardedSafetensors(folder);
    assert.notEqual(await changed.sha256(), sum);
    changed.close();
  });
});

Deno.test("openShardedSafetensors() reads a folder with one file, and names both files where there is none", async () => {
  await inTempFolder(async (folder) => {
    refusal(folder, "storage", /holds neither model.safetensors nor model.safetensors.index.json/);
    await writeSafetensors(`${folder}/model.safetensors`, [{ name: "x", dtype: "F32", shape: [1], data: [1] }]);
    const model = openShardedSafetensors(folder);
    assert.deepEqual([...model.tensors.keys()], ["x"]);
    model.close();
  });
});

Deno.test("openShardedSafetensors() refuses shard names that could lead out of the folder", async () => {
  const names: [string, RegExp][] = [
    ["../a.safetensors", /leaves the folder/],
    ["a/../../b.safetensors", /leaves the folder/],
    ["/etc/a.safetensors", /absolute path/],
    ["C:a.safetensors", /absolute path/],
    ["https://host/a.safetensors", /is an address/],
    ["a\\\\b.safetensors", /holds a backslash/],
    ["a\\u0000.safetensors", /holds a NUL/],
    ["", /is empty/],
    ["a.bin", /does not end in .safetensors/],
  ];
  await inTempFolder(async (folder) => {
    for (const [name, message] of names) {
      await folderWith(folder, `{"weight_map":{"x":"${name}"}}`);
      refusal(folder, "format", message);
    }
  });
});

Deno.test("openShardedSafetensors() refuses an index that is not strict JSON or has no map of strings", async () => {
  await inTempFolder(async (folder) => {
    for (
      const [index, message] of [
        ["{", /is not strict JSON/],
        [`{"weight_map":{"x":"${A}","x":"${B}"}}`, /the key "x" appears twice/],
        ["[]", /no weight_map object/],
        [`{"weight_map":[]}`, /no weight_map object/],
        [`{"weight_map":{}}`, /names no tensor/],
        [`{"weight_map":{"x":1}}`, /the shard of "x" is not a string/],
      ] as const
    ) {
      await folderWith(folder, index);
      refusal(folder, "format", message);
    }
  });
});

Deno.test("openShardedSafetensors() holds every tensor to exactly one shard, the one of the index", async () => {
  await inTempFolder(async (folder) => {
    const map = (weights: Record<string, string>) => JSON.stringify({ weight_map: weights });
    await folderWith(folder, map({ x: A, y: A, z: B, w: B }));
    refusal(folder, "format", /shard model-00002-of-00002.safetensors lacks tensor "w"/);
    await folderWith(folder, map({ x: A, z: B }));
    refusal(folder, "format", /holds tensor "y", which the index does not list/);
    await folderWith(folder, map({ x: A, y: B, z: B }));
    refusal(folder, "format", /tensor "y" lies in shard model-00001.*, the index says model-00002/);
    await folderWith(folder);
    const twice = ["z", "x"].map((name) => ({ name, dtype: "F32", shape: [1], data: [1] }));
    await writeSafetensors(`${folder}/${B}`, twice);
    refusal(folder, "format", /tensor "x" lies in shard model-00002.*, the index says model-00001/);
    await Deno.remove(`${folder}/${B}`);
    refusal(folder, "storage", /model-00002-of-00002.safetensors: cannot read, it does not exist/);
  });
});
