/** The names of tensors in the bodies of `/v1/states` and `/v1/blocks`, and the prefixes of such names. */

/** The token ids of fitted windows, and of those that are held out. */
export const WINDOWS = "windows", VALIDATION_WINDOWS = "validation_windows";

/** The hidden states of fitted windows and of those that are held out, which take the place of the token ids. */
export const HIDDEN_STATES = "hidden_states", VALIDATION_HIDDEN_STATES = "validation_hidden_states";

/** The prefix of tensors that replace tensors of the block. */
export const PRUNED = "pruned.";

/** The prefix of tensors that a reconstruction has changed. */
export const TRAINED = "trained.";

/** The ends of the names of the tensors of a pruned layer, besides its weight. The name of the weight precedes them. */
export const MASK = ".mask", PROBE = ".probe";

/** The number of rows of the tensor NAME.probe. */
export const PROBE_ROWS = 32;

/** The prefixes of the target of a layer, from the fitted and from the held-out windows. The name of the weight follows. */
export const TARGET = "target.", VALIDATION_TARGET = "validation_target.";
