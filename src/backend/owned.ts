/** Ownership of device resources: a resource that may be handed over to a caller, and a set that is freed in one call. */

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

/** An object that frees device memory. `destroy` is idempotent. */
interface Destroyable {
  destroy(): void;
}

/** Resources that are freed in one call. */
export class ResourceSet implements Destroyable {
  readonly #resources: Destroyable[] = [];

  /** Adds `resource` to the set and returns it. */
  add<T extends Destroyable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }

  /** Frees all resources of the set. */
  destroy(): void {
    for (const resource of this.#resources) resource.destroy();
  }
}
