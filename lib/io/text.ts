// Where a text comes from, and how its rows become one string: exactly as the reference's evaluation joins them.
import { basename, join } from "node:path";
import { storageError } from "./atomic.ts";
import { book } from "./books.ts";
import { labCache } from "./cache.ts";
import { LabError } from "./errors.ts";
import { hubFile, type HubOptions } from "./hub.ts";
import { decodeUtf8, textRows, unixBreaks } from "./rows.ts";

/** What the text is for: it decides the split. */
export type Purpose = "calibration" | "evaluation";

/** How to open a text. */
export interface TextOptions extends HubOptions {
  readonly purpose: Purpose;
  /**
   * For wikitext2, ptb and c4: a file of the right split, or a folder with one file whose name contains the split's name. Without
   * it such a folder is looked for under the lab's cache, as `texts/wikitext2`, and then the hub asked.
   */
  readonly localCopy?: string | undefined;
}

/** A text in one piece, or (C4 for calibration) separate documents. */
export interface OpenedText {
  /** For people: "wikitext2 test". */
  readonly label: string;
  /** The whole text; null where there are documents. */
  readonly text: string | null;
  readonly documents: AsyncIterable<string> | null;
  /** Windows that count at most; Infinity except for C4's evaluation, which is cut after 256. */
  readonly maxWindows: number;
}

/** One split of a data set on the hub. */
interface Split {
  readonly name: string;
  /** Files to try in this order (data sets get repackaged). */
  readonly files: readonly string[];
}

interface Dataset {
  readonly repo: string;
  readonly revision: string;
  readonly column: string;
  readonly splits: Readonly<Record<Purpose, Split>>;
  /** Turns a line of a plain-text copy into the row that the hub's table has. */
  readonly rowOfLine: (line: string) => string;
  /** What stands between rows; null: the rows are documents, of which calibration draws. */
  readonly separator: string;
  readonly documents: boolean;
  /** Rows and windows that evaluation reads at most. */
  readonly maxRows: number;
  readonly maxWindows: number;
}

/** The reference's three data sets (xvyaward/owq, datautils): rows, separators and cuts. */
const DATASETS: Readonly<Record<string, Dataset>> = {
  wikitext2: {
    repo: "Salesforce/wikitext",
    revision: "main",
    column: "text",
    splits: {
      calibration: { name: "train", files: ["wikitext-2-raw-v1/train-00000-of-00001.parquet"] },
      evaluation: { name: "test", files: ["wikitext-2-raw-v1/test-00000-of-00001.parquet"] },
    },
    rowOfLine: (line) => line.trim() ? line : "", // the hub's rows keep their line break, blank ones are empty
    separator: "\n\n",
    documents: false,
    maxRows: Infinity,
    maxWindows: Infinity,
  },
  ptb: {
    repo: "ptb-text-only/ptb_text_only",
    revision: "refs/convert/parquet", // the repository itself holds a script only
    column: "sentence",
    splits: {
      calibration: {
        name: "train",
        files: ["penn_treebank/train/0000.parquet", "penn_treebank/ptb_text_only-train.parquet"],
      },
      evaluation: {
        name: "test",
        files: ["penn_treebank/test/0000.parquet", "penn_treebank/ptb_text_only-test.parquet"],
      },
    },
    rowOfLine: (line) => line.trim(),
    separator: " ",
    documents: false,
    maxRows: Infinity,
    maxWindows: Infinity,
  },
  c4: {
    repo: "allenai/c4",
    revision: "main",
    column: "text",
    splits: {
      calibration: { name: "train", files: ["en/c4-train.00000-of-01024.json.gz"] },
      evaluation: { name: "validation", files: ["en/c4-validation.00000-of-00008.json.gz"] },
    },
    rowOfLine: (line) => line.trimEnd(),
    separator: " ",
    documents: true,
    maxRows: 1100,
    maxWindows: 256,
  },
};

/** The forms of TEXT, for messages and help. */
export const TEXT_FORMS =
  "a UTF-8 text file, a .safetensors file with input_ids, moby-dick, sotu, wikitext2, ptb or c4";

