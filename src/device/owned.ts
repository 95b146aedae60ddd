/**
 * Two classes that track which device resources must still be freed. `Owned` holds one resource until it is handed over to a
 * caller. `ResourceSet` holds several resources and frees them in one call.
 */

/** An object that frees device memory. `destroy` is idempotent. */
interface Destroyable {
  destroy(): void;
}

/** A resource that {@link Owned.destroy} frees, unless {@link Owned.take} has handed it over before. */
export class Owned<T extends Destroyable> implements Destroyable {
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

  /** Frees the resource, unless it was handed over. */
  destroy(): void {
    if (!this.#isTaken) this.value.destroy();
  }
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
