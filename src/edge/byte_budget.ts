/** Limits how many bytes are in memory at the same time. */

/** A budget of bytes. */
export class ByteBudget {
  #free: number;

  /** @param bytes the size of the whole budget */
  constructor(bytes: number) {
    this.#free = bytes;
  }

  /**
   * Takes bytes from the budget, until the result is disposed of.
   * @returns undefined if fewer bytes are free
   */
  reserve(bytes: number): Disposable | undefined {
    if (bytes > this.#free) return undefined;
    this.#free -= bytes;
    return {
      [Symbol.dispose]: () => {
        this.#free += bytes;
        bytes = 0;
      },
    };
  }
}
