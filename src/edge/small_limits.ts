/** The limits of the layers that the Worker solves itself if `EDGE_SOLVE` is set. */

/** The largest number of rows or columns. A solve of a 1024 × 1024 layer takes a fraction of a second on one thread. */
export const MAX_SMALL_FEATURES = 1024;

/**
 * The most bytes of bodies that are in memory at the same time. A Worker has 128 MB, and a solve needs about as much memory again as its
 * body.
 */
export const MAX_SMALL_BYTES_IN_FLIGHT = 32 * 2 ** 20;

/** The largest body in bytes. A 1024 × 1024 layer with its statistics takes 9 MiB. The rest is room for raw `inputs`. */
export const MAX_SMALL_BYTES = 16 * 2 ** 20;
