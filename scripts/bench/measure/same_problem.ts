/** One run of the model bench, by Pare or by PyTorch, and the check that two runs solved the same problem. */

export interface LayerLoss {
  /** The name of the layer's weight in the checkpoint. */
  readonly name: string;
  /** tr(ΔHΔᵀ), where Δ is the change of the weights and H is the Hessian without damping. */
  readonly loss: number;
}

/** The times and losses of one run, from opening the checkpoint until the pruned one is written. */
export interface ModelRun {
  /** The seconds of each phase, and of the whole run in `total`. */
  readonly seconds: Readonly<Record<string, number>> & { readonly total: number };
  readonly layers: readonly LayerLoss[];
}

/**
 * The largest allowed relative difference of two losses. The losses differ for two reasons: float32 rounding, and the published
 * code, which prunes one entry too many in each block of columns. These differences grow from one transformer block to the next.
 * In later transformer blocks, single layers exceed the tolerance if their loss is small compared with the loss of their block
 * (the difference reaches 6 % in the attention outputs of a model with random weights). Therefore single layers are compared in
 * the first transformer block only. For every transformer block, the sums of the losses are compared.
 */
const TOLERANCE = 0.01;

/** @throws {Error} if the two runs pruned different layers, or if their losses differ by more than one percent */
export function requireSameProblem(ours: ModelRun, theirs: ModelRun): void {
  const expected = new Map(theirs.layers.map(({ name, loss }) => [name, loss]));
  if (expected.size !== ours.layers.length) {
    throw new Error(`Pare pruned ${ours.layers.length} layers, but the reference pruned ${expected.size}`);
  }
  const first = ours.layers.length > 0 ? blockOf(ours.layers[0].name) : "";
  const blocks = new Map<string, { ours: number; reference: number }>();
  for (const { name, loss } of ours.layers) {
    const reference = expected.get(name);
    if (reference === undefined) throw new Error(`${name}: the reference did not prune this layer`);
    const block = blockOf(name);
    if (block === first) requireSameLoss(name, loss, reference);
    const sums = blocks.get(block) ?? { ours: 0, reference: 0 };
    blocks.set(block, { ours: sums.ours + loss, reference: sums.reference + reference });
  }
  for (const [block, { ours, reference }] of blocks) requireSameLoss(block, ours, reference);
}

function requireSameLoss(name: string, loss: number, reference: number): void {
  // Written as a negation, so that NaN is an error too.
  if (!(Math.abs(loss / reference - 1) <= TOLERANCE)) {
    throw new Error(
      `${name}: the loss is ${loss}, but the reference's loss is ${reference}. ` +
        `Pare and the reference solve different problems`,
    );
  }
}

/** Returns `model.decoder.layers.3` for `model.decoder.layers.3.fc1.weight`. A name without a number counts as a block of its own. */
function blockOf(name: string): string {
  return /^.*?\.\d+(?=\.)/.exec(name)?.[0] ?? name;
}
