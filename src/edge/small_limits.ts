/** What the Worker takes on itself where `EDGE_SOLVE` is set. */

/** Rows or columns: at 1024² a solve takes a fraction of a second of one thread. */
export const MAX_SMALL_FEATURES = 1024;

/** Bytes of a body: a layer of that size with its statistics has 9 MiB; `inputs` may have what is left. */
export const MAX_SMALL_BYTES = 16 * 2 ** 20;
