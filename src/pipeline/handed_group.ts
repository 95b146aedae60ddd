/** A group of layers in the consumer's hands: takes the replacements while the group is current, and says what is missing. */

import type { LayerGroup, SourceLayer } from "../client/model_source.ts";
import { asReplacement } from "../models/replacement.ts";
import type { TensorSource } from "../models/tensor_source.ts";
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

/** A group in the consumer's hands until it is closed. */
export class HandedGroup implements LayerGroup {
  readonly block: number;
  #open = true;

  constructor(
    readonly hessian: HostTensor,
    readonly layers: readonly SourceLayer[],
    readonly context: GroupContext,
  ) {
    this.block = context.block;
  }

  async replace(name: string, weight: HostTensor): Promise<void> {
    if (!this.#open) throw new RangeError(`replace ${name}: the next group has been asked for`);
    if (!this.layers.some((layer) => layer.name === name)) {
      const names = this.layers.map((layer) => layer.name).join(", ");
      throw new RangeError(`replace ${name}: not a layer of this group, which are ${names}`);
    }
    const { weights, replaced, onReplace } = this.context;
    // What the next block is calibrated on is what will be in the checkpoint.
    const replacement = asReplacement(weights, name, weight);
    await onReplace?.(name, replacement);
    replaced.set(name, replacement);
  }

  /** @throws {Error} a layer was not replaced */
  close(): void {
    this.#open = false;
    const missing = this.layers.find(({ name }) => !this.context.replaced.has(name));
    if (missing) throw new Error(`${missing.name}: was not replaced before the next group was asked for`);
  }
}
