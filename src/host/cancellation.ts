/**
 * Closes a connection that Deno serves. Deno expects an AbortSignal, but its listener of the signal throws if the connection is already
 * ending. The error of a listener of a real signal cannot be caught, so it would end the process.
 */

/** Closes one connection at once. */
export class Cancellation {
  #cancel = () => {};
  isCancelled = false;

  /** Called by Deno with the function that closes the connection. */
  addEventListener(_type: "abort", cancel: () => void): void {
    this.#cancel = cancel;
  }

  cancel(): void {
    this.isCancelled = true;
    try {
      this.#cancel();
    } catch {
      // The connection is ending.
    }
  }
}
