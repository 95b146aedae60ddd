/**
 * The journal of a run: a file with one JSON object per line. Each line is flushed to the disk before the run continues, so a complete line
 * is never lost. If the process is killed while it writes a line, this last line is incomplete, and ignored when the journal is opened
 * again. Valid lines never change, and new lines are appended to them.
 *
 * The last member of each object, `chain`, is the digest of the line and of the chain of the line before it. A line that was changed,
 * repeated, moved, or that lacks its predecessor therefore does not have the right chain. Such a line and all later lines are ignored, and
 * the run repeats their work. Opening a journal overwrites its ignored lines with spaces.
 */

import { z } from "zod";
import { digestBytes } from "../../base/files/chunks.ts";
import type { WorkFileSystem, WritableFile } from "../../base/files/file_system.ts";
import { reportSchema } from "../../protocol/resources/layers.ts";
import { tryParseJson } from "../../base/json.ts";
import { allocationSchema, reconstructionSchema, targetDecisionSchema } from "../report/run_report.ts";

const secondsSchema = z.number().min(0);

/** Records the start of a process, and the seconds that it needed until it worked on the run. */
const startSchema = z.object({
  type: z.literal("start"),
  time: z.string(),
  seconds: secondsSchema.default(0),
});

/** Records the sparsity of each layer, which was chosen before the first layer was pruned. A resumed run uses the same sparsities. */
const allocationEntrySchema = allocationSchema.extend({
  type: z.literal("allocation"),
  seconds: secondsSchema.default(0),
});

/** Records that the pruned weight of a layer has been flushed to the disk, in the weight file that contains it. */
const layerSchema = z.object({
  type: z.literal("layer"),
  name: z.string(),
  block: z.int().min(0),
  /** The seconds since the previous line. `calibration` is the part that forward passes took, and `layers` is the rest. */
  seconds: z.object({ calibration: secondsSchema, layers: secondsSchema }),
  /** The number of calibration tokens that reached the layer, if only some of the tokens do. */
  tokens: z.int().min(0).optional(),
  report: reportSchema,
  /** The columns that remain, if the layer has lost some. */
  kept: z.array(z.int().min(0)).optional(),
  /**
   * The digests of the tensors that the layer has changed in the weight file, by name: its weight, its codes and grids, or its weight and
   * those of the layers that compute its inputs.
   */
  digests: z.record(z.string(), z.string()),
});

/** Records the error of the output of a pruned block on the held-out windows. Null if it is not finite, because JSON has no such numbers. */
const blockSchema = z.object({
  type: z.literal("block"),
  block: z.int().min(0),
  error: z.number().min(0).nullable(),
});

/** Records a decision about the targets of a block. The line is written before the lines of its layers. */
const decisionSchema = targetDecisionSchema.extend({ type: z.literal("targets"), block: z.int().min(0) });

/** Records that a block was reconstructed. The line is written before its tensors are (see `storeReconstruction`). */
const blockReconstructionSchema = reconstructionSchema.extend({
  type: z.literal("reconstruction"),
  block: z.int().min(0),
  seconds: secondsSchema,
  /** The digests of the trained tensors, by name. */
  digests: z.record(z.string(), z.string()),
});

/** Records the checksum of the hidden states before a block. The line is written before their file gets its name. */
const statesSchema = z.object({ type: z.literal("states"), block: z.int().min(0), checksum: z.int() });

/**
 * Records that a later process found damage. The lines of these layers are void, and so is the line of the reconstruction of their
 * blocks, and a line that says that the copy is complete.
 */
const discardSchema = z.object({ type: z.literal("discard"), layers: z.array(z.string()) });

/** Records that all files of the pruned copy have been flushed to the disk under their temporary names, with these digests. */
const completeSchema = z.object({
  type: z.literal("complete"),
  files: z.record(z.string(), z.string()),
});

const entrySchema = z.discriminatedUnion("type", [
  startSchema,
  allocationEntrySchema,
  layerSchema,
  blockSchema,
  decisionSchema,
  blockReconstructionSchema,
  statesSchema,
  discardSchema,
  completeSchema,
]);

export type AllocationEntry = z.infer<typeof allocationEntrySchema>;
export type LayerEntry = z.infer<typeof layerSchema>;
export type ReconstructionEntry = z.infer<typeof blockReconstructionSchema>;
export type StatesEntry = z.infer<typeof statesSchema>;
export type JournalEntry = z.infer<typeof entrySchema>;

/** Replaces a number that is not finite by null, because JSON has no such numbers. */
export function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

const NEWLINE = 10;

export class Journal {
  private constructor(private readonly file: WritableFile, private readonly lines: IntactLines) {}

  /** Opens the journal at `path`, and creates it if it does not exist. The lines from the first damaged one on are ignored. */
  static async open(path: string, fs: WorkFileSystem): Promise<Journal> {
    const file = await fs.edit(path);
    try {
      const parsed = parse(await file.read(0, file.byteLength)), { end } = parsed;
      // Ignored lines are overwritten with spaces, because the next line may be too short to cover all of them.
      if (end < file.byteLength) await file.write(end, new Uint8Array(file.byteLength - end).fill(0x20));
      return new Journal(file, parsed);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get entries(): readonly JournalEntry[] {
    return this.lines.entries;
  }

  /** The number of the first damaged line, from 1. Undefined if at most the last line is damaged, as after a kill. */
  get damagedLine(): number | undefined {
    return this.lines.damagedLine;
  }

  /** Appends a line and resolves when it has been flushed to the disk. */
  async append(entry: JournalEntry): Promise<void> {
    const { file, lines } = this, text = JSON.stringify(entry), chain = nextChain(lines.chain, text);
    const line = new TextEncoder().encode(`${text.slice(0, -1)},"chain":"${chain}"}\n`);
    await file.write(lines.end, line);
    await file.sync();
    lines.end += line.byteLength;
    lines.chain = chain;
    lines.entries.push(entry);
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** The intact lines of a journal. */
interface IntactLines {
  readonly entries: JournalEntry[];
  /** The offset where the last intact line ends, and the next line begins. */
  end: number;
  /** The chain of the last intact line. */
  chain: string;
  readonly damagedLine: number | undefined;
}

function parse(bytes: Uint8Array): IntactLines {
  const entries: JournalEntry[] = [];
  let end = 0, chain = "";
  for (let next = bytes.indexOf(NEWLINE); next >= 0; next = bytes.indexOf(NEWLINE, end)) {
    const line = parseLine(bytes.subarray(end, next), chain);
    if (!line) {
      const isLast = bytes.indexOf(NEWLINE, next + 1) < 0;
      return { entries, end, chain, damagedLine: isLast ? undefined : entries.length + 1 };
    }
    entries.push(line.entry);
    chain = line.chain;
    end = next + 1;
  }
  return { entries, end, chain, damagedLine: undefined };
}

/** Matches a line with its chain. */
const LINE = /^(\{.*),"chain":"([0-9a-f]{64})"\}$/s;

/** Returns undefined if the line is damaged, or does not follow the line with the chain `previous`. */
function parseLine(bytes: Uint8Array, previous: string): { entry: JournalEntry; chain: string } | undefined {
  const [, start, chain] = LINE.exec(new TextDecoder().decode(bytes)) ?? [];
  if (start === undefined || nextChain(previous, `${start}}`) !== chain) return undefined;
  const entry = entrySchema.safeParse(tryParseJson(`${start}}`)).data;
  return entry && { entry, chain };
}

function nextChain(previous: string, text: string): string {
  return digestBytes(`${previous}\n${text}`);
}
