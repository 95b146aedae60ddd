/** Device resources that live and die together, so that a function that fails halfway leaks nothing. */

/** Anything that frees device memory. Destroying it twice is harmless. */
export interface Destroyable {
  destroy(): void;
}

/** A set of resources, freed in one call. */
export class Owned implements Destroyable {
  readonly #resources: Destroyable[] = [];

  /** Takes `resource` in and gives it back. */
  add<T extends Destroyable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }

  destroy(): void {
    for (const resource of this.#resources) resource.destroy();
  }
}
