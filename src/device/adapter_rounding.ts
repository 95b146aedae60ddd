/** Says on which part of an adapter the bits of results depend. */

/** A backend and its adapter, as reports name them. */
export interface NamedAdapter {
  readonly backend: string;
  readonly adapter: string;
}

/** The words in the name of a `cpu` adapter that pairs instructions. */
export const PAIRED = " in pairs";

/**
 * Returns the part of the name of a `cpu` adapter on which results depend. A library for products changes bits. Paired
 * instructions and the number of threads change only the speed of the backend, because every sum has a fixed order.
 */
export function roundingName(name: string): string {
  return name.replace(PAIRED, "").replace(/,[^,]*$/, "");
}

/** Describes on what the bits of a result depend. Two adapters with the same description give the same bits. */
export function describeRounding({ backend, adapter }: NamedAdapter): string {
  return `${backend} (${backend === "cpu" ? roundingName(adapter) : adapter})`;
}
