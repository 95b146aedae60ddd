/** Writes checkpoints of mixtures with one tensor for all experts, as `save_pretrained(save_original_format=False)` of transformers does. */

import { decode } from "../../src/tensor/safetensors/decode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { FAMILY_FIXTURES } from "./family_fixtures.ts";
import { writeFiles } from "./checkpoint_files.ts";

/** Returns the tensor whose rows are those of `tensors`, one after the other. */
function concatenate(tensors: readonly HostTensor[], shape: number[]): HostTensor {
  const data = new Uint8Array(Buffer.concat(tensors.map(({ data }) => data)));
  return { dtype: tensors[0].dtype, shape, data };
}

/** Returns the tensors with those of all experts in one tensor per block and projection. */
export function fuseExperts(tensors: ReadonlyMap<string, HostTensor>): Record<string, HostTensor> {
  const separate =
    /^(.*)\.(mlp|block_sparse_moe)\.experts\.\d+\.(gate_proj|up_proj|down_proj|w1|w2|w3)\.weight$/;
  const fused: Record<string, HostTensor> = {};
  for (const [name, tensor] of tensors) {
    const [, block, mixture, layer] = separate.exec(name) ?? [];
    if (!block) {
      fused[name.replace("block_sparse_moe", "mlp")] = tensor;
      continue;
    }
    const isDown = layer === "down_proj" || layer === "w2";
    const layers = isDown ? [layer] : mixture === "mlp" ? ["gate_proj", "up_proj"] : ["w1", "w3"];
    const all: HostTensor[] = [];
    for (let e = 0; tensors.has(`${block}.${mixture}.experts.${e}.${layer}.weight`); e++) {
      all.push(...layers.map((part) => tensors.get(`${block}.${mixture}.experts.${e}.${part}.weight`)!));
    }
    const [rows, cols] = tensor.shape, experts = all.length / layers.length;
    fused[`${block}.mlp.experts.${isDown ? "down_proj" : "gate_up_proj"}`] ??= concatenate(
      all,
      [experts, rows * layers.length, cols],
    );
  }
  return fused;
}

/** Returns the tensors of the checkpoint of a family in `tests/fixtures/families`. */
export async function readFixtureTensors(family: string): Promise<ReadonlyMap<string, HostTensor>> {
  return decode(await Deno.readFile(`${FAMILY_FIXTURES}${family}/model.safetensors`)).tensors;
}

/** Writes the checkpoint of a family in `tests/fixtures/families` into `folder`, in two shards, with fused experts. */
export async function writeFused(family: string, folder: string): Promise<void> {
  const fused = Object.entries(fuseExperts(await readFixtureTensors(family)));
  const isDown = ([name]: [string, unknown]) => name.endsWith("down_proj");
  const shards = {
    "model-1.safetensors": fused.filter((entry) => !isDown(entry)),
    "model-2.safetensors": fused.filter(isDown),
  };
  const places = Object.entries(shards).flatMap(([shard, tensors]) => tensors.map(([name]) => [name, shard]));
  await Deno.mkdir(folder);
  await writeFiles(folder, {
    "config.json": await Deno.readTextFile(`${FAMILY_FIXTURES}${family}/config.json`),
    "model.safetensors.index.json": { metadata: { total_size: 1 }, weight_map: Object.fromEntries(places) },
    ...Object.fromEntries(
      Object.entries(shards).map(([shard, tensors]) => [shard, Object.fromEntries(tensors)]),
    ),
  });
}
