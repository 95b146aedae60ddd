/** Random damages of the files of an unfinished run. Equal seeds damage equal folders in the same way. */

import { uniform } from "../../scripts/fixtures/random.ts";

/** Changes a file. `next` returns random numbers in [0, 1). Returns a description. */
type DamageFile = (path: string, next: () => number) => Promise<string>;

const LOCK_FILE = "lock";

const FILE_DAMAGES: Readonly<Record<string, DamageFile>> = {
  truncate: async (path, next) => {
    const { size } = await Deno.stat(path), length = Math.floor(next() * size);
    await Deno.truncate(path, length);
    return `cut ${path} from ${size} to ${length} bytes`;
  },
  flip: (path, next) =>
    edit(path, (bytes) => {
      const count = 1 + Math.floor(next() * 8);
      for (let i = 0; i < count; i++) {
        bytes[Math.floor(next() * bytes.length)] ^= 1 + Math.floor(next() * 255);
      }
      return bytes;
    }, "flipped bytes of"),
  clear: (path, next) =>
    edit(path, (bytes) => {
      const start = Math.floor(next() * bytes.length);
      return bytes.fill(0, start, start + 1 + Math.floor(next() * 512));
    }, "cleared a part of"),
  grow: (path, next) =>
    edit(path, (bytes) => {
      const tail = Uint8Array.from({ length: 1 + Math.floor(next() * 64) }, () => Math.floor(next() * 256));
      return new Uint8Array([...bytes, ...tail]);
    }, "added bytes to"),
  remove: async (path) => {
    await Deno.remove(path);
    return `removed ${path}`;
  },
};

const LINE_DAMAGES: Readonly<Record<string, (lines: string[], next: () => number) => string[]>> = {
  "shorten journal": (lines, next) => lines.slice(0, Math.floor(next() * lines.length)),
  "drop line": (lines, next) => lines.toSpliced(index(lines, next), 1),
  "repeat line": (lines, next) => {
    const line = lines[index(lines, next)];
    return lines.toSpliced(Math.floor(next() * (lines.length + 1)), 0, line);
  },
  "add line": (lines, next) => [
    ...lines,
    ['{"type":"complete","files":{}}', '{"type":"discard","layers":[]}', "{}", ""][Math.floor(next() * 4)],
  ],
  "edit line": (lines, next) => {
    const at = index(lines, next);
    return lines.with(at, lines[at].replace(/\d/, (digit) => String((Number(digit) + 1) % 10)));
  },
};

export const DAMAGE_KINDS: readonly string[] = [
  ...Object.keys(FILE_DAMAGES),
  ...Object.keys(LINE_DAMAGES),
  "swap files",
  "copy file",
];

export interface Damage {
  /** One of {@link DAMAGE_KINDS}. */
  readonly kind: string;
  readonly description: string;
}

/** Damages the unfinished run in the folder `out` in one random way. */
export async function damageRun(out: string, seed: number): Promise<Damage> {
  const next = uniform(seed);
  next(); // the first numbers of neighbouring seeds are similar
  const kind = DAMAGE_KINDS[Math.floor(next() * DAMAGE_KINDS.length)];
  const files = await listFiles(out);
  const pick = () => files[index(files, next)];
  if (kind in FILE_DAMAGES) return { kind, description: await FILE_DAMAGES[kind](pick(), next) };
  if (kind in LINE_DAMAGES) {
    const path = `${out}/.pare/journal.jsonl`;
    const lines = (await Deno.readTextFile(path)).split("\n").slice(0, -1);
    const damaged = LINE_DAMAGES[kind](lines, next);
    await Deno.writeTextFile(path, damaged.map((line) => `${line}\n`).join(""));
    return { kind, description: `${kind} of ${path}` };
  }
  const [first, second] = [pick(), pick()];
  if (kind === "copy file") {
    // Hidden states under the name of another block look like a file of the run.
    const target = first.replace(/states-\d+/, `states-${Math.floor(next() * 4)}`);
    const to = target === first ? second : target;
    if (to !== first) await Deno.copyFile(first, to);
    return { kind, description: `copied ${first} to ${to}` };
  }
  const [a, b] = [await Deno.readFile(first), await Deno.readFile(second)];
  await Deno.writeFile(first, b);
  await Deno.writeFile(second, a);
  return { kind, description: `exchanged ${first} and ${second}` };
}

function index(items: readonly unknown[], next: () => number): number {
  return Math.floor(next() * items.length);
}

async function edit(
  path: string,
  change: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>,
  description: string,
): Promise<string> {
  await Deno.writeFile(path, change(await Deno.readFile(path)));
  return `${description} ${path}`;
}

/** Lists all files below a folder except the lock, whose bytes mean nothing. */
async function listFiles(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) files.push(...await listFiles(`${folder}/${name}`));
    else if (name !== LOCK_FILE) files.push(`${folder}/${name}`);
  }
  return files.sort();
}
