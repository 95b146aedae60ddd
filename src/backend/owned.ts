/** Ownership of a device resource that may be handed over to a caller. */

/** A resource that is freed by {@link Owned.destroy}, unless {@link Owned.take} has handed it over before. */
export class Owned<T extends { destroy(): void }> {
  readonly value: T;
  #isTaken = false;

  constructor(value: T) {
    this.value = value;
  }

  /** Hands the resource over. The caller now owns it and must destroy it. */
  take(): T {
    this.#isTaken = true;
    return this.value;
  }

  /** Frees the resource, unless it was taken. */
  destroy(): void {
    if (!this.#isTaken) this.value.destroy();
  }
}
