// The rows of a text data set, whatever file they come in: parquet, JSON lines (also gzipped), or plain text with one row a line.
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib"; // DecompressionStream refuses files of several gzip members
import { parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { storageError } from "./atomic.ts";
import { openFile } from "./bytes.ts";
import { LabError } from "./errors.ts";

/**
 * Decodes UTF-8 and names the byte where it breaks.
 *
 * @param label the file's name, for the message.
 * @throws LabError "format".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { decodeUtf8 } from "./rows.ts";
 * assert.equal(decodeUtf8("a.txt", Uint8Array.of(0xc3, 0xa9)), "é");
 * assert.throws(() => decodeUtf8("a.txt", Uint8Array.of(0x41, 0xff)), /a.txt: is not UTF-8 text at byte 1/);
 * ```
 */
export function decodeUtf8(label: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const hint = "Convert it (iconv -t utf-8), or check that it is a text at all.";
    throw new LabError("format", label, `is not UTF-8 text at byte ${firstBadByte(bytes)}`, hint);
  }
}

/** Halves the span between a prefix that decodes (perhaps ending inside a character) and one that does not. */
function firstBadByte(bytes: Uint8Array): number {
  let good = 0, bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  return good;
}

/**
 * A text with every line break as "\n", which is how Python and the data sets read text files.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { unixBreaks } from "./rows.ts";
 * assert.equal(unixBreaks("a\r\nb\n"), "a\nb\n");
 * ```
 */
export function unixBreaks(text: string): string {
  return text.replace(/\r\n?/g, "\n");
}

/**
 * The strings of one column of a file, in order: `.parquet`; `.json` and `.jsonl` with an object a line; any other as plain text,
 * a row a line with its line break ("\n", whatever the file has). A trailing `.gz` is unpacked on the way (parquet packs within itself).
 *
 * @param path the file.
 * @param column the field that holds the text.
 * @throws LabError "format" for a damaged file, a row without that string (its number is named), or text that is not UTF-8; "storage".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { textRows } from "./rows.ts";
 * const path = await Deno.makeTempFile({ suffix: ".jsonl" });
 * await Deno.writeTextFile(path, '{"text":"one"}\n{"text":"two"}\n');
 * const rows: string[] = [];
 * for await (const row of textRows(path, "text")) rows.push(row);
 * assert.deepEqual(rows, ["one", "two"]);
 * await Deno.remove(path);
 * ```
 */
export async function* textRows(path: string, column: string): AsyncGenerator<string> {
  if (path.endsWith(".parquet")) {
    yield* parquetRows(path, column);
    return;
  }
  const json = /\.jsonl?(\.gz)?$/.test(path);
  let number = 0;
  for await (const line of lines(path)) {
    number++;
    if (!json) yield line;
    else if (line.trim()) yield jsonField(path, number, line, column);
  }
}

function jsonField(path: string, number: number, line: string, column: string): string {
  const where = `${basename(path)} line ${number}`;
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch (cause) {
    throw new LabError("format", where, `is not JSON (${cause instanceof Error ? cause.message : cause})`, "", {
      cause,
    });
  }
  const value = (row as Record<string, unknown> | null)?.[column];
  if (typeof value !== "string") throw new LabError("format", where, `has no text in its field "${column}"`);
  return value;
}

/** The lines of a text file with their breaks, read in pieces. */
async function* lines(path: string): AsyncGenerator<string> {
  const label = basename(path), decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "", offset = 0;
  for await (const piece of pieces(path)) {
    let text: string;
    try {
      text = rest + decoder.decode(piece, { stream: true });
    } catch (cause) {
      const range = `between bytes ${offset} and ${offset + piece.length}`;
      throw new LabError("format", label, `is not UTF-8 text ${range}`, "", { cause });
    }
    offset += piece.length;
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      yield unixBreaks(text.slice(start, end + 1));
      start = end + 1;
    }
    rest = text.slice(start);
  }
  if (rest) yield unixBreaks(rest);
}

async function* pieces(path: string): AsyncGenerator<Uint8Array> {
  const file = createReadStream(path, { highWaterMark: 1 << 20 });
  // pipeline, not pipe: an error of the file must end the reader of the unpacked stream too
  const stream: Readable = path.endsWith(".gz") ? pipeline(file, createGunzip(), () => {}) : file;
  try {
    for await (const piece of stream) yield piece as Uint8Array;
  } catch (cause) {
    if (cause instanceof Error && /header|unexpected end|incorrect|invalid|corrupt|zlib|Z_/i.test(cause.message)) {
      const hint = "The file is cut short or damaged: fetch it again.";
      throw new LabError("format", basename(path), `cannot be unpacked (${cause.message})`, hint, { cause });
    }
    throw storageError(path, "cannot read", cause);
  }
}

async function* parquetRows(path: string, column: string): AsyncGenerator<string> {
  const access = openFile(path), label = basename(path);
  const file = {
    byteLength: access.size,
    slice: (start: number, end: number = access.size) => access.read(start, end - start).buffer,
  };
  const damaged = (cause: unknown): LabError => {
    if (cause instanceof LabError) return cause;
    const problem = `is not a parquet file the lab can read (${cause instanceof Error ? cause.message : cause})`;
    return new LabError("format", label, problem, "The file may be cut short: fetch it again.", { cause });
  };
  try {
    const metadata = await parquetMetadataAsync(file).catch((cause) => {
      throw damaged(cause);
    });
    const columns = metadata.schema.filter((element) => !element.num_children).map((element) => element.name);
    if (!columns.includes(column)) {
      throw new LabError("format", label, `has no column "${column}"`, `It has ${columns.join(", ")}.`);
    }
    let rowStart = 0;
    for (const group of metadata.row_groups) { // one row group in memory at a time
      const rowEnd = rowStart + Number(group.num_rows);
      const rows = await parquetReadObjects({ file, metadata, columns: [column], rowStart, rowEnd, compressors })
        .catch((cause) => {
          throw damaged(cause);
        });
      for (const [i, row] of rows.entries()) {
        const value: unknown = row[column];
        if (typeof value !== "string") {
          throw new LabError("format", `${label} row ${rowStart + i}`, `has no text in its column "${column}"`);
        }
        yield value;
      }
      rowStart = rowEnd;
    }
  } finally {
    access.close();
  }
}
