/**
 * Faults in the WGSL source of a kernel: wrong constants, loops that end one iteration early, and missing barriers.
 * Only the entry point and the functions that it reaches are changed, so that every fault is in code that runs.
 */

import type { Kernel, ShaderVariant } from "../../../src/device/kernels/kernel.ts";

/** A kernel whose shader has one fault. */
export interface ShaderFault {
  readonly kernel: Kernel;
  readonly kind: "wrong constant" | "loop cut short" | "missing barrier";
  /** The line of the source with the fault, and what was changed. */
  readonly description: string;
}

/** A change of the source: the characters from `start` to `end` become `text`. */
interface Edit {
  readonly kind: ShaderFault["kind"];
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** Returns all faults of one shader of a kernel. Dispatch `ShaderFault.kernel` in place of the kernel. */
export function shaderFaults(kernel: Kernel, shader: ShaderVariant): ShaderFault[] {
  // Comments become spaces, so that positions stay the same.
  const code = shader.code.replace(/\/\/.*$/gm, (comment) => " ".repeat(comment.length));
  const edits = reachableRanges(code, shader.entryPoint ?? kernel.name).flatMap((range) =>
    editsIn(code, range)
  );
  return edits.map(({ kind, start, end, text }) => {
    const faulty: ShaderVariant = { ...shader, code: code.slice(0, start) + text + code.slice(end) };
    const line = code.slice(0, start).split("\n").length;
    return {
      kernel: {
        ...kernel,
        shader: faulty,
        softwareShader: undefined,
        variants: undefined,
        variantFor: undefined,
      },
      kind,
      description: `${kernel.name}, line ${line}: ${code.slice(start, end).trim()} → ${
        text.trim() || "nothing"
      }`,
    };
  });
}

/** Returns the bodies of the entry point and of the functions that it reaches, and the constants that they use. */
function reachableRanges(code: string, entryPoint: string): [start: number, end: number][] {
  const functions = new Map(
    [...code.matchAll(/\bfn (\w+)\s*\(/g)].map((match) => {
      const open = code.indexOf("{", code.indexOf(")", match.index));
      return [match[1], [open, blockEnd(code, open)] as [number, number]];
    }),
  );
  const names = new Set([entryPoint]);
  for (const name of names) {
    const [start, end] = functions.get(name)!;
    for (const [word] of code.slice(start, end).matchAll(/\w+/g)) if (functions.has(word)) names.add(word);
  }
  const bodies = [...names].map((name) => functions.get(name)!);
  const text = bodies.map(([start, end]) => code.slice(start, end)).join("\n");
  const constants = [...code.matchAll(/^const (\w+): f32 = (.*);/gm)].filter(([, name]) =>
    new RegExp(`\\b${name}\\b`).test(text)
  ).map((match): [number, number] => [match.index, match.index + match[0].length]);
  return [...bodies, ...constants];
}

/** Returns the index of the brace that closes the block opened at `open`. */
export function blockEnd(code: string, open: number): number {
  for (let at = open, depth = 0;; at++) {
    if (code[at] === "{") depth++;
    else if (code[at] === "}" && --depth === 0) return at;
  }
}

function editsIn(code: string, [start, end]: [number, number]): Edit[] {
  const text = code.slice(start, end);
  const edit = (kind: Edit["kind"], at: number, length: number, replacement: string): Edit => ({
    kind,
    start: start + at,
    end: start + at + length,
    text: replacement,
  });
  const barriers = [...text.matchAll(/\b(?:workgroup|storage)Barrier\(\);/g)].map((match) =>
    edit("missing barrier", match.index, match[0].length, "")
  );
  const constants = [...text.matchAll(/(?<![\w.])(\d+\.\d*(?:e-?\d+)?f?|0x[0-9a-f]+u?)(?![\w.])/g)].map((
    match,
  ) => edit("wrong constant", match.index, match[0].length, wrongNumber(match[0])));
  const loops = [...text.matchAll(/\bfor \(([^;{]*);([^;{]+);([^{]*)\) \{|\bwhile ([^{]+)\{/g)].flatMap(
    (match) => {
      const condition = match[2] ?? match[4], shorter = shortened(condition, match[3]?.trim() ?? "");
      return shorter === undefined
        ? []
        : [edit("loop cut short", match.index + match[0].indexOf(condition, 4), condition.length, shorter)];
    },
  );
  return [...barriers, ...constants, ...loops];
}

/** Makes a float larger by a quarter, and shifts a bit pattern to the right. */
function wrongNumber(literal: string): string {
  if (literal.startsWith("0x")) return `0x${(Number(literal.replace("u", "")) >>> 1).toString(16)}`;
  const value = Number(literal.replace("f", ""));
  return value === 0 ? "0.01" : (value * 1.25).toPrecision(8);
}

/** Returns the condition of a loop that ends one iteration earlier, or undefined if its form is not known. */
function shortened(condition: string, step: string): string | undefined {
  const match = condition.match(/^\s*(\w+)(.*?)(<=|>=|<|>)(.*)$/s);
  if (!match) return undefined;
  const [, counter, rest, comparison, bound] = match;
  if (comparison.startsWith(">")) return ` ${counter}${rest} ${comparison} 1 + ${bound.trim()}`;
  const growth = step.match(/^\w+ ([+*])= (.+)$/);
  const next = growth ? `(${counter} ${growth[1]} ${growth[2]})` : `(${counter} + 1)`;
  return ` ${next}${rest}${comparison}${bound}`;
}
