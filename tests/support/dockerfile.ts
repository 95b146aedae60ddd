/**
 * Parses the part of the Dockerfile syntax that `scripts/deploy/Dockerfile` uses. Everything else is an error, so that a replay
 * never skips an instruction silently.
 */

/** One instruction of a Dockerfile. */
export interface Instruction {
  /** The keyword in capital letters, such as `RUN`. */
  readonly keyword: Keyword;
  /** The options before the arguments, such as `{ from: "build" }` for `--from=build`. */
  readonly flags: Readonly<Record<string, string>>;
  /** The text after the keyword and the options, with continued lines joined. */
  readonly text: string;
}

/** A stage: an instruction FROM and the instructions after it. */
export interface Stage {
  /** The image that the stage starts from, such as `debian:trixie-slim`. */
  readonly base: string;
  /** The name after AS. */
  readonly name?: string;
  readonly instructions: readonly Instruction[];
}

const KEYWORDS = [
  "FROM",
  "RUN",
  "COPY",
  "ENV",
  "WORKDIR",
  "USER",
  "EXPOSE",
  "HEALTHCHECK",
  "ENTRYPOINT",
  "CMD",
] as const;

type Keyword = (typeof KEYWORDS)[number];

/** Parses a Dockerfile into its stages. @throws {SyntaxError} naming the instruction that is not supported */
export function parseDockerfile(text: string): Stage[] {
  const stages: (Stage & { instructions: Instruction[] })[] = [];
  for (const instruction of instructionsOf(text)) {
    if (instruction.keyword === "FROM") {
      const [, base, name] = /^(\S+)(?: AS (\S+))?$/i.exec(instruction.text) ?? [];
      if (base === undefined) throw new SyntaxError(`FROM ${instruction.text}: must be an image and a name`);
      stages.push({ base, name, instructions: [] });
    } else if (stages.length === 0) {
      throw new SyntaxError(`${instruction.keyword}: must come after FROM`);
    } else {
      stages.at(-1)!.instructions.push(instruction);
    }
  }
  if (stages.length === 0) throw new SyntaxError("the Dockerfile has no FROM");
  return stages;
}

function instructionsOf(text: string): Instruction[] {
  const lines = text.split("\n").filter((line) => !/^\s*(#|$)/.test(line));
  const joined = lines.join("\n").replace(/\\\n\s*/g, "");
  return joined.split("\n").filter((line) => line !== "").map((line) => {
    const [, word, rest] = /^(\w+)\s+(.*)$/.exec(line.trim()) ?? [];
    const keyword = KEYWORDS.find((keyword) => keyword === word?.toUpperCase());
    if (!keyword) throw new SyntaxError(`instruction ${line}: must begin with ${KEYWORDS.join(", ")}`);
    const [, options, argument] = /^((?:--\S+\s+)*)(.*)$/.exec(rest)!;
    const flags = options.matchAll(/--([\w-]+)=(\S+)/g).map(([, name, value]) => [name, value]);
    return { keyword, flags: Object.fromEntries(flags), text: argument };
  });
}

/** Parses the variables of an instruction ENV. @throws {SyntaxError} if one is not NAME=VALUE without quotes */
export function parseEnv(text: string): Record<string, string> {
  const pairs = text.split(/\s+/).map((word) => {
    const [, name, value] = /^(\w+)=([^"'$\\]*)$/.exec(word) ?? [];
    if (name === undefined) throw new SyntaxError(`ENV ${word}: must be NAME=VALUE without quotes and $`);
    return [name, value];
  });
  return Object.fromEntries(pairs);
}

/** Parses the JSON form of an instruction such as CMD. @throws {SyntaxError} if the text is not an array of strings */
export function parseWords(text: string): string[] {
  const words = JSON.parse(text);
  if (!Array.isArray(words) || words.some((word) => typeof word !== "string")) {
    throw new SyntaxError(`${text}: must be an array of strings`);
  }
  return words;
}

/** The configuration that a container engine stores with the files of an image. */
export interface ImageConfig {
  readonly env: Readonly<Record<string, string>>;
  readonly workdir: string;
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly healthcheck: readonly string[];
}

/** Returns the configuration that a stage sets. Instructions that a stage lacks give empty values, `/` and `0:0`. */
export function configOf({ instructions }: Stage): ImageConfig {
  const last = (keyword: Keyword): string | undefined =>
    instructions.findLast((instruction) => instruction.keyword === keyword)?.text;
  const envs = instructions.filter(({ keyword }) => keyword === "ENV").map(({ text }) => parseEnv(text));
  return {
    env: Object.assign({}, ...envs),
    workdir: last("WORKDIR") ?? "/",
    user: last("USER") ?? "0:0",
    entrypoint: parseWords(last("ENTRYPOINT") ?? "[]"),
    cmd: parseWords(last("CMD") ?? "[]"),
    healthcheck: parseWords(last("HEALTHCHECK")?.replace(/^CMD /, "") ?? "[]"),
  };
}
