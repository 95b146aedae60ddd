/** The notation of the attack corpus for bytes. JSON cannot hold bytes, and long files should be short in the corpus. */

/** A run of bytes: a text in UTF-8, bytes in hexadecimal, or a text that is repeated. Each `#` in it becomes its number, in seven digits. */
export type BytePart =
  | string
  | { readonly hex: string }
  | { readonly repeat: string; readonly times: number };

/** Returns the bytes of the parts, one after another. */
export function bytesOf(parts: BytePart | readonly BytePart[]): Uint8Array<ArrayBuffer> {
  const runs = (Array.isArray(parts) ? parts : [parts]).map(runOf);
  const bytes = new Uint8Array(runs.reduce((length, run) => length + run.length, 0));
  let at = 0;
  for (const run of runs) {
    bytes.set(run, at);
    at += run.length;
  }
  return bytes;
}

function runOf(part: BytePart): Uint8Array {
  if (typeof part === "string") return new TextEncoder().encode(part);
  if ("hex" in part) return Uint8Array.fromHex(part.hex);
  const { repeat, times } = part, at = repeat.indexOf("#");
  const run = new TextEncoder().encode(repeat.replace("#", "0000000").repeat(times)),
    width = run.length / times;
  for (let number = 0; at >= 0 && number < times; number++) {
    new TextEncoder().encodeInto(String(number).padStart(7, "0"), run.subarray(number * width + at));
  }
  return run;
}
