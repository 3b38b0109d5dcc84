// How far a long job is, with the time left: one output that rewrites itself in a notebook, one line in a terminal, and a line
// now and then in a log file. Work that never yields to the event loop cannot show progress: await between steps.
import type { OnProgress, Progress } from "../io/progress.ts";
import { openScreen, type Screen } from "./display.ts";
import { escapeHtml, formatSeconds } from "./format.ts";
import { PROGRESS_HTML } from "./notebook_format.ts";

/** A running display. */
export interface ProgressDisplay {
  /** Says that `done` of the total are finished; `note` is shown behind. Cheap: most calls draw nothing. */
  update(done: number, note?: string): void;
  /** Adds one (or `n`) to what is done. */
  step(n?: number, note?: string): void;
  /** For callbacks of lib/io and lib/methods: takes label, total and unit from each report. */
  readonly onProgress: OnProgress;
  /** Leaves one line that says how long it took; call it once at the end, also after an error. */
  finish(note?: string): Promise<void>;
}

/** What is counted, and for tests: the clock and where lines go. */
export interface ProgressOptions {
  /** 0 where the end is not known. */
  readonly total: number;
  readonly unit: string;
  readonly screen?: Screen;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
  /** Standard error by default, so that `--json` on standard output stays clean. */
  readonly write?: (text: string) => void;
  readonly isTerminal?: boolean;
}

const EVERY_MS = { notebook: 250, terminal: 100, log: 15_000 };

/**
 * Opens a progress display.
 *
 * @param label what is being done: "quantizing".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { progress } from "./progress.ts";
 * let clock = 0, text = "";
 * const p = progress("quantizing", { total: 4, unit: "blocks", now: () => clock, write: (t) => text += t, isTerminal: true });
 * clock = 2000;
 * p.update(1);
 * assert.match(text, /quantizing: 1 of 4 blocks, 6\.0 s left/);
 * p.update(4);
 * await p.finish();
 * assert.match(text, /quantizing: 4 blocks in 2\.0 s *\n$/);
 * ```
 */
export function progress(label: string, o: ProgressOptions): ProgressDisplay {
  const screen = o.screen ?? openScreen(), now = o.now ?? (() => performance.now());
  const write = o.write ?? ((text: string) => void Deno.stderr.writeSync(new TextEncoder().encode(text)));
  const isTerminal = o.isTerminal ?? Deno.stderr.isTerminal();
  const way = screen.kind === "notebook" ? "notebook" : isTerminal ? "terminal" : "log";
  const begun = now(), id = `progress-${crypto.randomUUID()}`;
  let state: Progress = { what: label, done: 0, total: o.total, unit: o.unit };
  let part = { what: label, at: begun }, drawn = way === "log" ? begun : -Infinity, width = 0, opened = false;
  let pending: Promise<void> = Promise.resolve(), ended = false;

  const draw = (text: string, p: Progress | null) => {
    if (way === "log") return write(`${text}\n`);
    if (way === "terminal") {
      write(`\r${text.padEnd(width)}${p === null ? "\n" : ""}`);
      width = text.length;
      return;
    }
    const data = { "text/html": progressHtml(text, p), "text/plain": text };
    const first = !opened;
    opened = true;
    // In order, and never throwing into the work that reports.
    pending = pending.then(() => first ? screen.put(data, id) : screen.replace(data, id)).catch(() => {});
  };
  const report = (p: Progress, note = "") => {
    if (ended) return;
    if (p.what !== part.what || p.done < state.done) part = { what: p.what, at: now() };
    state = p;
    const time = now();
    if (time - drawn < EVERY_MS[way]) return;
    drawn = time;
    draw(line(p, (time - part.at) / 1000, note), p);
  };
  return {
    update: (done, note) => report({ ...state, done }, note),
    step: (n = 1, note) => report({ ...state, done: state.done + n }, note),
    onProgress: (p) => report(p),
    async finish(note = "") {
      if (ended) return;
      ended = true;
      const time = formatSeconds((now() - begun) / 1000);
      draw(`${label}: ${note || count(state)} in ${time}`, null);
      await pending;
      await screen.drain();
    },
  };
}

function line(p: Progress, seconds: number, note: string): string {
  const left = p.total > 0 && p.done > 0 && p.done < p.total
    ? `, ${formatSeconds(seconds * (p.total - p.done) / p.done)} left`
    : "";
  return `${p.what}: ${count(p)}${left}${note ? ` (${note})` : ""}`;
}

function count(p: Progress): string {
  const bytes = p.unit === "bytes";
  const number = (n: number) => bytes ? (n / 1e6).toFixed(1) : String(n);
  const done = p.total > 0 && p.done < p.total ? `${number(p.done)} of ${number(p.total)}` : number(p.done);
  return `${done} ${bytes ? "MB" : p.unit}`;
}

function progressHtml(text: string, p: Progress | null): string {
  const bar = p === null ? "" : `<progress max="${p.total || 1}" value="${p.total ? p.done : 0}"></progress> `;
  return `${PROGRESS_HTML}${bar}<small>${escapeHtml(text)}</small></div>`;
}
