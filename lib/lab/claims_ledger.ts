// notebooks/CLAIMS.md as a file: made, and compared with what the records say now.
import { join } from "node:path";
import { atomicWriteText } from "../io/atomic.ts";
import { LabError } from "../io/errors.ts";
import { type Claim, firstDifference, ledgerText } from "./claims.ts";
import { CLAIMS } from "./claims_data.ts";
import { SYSTEM_CLAIMS } from "./claims_systems.ts";
import { labPaths, shortPath } from "./paths.ts";
import { runProcess } from "./process.ts";

/** Where the ledger and its records lie; tests use their own. */
export interface LedgerPlaces {
  readonly file: string;
  readonly records: string;
  readonly claims: readonly Claim[];
}

/** The clone's own. */
export function ledgerPlaces(): LedgerPlaces {
  const { notebooks, storedRecords } = labPaths();
  return { file: join(notebooks, "CLAIMS.md"), records: storedRecords, claims: [...CLAIMS, ...SYSTEM_CLAIMS] };
}

/** Writes the ledger. */
export async function writeLedger(p: LedgerPlaces = ledgerPlaces()): Promise<void> {
  await atomicWriteText(p.file, await freshLedger(p));
}

/**
 * Compares the ledger with what the records say.
 *
 * @returns null when they agree, else a sentence that names the line.
 */
export async function checkLedger(p: LedgerPlaces = ledgerPlaces()): Promise<string | null> {
  const stored = await Deno.readTextFile(p.file).catch(() => null);
  if (stored === null) return `${shortPath(p.file)} is not there: make it with deno task claims`;
  const d = firstDifference(stored, await freshLedger(p));
  if (d === null) return null;
  return `${shortPath(p.file)} differs from its records in line ${d.line}: make it anew with deno task claims\n` +
    `  stands: ${d.stored}\n  records: ${d.fresh}`;
}

/** The text as `deno fmt` leaves it, which the gate asks of every Markdown file. */
async function freshLedger(p: LedgerPlaces): Promise<string> {
  const text = await ledgerText(p.claims, p.records), file = await Deno.makeTempFile({ suffix: ".md" });
  try {
    await Deno.writeTextFile(file, text);
    const r = await runProcess([Deno.execPath(), "fmt", "--quiet", "--line-width", "120", file]);
    if (r.code !== 0) throw new LabError("format", "the ledger", `deno fmt refuses it (${r.stderr.trim()})`);
    return await Deno.readTextFile(file);
  } finally {
    await Deno.remove(file);
  }
}
