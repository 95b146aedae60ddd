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

  destroy(): void {
    if (!this.#isTaken) this.value.destroy();
  }
}

/** Several resources that are freed in one call. */
export class ResourceSet implements Destroyable {
  readonly #resources: Destroyable[] = [];

  add<T extends Destroyable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }

  destroy(): void {
    for (const resource of this.#resources) resource.destroy();
  }
}
