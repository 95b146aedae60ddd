/** Presents a model without some of its blocks. The later blocks move up, and their tensors are renamed. */

import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import type { TensorSource } from "../../model/checkpoint/tensor_source.ts";
import { readModelSpec } from "../../model/families/families.ts";
import type { Model } from "../../model/model.ts";
import { configWithoutBlocks } from "./shrinkable_families.ts";

/** A model with fewer blocks. */
export interface ModelWithoutBlocks {
  readonly model: Model;
  readonly config: Readonly<Record<string, unknown>>;
  /** Returns the name that a tensor of the checkpoint has in the model, or undefined if its block is dropped. */
  nameOf(name: string): string | undefined;
}

export function withoutBlocks(
  { config: dense }: Pick<Checkpoint, "config">,
  { spec, weights }: Model,
  dropped: ReadonlySet<number>,
): ModelWithoutBlocks {
  const { block: { prefix }, blockCount } = spec;
  const remaining = Array.from({ length: blockCount }, (_, block) => block).filter((block) =>
    !dropped.has(block)
  );
  const places = new Map(remaining.map((block, place) => [block, place]));
  const root = prefix(0).replace(/0\.$/, "");
  const renamed = (name: string, blockOf: (block: number) => number | undefined) => {
    const index = name.startsWith(root) ? /^(\d+)\./.exec(name.slice(root.length))?.[1] : undefined;
    if (index === undefined) return name;
    const block = blockOf(Number(index));
    return block === undefined ? undefined : prefix(block) + name.slice(prefix(Number(index)).length);
  };
  const oldNameOf = (name: string) => renamed(name, (place) => remaining[place]);
  const source: TensorSource = {
    has(name) {
      const old = oldNameOf(name);
      return old !== undefined && weights.has(old);
    },
    info: (name) => weights.info(oldNameOf(name) ?? name),
    read: (name, offset, byteLength) => weights.read(oldNameOf(name) ?? name, offset, byteLength),
  };
  const config = configWithoutBlocks(dense, dropped);
  return {
    model: { spec: readModelSpec(config, (name) => source.has(name)), weights: source },
    config,
    nameOf: (name) => renamed(name, (block) => places.get(block)),
  };
}
