// deno task train-fixture: makes the embedded model from its recipe. Stopped at any moment it goes on where it was.
import { join } from "node:path";
import { LabError } from "../../io/errors.ts";
import { book } from "../../io/books.ts";
import { FIXTURE_RECIPE } from "../../model/fixture_recipe.ts";
import type { TrainRecipe } from "../../model/train.ts";
import { runCommand } from "../command.ts";
import { labPaths, shortPath } from "../paths.ts";
import { progress } from "../progress.ts";
import { trainFixture } from "../train_fixture.ts";

const INFO = {
  name: "deno task train-fixture",
  summary: "Trains the embedded model from its recipe (lib/model/fixture_recipe.ts): about an hour on two idle cores.",
  options: {
    out: { value: "DIR", help: "where the model goes; fixtures/model by default" },
    work: { value: "DIR", help: "where the checkpoint lies; out/train-fixture by default" },
    recipe: { value: "FILE", help: "a JSON file whose fields replace those of the recipe" },
    stop: { value: "STEP", help: "stop after this step and write the model as it is" },
  },
  more: "Stop it whenever you like: the next run goes on from the last checkpoint and ends with the same bits.",
};

async function readRecipe(path: string | undefined): Promise<TrainRecipe> {
  if (path === undefined) return FIXTURE_RECIPE;
  try {
    return { ...FIXTURE_RECIPE, ...JSON.parse(await Deno.readTextFile(path)) };
  } catch (cause) {
    throw new LabError("input", path, "cannot be read as JSON", "It holds fields of the recipe.", { cause });
  }
}

await runCommand(INFO, async (input) => {
  const { root, out } = labPaths(), recipe = await readRecipe(input.text("recipe"));
  const folder = input.text("out") ?? join(root, "fixtures", "model"),
    stop = Number(input.text("stop") ?? recipe.steps);
  if (!Number.isInteger(stop) || stop < 1) {
    throw new LabError("input", "--stop", `${input.text("stop")} is no step`, `Steps go from 1 to ${recipe.steps}.`);
  }
  const display = progress("training", { total: recipe.steps, unit: "steps" });
  const report = await trainFixture({
    recipe,
    texts: [book("moby-dick"), book("sotu")],
    out: folder,
    work: input.text("work") ?? join(out, "train-fixture"),
    stop,
    onProgress: display.onProgress,
    onLine: (line) => console.error(line),
  });
  await display.finish();
  const { perplexity, unigramPerplexity } = report.heldOut;
  console.log(
    `${shortPath(folder)}: ${report.parameters} parameters, held-out perplexity ${perplexity.toFixed(1)}, ` +
      `${(unigramPerplexity / perplexity).toFixed(1)} times below the unigram's ${unigramPerplexity.toFixed(1)}`,
  );
});
