/**
 * The journal of a run: a file with one JSON object per line. Each line is flushed to the disk before the run
 * continues, so the work that a complete line records is never lost. If the process is killed while it writes
 * a line, this last line is incomplete. It is ignored when the journal is opened again. Lines are only ever
 * appended.
 */

import { z } from "zod";
import type { WorkFileSystem, WritableFile } from "../../files/file_system.ts";
import { ModelError } from "../../files/model_error.ts";
import { reportSchema } from "../../protocol/report.ts";
import { tryParseJson } from "../../text/try_parse_json.ts";

const secondsSchema = z.number().min(0);

/** Records that a process started to work on the run, and the seconds that it needed until then. */
const startSchema = z.object({
  type: z.literal("start"),
  time: z.string(),
  seconds: secondsSchema.default(0),
});

/**
 * Records the sparsity of each layer, which was chosen before the first layer was pruned. A resumed run uses the same sparsities.
 */
const allocationSchema = z.object({
  type: z.literal("allocation"),
  name: z.enum(["owl", "error"]),
  sparsities: z.record(z.string(), z.number().min(0).lt(1)),
  notes: z.array(z.string()),
  /** The seconds that the choice took. */
  seconds: secondsSchema.default(0),
});

/**
 * Records that the pruned weight of a layer has been flushed to the disk, in the weight file that contains
 * it.
 */
const layerSchema = z.object({
  type: z.literal("layer"),
  name: z.string(),
  block: z.int().min(0),
  /**
   * The seconds since the previous line. `calibration` is the part that forward passes took, and `layers` is
   * the rest.
   */
  seconds: z.object({ calibration: secondsSchema, layers: secondsSchema }),
  /** The number of calibration tokens that reached the layer, if only some of the tokens do. */
  tokens: z.int().min(0).optional(),
  report: reportSchema,
});

/** Records that all files of the pruned copy have been flushed to the disk under their temporary names. */
const completeSchema = z.object({ type: z.literal("complete") });

const entrySchema = z.discriminatedUnion("type", [
  startSchema,
  allocationSchema,
  layerSchema,
  completeSchema,
]);

/** The line that records the sparsity of each layer. */
export type AllocationEntry = z.infer<typeof allocationSchema>;
/** The line that records a pruned layer. */
export type LayerEntry = z.infer<typeof layerSchema>;
/** A line of the journal. */
export type JournalEntry = z.infer<typeof entrySchema>;

const NEWLINE = 10;

/** An open journal. The caller closes it. */
export class Journal {
  readonly #file: WritableFile;
  readonly #entries: JournalEntry[];
  /** The offset in the file where the next line begins. */
  #end: number;

  private constructor(file: WritableFile, entries: JournalEntry[], end: number) {
    this.#file = file;
    this.#entries = entries;
    this.#end = end;
  }

  /**
   * Opens the journal at `path`, and creates it if it does not exist.
   * @throws {ModelError} if a line before the last is damaged
   */
  static async open(path: string, fs: WorkFileSystem): Promise<Journal> {
    const file = await fs.edit(path);
    try {
      const { entries, end } = parse(path, await file.read(0, file.byteLength));
      // An incomplete last line is overwritten with spaces, because the next line may be too short to cover all of it.
      if (end < file.byteLength) await file.write(end, new Uint8Array(file.byteLength - end).fill(0x20));
      return new Journal(file, entries, end);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get entries(): readonly JournalEntry[] {
    return this.#entries;
  }

  /** Appends a line and resolves when it has been flushed to the disk. */
  async append(entry: JournalEntry): Promise<void> {
    const line = new TextEncoder().encode(JSON.stringify(entry) + "\n");
    await this.#file.write(this.#end, line);
    await this.#file.sync();
    this.#end += line.byteLength;
    this.#entries.push(entry);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Parses the file and returns its entries and the offset where the last complete line ends. */
function parse(path: string, bytes: Uint8Array): { entries: JournalEntry[]; end: number } {
  const entries: JournalEntry[] = [];
  let end = 0;
  for (let next = bytes.indexOf(NEWLINE); next >= 0; next = bytes.indexOf(NEWLINE, end)) {
    const entry = parseLine(bytes.subarray(end, next));
    if (!entry) {
      if (bytes.indexOf(NEWLINE, next + 1) < 0) break;
      throw new ModelError(`${path}: line ${entries.length + 1} is damaged; start the run over`);
    }
    entries.push(entry);
    end = next + 1;
  }
  return { entries, end };
}

function parseLine(line: Uint8Array): JournalEntry | undefined {
  return entrySchema.safeParse(tryParseJson(new TextDecoder().decode(line))).data;
}
