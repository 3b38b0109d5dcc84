// Deno's tools do not read notebooks: their cells become one module beside the notebook for as long as the check lasts.
import { basename, dirname, join, resolve } from "node:path";
import { type Notebook, notebookProblems, parseNotebook } from "./notebook_format.ts";
import { runProcess } from "./process.ts";

/** The code of a notebook as one module; `origin[i]` says where line i (from 0) came from. */
export interface CellModule {
  readonly source: string;
  readonly origin: readonly { readonly cell: number; readonly line: number }[];
}

/**
 * Joins the code cells in order; cells count from 0 over prose as well, lines from 1.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { cellModule } from "./cells.ts";
 * import { parseNotebook } from "./notebook_format.ts";
 * const cells = [{ cell_type: "markdown", source: "# T" }, { cell_type: "code", source: "var a = 1;\na;" }];
 * const m = cellModule(parseNotebook(JSON.stringify({ nbformat: 4, cells }), "a.ipynb"));
 * assert.deepEqual(m.origin[1], { cell: 1, line: 2 });
 * ```
 */
export function cellModule(notebook: Notebook): CellModule {
  const lines: string[] = [], origin: { cell: number; line: number }[] = [];
  notebook.cells.forEach((cell, index) => {
    if (cell.type !== "code") return;
    cell.source.split("\n").forEach((text, i) => {
      lines.push(text);
      origin.push({ cell: index, line: i + 1 });
    });
  });
  lines.push("export {};"); // a module even without imports, for `await` on its top level
  return { source: `${lines.join("\n")}\n`, origin };
}

/**
 * Checks a notebook: its committed form, the types of its cells and Deno's lint rules (but for `var`, which lets a cell run again).
 *
 * @param path of the `.ipynb` file; its folder must be writable for a moment.
 * @returns problems in words, places named by cell and line; none when all is well.
 * @throws LabError "format" for a damaged file.
 */
export async function checkCells(path: string): Promise<string[]> {
  const text = await Deno.readTextFile(path), problems = notebookProblems(text, path);
  const module = cellModule(parseNotebook(text, path));
  const name = `.${basename(path, ".ipynb")}.cells.ts`, folder = dirname(resolve(path)), temporary = join(folder, name);
  try {
    await Deno.writeTextFile(temporary, module.source);
    const deno = (args: string[]) =>
      runProcess([Deno.execPath(), ...args, temporary], { cwd: folder, env: { NO_COLOR: "1" } });
    const check = await deno(["check", "--quiet"]);
    const lint = await deno(["lint", "--quiet", "--rules-exclude=no-var,prefer-const"]);
    for (const r of [check, lint]) {
      if (r.code !== 0) problems.push(placesInCells(`${r.stdout}${r.stderr}`.trim(), path, name, module));
    }
  } finally {
    await Deno.remove(temporary).catch(() => {});
  }
  return problems;
}

function placesInCells(text: string, path: string, name: string, module: CellModule): string {
  const place = new RegExp(`\\S*${name.replaceAll(".", "\\.")}:(\\d+):(\\d+)`, "g");
  return text.replace(place, (_, line: string, column: string) => {
    const at = module.origin[Number(line) - 1];
    return at ? `${basename(path)} cell ${at.cell}, line ${at.line}, column ${column}` : `${basename(path)}, its end`;
  });
}
