/** Limits of the contract, one constant each with its reason. Host and edge enforce them; clients may read them. */

/**
 * Columns a block may have: the column loop holds some rows of a block in workgroup memory (16 KiB on the smallest
 * adapters), and its work grows with the square of the block.
 */
export const MAX_BLOCKSIZE = 256;

/** Columns a block has where neither the request nor its pattern says otherwise: the published code's choice. */
export const DEFAULT_BLOCKSIZE = 128;

/** The published code's `percdamp`. */
export const DEFAULT_DAMPING = 0.01;

/** Retries multiply the damping by ten up to here; more would drown the statistics in the identity. */
export const MAX_DAMPING = 1;

/** Conjugate-gradient steps past this gain nothing in float32 and would hold the device for minutes. */
export const MAX_REFIT_STEPS = 1000;

/**
 * Rows or columns of a layer. OPT-175B's widest has 49152; the bound keeps one row of f32 within a megabyte, so
 * that a strip of whole rows fits in host memory and in every adapter's binding.
 */
export const MAX_FEATURES = 262_144;

/**
 * Bytes of one request body at the host: OPT-175B's fc2 with its full Hessian in f32 (2.42 + 9.66 GB) fits, and a
 * mistaken upload of a whole checkpoint does not.
 */
export const MAX_BODY_BYTES = 16 * 2 ** 30;

/** Largest body of an edge that is not told its plan's limit: Cloudflare's Free and Pro plans refuse more. */
export const DEFAULT_EDGE_BODY_BYTES = 100_000_000;

/** Seconds between two attempts to reopen a lost device. Clients are told to wait that long, in Retry-After. */
export const DEVICE_REOPEN_SECONDS = 5;
