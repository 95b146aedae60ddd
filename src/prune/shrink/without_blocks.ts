/** Presents a model without some of its blocks. The later blocks move up, and their tensors are renamed. */

import { readModelSpec } from "../../model/families/families.ts";
import type { Model } from "../../model/model.ts";
import { type RenamedModel, renamedSource } from "./renamed_model.ts";

type Config = RenamedModel["config"];

export function withoutBlocks(
  dense: Config,
  { spec, weights }: Model,
  dropped: ReadonlySet<number>,
): RenamedModel {
  const { blockCount } = spec, { prefix } = spec.block(0);
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
  const source = renamedSource(weights, (name) => renamed(name, (place) => remaining[place]));
  const config = configWithoutBlocks(dense, dropped);
  return {
    model: { spec: readModelSpec(config, (name) => source.has(name)), weights: source },
    config,
    nameOf: (name) => renamed(name, (block) => places.get(block)),
  };
}

/** Returns the configuration without some blocks. The types of attention in Qwen's blocks move with the blocks. */
export function configWithoutBlocks(config: Config, dropped: ReadonlySet<number>): Config {
  if (dropped.size === 0) return config;
  const { num_hidden_layers: blocks, layer_types: types, max_window_layers: first } = config;
  return {
    ...config,
    num_hidden_layers: Number(blocks) - dropped.size,
    ...Array.isArray(types) && { layer_types: types.filter((_, block) => !dropped.has(block)) },
    // All blocks from this one on have a sliding window.
    ...typeof first === "number" &&
      { max_window_layers: first - [...dropped].filter((block) => block < first).length },
  };
}
