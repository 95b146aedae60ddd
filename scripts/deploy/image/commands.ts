/** Runs the commands of the replay. */

/** The search path of a container, unless the image sets another one. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Options of {@link run}. */
export interface RunOptions {
  /** The whole environment of the command. The default is the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/**
 * Runs a command and returns its standard output.
 * @throws {Error} with the end of its output if its exit code is not 0
 */
export async function run(command: readonly string[], { env, cwd }: RunOptions = {}): Promise<string> {
  const [program, ...args] = command;
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    cwd,
    env,
    clearEnv: env !== undefined,
    stdin: "null",
  }).output();
  const decoder = new TextDecoder(), output = decoder.decode(stdout);
  if (code !== 0) {
    const end = (output + decoder.decode(stderr)).trim().slice(-4000);
    throw new Error(`${command.join(" ").slice(0, 200)}: exit code ${code}\n${end}`);
  }
  return output;
}

/** Quotes a word for a POSIX shell. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
