/**
 * Measures how fast other programs run a model with fewer neurons: llama.cpp with files in F16 and Q4_0, and
 * transformers in float32. The models have the shape of llama-160m and random weights, because the speed depends on the
 * sizes only. One more model has as many parameters as the dense one, half of which are 0. Every round measures all
 * models with every program, in alternating order. The gain of a model is the median over the rounds of its speed
 * divided by that of the dense model in the same round. At the end, the bench measures the time and the memory of `pare
 * shrink` and of `pare prune` on four blocks of the dense model.
 */

import { denoFileSystem as fs } from "../../src/cli/files/deno_file_system.ts";
import { writeGguf } from "../../src/model/gguf/write_gguf.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { bytesText, secondsText } from "../../src/prune/report/format.ts";
import { LLAMA_160M, type LlamaShape, makeRandomLlama } from "../fixtures/make_random_llama.ts";
import { writeSotuTexts } from "../fixtures/sotu_text.ts";
import { type GenerationSeconds, LlamaCpp, llamaCppSkipReason } from "../peers/npm/llama_cpp.ts";
import { PeerScript } from "../peers/peer_script.ts";
import { peersSkipReason } from "../peers/venv.ts";
import type { MeasuredProcess } from "../processes/measure_process.ts";
import type { Bench } from "./bench.ts";
import { pareProcess } from "./llm_compressor/programs.ts";
import { median } from "./measure/statistics.ts";
import { formatPercent, markdownTable } from "./report/markdown_table.ts";

/** The multiple to which the number of neurons is rounded, as by default in `pare shrink`. */
const MULTIPLE = 64;

/** The sizes of a model that is measured. */
interface Variant {
  readonly name: string;
  /** The share of the parameters of the blocks that are removed. It is rounded to whole multiples of neurons. */
  readonly removed: number;
  /** The share of the weights that are 0. */
  readonly zeros: number;
}

/** The first one is the dense model. */
const VARIANTS: readonly Variant[] = [
  { name: "dense", removed: 0, zeros: 0 },
  { name: "20", removed: 0.2, zeros: 0 },
  { name: "40", removed: 0.4, zeros: 0 },
  { name: "zeros", removed: 0, zeros: 0.5 },
];

const PROGRAMS = ["llama.cpp, F16", "llama.cpp, Q4_0", "transformers, float32"] as const;

type Program = typeof PROGRAMS[number];

/** The tokens of the prompt, and the tokens that are generated after it. */
const TOKENS = { prompt: 256, generated: 32 };

interface SpeedCell {
  readonly program: Program;
  readonly variant: string;
  /** The exact share of the parameters of the blocks that are removed, and the share of zeros. */
  readonly removed: number;
  readonly zeros: number;
  /** Tokens per second, as medians over the rounds. */
  readonly prompt: number;
  readonly generated: number;
  /** The speeds as multiples of those of the dense model. */
  readonly promptGain: number;
  readonly generatedGain: number;
  /**
   * The multiplications of the dense model as multiples of those of this model. A prompt takes those of the blocks. A
   * generated token also takes those of the head.
   */
  readonly promptIdeal: number;
  readonly generatedIdeal: number;
}

interface SpeedResults {
  readonly rounds: number;
  readonly cells: readonly SpeedCell[];
  /** The whole processes of both commands. */
  readonly commands?: Readonly<Record<"shrink" | "prune", Pick<MeasuredProcess, "seconds" | "peakBytes">>>;
}

export const bench: Bench<{ readonly rounds: number }, SpeedResults> = {
  description: "speed of llama.cpp and transformers with models that have fewer neurons",
  options: (command) => command.option("--rounds <n>", "the number of rounds", Number, 5),
  async measure({ rounds }, { save }) {
    const missing = await llamaCppSkipReason() ?? await peersSkipReason();
    if (missing) throw new Error(missing);
    await using cleanup = new AsyncDisposableStack();
    const scratch = cleanup.adopt(
      await Deno.makeTempDir({ prefix: "pare-speed-" }),
      (path) => Deno.remove(path, { recursive: true }),
    );
    for (const variant of VARIANTS) await writeVariant(`${scratch}/${variant.name}`, variant);
    const threads = navigator.hardwareConcurrency;
    const device = { backend: "cpu", adapter: `${threads} threads of llama.cpp and PyTorch` };
    const times = await measureRounds(scratch, rounds, threads);
    const cells = PROGRAMS.flatMap((program) => VARIANTS.map((variant) => cellOf(program, variant, times)));
    await save(device, { rounds, cells });
    const results = { rounds, cells, commands: await measureCommands(scratch) };
    await save(device, results);
    return results;
  },
  tables: {
    speed: ({ cells }) =>
      markdownTable<SpeedCell>([
        ["program", ({ program }) => program],
        ["parameters of the blocks removed", ({ removed }) => formatPercent(removed)],
        ["zeros", ({ zeros }) => formatPercent(zeros)],
        ["prompt, tokens/s", ({ prompt }) => prompt.toFixed(0)],
        ["gain", ({ promptGain }) => promptGain.toFixed(2)],
        ["ideal", ({ promptIdeal }) => promptIdeal.toFixed(2)],
        ["generation, tokens/s", ({ generated }) => generated.toFixed(1)],
        ["gain", ({ generatedGain }) => generatedGain.toFixed(2)],
        ["ideal", ({ generatedIdeal }) => generatedIdeal.toFixed(2)],
      ], cells),
    commands: ({ commands = {} }) =>
      markdownTable<[string, Pick<MeasuredProcess, "seconds" | "peakBytes">]>([
        ["command", ([name]) => `\`pare ${name}\``],
        ["time", ([, { seconds }]) => secondsText(seconds)],
        ["peak memory", ([, { peakBytes }]) => bytesText(peakBytes)],
      ], Object.entries(commands)),
  },
};

