/** The limits of layers that the Worker solves itself if `EDGE_SOLVE` is set. */

/** The most rows or columns. A solve of 1024² takes a fraction of a second on one thread. */
export const MAX_SMALL_FEATURES = 1024;

/** The largest body in bytes. A layer of 1024² with its statistics takes 9 MiB, which leaves some room for raw `inputs`. */
export const MAX_SMALL_BYTES = 16 * 2 ** 20;
