/** The type of a host in the answer of `/v1/hosts`, as far as a client of the SDK reads it. The schema is in `../edge/hosts.ts`. */

/** A host that is registered at an edge and sends heartbeats. */
export interface EdgeHost {
  /** The URL at which the edge reaches the host. */
  readonly url: string;
  /** `webgpu` or `cpu`. */
  readonly backend: string;
  /** The name of the device on which the host solves layers. */
  readonly adapter: string;
}
