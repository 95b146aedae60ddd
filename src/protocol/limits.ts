/** The limits and defaults of the contract, each with its reason. Host and edge enforce them. */

/** The largest block size in columns. The smallest adapters have 16 KiB of workgroup memory for the rows of a block. */
export const MAX_BLOCKSIZE = 256;

/** The sparsity of a request that gives neither a sparsity nor an n:m pattern. */
export const DEFAULT_SPARSITY = 0.5;

/** The block size in columns of the code published with SparseGPT. */
export const DEFAULT_BLOCKSIZE = 128;

/** The default `percdamp` of the code published with SparseGPT. */
export const DEFAULT_DAMPING = 0.01;

/** The largest damping with which a failed factorisation is retried. A larger one would outweigh the statistics. */
export const MAX_DAMPING = 1;

/** The steps of the methods that always refit. Thirty steps recover less than 1 % more of the error than ten. */
export const DEFAULT_REFIT_STEPS = 10;

/** α of a step towards a target. The whole step fits the calibration text too closely. Half has most of the gain. */
export const DEFAULT_TARGET_STEP = 0.5;

/** More conjugate-gradient steps gain nothing in float32, and would occupy the device for minutes. */
export const MAX_REFIT_STEPS = 1000;

/**
 * The largest number of rows or columns of a layer. The widest layer of OPT-175B has 49152 columns. With this limit one
 * row of f32 takes at most 1 MiB, so whole rows fit in CPU memory and in a storage binding of every adapter.
 */
export const MAX_FEATURES = 262_144;

/**
 * The largest number of neighbouring columns that the pattern `columns` removes together. The largest set in use is a
 * key head of 256 columns with eight query heads. A solve keeps two blocks of f64 for each set in host memory, which
 * take 16 × group bytes per column.
 */
export const MAX_COLUMN_GROUP = 2048;

/**
 * The number of calibration windows whose statistics are summed before the sum is added to the sum of earlier windows. With
 * a fixed number, the statistics of windows on several hosts have the bits of one machine. Another number would change
 * the results of all runs with more windows.
 */
export const PART_WINDOWS = 16;

/** The largest number of rows of `inputs`, because a sum in f32 stops growing after 2^24 equal addends. */
export const MAX_TOKENS = 2 ** 24;

/**
 * The largest number of calibration windows, and of held-out ones. So many windows of 256 tokens have `MAX_TOKENS` tokens. The
 * objects of a window take some hundred bytes of host memory.
 */
export const MAX_WINDOWS = 2 ** 16;

/**
 * The largest request body of a host, in bytes. It has room for the layer fc2 of OPT-175B with its full Hessian in f32
 * (2.42 + 9.66 GB), but not for most whole checkpoints, which a client might send by mistake.
 */
export const MAX_BODY_BYTES = 16 * 2 ** 30;

/**
 * The largest number of linear layers of a model whose blocks a host runs. Mixtures of experts with a trillion weights
 * have 70 thousand. A host lists the layers before it reads any weight.
 */
export const MAX_MODEL_LAYERS = 2 ** 18;

/** The largest number of blocks of a model whose blocks a host runs. The deepest models have 126, and a job has 4096 blocks. */
export const MAX_MODEL_BLOCKS = 4096;

/** More epochs of a reconstruction would occupy the device for days. Five have most of the gain. */
export const MAX_EPOCHS = 1000;

/**
 * The host memory for hidden states, and for the blocks and answers of their requests, in bytes. The states of 128
 * windows of 2048 tokens take 8.6 GB with 8192 numbers per token.
 */
export const STATES_BYTES = 16 * 2 ** 30;

/** The default budget of a host for hidden states on disk, in GiB. It holds the hidden states of four models like the one above. */
export const STATES_DISK_GIB = 64;

/** The default limit of a body at an edge, in bytes. The Free and Pro plans of Cloudflare refuse larger bodies. */
export const DEFAULT_EDGE_BODY_BYTES = 100_000_000;

/** The seconds between two attempts to reopen a lost device. Clients receive the same number in Retry-After. */
export const DEVICE_REOPEN_SECONDS = 5;

/**
 * The minimum rate at which a client must send a body or take an answer, in bytes per second. A transfer occupies a
 * place on the device, so a client may not keep it alive with single bytes. The slowest mobile connections are faster.
 */
export const LEAST_BYTES_PER_SECOND = 500;

/** The seconds over which a host measures the rate of a body. A bad connection is seldom silent for longer. */
export const BODY_WINDOW_SECONDS = 15;

/**
 * The seconds over which a host measures the rate of an answer while another request waits for its place. They are more
 * than for a body, because the operating system takes an answer in bursts of several hundred kilobytes.
 */
export const ANSWER_WINDOW_SECONDS = 60;

/**
 * The seconds over which the rate of an answer is measured while no other request waits. At the minimum rate, the
 * operating system may take a burst only every half hour.
 */
export const ANSWER_PATIENCE_SECONDS = 3600;

/**
 * The seconds for which a request waits for a place on the device. Clients that send nothing cannot block a host for
 * longer: of the 16 requests in a full queue, 3 lose their places every `BODY_WINDOW_SECONDS`. Proxies often end
 * requests after 100 to 120 seconds.
 */
export const QUEUE_SECONDS = 120;

/** The seconds for running requests at shutdown. Large layers take minutes, and deployments allow 600 seconds. */
export const DRAIN_SECONDS = 540;

/** The Retry-After of a host that is still opening its device, in seconds. That seldom takes longer than a few seconds. */
export const STARTING_SECONDS = 2;

/** The Retry-After of a host that shuts down or has no device, in seconds. Another host can usually start meanwhile. */
export const RESTART_SECONDS = 30;

/** The seconds in which an edge must receive a body that it reads itself: at most 16 MiB, half a minute at 4 Mbit/s. */
export const EDGE_BODY_SECONDS = 60;

/** The limits of an answer in JSON. A job of 4096 layers has about 60 values in the state of each layer. */
export const ANSWER_BOUNDS = { maxValues: 2 ** 19 };
