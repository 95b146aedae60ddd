interface Destroyable {
  destroy(): void;
}

/** A resource that {@link Owned.destroy} frees, unless {@link Owned.take} has handed it over before. */
export class Owned<T extends Destroyable> implements Destroyable {
  #isTaken = false;

  constructor(readonly value: T) {}

  /** Hands the resource over. The caller now owns it and must destroy it. */
  take(): T {
    this.#isTaken = true;
    return this.value;
  }

  destroy(): void {
    if (!this.#isTaken) this.value.destroy();
  }
}

/** Several resources that are freed in one call, or at the end of the scope of a `using` declaration. */
export class ResourceSet implements Destroyable, Disposable {
  #resources: Destroyable[] = [];

  add<T extends Destroyable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }

  /** Hands the resources over to a new set. This one then frees none of them. */
  move(): ResourceSet {
    const moved = new ResourceSet();
    moved.#resources = this.#resources.splice(0);
    return moved;
  }

  destroy(): void {
    for (const resource of this.#resources) resource.destroy();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }
}
