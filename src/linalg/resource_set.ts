/** A set of device resources with one owner, which frees them together. It keeps a function that fails halfway from leaking memory. */

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
