/** A group of layers in the consumer's hands: takes the replacements while the group's round is current. At its end it is said what is missing. */

import type { LayerGroup, SourceLayer } from "../client/model_source.ts";
import { asReplacement } from "../checkpoint/replacement.ts";
import type { TensorSource } from "../checkpoint/tensor_source.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";

/** What a group belongs to. */
export interface GroupContext {
  readonly block: number;
  /** The dense checkpoint. */
  readonly weights: TensorSource;
  /** Receives the replacements. */
  readonly replaced: Map<string, HostTensor>;
  /** Is handed each replacement first, in the dtype of the original. */
  readonly onReplace?: (name: string, weight: HostTensor) => Promise<void>;
}

/** Whether the groups of a round take replacements. */
export interface RoundGate {
  open: boolean;
}

/** A group in the consumer's hands while its round's gate is open. */
export class OpenGroup implements LayerGroup {
  readonly block: number;
  readonly #context: GroupContext;
  readonly #gate: RoundGate;

  constructor(
    readonly hessian: HostTensor,
    readonly layers: readonly SourceLayer[],
    readonly hasMoreInRound: boolean,
    context: GroupContext,
    gate: RoundGate,
  ) {
    this.block = context.block;
    this.#context = context;
    this.#gate = gate;
  }

  async replace(name: string, weight: HostTensor): Promise<void> {
    if (!this.#gate.open) throw new RangeError(`replace ${name}: the next round has been asked for`);
    if (!this.layers.some((layer) => layer.name === name)) {
      const names = this.layers.map((layer) => layer.name).join(", ");
      throw new RangeError(`replace ${name}: not a layer of this group, which are ${names}`);
    }
    const { weights, replaced, onReplace } = this.#context;
    // What the next block is calibrated on is what will be in the checkpoint.
    const replacement = asReplacement(weights, name, weight);
    await onReplace?.(name, replacement);
    replaced.set(name, replacement);
  }
}

/** @throws {Error} one of `names` was not replaced */
export function requireReplaced(names: readonly string[], { replaced }: GroupContext): void {
  const missing = names.find((name) => !replaced.has(name));
  if (missing !== undefined) {
    throw new Error(`${missing}: was not replaced before the next round was asked for`);
  }
}