/**
 * Opens a text by its name or path.
 *
 * `moby-dick` and `sotu` read the first 95 % for calibration and the last 5 % for evaluation (lib/io/books.ts). The data sets
 * join their rows as papers do: WikiText-2 raw with two line breaks (train, test), PTB with a space (train, test), C4's first
 * 1100 documents of validation shard 0 with a space and cut to 256 windows; its calibration draws documents of train shard 0.
 * A file is taken whole, whatever the purpose; its line breaks become "\n".
 *
 * @param text one of {@link TEXT_FORMS} (but not safetensors: that is lib/io/windows.ts).
 * @throws LabError "input" for a name that is neither known nor a file, "format" for damaged files, "network", "storage".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openText } from "./text.ts";
 * const { label, text } = await openText("moby-dick", { purpose: "evaluation" });
 * assert.equal(label, "moby-dick, the last 5 %");
 * assert.ok(text!.length > 50_000);
 * ```
 */
export async function openText(text: string, o: TextOptions): Promise<OpenedText> {
  const whole = (label: string, content: string): OpenedText => {
    return { label, text: content, documents: null, maxWindows: Infinity };
  };
  if (text === "moby-dick" || text === "sotu") {
    const { train, heldOut } = book(text);
    return o.purpose === "evaluation"
      ? whole(`${text}, the last 5 %`, heldOut.trimStart())
      : whole(`${text}, the first 95 %`, train);
  }
  if (Object.hasOwn(DATASETS, text)) return await openDataset(text, DATASETS[text], o);
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(text);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      throw new LabError("input", text, "is neither a text the lab knows nor a file", `TEXT is ${TEXT_FORMS}.`);
    }
    throw storageError(text, "cannot read", cause);
  }
  return whole(basename(text), unixBreaks(decodeUtf8(text, bytes)));
}

async function openDataset(name: string, set: Dataset, o: TextOptions): Promise<OpenedText> {
  const split = set.splits[o.purpose], label = `${name} ${split.name}`;
  const copy = o.localCopy ?? await laidBy(name),
    path = copy ? await findLocal(copy, split.name) : await download(set, split, o);
  const table = /\.(parquet|jsonl?|jsonl?\.gz)$/.test(path);
  const rows = async function* (): AsyncGenerator<string> {
    for await (const row of textRows(path, set.column)) yield table ? row : set.rowOfLine(row);
  };
  if (set.documents && o.purpose === "calibration") {
    return { label, text: null, documents: { [Symbol.asyncIterator]: rows }, maxWindows: Infinity };
  }
  const parts: string[] = [];
  for await (const row of rows()) {
    if (parts.length === set.maxRows) break;
    parts.push(row);
  }
  return { label, text: parts.join(set.separator), documents: null, maxWindows: set.maxWindows };
}

/** The folder in which the user laid a data set, for machines that the hub cannot be reached from; null where there is none. */
async function laidBy(name: string): Promise<string | null> {
  const folder = join(labCache(), "texts", name);
  return await Deno.stat(folder).then((s) => s.isDirectory ? folder : null, () => null);
}

async function download(set: Dataset, split: Split, o: HubOptions): Promise<string> {
  const repo = { type: "dataset", name: set.repo } as const;
  for (const [i, path] of split.files.entries()) {
    try {
      return await hubFile({ repo, revision: set.revision, path }, o);
    } catch (error) {
      if (!(error instanceof LabError && error.kind === "network")) throw error;
      if (i < split.files.length - 1) continue;
      const hint = `${error.hint} Or give a local copy of its ${split.name} split.`
        .trim();
      throw new LabError("network", error.thing, error.problem, hint, { cause: error });
    }
  }
  throw new LabError("network", set.repo, "names no file");
}

/** The file itself, or the one file in a folder whose name contains the split's. */
async function findLocal(path: string, split: string): Promise<string> {
  try {
    if ((await Deno.stat(path)).isFile) return path;
    const names: string[] = [];
    for await (const entry of Deno.readDir(path)) {
      if (!entry.isDirectory && entry.name.includes(split)) names.push(entry.name);
    }
    if (names.length === 1) return join(path, names[0]);
    const problem = `holds ${names.length} files with "${split}" in their name where one is needed`;
    throw new LabError(
      "input",
      path,
      problem,
      names.length ? `Give one of ${names.sort().join(", ")}.` : "Give the file itself.",
    );
  } catch (cause) {
    throw storageError(path, "cannot read", cause);
  }
}