/** Returns the shape of a variant. The attention of the model has 4·h² parameters per block, and its network 3·h·w. */
function shapeOf({ removed }: Variant): LlamaShape {
  const { hidden, intermediate } = LLAMA_160M;
  const width = intermediate - removed * (4 * hidden + 3 * intermediate) / 3;
  return { ...LLAMA_160M, intermediate: MULTIPLE * Math.round(width / MULTIPLE) };
}

function blockParameters({ layers, hidden, intermediate }: LlamaShape): number {
  return layers * hidden * (4 * hidden + 3 * intermediate);
}

/** Writes the checkpoint of a variant and its two GGUF files. */
async function writeVariant(folder: string, variant: Variant): Promise<void> {
  await makeRandomLlama(folder, shapeOf(variant), { zeros: variant.zeros });
  await using opened = await openModelFolder(folder, fs);
  for (const type of ["f16", "q4_0"] as const) {
    await writeGguf(opened, `${folder}/${type}.gguf`, fs, { name: variant.name, type, round: true });
  }
}

/** Asks a program for the seconds of one variant. */
type Ask = (variant: Variant) => Promise<GenerationSeconds>;

/** Returns the seconds of each round, by program and variant. */
async function measureRounds(
  scratch: string,
  rounds: number,
  threads: number,
): Promise<Map<string, GenerationSeconds[]>> {
  const { prompt, generated: generate } = TOKENS;
  const llamaCpp = new LlamaCpp();
  const transformers = new PeerScript("transformers_generate");
  const askLlamaCpp = (type: string): Ask => ({ name }) =>
    llamaCpp.measureSpeed({ file: `${scratch}/${name}/${type}.gguf`, prompt, generate, threads });
  const asks: Readonly<Record<Program, Ask>> = {
    "llama.cpp, F16": askLlamaCpp("f16"),
    "llama.cpp, Q4_0": askLlamaCpp("q4_0"),
    "transformers, float32": async ({ name }) => {
      const request = { folder: `${scratch}/${name}`, prompt, generate, threads };
      return (await transformers.ask<{ readonly seconds: GenerationSeconds }>(request)).seconds;
    },
  };
  const times = new Map<string, GenerationSeconds[]>();
  try {
    for (let round = -1; round < rounds; round++) { // the first round loads the models and is not counted
      for (const program of PROGRAMS) {
        for (const variant of round % 2 === 0 ? VARIANTS : VARIANTS.toReversed()) {
          const seconds = await asks[program](variant), key = keyOf(program, variant);
          console.error(`${key}, round ${round + 1}: ${JSON.stringify(seconds)}`);
          if (round >= 0) times.set(key, [...times.get(key) ?? [], seconds]);
        }
      }
    }
  } finally {
    await Promise.all([llamaCpp.stop(), transformers.stop()]);
  }
  return times;
}

function keyOf(program: Program, { name }: Variant): string {
  return `${program}, ${name}`;
}

function cellOf(
  program: Program,
  variant: Variant,
  times: ReadonlyMap<string, readonly GenerationSeconds[]>,
): SpeedCell {
  const own = times.get(keyOf(program, variant))!, dense = times.get(keyOf(program, VARIANTS[0]))!;
  const rate = (part: keyof GenerationSeconds) => TOKENS[part] / median(own.map((seconds) => seconds[part]));
  const gain = (part: keyof GenerationSeconds) =>
    median(own.map((seconds, round) => dense[round][part] / seconds[part]));
  const [all, rest] = [VARIANTS[0], variant].map((each) => blockParameters(shapeOf(each)));
  const head = LLAMA_160M.hidden * LLAMA_160M.vocabulary;
  return {
    program,
    variant: variant.name,
    removed: 1 - rest / all,
    zeros: variant.zeros,
    prompt: rate("prompt"),
    generated: rate("generated"),
    promptGain: gain("prompt"),
    generatedGain: gain("generated"),
    promptIdeal: all / rest,
    generatedIdeal: (all + head) / (rest + head),
  };
}

/** Runs both commands on four blocks of the dense model, with the same calibration. */
async function measureCommands(scratch: string): Promise<SpeedResults["commands"]> {
  const folder = `${scratch}/four-blocks`, { calibration } = await writeSotuTexts(scratch);
  await makeRandomLlama(folder, { ...LLAMA_160M, layers: 4 });
  const measure = async (command: string, ...options: string[]) => {
    const windows = ["--calibration", calibration, "--samples", "64", "--seqlen", "256"];
    const out = `${scratch}/${command}`;
    const { seconds, peakBytes } = await pareProcess([
      ...[command, folder, "--out", out, "--backend", "cpu"],
      ...[...windows, ...options],
    ]);
    return { seconds, peakBytes };
  };
  return {
    shrink: await measure("shrink", "--ffn", "0.5"),
    prune: await measure("prune", "--sparsity", "0.5"),
  };
}
