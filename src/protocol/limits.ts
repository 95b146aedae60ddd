/** The limits of the contract, each with its reason. Host and edge enforce them, and clients may read them. */

/**
 * The largest block size, in columns. The column loop holds some rows of a block in workgroup memory, which is 16 KiB on the smallest
 * adapters, and its work grows with the square of the block size.
 */
export const MAX_BLOCKSIZE = 256;

/** The default block size, in columns: that of the published code. */
export const DEFAULT_BLOCKSIZE = 128;

/** The default damping: the `percdamp` of the published code. */
export const DEFAULT_DAMPING = 0.01;

/** The largest damping. Retries multiply the damping by ten up to this value. With more, the identity would outweigh the statistics. */
export const MAX_DAMPING = 1;

/** The largest number of conjugate-gradient steps. More would gain nothing in float32 and would occupy the device for minutes. */
export const MAX_REFIT_STEPS = 1000;

/**
 * The largest number of rows or columns of a layer. The widest layer of OPT-175B has 49152. With this limit one row of f32 takes at most
 * a megabyte, so that whole rows fit in host memory and in a binding of every adapter.
 */
export const MAX_FEATURES = 262_144;

/**
 * The largest request body of a host, in bytes. The layer fc2 of OPT-175B with its full Hessian in f32 (2.42 + 9.66 GB) fits. A whole
 * checkpoint that is sent by mistake usually does not.
 */
export const MAX_BODY_BYTES = 16 * 2 ** 30;

/** The default limit of an edge's bodies, in bytes. Cloudflare's Free and Pro plans refuse larger ones. */
export const DEFAULT_EDGE_BODY_BYTES = 100_000_000;

/** Seconds between two attempts to reopen a lost device. Retry-After gives clients the same time. */
export const DEVICE_REOPEN_SECONDS = 5;
