/** The limits and defaults of the contract, each with its reason. Host and edge enforce them, and clients may read them. */

/**
 * The largest block size, in columns. The kernel that prunes a block keeps some of the block's rows in workgroup memory, and the smallest
 * adapters have only 16 KiB of it. The work of the kernel grows with the square of the block size.
 */
export const MAX_BLOCKSIZE = 256;

/** The default block size, in columns. It is the default of the code published with SparseGPT. */
export const DEFAULT_BLOCKSIZE = 128;

/** The default damping. It is the default `percdamp` of the code published with SparseGPT. */
export const DEFAULT_DAMPING = 0.01;

/**
 * The largest damping. A failed factorisation is retried with ten times the damping, up to this value. Above this value, the multiple of
 * the identity matrix that damping adds would outweigh the statistics.
 */
export const MAX_DAMPING = 1;

/**
 * The conjugate-gradient steps of the methods that always refit. Ten steps recover nearly all of the error that can be recovered on a mask,
 * and thirty recover less than 1 % more.
 */
export const DEFAULT_REFIT_STEPS = 10;

/**
 * The largest number of conjugate-gradient steps after a solve. More steps gain nothing in float32, and would occupy the device for
 * minutes.
 */
export const MAX_REFIT_STEPS = 1000;

/**
 * The largest number of rows or columns of a layer. The widest layer of OPT-175B has 49152 columns. With this limit one row of f32 takes at
 * most 1 MiB, so whole rows fit in CPU memory and in a storage binding of every adapter.
 */
export const MAX_FEATURES = 262_144;

/**
 * The largest number of tokens in `inputs`, the rows of calibration inputs that a request sends. It is 64 times the 128 sequences of 2048
 * tokens with which SparseGPT was published. More tokens would not change the statistics, because a sum in f32 stops growing after 2^24
 * addends of equal size.
 */
export const MAX_TOKENS = 2 ** 24;

/**
 * The largest request body of a host, in bytes. It has room for the layer fc2 of OPT-175B with its full Hessian in f32 (2.42 + 9.66 GB),
 * but not for most whole checkpoints, which a client might send by mistake.
 */
export const MAX_BODY_BYTES = 16 * 2 ** 30;

/**
 * The default limit of a request body at an edge, which is a Cloudflare Worker, in bytes. Cloudflare's Free and Pro plans refuse larger
 * bodies.
 */
export const DEFAULT_EDGE_BODY_BYTES = 100_000_000;

/** The seconds between two attempts to reopen a lost device. Clients receive the same number in Retry-After. */
export const DEVICE_REOPEN_SECONDS = 5;

/**
 * The minimum rate at which a client must send a body or take an answer, in bytes per second. A transfer occupies a place on the device, so
 * a client may not keep it alive with single bytes. The slowest mobile connections are several times as fast.
 */
export const LEAST_BYTES_PER_SECOND = 500;

/** The seconds over which a host measures the rate of a body. A connection that loses packets is seldom silent for longer. */
export const BODY_WINDOW_SECONDS = 15;

/**
 * The seconds over which a host measures the rate of an answer while another request waits for its place. It is longer than for a body,
 * because the operating system takes an answer in bursts of several hundred kilobytes.
 */
export const ANSWER_WINDOW_SECONDS = 60;

/**
 * The seconds over which a host measures the rate of an answer while no other request waits. At the minimum rate, the operating system may
 * ask for more bytes only every half hour.
 */
export const ANSWER_PATIENCE_SECONDS = 3600;

/**
 * The seconds for which a request waits for a place on the device. With the default queue of a host, clients that send nothing lose all
 * their places within this time, because 3 of at most 16 leave the queue every `BODY_WINDOW_SECONDS`. Proxies often end requests after 100
 * to 120 seconds.
 */
export const QUEUE_SECONDS = 120;

/**
 * The seconds for which a host that shuts down lets requests finish. The largest layers take minutes, and the recipes for deployment end a
 * process after 600 seconds.
 */
export const DRAIN_SECONDS = 540;

/** The seconds in Retry-After while a host shuts down, or while it has no device. Another host can usually be started in this time. */
export const RESTART_SECONDS = 30;

/**
 * The longest time in which an edge waits for a whole body that it reads itself. Such a body has at most 16 MiB, which takes half a minute
 * at 4 Mbit/s.
 */
export const EDGE_BODY_SECONDS = 60;
