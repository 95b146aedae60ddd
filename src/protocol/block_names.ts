/** The names of tensors in the bodies of `/v1/states` and `/v1/blocks`, and the prefixes of such names. */

/** The token ids of fitted windows, and of those that are held out. */
export const WINDOWS = "windows", VALIDATION_WINDOWS = "validation_windows";

/** The prefix of tensors that replace those of the block. */
export const PRUNED = "pruned.";

/** The prefix of tensors that a reconstruction has changed. */
export const TRAINED = "trained.";
