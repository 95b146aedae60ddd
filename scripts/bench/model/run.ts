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

/** Differences that compound from block to block: float32 in another order, and one entry a block pruned too many by the published code. */
const TOLERANCE = 0.01;

/** @throws {Error} the two pruned other layers, or to losses more than a percent apart: not the same problem */
export function checkSameProblem(ours: ModelRun, theirs: ModelRun): void {
  const expected = new Map(theirs.layers.map(({ name, loss }) => [name, loss]));
  if (expected.size !== ours.layers.length) {
    throw new Error(`pruned ${ours.layers.length} layers, the reference ${expected.size}`);
  }
  for (const { name, loss } of ours.layers) {
    const reference = expected.get(name);
    if (reference === undefined) throw new Error(`${name}: the reference did not prune it`);
    // The negation, so that NaN is refused too.
    if (!(Math.abs(loss / reference - 1) <= TOLERANCE)) {
      throw new Error(`${name}: the loss is ${loss}, the reference's ${reference}: not the same problem`);
    }
  }
}
