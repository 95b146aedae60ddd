/**
 * `deno task memory`: prunes a checkpoint that is far larger than the memory that `pare prune` may use, and fails if more
 * memory was used. All weights of the checkpoint are zeros in a sparse file, because the check is about the memory held at
 * one time and not about the computed weights.
 */

import { Command } from "commander";
import { integer } from "../src/cli/options/common_options.ts";
import { secondsText } from "../src/prune/report/format.ts";
import { makeEmptyOpt } from "./fixtures/make_random_opt.ts";
import { writeSotuTexts } from "./fixtures/sotu_text.ts";
import { pareProcess } from "./processes/pare_process.ts";

interface Options {
  readonly blocks: number;
  readonly hidden: number;
  readonly samples: number;
  readonly seqlen: number;
  /** The allowed memory in MiB. */
  readonly limit: number;
}

const MIB = 1 << 20;

async function checkMemory({ blocks, hidden, samples, seqlen, limit }: Options): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "pare-memory-" });
  try {
    const shape = { layers: blocks, hidden, heads: 16, ffn: 4 * hidden, vocabulary: 2048, positions: 2048 };
    await makeEmptyOpt(`${folder}/model`, shape);
    const { size } = await Deno.stat(`${folder}/model/model.safetensors`);
    const { calibration } = await writeSotuTexts(folder);
    // Only the first and the last transformer block are pruned, which saves time. The forward passes still run through every block.
    const layers = ["--layers", `/layers\\.(0|${blocks - 1})\\./`];
    const windows = ["--samples", String(samples), "--seqlen", String(seqlen), "--seed", "1"];
    const places = ["--out", `${folder}/out`, "--activations", "disk", "--backend", "cpu"];
    const { seconds, peakBytes } = await pareProcess([
      ...["prune", `${folder}/model`, "--calibration", calibration, ...layers, ...windows, ...places],
    ]);
    const blockMiB = (12 * hidden * hidden * 2 / MIB).toFixed(0);
    console.log(
      `${blocks} blocks of ${blockMiB} MiB, ${(size / MIB).toFixed(0)} MiB in all: ` +
        `used ${(peakBytes / MIB).toFixed(0)} MiB of the ${limit} MiB allowed, in ${secondsText(seconds)}`,
    );
    if (peakBytes > limit * MIB) Deno.exit(1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  await new Command("memory")
    .description("prune a checkpoint far larger than the allowed memory, and fail if more is used")
    .option("--blocks <n>", "transformer blocks", integer(1), 80)
    .option("--hidden <n>", "width of the hidden states", integer(16), 2048)
    .option("--samples <n>", "calibration windows", integer(1), 16)
    .option("--seqlen <n>", "tokens per window", integer(1, 2048), 128)
    .option("--limit <MiB>", "allowed memory", integer(1), 2048)
    .action(checkMemory)
    .parseAsync(Deno.args, { from: "user" });
}
