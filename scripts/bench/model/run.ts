/** What the bench of whole models compares: one run of either program. */

/** A pruned layer, by the name of its weight. */
export interface LayerLoss {
  readonly name: string;
  /** tr(ΔHΔᵀ) on the undamped Hessian. */
  readonly loss: number;
}

/** From the checkpoint opened to the pruned one written. */
export interface ModelRun {
  /** By phase, and in `total`. */
  readonly seconds: Readonly<Record<string, number>> & { readonly total: number };
  /** In the order they were pruned. */
  readonly layers: readonly LayerLoss[];
}

/**
 * Allowed between two losses: float32 in another order, and one entry a block pruned too many by the published code. What that changes
 * compounds from block to block and shows in single layers whose loss is small beside their block's (attention outputs of random
 * weights, by 6 %), so that past the first block it is the block's sum that is compared.
 */
const TOLERANCE = 0.01;

/** @throws {Error} the two pruned other layers, or to losses more than a percent apart: not the same problem */
export function checkSameProblem(ours: ModelRun, theirs: ModelRun): void {
  const expected = new Map(theirs.layers.map(({ name, loss }) => [name, loss]));
  if (expected.size !== ours.layers.length) {
    throw new Error(`pruned ${ours.layers.length} layers, the reference ${expected.size}`);
  }
  const first = ours.layers.length > 0 ? blockOf(ours.layers[0].name) : "";
  const blocks = new Map<string, { ours: number; reference: number }>();
  for (const { name, loss } of ours.layers) {
    const reference = expected.get(name);
    if (reference === undefined) throw new Error(`${name}: the reference did not prune it`);
    const block = blockOf(name);
    if (block === first) checkLoss(name, loss, reference);
    const sums = blocks.get(block) ?? { ours: 0, reference: 0 };
    blocks.set(block, { ours: sums.ours + loss, reference: sums.reference + reference });
  }
  for (const [block, { ours, reference }] of blocks) checkLoss(block, ours, reference);
}

function checkLoss(what: string, loss: number, reference: number): void {
  // The negation, so that NaN is refused too.
  if (!(Math.abs(loss / reference - 1) <= TOLERANCE)) {
    throw new Error(`${what}: the loss is ${loss}, the reference's ${reference}: not the same problem`);
  }
}

/** `model.decoder.layers.3` of `model.decoder.layers.3.fc1.weight`; a name without a number is a block of its own. */
function blockOf(name: string): string {
  return /^.*?\.\d+(?=\.)/.exec(name)?.[0] ?? name;
}
