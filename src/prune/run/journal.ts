/**
 * The journal of a run: one JSON object a line, each on the disk before the run goes on. What a line says was done is done; a last
 * line that is cut short was not written. Nothing but the end of the file is ever changed.
 */

import { z } from "zod";
import { ModelError } from "../../files/model_error.ts";
import type { WorkFileSystem, WritableFile } from "../../files/file_system.ts";
import { reportSchema } from "../../protocol/report.ts";

const seconds = z.number().min(0);

/** A process begins to work on the run. */
const startSchema = z.object({ type: z.literal("start"), time: z.string() });

/** A layer's new weight is in its shard, on the disk. */
const layerSchema = z.object({
  type: z.literal("layer"),
  name: z.string(),
  block: z.int().min(0),
  /** Since the line before: in forwards, and in having the layer solved. */
  seconds: z.object({ calibration: seconds, layers: seconds }),
  report: reportSchema,
});

/** Every file of the copy is on the disk, under its temporary name. */
const completeSchema = z.object({ type: z.literal("complete") });

const entrySchema = z.discriminatedUnion("type", [startSchema, layerSchema, completeSchema]);

/** A layer that is done. */
export type LayerEntry = z.infer<typeof layerSchema>;
/** A line. */
export type JournalEntry = z.infer<typeof entrySchema>;

const NEWLINE = 10;

/** An open journal. Close it when done. */
export class Journal {
  readonly #file: WritableFile;
  readonly #entries: JournalEntry[];
  /** Where the next line begins. */
  #end: number;

  private constructor(file: WritableFile, entries: JournalEntry[], end: number) {
    this.#file = file;
    this.#entries = entries;
    this.#end = end;
  }

  /** Opens the journal at `path`, made if need be. @throws {ModelError} a line before the last is damaged */
  static async open(path: string, fs: WorkFileSystem): Promise<Journal> {
    const file = await fs.edit(path);
    try {
      const { entries, end } = parse(path, await file.read(0, file.byteLength));
      // Spaces over what a torn line left, lest it show behind a shorter one.
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

  /** Adds a line and resolves once it is on the disk. */
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

/** The entries in `bytes`, and where the last whole line ends. */
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
  try {
    return entrySchema.safeParse(JSON.parse(new TextDecoder().decode(line))).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
