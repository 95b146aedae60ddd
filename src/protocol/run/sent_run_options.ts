/** The options of a run that requests have, as a type. `deno task generate` writes this file from the schemas in `src/protocol`. */

/** The options of a run that `POST /v1/blocks/prune` has as parameters. */
export interface SentRunOptions {
  /** Whether layers that share an input are calibrated after the earlier layers of the block are pruned. Defaults to false. */
  readonly true_sequential?: boolean;
  /** The number of epochs in which the pruned block is trained, so that its output comes near to the output of the dense block. Accepts 0 to 1000. Defaults to 0. */
  readonly reconstruct?: number;
  /** The layout in which rounded weights will be stored. The states run through the weights that it stands for. Defaults to dense. */
  readonly format?: "dense" | "pack-quantized" | "gptq" | "mlx";
}
