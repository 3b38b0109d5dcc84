import assert from "node:assert/strict";
import { basename } from "node:path";
import { inTempFolder, runPython } from "../python.ts";
import { KINDS, makeEveryExport } from "./exports.ts";

const script = (name: string) => Deno.readTextFile(new URL(`python/${name}`, import.meta.url));

Deno.test("NumPy reads every packed folder and every export back to the lab's own weights, bit by bit", () =>
  inTempFolder(async (folder) => {
    const pairs = await makeEveryExport(folder);
    const answers = JSON.parse(await runPython(await script("read_checkpoints.py"), JSON.stringify(pairs)));
    assert.equal(Object.keys(answers).length, pairs.length);
    for (const [path] of pairs) {
      const [kind, linears, rest] = answers[path], name = basename(path);
      assert.equal(kind.replace("_v", "-v"), name.slice(2), name);
      const partial = Object.keys(KINDS)[Number(name[0])].includes("part"); // 14 linears, 6 of them MLPs; 5 norms and the embedding
      assert.deepEqual([linears, linears + rest], [partial ? 6 : 14, 14 + 6], name);
    }
  }));

const reference = Deno.env.get("OWQ_REFERENCE_PYTHON");
Deno.test({
  name: "the formats' own libraries read every export to the lab's weights (where OWQ_REFERENCE_PYTHON has them)",
  ignore: reference === undefined,
  fn: () =>
    inTempFolder(async (folder) => {
      const pairs = await makeEveryExport(folder), code = await script("read_with_libraries.py");
      const { success, stdout, stderr } = await new Deno.Command(reference!, {
        args: ["-c", code, JSON.stringify(pairs)],
      }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
      const answers = JSON.parse(new TextDecoder().decode(stdout)) as Record<string, [number, number, string[]]>;
      assert.ok(Object.keys(answers).length > 0, `${reference} has none of the libraries`);
      // What each may refuse: AutoGPTQ knows no v2; act-order with groups left compressed-tensors in 0.19, and dense
      // packing of 3 bits came in 0.18; transformers reads no map of groups there.
      const mayRefuse: Record<string, RegExp> = {
        gptqmodel: /^never$/,
        "auto-gptq": /^\d-gptq-v2: reads v1 only$/,
        "compressed-tensors": /^[124]-compressed-tensors: /,
        transformers: /^[124]-compressed-tensors: /,
      };
      for (const [reader, [folders, linears, refusals]] of Object.entries(answers)) {
        console.log(`${reader}: ${folders} folders, ${linears} linears; refused ${refusals.length}`);
        assert.ok(folders > 0 && linears > 0, reader);
        for (const refusal of refusals) assert.match(refusal, mayRefuse[reader], `${reader}: ${refusal}`);
      }
    }),
});
