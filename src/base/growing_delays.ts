/**
 * The pauses of a loop that asks a server again and again. They are short at first, so that a quick answer is
 * seen soon.
 */

const GROWTH = 1.5;

/** Yields pauses in milliseconds without end. The first is `firstMs`, and each is 1.5 times the one before, up to `longestMs`. */
export function* growingDelays(firstMs: number, longestMs: number): Generator<number, never, void> {
  for (let pauseMs = Math.min(firstMs, longestMs);; pauseMs = Math.min(GROWTH * pauseMs, longestMs)) {
    yield pauseMs;
  }
}
