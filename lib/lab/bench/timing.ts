// How times are compared: warm, in turns, by medians. Whatever else the machine does falls on all contestants alike.

/** Something whose time is taken. */
export interface Contestant {
  readonly name: string;
  /** One sample; returns the seconds it took, or those of one repeat where it did several. */
  run(): Promise<number>;
}

/** Median of the samples, and the distance of their quartiles as a share of it. */
export interface Timing {
  readonly seconds: number;
  readonly spread: number;
  readonly samples: number;
  /** The least sample: what other work on the machine, which only ever adds, disturbed least. */
  readonly fastest: number;
}

/** How one contestant did beside ours. */
export interface PeerTiming extends Timing {
  /** Median over rounds of its time over each of our two times around it. */
  readonly ratio: number;
  /** Distance of the quartiles of that ratio. */
  readonly ratioSpread: number;
}

/** Result of {@link interleave}. */
export interface Comparison {
  readonly rounds: number;
  readonly ours: Timing;
  readonly peers: Readonly<Record<string, PeerTiming>>;
}

/** How long to go on. */
export interface TimingOptions {
  /** At least so many, at least 7 in any case. */
  readonly rounds: number;
  /** Beyond these rounds no further one begins after so many seconds. */
  readonly seconds: number;
  readonly mostRounds?: number;
  /** Pause before each sample: the threads of other libraries go on spinning for a while after their work. */
  readonly restMs?: number;
  /** Milliseconds, monotonic; for tests. */
  readonly now?: () => number;
}

const LEAST_ROUNDS = 7;

/**
 * Times ours and its peers in turns: ours, peer 1, ours, peer 2, ours, …, each peer between two of ours (A/B/A).
 *
 * One round warms everything up and is thrown away. A slow change of the machine (another program, the clock) then shifts
 * a peer and its two neighbours alike and leaves their ratio as it was.
 *
 * @param ours the thing that is measured. @param peers what it is compared with; may be none.
 * @returns medians of the times in seconds and, for each peer, the median of its ratio to ours.
 * @throws whatever a contestant throws.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { interleave } from "./timing.ts";
 * const always = (name: string, seconds: number) => ({ name, run: () => Promise.resolve(seconds) });
 * const c = await interleave(always("ours", 2), [always("peer", 3)], { rounds: 7, seconds: 0 });
 * assert.deepEqual([c.rounds, c.ours.seconds, c.peers.peer.ratio], [7, 2, 1.5]);
 * ```
 */
export async function interleave(
  ours: Contestant,
  peers: readonly Contestant[],
  o: TimingOptions,
): Promise<Comparison> {
  const now = o.now ?? (() => performance.now()), least = Math.max(LEAST_ROUNDS, o.rounds);
  const rested = async (c: Contestant) => {
    if (o.restMs) await new Promise((resolve) => setTimeout(resolve, o.restMs));
    return await c.run();
  };
  await ours.run();
  for (const p of peers) await p.run();
  const own: number[] = [await ours.run()],
    times = peers.map((): number[] => []),
    ratios = peers.map((): number[] => []);
  const begun = now();
  let rounds = 0;
  for (; rounds < (o.mostRounds ?? Infinity); rounds++) {
    if (rounds >= least && (now() - begun) / 1000 >= o.seconds) break;
    for (const [i, p] of peers.entries()) {
      const before = own[own.length - 1], between = await rested(p), after = await rested(ours);
      own.push(after);
      times[i].push(between);
      // Two ratios, not one to the mean of two: that mean is the longer one where other work lengthens samples.
      ratios[i].push(between / before, between / after);
    }
    if (peers.length === 0) own.push(await rested(ours));
  }
  return {
    rounds,
    ours: timingOf(own),
    peers: Object.fromEntries(peers.map((p, i) => {
      const ratio = quartiles(ratios[i]);
      return [p.name, { ...timingOf(times[i]), ratio: ratio.median, ratioSpread: ratio.high - ratio.low }];
    })),
  };
}

/** Median and spread of some times. */
export function timingOf(seconds: readonly number[]): Timing {
  const q = quartiles(seconds);
  return {
    seconds: q.median,
    spread: (q.high - q.low) / q.median,
    samples: seconds.length,
    fastest: Math.min(...seconds),
  };
}

/**
 * Median and quartiles, between neighbours where they fall between two values.
 *
 * @throws RangeError for no values at all.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { quartiles } from "./timing.ts";
 * assert.deepEqual(quartiles([4, 1, 3, 2, 5]), { low: 2, median: 3, high: 4 });
 * ```
 */
export function quartiles(values: readonly number[]): { low: number; median: number; high: number } {
  if (values.length === 0) throw new RangeError("quartiles of no values");
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => {
    const place = share * (sorted.length - 1), left = Math.floor(place), rest = place - left;
    return rest === 0 ? sorted[left] : sorted[left] * (1 - rest) + sorted[left + 1] * rest;
  };
  return { low: at(0.25), median: at(0.5), high: at(0.75) };
}

/**
 * The standard error of a median: 1.2533 σ/√n with σ = (distance of the quartiles)/1.349, as for a normal distribution.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { medianError } from "./timing.ts";
 * assert.ok(Math.abs(medianError(1.349, 100) - 0.12533) < 1e-9);
 * ```
 */
export function medianError(quartileDistance: number, samples: number): number {
  return 1.2533 * quartileDistance / 1.349 / Math.sqrt(samples);
}

/**
 * How often to repeat a piece of work so that a sample takes about `target` seconds; runs it a few times to learn that.
 *
 * @param run does it `repeats` times and returns the seconds.
 */
export async function repeatsFor(run: (repeats: number) => Promise<number>, target: number): Promise<number> {
  await run(1); // compiles
  let repeats = 1;
  for (let tries = 0; tries < 6; tries++) {
    const seconds = await run(repeats);
    if (seconds >= target * 0.7) return repeats;
    const more = Math.ceil(repeats * target / Math.max(seconds, target / 50));
    if (more <= repeats) return repeats;
    repeats = more;
  }
  return repeats;
}
