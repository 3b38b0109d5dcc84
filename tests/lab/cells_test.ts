import assert from "node:assert/strict";
import { checkCells } from "../../lib/lab/cells.ts";
import { normalizeNotebook } from "../../lib/lab/notebook_format.ts";

async function problems(...cells: string[]): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    const all = [
      { cell_type: "markdown", source: "# T" },
      ...cells.map((source) => ({ cell_type: "code", source })),
    ];
    const path = `${folder}/t.ipynb`;
    await Deno.writeTextFile(path, normalizeNotebook(JSON.stringify({ nbformat: 4, cells: all }), path));
    const found = await checkCells(path);
    assert.deepEqual([...Deno.readDirSync(folder)].map((e) => e.name), ["t.ipynb"]); // cleans up after itself
    return found.join("\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("checkCells() passes cells that use each other's variables, `var` and top-level await", async () => {
  assert.equal(await problems("var bits = 3;", "await Promise.resolve(bits + 1);"), "");
});

Deno.test("checkCells() names notebook, cell and line of a wrong type", async () => {
  const found = await problems("var bits = 3;", "bits;\n\nbits = 'three';");
  assert.match(found, /TS2322/);
  assert.match(found, /t\.ipynb cell 2, line 3, column 1/);
});

Deno.test("checkCells() lints", async () => {
  assert.match(await problems("var a: any = 1;", "a;"), /no-explicit-any[\s\S]*t\.ipynb cell 1, line 1/);
});
