/**
 * `deno task memory`: prunes a checkpoint that is far larger than the memory it may take, and fails if it takes more. The weights
 * are zeros in a sparse file: what is proven is how much is held at a time, not what is computed.
 */

import { Command } from "commander";
import { formatSeconds } from "../src/report/format.ts";
import { integer } from "../src/cli/options/numbers.ts";
import { makeEmptyOpt } from "./make_random_opt.ts";
import { measurePare } from "./peak_memory.ts";
import { writeSotuTexts } from "./sotu_text.ts";

interface Options {
  readonly blocks: number;
  readonly hidden: number;
  readonly samples: number;
  readonly seqlen: number;
  readonly limit: number;
}

const MIB = 1 << 20;

async function memory({ blocks, hidden, samples, seqlen, limit }: Options): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "pare-memory-" });
  try {
    const shape = { layers: blocks, hidden, heads: 16, ffn: 4 * hidden, vocabulary: 2048, positions: 2048 };
    await makeEmptyOpt(`${folder}/model`, shape);
    const { size } = await Deno.stat(`${folder}/model/model.safetensors`);
    const { calibration } = await writeSotuTexts(folder);
    // Every block is run and kept, the first and the last are pruned.
    const ends = `/layers\\.(0|${blocks - 1})\\./`;
    const windows = ["--samples", String(samples), "--seqlen", String(seqlen), "--seed", "1"];
    const places = ["--out", `${folder}/out`, "--activations", "disk", "--backend", "cpu"];
    const started = performance.now();
    const { code, stderr, peakBytes } = await measurePare(
      ...["prune", `${folder}/model`, "--calibration", calibration, "--layers", ends, ...windows, ...places],
    );
    const seconds = formatSeconds((performance.now() - started) / 1000);
    if (code !== 0) throw new Error(`pare prune: exit code ${code}\n${stderr}`);
    console.log(
      `${blocks} blocks of ${(12 * hidden * hidden * 2 / MIB).toFixed(0)} MiB, ${
        (size / MIB).toFixed(0)
      } MiB in all: ` +
        `took ${(peakBytes / MIB).toFixed(0)} MiB of the ${limit} MiB allowed, ${seconds}`,
    );
    if (peakBytes > limit * MIB) Deno.exit(1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  await new Command("memory")
    .description("prune a checkpoint far larger than the memory allowed, and fail past that")
    .option("--blocks <n>", "transformer blocks", integer(1), 80)
    .option("--hidden <n>", "width", integer(16), 2048)
    .option("--samples <n>", "calibration windows", integer(1), 16)
    .option("--seqlen <n>", "tokens a window", integer(1, 2048), 128)
    .option("--limit <MiB>", "memory allowed", integer(1), 2048)
    .action(memory)
    .parseAsync(Deno.args, { from: "user" });
}
