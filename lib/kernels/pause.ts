// Long loops on the main thread let timers, progress and interrupts have their turn.

/**
 * Makes a function that, about every 50 ms, lets the event loop run; at other times it costs a look at the clock.
 *
 * @example
 * ```ts
 * import { openPause } from "./pause.ts";
 * const pause = openPause();
 * for (let i = 0; i < 100; i++) await pause();
 * ```
 */
export function openPause(): () => Promise<void> | undefined {
  let last = performance.now();
  return () => {
    if (performance.now() - last < 50) return;
    return new Promise((resolve) =>
      setTimeout(() => {
        last = performance.now();
        resolve();
      })
    );
  };
}
