/** Presents a model without some of its blocks. The later blocks move up, and their tensors are renamed. */

import { configError } from "../../model/families/config/config.ts";
import { readModelSpec } from "../../model/families/families.ts";
import type { Model } from "../../model/model.ts";
import { type RenamedModel, renamedSource } from "./renamed_model.ts";
import { unitsOf } from "./units.ts";

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

/**
 * Returns the configuration without some blocks. The entries of the other blocks in lists move with the blocks.
 * @throws {ModelError} if the kind of a block follows from its number only, so that later blocks would become others
 */
export function configWithoutBlocks(config: Config, dropped: ReadonlySet<number>): Config {
  if (dropped.size === 0) return config;
  const { model_type: type, num_hidden_layers: blocks, max_window_layers: first } = config;
  const needed = unitsOf(config)?.blockList;
  if (needed !== undefined && !Array.isArray(config[needed])) {
    throw configError(
      `without ${needed}, the kind of a block of ${type} follows from its number, so no blocks can be ` +
        `dropped; transformers writes ${needed} when it saves the model`,
    );
  }
  // Other types, such as qwen3, can have these lists too.
  const lists = ["layer_types", "no_rope_layers"].filter((name) => Array.isArray(config[name]));
  const withoutDropped = (name: string) =>
    (config[name] as unknown[]).filter((_, block) => !dropped.has(block));
  return {
    ...config,
    ...Object.fromEntries(lists.map((name) => [name, withoutDropped(name)])),
    num_hidden_layers: Number(blocks) - dropped.size,
    // All blocks from this one on have a sliding window.
    ...typeof first === "number" &&
      { max_window_layers: first - [...dropped].filter((block) => block < first).length },
  };
}
